package rule

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"fmt"
	"math/big"
	"net/netip"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport/security"
)

// der is the DER of what is known to have one.
func der(v any) []byte {
	b, err := asn1.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// someone is a client that has a value for everything.
func someone() *security.Principal {
	return &security.Principal{
		Realm: "staff", Name: "alice", ClientID: "dev-17",
		Groups: []string{"ops", "night"}, Roles: []string{"meter"},
		Attrs: map[string]string{"site": "graz"},
		Claims: map[string]any{
			"sub": "alice", "level": float64(5), "big": json.Number("9007199254740993"), "admin": true,
			"roles": []any{"reader", "writer"}, "org": map[string]any{"unit": "r&d", "floors": []any{float64(1), float64(2)}},
			"none": nil,
		},
		Cert: &x509.Certificate{
			Raw: []byte("raw"), SerialNumber: big.NewInt(0xbeef),
			RawSubject: der(pkix.Name{CommonName: "dev-17", Organization: []string{"Acme"}}.ToRDNSequence()),
			RawIssuer:  der(pkix.Name{CommonName: "ca"}.ToRDNSequence()),
			Extensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: der([]asn1.RawValue{
				{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte("dev-17.example")},
			})}},
		},
		Addr: netip.MustParseAddrPort("10.1.2.3:4711"), Listener: "tls", Secure: true, Method: "tokens",
	}
}

func publish(p *security.Principal) *security.Request {
	return &security.Request{
		Principal: p, Action: security.Publish, Topic: "plant/7/temp", QoS: 1, Retain: true,
		Message: &security.Message{Payload: []byte(`{"t":21}`)},
		At:      time.Date(2026, 11, 23, 13, 30, 0, 0, time.UTC).UnixNano(), // a Monday
	}
}

func TestConditions(t *testing.T) {
	for _, c := range []struct {
		text string
		want bool
	}{
		{`client_id.startsWith("dev-") && "ops" in groups`, true},
		{`client_id.startsWith("dev-") && "chef" in groups`, false},
		{`username == "alice" && roles == ["meter"]`, true},
		{`address == "10.1.2.3" && ip_in(address, "10.0.0.0/8")`, true},
		{`ip_in(address, "10.1.2.3")`, true},
		{`ip_in(address, "192.168.0.0/16") || ip_in(address, "2001:db8::/32")`, false},
		{`ip_in("::ffff:10.1.2.3", "10.0.0.0/8")`, true},
		{`ip_in("alice", "0.0.0.0/0")`, false},
		{`ip_in(address, attr.site == "graz" ? "10.1.0.0/16" : "10.2.0.0/16")`, true},
		{`tls && method == "tokens" && realm == "staff" && listener == "tls"`, true},
		{`attr.site == "graz" && attr["site"].size() == 4`, true},
		{`has(attr.site) && !has(attr.room)`, true},
		{`claim.level == 5 && claim.level >= 4 && claim.level < 5.5`, true},
		{`claim.big == 9007199254740993`, true},
		{`claim.big == 9007199254740992`, false},
		{`claim.admin == true && claim.org.unit == "r&d"`, true},
		{`"writer" in claim.roles && claim.roles.exists(r, r == "reader")`, true},
		{`claim.org.floors.all(f, f < 3)`, true},
		{`has(claim.none) && claim.none == null`, true},
		{`has(claim.absent) && claim.absent == 1`, false},
		{`has_cert && cert.cn == client_id && cert.issuer_cn == "ca" && cert.serial == "beef"`, true},
		{`cert.dns.exists(d, d.endsWith(".example")) && "Acme" in cert.o`, true},
		{`cert.subject == "CN=dev-17,O=Acme" && cert.issuer == "CN=ca" && cert.serial_number == "" && cert.uid == "" && cert.hw_type + cert.hw_serial + cert.hw_serial_text == ""`, true},
		{`cert.spiffe == "" && cert.spiffe_trust_domain == "" && cert.spiffe_path == "" && cert.upn == [] && cert.c == [] && cert.l == [] && cert.st == []`, true},
		{`cert.ou.size() == 0 && cert.uri == [] && cert.fingerprint.size() == 64`, true},
		{`action == "publish" && topic == "plant/7/temp" && qos == 1 && retain && !will && !shared && group == ""`, true},
		{`levels.size() == 3 && levels[1] == "7" && levels[2] in ["temp", "hum"]`, true},
		{`levels[1].matches("^[0-9]+$")`, true},
		{`size < 100 && payload == b'{"t":21}' && string(payload).contains("21")`, true},
		{`now.getHours() == 13 && now.getHours("Europe/Vienna") == 14 && now.getHours("-03:30") == 10`, true},
		{`now.getDayOfWeek("Europe/Vienna") == 1 && now.getMonth("UTC") == 10 && now.getDate("UTC") == 23`, true},
		{`now.getDayOfMonth("UTC") == now.getDayOfMonth() && now.getDayOfYear("UTC") == now.getDayOfYear()`, true},
		{`now.getFullYear("UTC") == 2026 && now.getMinutes("UTC") == 30 && now.getSeconds("UTC") == 0 && now.getMilliseconds("UTC") == 0`, true},
		{`now > timestamp("2026-01-01T00:00:00Z") && now - timestamp("2026-11-23T13:00:00Z") == duration("30m")`, true},
		{`groups.filter(g, g != "ops").size() == 1 && groups.exists_one(g, g == "ops") && groups.map(g, g + "!").size() == 2`, true},
		{"client_id == \"dev-17\"\n  && tls", true},
	} {
		e, err := NewExpr(c.text, Publish)
		if err != nil {
			t.Errorf("NewExpr(%s): %v", c.text, err)
			continue
		}
		fit := e.fits(publish(someone()))
		if fit.Err != nil || fit.Holds != c.want {
			t.Errorf("%s holds: %v, error %v; want %v", c.text, fit.Holds, fit.Err, c.want)
		}
	}
}

func TestNobodysValuesAreEmpty(t *testing.T) {
	const text = `client_id == "" && username == "" && groups == [] && roles == [] && address == "" && !tls && method == ""
		&& attr.size() == 0 && claim.size() == 0 && !has_cert && cert.cn == "" && cert.subject == "" && cert.dns == [] && cert.ou == []
		&& cert.fingerprint == "" && topic == "" && levels == [] && qos == 0 && action == "connect"`
	e, err := NewExpr(text, Connect)
	if err != nil {
		t.Fatal(err)
	}
	if fit := e.fits(&security.Request{Principal: &security.Principal{}, Action: security.Connect}); !fit.Holds || fit.Err != nil {
		t.Errorf("holds: %v, error %v; want true", fit.Holds, fit.Err)
	}
}

func TestConditionsThatDoNotCompile(t *testing.T) {
	for _, c := range []struct {
		name, text, want string
		actions          Actions
	}{
		{"nothing", " \n", "empty", Publish},
		{"too long", `"` + strings.Repeat("x", exprBytes) + `" == ""`, "at most 4096", Publish},
		{"control characters", "username == \"a\x07b\"", "control characters", Publish},
		{"not closed", `username == "a`, "1:13: ", Publish},
		{"an unknown variable", "tls &&\n  user == \"a\"", "2:3: undeclared reference to 'user'", Publish},
		{"an unknown field of the certificate", `cert.nc == "a"`, "undeclared reference", Publish},
		{"an unknown function", `username.lower() == "a"`, "undeclared reference to 'lower'", Publish},
		{"no answer of yes or no", `client_id`, "of type string: it must be bool", Publish},
		{"an answer that only shows later", `claim.admin`, "of type dyn: it must be bool", Publish},
		{"types that don't fit", `qos == "1"`, "1:5: ", Publish},
		{"a pattern that is computed", `topic.matches(client_id)`, "1:15: a regular expression must be a literal", Publish},
		{"a pattern that is computed, called as a function", `matches(topic, "a" + client_id)`, "must be a literal", Publish},
		{"a pattern that is none", `topic.matches("(")`, "1:15: invalid matches argument", Publish},
		{"a pattern that grows", `topic.matches("((a{1,30}){1,30}){1,30}")`, "1:15: ", Publish},
		{"a time zone that is computed", `now.getHours(username) == 1`, "1:14: a time zone must be a literal", Publish},
		{"a time zone that is none", `now.getHours("Europe/Wien") == 1`, `zone "Europe/Wien" is not in`, Publish},
		{"the machine's time zone", `now.getHours("Local") == 1`, `zone "Local" is not in`, Publish},
		{"a network that is none", `ip_in(address, "10.0.0.0/33")`, "1:16: ", Publish},
		{"an address within a network", `ip_in(address, "10.0.0.1/8")`, "the network is 10.0.0.0/8", Publish},
		{"a moment that is none", `now < timestamp("tomorrow")`, "invalid timestamp argument", Publish},
		{"a span that is none", `now - now < duration("1 hour")`, "invalid duration argument", Publish},
		{"payload beside subscribe", `payload == b"1"`, "1:1: payload can't be read", Publish | Subscribe},
		{"size beside connect", `tls && size < 3`, "1:8: size can't be read", Connect | Publish},
		{"payload for nothing", `payload == b"1"`, "payload can't be read", 0},
		{"lists through lists", `levels.all(l, levels.all(m, l == m))`, "may cost", Publish},
		{"lists through lists through lists", `groups.all(a, groups.all(b, groups.all(c, a == b || b == c)))`, "nesting limit", Publish},
		{"a bomb of macros", `[1,2,3,4,5,6,7,8,9].map(a, [1,2,3,4,5,6,7,8,9].map(b, topic + topic + topic)).size() == 9`, "may cost", Publish},
		{"a bomb of lists", `topic.contains(` + strings.Repeat(`topic + `, 20) + `topic)`, "may cost", Publish},
		{"too deep", strings.Repeat("(", 200) + "tls" + strings.Repeat(")", 200), "recursion", Publish},
		{"too deep by negation", strings.Repeat("!(", 200) + "tls" + strings.Repeat(")", 200), "recursion", Publish},
	} {
		_, err := NewExpr(c.text, c.actions)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
		if err != nil && (len(err.Error()) > 400 || strings.ContainsAny(err.Error(), "\n")) {
			t.Errorf("%s: an error of %d bytes: %s", c.name, len(err.Error()), err)
		}
	}
}

// TestConditionsOfOneLanguageTakeLittleRoom holds that tens of thousands of
// conditions in a file do not take gigabytes: one by itself takes 30 KB.
func TestConditionsOfOneLanguageTakeLittleRoom(t *testing.T) {
	const n = 500
	var l Language
	keep := make([]*Expr, 0, n+1)
	compile := func(i int) {
		e, err := l.Compile(fmt.Sprintf(`topic != "%d" && groups.exists(g, g == "x%d")`, i, i), Publish)
		if err != nil {
			t.Fatal(err)
		}
		keep = append(keep, e)
	}
	compile(n)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range n {
		compile(i)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n; each > 10<<10 {
		t.Errorf("a condition takes %d bytes", each)
	}
	q := &security.Request{Principal: someone(), Action: security.Publish, Topic: "5"}
	if keep[6].fits(q).Holds || keep[1].text == keep[2].text {
		t.Error("conditions of one language are mixed up")
	}
}

func TestConditionsThatFail(t *testing.T) {
	wide := someone()
	for range listLimit + 1 {
		wide.Groups = append(wide.Groups, "g")
		wide.Claims["many"] = make([]any, len(wide.Groups))
	}
	// Three levels of 200 entries each: what the language takes for one step would
	// be eight million comparisons.
	vast, deep := someone(), someone()
	var level any = "x"
	for range 3 {
		list := make([]any, 200)
		for i := range list {
			list[i] = level
		}
		level = list
	}
	vast.Claims["wide"], vast.Claims["wide2"] = level, level
	vast.Attrs = map[string]string{}
	for i := range listLimit + 1 {
		vast.Attrs[strconv.Itoa(i)] = ""
	}
	var nested any = "x"
	for range claimDepth + 1 {
		nested = map[string]any{"a": nested}
	}
	deep.Claims["deep"] = nested
	for _, c := range []struct {
		name, text, want string
		change           func(*security.Request)
	}{
		{"a claim that is not there", `claim.tier == 1`, "1:6: no such key", nil},
		{"an attribute that is not there", `tls && attr.room == "1"`, "1:12: no such key", nil},
		{"a level that is not there", `levels[5] == "x"`, "index out of bounds", nil},
		{"a claim of another type", `claim.sub < 5`, "no such overload", nil},
		{"text that is no number", `int(string(payload)) > 5`, "a value is not what it is taken for", nil},
		{"a network in a claim that is none", `ip_in(address, string(claim.sub))`, "the second argument of ip_in is no network", nil},
		{"no message", `size < 5`, "there is no message", func(q *security.Request) { q.Message = nil }},
		{"a payload that is too long", `payload == b""`, "the payload is longer", func(q *security.Request) { q.Message.Payload = make([]byte, payloadSize+1) }},
		{"a topic that is too deep", `levels.size() > 1`, "more than 256 levels", func(q *security.Request) { q.Topic = strings.Repeat("/", levelLimit) }},
		{"too many groups", `"ops" in groups`, "more than 1024 entries", func(q *security.Request) { q.Principal = wide }},
		{"too many entries of a claim", `"ops" in claim.many`, "more than 1024 entries", func(q *security.Request) { q.Principal = wide }},
		{"too many claims to compare", `claim.wide == claim.wide2`, "more than 8192 values", func(q *security.Request) { q.Principal = vast }},
		{"claims that lie too deep", `claim.deep == 1`, "more than 32 deep", func(q *security.Request) { q.Principal = deep }},
		{"too many attributes", `attr == attr`, "more than 1024 entries", func(q *security.Request) { q.Principal = vast }},
		{"a claim that is larger than was thought", `string(claim.sub).matches("^(a|b|c|d|e|f|g|h)*$")`, "it costs more than", func(q *security.Request) {
			q.Principal.Claims["sub"] = strings.Repeat("a", 1<<20)
		}},
	} {
		e, err := NewExpr(c.text, Publish)
		if err != nil {
			t.Errorf("%s: NewExpr: %v", c.name, err)
			continue
		}
		q := publish(someone())
		if c.change != nil {
			c.change(q)
		}
		fit := e.fits(q)
		if fit.Err == nil || !strings.Contains(fit.Err.Error(), c.want) || fit.Holds {
			t.Errorf("%s: holds: %v, error %v; want an error with %q", c.name, fit.Holds, fit.Err, c.want)
		}
	}
}

// A value that fails beside an answer that does not depend on it is no failure.
func TestAnAnswerThatNeedsNoValueDoesNotFail(t *testing.T) {
	for text, want := range map[string]bool{
		`claim.tier == 1 || tls`:  true,
		`claim.tier == 1 && !tls`: false,
	} {
		e, err := NewExpr(text, Publish)
		if err != nil {
			t.Fatal(err)
		}
		if fit := e.fits(publish(someone())); fit.Err != nil || fit.Holds != want {
			t.Errorf("%s holds: %v, error %v; want %v", text, fit.Holds, fit.Err, want)
		}
	}
}

func TestErrorsHoldNothingOfWhatWasRead(t *testing.T) {
	q := publish(someone())
	q.Message.Payload = []byte("hunter2")
	q.Principal.Claims["sub"] = "hunter2"
	q.Principal.Attrs["site"] = "hunter2"
	for _, text := range []string{
		`int(string(payload)) > 5`, `timestamp(string(claim.sub)) < now`, `duration(attr.site) < duration("1s")`,
		`claim[attr.site] == 1`, `attr[string(payload)] == ""`, `uint(attr.site) == 1u`, `ip_in(address, attr.site)`,
	} {
		e, err := NewExpr(text, Publish)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		fit := e.fits(q)
		if fit.Err == nil || strings.Contains(fit.Err.Error(), "hunter2") {
			t.Errorf("%s: error %v", text, fit.Err)
		}
		when := When{Expr: e}
		if why := when.Why(q); !strings.Contains(why, text) || strings.Contains(why, "hunter2") {
			t.Errorf("Why of %s: %s", text, why)
		}
	}
}

func TestWhatReadsTheMessageOrTheTimeIsVolatile(t *testing.T) {
	for _, c := range []struct {
		text string
		want bool
	}{
		{`payload == b"1"`, true},
		{`size == 1`, true},
		{`now < timestamp("2030-01-01T00:00:00Z")`, true},
		{`claim.level == size`, true},
		{`claim.tier == size`, false}, // failed before
		{`tls && topic == "a" && retain`, false},
		{`client_id == "other" && size == 1`, false}, // size was not read
		{`client_id == "dev-17" || now < timestamp("2030-01-01T00:00:00Z")`, false},
		{`claim.tier == 1`, false},
	} {
		e, err := NewExpr(c.text, Publish)
		if err != nil {
			t.Fatal(err)
		}
		if fit := e.fits(publish(someone())); fit.Volatile != c.want {
			t.Errorf("%s is volatile: %v, want %v", c.text, fit.Volatile, c.want)
		}
		q := publish(someone())
		q.Message = nil
		if fit := e.fits(q); fit.Volatile != c.want {
			t.Errorf("%s without a message is volatile: %v, want %v", c.text, fit.Volatile, c.want)
		}
	}
}

func TestAnExpressionThatWasNotCompiledFails(t *testing.T) {
	w := When{Expr: &Expr{}}
	if fit := w.Fits(publish(someone())); fit.Holds || fit.Err == nil {
		t.Errorf("the zero Expr: %+v, want an error", fit)
	}
}

// What of a certificate can't be told fails the condition: a deny holds then.
func TestAConditionOnAnAmbiguousCertificateFails(t *testing.T) {
	two := someone()
	two.Cert = issued(t, func(c *x509.Certificate) {
		c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: []int{2, 5, 4, 3}, Value: "good"}, {Type: []int{2, 5, 4, 3}, Value: "bad"}}
		c.Subject.OrganizationalUnit = []string{"a\nb"}
		c.URIs = []*url.URL{{Scheme: "spiffe", Host: "a", Path: "/b"}, {Scheme: "spiffe", Host: "a", Path: "/c"}}
	})
	for _, text := range []string{`cert.cn == "bad"`, `cert.cn != "bad"`, `"a" in cert.ou`, `cert.subject == ""`, `cert.spiffe == ""`} {
		e, err := NewExpr(text, Publish)
		if err != nil {
			t.Fatal(err)
		}
		if fit := e.fits(publish(two)); fit.Err == nil {
			t.Errorf("%s: holds %t, want an error", text, fit.Holds)
		}
	}
	e, err := NewExpr(`cert.uri.size() == 2 && cert.serial == "abcdef"`, Publish)
	if err != nil {
		t.Fatal(err)
	}
	if fit := e.fits(publish(two)); !fit.Holds {
		t.Errorf("what can be told beside it: %+v", fit)
	}
}
