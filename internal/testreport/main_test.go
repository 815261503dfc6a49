package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     bool
	}{
		{"a passed test is enough", `{"Action":"pass","Package":"p","Test":"T"}`, true},
		{"nothing run is a failure", `{"Action":"pass","Package":"p"}`, false},
		{"a skipped test is a failure", `{"Action":"pass","Package":"p","Test":"T"}` + "\n" + `{"Action":"skip","Package":"p","Test":"U"}`, false},
		{"a failed test is a failure", `{"Action":"fail","Package":"p","Test":"T"}`, false},
		{"a package that does not build is a failure", `{"Action":"pass","Package":"p","Test":"T"}` + "\n" + `{"Action":"fail","Package":"q"}`, false},
	} {
		var out strings.Builder
		if got := report(strings.NewReader(c.in), &out); got != c.want {
			t.Errorf("%s: report = %v, want %v\n%s", c.name, got, c.want, out.String())
		}
	}
}

func TestReportShowsWhatAHangingTestSaid(t *testing.T) {
	const in = `{"Action":"output","Package":"p","Test":"T","Output":"goroutine 1\n"}
{"Action":"output","Package":"p","Test":"U","Output":"passed\n"}
{"Action":"output","Package":"p","Test":"U","Output":"panic: test timed out\n"}
{"Action":"output","Package":"p","Test":"U","Output":"goroutine 2\n"}
{"Action":"pass","Package":"p","Test":"U"}
{"Action":"output","Package":"pq","Test":"T","Output":"of another\n"}
{"Action":"fail","Package":"p"}`
	var out strings.Builder
	if report(strings.NewReader(in), &out) {
		t.Error("a package that failed is taken for one that passed")
	}
	if got := out.String(); !strings.Contains(got, "NO END p.T\ngoroutine 1\n") || !strings.Contains(got, "panic: test timed out\ngoroutine 2\n") || strings.Contains(got, "passed\n") || strings.Contains(got, "of another") {
		t.Error(got)
	}
}
