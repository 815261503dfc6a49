package acl

import (
	"fmt"
	"strings"
	"testing"

	"sallyport/security"
)

// largeFile is n lines: a twentieth patterns, the rest those of users with fifty each.
func largeFile(n int) string {
	var b strings.Builder
	for i := range n / 20 {
		fmt.Fprintf(&b, "pattern readwrite site%d/%%c/#\n", i)
	}
	for i := range n - n/20 {
		if i%50 == 0 {
			fmt.Fprintf(&b, "user user%d\n", i/50)
		}
		fmt.Fprintf(&b, "topic readwrite plant%d/line%d/+/value\n", i%97, i)
	}
	return b.String()
}

// Figures: go test -run '^$' -bench . -benchmem ./security/acl
func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		p := parse(b, largeFile(n))
		everything := parse(b, "user u\n"+strings.ReplaceAll(largeFile(n), "user user", "topic x/"))
		for name, c := range map[string]struct {
			p *Policy
			q *security.Request
		}{
			"granted by a user's line":        {p, ask(pub, "plant4/line4/a/value", "user0", "c")},
			"granted by a pattern":            {p, ask(pub, fmt.Sprintf("site%d/c/x", n/20-1), "user0", "c")},
			"refused":                         {p, ask(pub, "plant4/elsewhere/a/value", "user0", "c")},
			"a user with all lines":           {everything, ask(pub, fmt.Sprintf("plant%d/line%d/a/value", (n-n/20-1)%97, n-n/20-1), "u", "c")},
			"a user with all lines, refusing": {everything, ask(rcv, "plant4/elsewhere/a/value", "u", "c")},
		} {
			b.Run(fmt.Sprintf("%d/%s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				if got := c.p.Decide(c.q).Effect == security.Allow; got == strings.Contains(name, "refus") {
					b.Fatalf("allowed: %t", got)
				}
				for b.Loop() {
					c.p.Decide(c.q)
				}
			})
		}
	}
}

func BenchmarkParse(b *testing.B) {
	text := []byte(largeFile(100_000))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := Parse(Options{Path: "acl"}, text); err != nil {
			b.Fatal(err)
		}
	}
}
