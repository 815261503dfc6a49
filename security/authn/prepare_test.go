package authn

import (
	"strings"
	"testing"
)

func TestPrepare(t *testing.T) {
	cert := certWith(t, named("pump-7"))
	full := func() *Credentials {
		c := from(login("Alice@Example.org", "s3cret"), "192.0.2.7")
		c.Cert, c.CertVerified = cert, true
		c.Header = map[string][]string{"Authorization": {"Basic Ym9iOmh1bnRlcjI6eA=="}, "X-Two": {"a", "b"}}
		c.Query = "token=abc%20d&twice=1&twice=2&bad=%zz"
		return c
	}
	set := func(from string, more ...func(*StepOptions)) []StepOptions {
		o := StepOptions{Set: "username", From: from}
		for _, f := range more {
			f(&o)
		}
		return []StepOptions{o}
	}
	match := func(re, as string) func(*StepOptions) {
		return func(o *StepOptions) { o.Match, o.As = re, as }
	}
	split := func(sep string, part int) func(*StepOptions) {
		return func(o *StepOptions) { o.Split, o.Part = sep, part }
	}
	lower := func(o *StepOptions) { o.Lower = true }
	tests := []struct {
		name  string
		steps []StepOptions
		want  string // the user name; or a refusal with this text, behind a !
	}{
		{"a literal", set("fixed"), "fixed"},
		{"a template", set("${client_id}@${listener}/${address}"), "c@l/192.0.2.7"},
		{"the certificate", set("dev-${cert.cn}"), "dev-pump-7"},
		{"a field that the certificate has not", set("${cert.san.dns}"), "!stands for nothing"},
		{"a header", set("${header.authorization}"), "Basic Ym9iOmh1bnRlcjI6eA=="},
		{"a header that is there twice", set("${header.x-two}"), "!stands for nothing"},
		{"a header that is missing", set("${header.x-none}"), "!stands for nothing"},
		{"a query", set("${query.token}"), "abc d"},
		{"a query that is there twice", set("${query.twice}"), "!stands for nothing"},
		{"a query that is not well formed", set("${query.bad}"), "!stands for nothing"},
		{"the first group", set("${username}", match(`([^@]+)@Example[.]org`, "")), "Alice"},
		{"the whole match", set("${username}", match(`.+@.+`, "")), "Alice@Example.org"},
		{"groups put together", set("${username}", match(`(?P<user>[^@]+)@(.*)`, "$2/${user}")), "Example.org/Alice"},
		{"a match of a part alone", set("${username}", match(`Alice`, "")), "!does not match"},
		{"a match at a line's end", set("${client_id}\n${client_id}", match(`c`, "")), "!does not match"},
		{"a group without a text", set("${username}", match(`(x)?.*`, "")), "!no user name"},
		{"a part", set("${username}", split("@", 1)), "Example.org"},
		{"a part from the end", set("${username}", split("@", -2)), "Alice"},
		{"a part that is not there", set("${username}", split("@", 2)), "!no such part"},
		{"a part before the first", set("${username}", split("@", -3)), "!no such part"},
		{"lower case", set("${username}", lower), "alice@example.org"},
		{"a control character", set("${password}", match(`(?s)(.*)`, "$1\x00")), "!no user name"},
		{"basic authentication", []StepOptions{
			{Set: "var.basic", From: "${header.Authorization}", Match: "Basic (.+)"},
			{Set: "var.basic", From: "${var.basic}", Decode: "base64"},
			{Set: "password", From: "${var.basic}", Match: "(?s)[^:]*:(.*)"},
			{Set: "username", From: "${var.basic}", Split: ":"},
			{Set: "username", From: "${username}=${password}"},
		}, "bob=hunter2:x"},
		{"what is not base64", set("${username}", func(o *StepOptions) { o.Decode = "base64" }), "!not base64"},
		{"steps see what was set before", []StepOptions{
			{Set: "username", From: "${username}", Split: "@"}, {Set: "username", From: "${username}", Lower: true},
		}, "alice"},
		{"a text that grows too long", set(strings.Repeat("${username}", 60), match("(.*)", strings.Repeat("$1", 200))), "!too long"},
	}
	for _, tt := range tests {
		p, err := NewPreparation(false, tt.steps...)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		cr := full()
		was := *cr
		got, err := p.apply(cr)
		switch why, refused := strings.CutPrefix(tt.want, "!"); {
		case refused && (err == nil || !strings.Contains(err.Error(), why)):
			t.Errorf("%s: %v, %v; want %s", tt.name, got, err, tt.want)
		case refused && strings.Contains(err.Error(), "s3cret"):
			t.Errorf("%s: a secret in %v", tt.name, err)
		case !refused && (err != nil || got.Username != tt.want || !got.HasUsername):
			t.Errorf("%s: %v, %v; want %s", tt.name, got, err, tt.want)
		}
		if cr.Username != was.Username || string(cr.Password) != "s3cret" {
			t.Errorf("%s: what the client sent was changed", tt.name)
		}
	}
	none, err := NewPreparation(false)
	if err != nil || none != nil {
		t.Errorf("no steps are %v, %v", none, err)
	}
	// What the client has not, no placeholder stands for.
	bare := &Credentials{ClientID: "c", Listener: "l", Cert: cert}
	for _, from := range []string{"${username}", "${password}", "${address}", "${cert.cn}"} {
		p, err := NewPreparation(false, StepOptions{Set: "username", From: from})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.apply(bare); err == nil {
			t.Errorf("%s of a bare client is %s", from, got.Username)
		}
	}
}

// Nobody has what he sends matched without a bound on its length.
func TestAnExpressionIsTriedOnABoundedText(t *testing.T) {
	p, err := NewPreparation(false, StepOptions{Set: "username", From: "${password}", Match: "Bearer (a).*"})
	if err != nil {
		t.Fatal(err)
	}
	word := "Bearer a"
	for length, fits := range map[int]bool{maxMatched: true, maxMatched + 1: false} {
		got, err := p.apply(login("u", word+strings.Repeat("b", length-len(word))))
		if fits != (err == nil) || fits && got.Username != "a" {
			t.Errorf("%d bytes: %v", length, err)
		}
	}
}

func TestPreparationsThatCantBe(t *testing.T) {
	for name, o := range map[string]StepOptions{
		"no target":             {From: "x"},
		"another target":        {Set: "client_id", From: "x"},
		"a target without name": {Set: "var.", From: "x"},
		"no text":               {Set: "username"},
		"unknown placeholder":   {Set: "username", From: "${user}"},
		"unknown field":         {Set: "username", From: "${cert.nothing}"},
		"unset variable":        {Set: "username", From: "${var.x}"},
		"open placeholder":      {Set: "username", From: "${username"},
		"bad expression":        {Set: "username", From: "x", Match: "("},
		"two expressions":       {Set: "username", From: "x", Match: "a)|(?:b"},
		"long expression":       {Set: "username", From: "x", Match: strings.Repeat("a", maxPattern+1)},
		"exploding expression":  {Set: "username", From: "x", Match: "((a{1000}){1000}){1000}"},
		"as alone":              {Set: "username", From: "x", As: "$1"},
		"part alone":            {Set: "username", From: "x", Part: 1},
		"two at once":           {Set: "username", From: "x", Match: "x", Lower: true},
		"unknown decoding":      {Set: "username", From: "x", Decode: "hex"},
		"a far part":            {Set: "username", From: "x", Split: ",", Part: 1001},
		"a header with a dot":   {Set: "username", From: "${header.a.b}"},
		"a long template":       {Set: "username", From: strings.Repeat("a", maxPattern+1)},
	} {
		if _, err := NewPreparation(false, o); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, err := NewPreparation(false, make([]StepOptions, maxSteps+1)...); err == nil {
		t.Error("too many steps are accepted")
	}
}

// A client for whom a preparation fails is refused, or left to the next member.
func TestWhoCantBePrepared(t *testing.T) {
	for _, next := range []bool{false, true} {
		p, err := NewPreparation(next, StepOptions{Set: "username", From: "${username}", Split: "@", Part: 1})
		if err != nil {
			t.Fatal(err)
		}
		m := &fake{name: "m", p: somebody("m")}
		other := &fake{name: "other", p: somebody("other")}
		c, err := NewChain(ChainOptions{Members: []Member{{Authenticator: m, Prepare: p}, {Authenticator: other}}})
		if err != nil {
			t.Fatal(err)
		}
		who, err := c.Authenticate(t.Context(), login("alice", "x"))
		if (err == nil) != next || next && who.Name != "other" || m.asked != 0 {
			t.Errorf("next %t: %v, %v, asked %d times", next, who, err, m.asked)
		}
		if _, said := c.Explain(t.Context(), login("alice", "x")); !strings.Contains(said[0].Text, "no such part") || said[0].Refuses == next {
			t.Errorf("next %t: explained as %+v", next, said)
		}
		if who, err := c.Authenticate(t.Context(), login("a@b", "x")); err != nil || who.Name != "m" {
			t.Errorf("%v, %v", who, err)
		}
	}
}

func FuzzPrepare(f *testing.F) {
	f.Add("${username}", "([^@]+)@(.*)", "$1", "alice@b", "p")
	f.Add("${password}-${client_id}", "", "", "a", "b")
	f.Add("${var.x}", "(?i)a*", "${0}", "\xff", "\x00")
	f.Fuzz(func(t *testing.T, from, match, as, user, password string) {
		p, err := NewPreparation(false, StepOptions{Set: "username", From: from, Match: match, As: as})
		if err != nil {
			return
		}
		got, err := p.apply(login(user, password))
		if err != nil {
			return
		}
		if got.Username == "" || len(got.Username) > maxPrepared || strings.ContainsRune(got.Username, 0) {
			t.Errorf("user name %q", got.Username)
		}
	})
}
