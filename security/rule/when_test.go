package rule

import (
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/security"
)

func window(t testing.TB, spec WindowSpec) Window {
	t.Helper()
	w, err := NewWindow(spec)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func condition(t testing.TB, text string) *Expr {
	t.Helper()
	e, err := NewExpr(text, Publish)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func source(t testing.TB, s string) netip.Prefix {
	t.Helper()
	p, err := Source(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func moment(t testing.TB, s string) int64 {
	t.Helper()
	m, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return m.UnixNano()
}

func TestConditionsOfARule(t *testing.T) {
	office := window(t, WindowSpec{Days: []string{"mon-fri"}, From: "08:00", To: "18:00", Zone: "Europe/Vienna"})
	lunch := window(t, WindowSpec{From: "17:00", To: "20:00", Zone: "Europe/Vienna"})
	always := window(t, WindowSpec{From: "00:00", To: "24:00"})
	over := window(t, WindowSpec{NotAfter: "2020-01-01T00:00:00Z"})
	ten := source(t, "10.1.0.0/16")
	for _, c := range []struct {
		name   string
		when   *When
		change func(*security.Request)
		holds  bool
		until  string
		why    string
	}{
		{name: "none", when: nil, holds: true},
		{name: "empty", when: &When{}, holds: true},
		{name: "an address within", when: &When{From: []netip.Prefix{source(t, "192.168.0.0/16"), ten}}, holds: true},
		{name: "an address that is mapped into IPv6", when: &When{From: []netip.Prefix{ten}}, holds: true,
			change: func(q *security.Request) { q.Principal.Addr = netip.MustParseAddrPort("[::ffff:10.1.2.3]:1") }},
		{name: "an address with a zone", when: &When{From: []netip.Prefix{source(t, "fe80::/10")}}, holds: true,
			change: func(q *security.Request) { q.Principal.Addr = netip.MustParseAddrPort("[fe80::1%eth0]:1") }},
		{name: "an address elsewhere", when: &When{From: []netip.Prefix{ten, source(t, "192.0.2.1")}}, why: "the address 10.0.0.9 is not in 10.1.0.0/16 or 192.0.2.1",
			change: func(q *security.Request) { q.Principal.Addr = netip.MustParseAddrPort("10.0.0.9:1") }},
		{name: "a local socket where addresses are asked for", when: &When{From: []netip.Prefix{source(t, "0.0.0.0/0"), source(t, "::/0")}},
			why:    "a local socket has no address in 0.0.0.0/0 or ::/0",
			change: func(q *security.Request) { q.Principal.Addr = netip.AddrPort{} }},
		{name: "a listener of several", when: &When{Listeners: []string{"plain", "tls"}}, holds: true},
		{name: "another listener", when: &When{Listeners: []string{"a", "b", "c", "d", "e", "f"}}, why: `the listener "tls" is not a, b, c, d or 2 others`},
		{name: "TLS", when: &When{TLS: Required}, holds: true},
		{name: "no TLS where it is required", when: &When{TLS: Required}, why: "not over TLS",
			change: func(q *security.Request) { q.Principal.Secure = false }},
		{name: "TLS where it is forbidden", when: &When{TLS: Forbidden}, why: "over TLS"},
		{name: "an open window", when: &When{Windows: []Window{office}}, holds: true, until: "2026-11-23T17:00:00Z"},
		{name: "the last of open windows closes", when: &When{Windows: []Window{office, lunch, over}}, holds: true, until: "2026-11-23T19:00:00Z",
			change: func(q *security.Request) { q.At = moment(t, "2026-11-23T16:30:00Z") }},
		{name: "a window that never closes", when: &When{Windows: []Window{office, always}}, holds: true},
		{name: "the first of closed windows opens", when: &When{Windows: []Window{office, lunch, over}}, until: "2026-11-21T16:00:00Z",
			why:    "outside mon-fri 08:00-18:00 Europe/Vienna or 17:00-20:00 Europe/Vienna or until 2020-01-01T00:00:00Z (opens 2026-11-21T17:00+01:00)",
			change: func(q *security.Request) { q.At = moment(t, "2026-11-21T03:00:00Z") }},
		{name: "a closed window", when: &When{Windows: []Window{office}}, until: "2026-11-24T07:00:00Z",
			why:    "outside mon-fri 08:00-18:00 Europe/Vienna (opens 2026-11-24T08:00+01:00)",
			change: func(q *security.Request) { q.At = moment(t, "2026-11-23T22:00:00Z") }},
		{name: "a window that is over", when: &When{Windows: []Window{over}}, why: "outside until 2020-01-01T00:00:00Z (never opens again)"},
		{name: "the zero window", when: &When{Windows: []Window{{}}}, why: "outside  (never opens again)"},
		{name: "a condition that is true", when: &When{Expr: condition(t, `"ops" in groups`)}, holds: true},
		{name: "a condition that is false", when: &When{Expr: condition(t, "\"chef\"\n in groups")}, why: `the condition is false: "chef"  in groups`},
		{name: "a condition and an open window", when: &When{Windows: []Window{office}, Expr: condition(t, `tls`)}, holds: true, until: "2026-11-23T17:00:00Z"},
		{name: "all that does not hold is named", when: &When{TLS: Forbidden, From: []netip.Prefix{source(t, "192.0.2.0/24")}, Expr: condition(t, `!tls`)},
			why: "over TLS; the address 10.1.2.3 is not in 192.0.2.0/24; the condition is false: !tls"},
	} {
		q := publish(someone())
		if c.change != nil {
			c.change(q)
		}
		fit := c.when.Fits(q)
		until := ""
		if fit.Until != 0 {
			until = time.Unix(0, fit.Until).UTC().Format(time.RFC3339)
		}
		if fit.Holds != c.holds || until != c.until || fit.Err != nil || fit.Volatile {
			t.Errorf("%s: %+v until %q; want holds %v until %q", c.name, fit, until, c.holds, c.until)
		}
		if why := c.when.Why(q); why != c.why {
			t.Errorf("%s: Why says %q, want %q", c.name, why, c.why)
		}
	}
}

// What costs more is not asked once something cheaper does not hold, so that the
// answer depends on neither time nor message.
func TestTheCheapestIsAskedFirst(t *testing.T) {
	w := When{
		TLS: Forbidden, Windows: []Window{window(t, WindowSpec{From: "08:00"})},
		Expr: condition(t, `size < 3`),
	}
	q := publish(someone())
	if fit := w.Fits(q); fit != (Fit{}) {
		t.Errorf("%+v, want a plain no", fit)
	}
	q.Principal.Secure = false
	q.At = moment(t, "2026-11-23T07:00:00Z")
	if fit := w.Fits(q); fit != (Fit{Until: moment(t, "2026-11-23T08:00:00Z")}) {
		t.Errorf("%+v, want no until 08:00", fit)
	}
	q.At = moment(t, "2026-11-23T08:00:00Z")
	if fit := w.Fits(q); fit != (Fit{Until: moment(t, "2026-11-24T00:00:00Z"), Volatile: true}) {
		t.Errorf("%+v, want no until 24:00 for this message", fit)
	}
}

func TestConditionsThatFailSayWhy(t *testing.T) {
	for text, want := range map[string]string{
		`claim.tier == 1`: "the condition fails: 1:6: no such key: claim.tier == 1",
		`size < 3`:        "the condition reads the message, and there is none: size < 3",
	} {
		q := publish(someone())
		q.Message = nil
		w := When{Expr: condition(t, text)}
		if why := w.Why(q); why != want {
			t.Errorf("Why says %q, want %q", why, want)
		}
		if fit := w.Fits(q); fit.Holds || fit.Err == nil {
			t.Errorf("%s: %+v, want an error", text, fit)
		}
	}
}

func TestSources(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.0/8":          "10.0.0.0/8",
		"10.1.2.3":            "10.1.2.3/32",
		"::ffff:10.0.0.0/104": "10.0.0.0/8",
		"::ffff:10.1.2.3":     "10.1.2.3/32",
		"2001:db8::/32":       "2001:db8::/32",
		"::1":                 "::1/128",
		"0.0.0.0/0":           "0.0.0.0/0",
	} {
		if got, err := Source(text); err != nil || got.String() != want {
			t.Errorf("Source(%q) = %v, %v; want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                   "neither",
		"10.0.0":             "neither",
		"10.0.0.0/33":        "neither",
		"10.0.0.0/08":        "neither",
		"example.org":        "neither",
		"fe80::1%eth0":       "neither",
		"10.0.0.1/8":         "the network is 10.0.0.0/8",
		"::ffff:10.0.0.0/90": "lies in IPv4 and in IPv6",
	} {
		if _, err := Source(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Source(%q): error %v, want one with %q", text, err, want)
		}
	}
}

// Whatever compiles is judged without a panic and within its cost.
func FuzzExpr(f *testing.F) {
	for _, text := range []string{
		`client_id.startsWith("dev-") && "ops" in groups`, `claim.level > 3 || attr["site"] == "x"`, `ip_in(address, "10.0.0.0/8")`,
		`levels.exists(l, l.matches("^[0-9]+$"))`, `string(payload) == "1" && size < 10`, `now.getHours("Europe/Vienna") < 18`,
		`claim.roles.map(r, r + r).size() > 1`, `cert.dns.all(d, d.endsWith(".example"))`, `[[[[]]]] == [1, "a", {}]`,
		`{1: {"a": [now]}}[1]["a"][0] == now ? tls : !tls`, `type(claim.x) == int`, `dyn(1) + 1 == 2`, `"\u00e4".size() == 1 && b"\xff" != payload`,
	} {
		f.Add(text, "a/b/c", []byte("payload"))
	}
	f.Fuzz(func(t *testing.T, text, topic string, payload []byte) {
		e, err := NewExpr(text, Publish)
		if err != nil {
			if len(err.Error()) > 1000 || strings.Contains(err.Error(), "\n") {
				t.Errorf("an error of %d bytes: %s", len(err.Error()), err)
			}
			return
		}
		q := publish(someone())
		q.Topic, q.Message.Payload = topic, payload
		w := When{Expr: e}
		fit, again := w.Fits(q), w.Fits(q)
		if fit.Holds && fit.Err != nil {
			t.Errorf("%q holds and fails: %v", text, fit.Err)
		}
		if fit.Err != nil && strings.Contains(fit.Err.Error(), "internal") {
			t.Errorf("%q: %v", text, fit.Err)
		}
		if fit.Holds != again.Holds || fit.Volatile != again.Volatile || (fit.Err == nil) != (again.Err == nil) {
			t.Errorf("%q: %+v, then %+v", text, fit, again)
		}
		if why := w.Why(q); (why == "") != fit.Holds {
			t.Errorf("%q holds: %v, and Why says %q", text, fit.Holds, why)
		}
	})
}

func BenchmarkFits(b *testing.B) {
	place := When{
		From: []netip.Prefix{source(b, "192.168.0.0/16"), source(b, "10.1.0.0/16")}, Listeners: []string{"tls"}, TLS: Required,
	}
	timed := place
	timed.Windows = []Window{window(b, WindowSpec{Days: []string{"mon-fri"}, From: "08:00", To: "18:00", Zone: "Europe/Vienna"})}
	for _, c := range []struct {
		name string
		when When
	}{
		{"place", place},
		{"place and time", timed},
		{"prefix", When{Expr: condition(b, `client_id.startsWith("dev-")`)}},
		{"prefix, hour, group", When{Expr: condition(b, `client_id.startsWith("dev-") && now.getHours("Europe/Vienna") < 18 && "ops" in groups`)}},
		{"list and pattern", When{Expr: condition(b, `groups.exists(g, g.startsWith("op")) && topic.matches("^plant/[0-9]+/.*")`)}},
		{"network", When{Expr: condition(b, `ip_in(address, "10.0.0.0/8")`)}},
		{"payload", When{Expr: condition(b, `size < 100 && string(payload).contains("21")`)}},
	} {
		b.Run(c.name, func(b *testing.B) {
			q := publish(someone())
			b.ReportAllocs()
			for b.Loop() {
				if !c.when.Fits(q).Holds {
					b.Fatal("does not hold")
				}
			}
		})
	}
}

func BenchmarkNewExpr(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		condition(b, `client_id.startsWith("dev-") && "ops" in groups && levels[1] == "7"`)
	}
}

func TestConditionsAreJudgedAtTheSameTime(t *testing.T) {
	w := When{
		Windows: []Window{window(t, WindowSpec{Days: []string{"mon-fri"}, Zone: "Europe/Vienna"})},
		Expr:    condition(t, `levels.exists(l, l.matches("^[0-9]+$")) && claim.level == 5 && now.getHours("Europe/Vienna") == 14`),
	}
	q := publish(someone())
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 100 {
				if fit := w.Fits(q); !fit.Holds {
					t.Errorf("%+v", fit)
				}
			}
		})
	}
	all.Wait()
}
