package roles

import (
	"fmt"
	"strings"
	"testing"

	"sallyport/security"
)

// factoryOf is a file with n permissions: half in a role, half in lists of users.
func factoryOf(n int) string {
	const users = 1000
	var b strings.Builder
	b.WriteString("roles:\n  meter:\n    permissions:\n")
	for i := range n / 2 {
		fmt.Fprintf(&b, "      - {allow: publish, topic: \"plant/%d/line/%d/state\", qos: [0, 1]}\n", i/100, i%100)
	}
	b.WriteString("users:\n")
	for u := range users {
		fmt.Fprintf(&b, "  user%d:\n    roles: [meter]\n    permissions:\n", u)
		for i := range max(n/2/users, 1) {
			fmt.Fprintf(&b, "      - {allow: subscribe, topic: \"site/%d/%d/#\"}\n", u, i)
		}
	}
	return b.String()
}

// TestALargeFileLoads takes a file well above what a configuration may be.
func TestALargeFileLoads(t *testing.T) {
	const n = 20_000
	p := parse(t, factoryOf(n))
	q := as(pub, "plant/99/line/99/state", by("user7", "c"))
	if v := p.Decide(q); p.Rules() != n || !v.Allowed() {
		t.Errorf("of %d rules: %+v", p.Rules(), v)
	}
	q.Topic = "plant/100/line/1/state"
	if x := p.Explain(q); x.Verdict.Effect != security.Silent || x.Verdict.Line != n/2+5+7*13 || len(x.Steps)+x.Omitted != n/2+n/2000 || len(x.Opposite) != 1 {
		t.Errorf("what no rule allows is explained by %d steps and %d omitted, %q: %+v", len(x.Steps), x.Omitted, x.Opposite, x.Verdict)
	}
}

func TestManyUsersLoad(t *testing.T) {
	const n = 20_000
	var b strings.Builder
	b.WriteString("users:\n")
	for i := range n {
		fmt.Fprintf(&b, "  user%d:\n    roles: [r]\n", i)
	}
	b.WriteString("roles:\n  r:\n    permissions:\n      - {allow: publish, topic: \"${username}/#\"}\n")
	p := parse(t, b.String())
	if v := p.Decide(as(pub, "user19999/x", by("user19999", "c"))); !v.Allowed() || v.Line != 2*n+5 {
		t.Errorf("the last of %d users gets %+v", n, v)
	}
	if v := p.Decide(as(pub, "x", by("user19999", "c"))); v.Line != 2*n {
		t.Errorf("the last of %d users stands at line %d", n, v.Line)
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		text := []byte(factoryOf(n))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := Parse(Options{Name: "n", Path: "p.yaml"}, text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
