package token

import (
	"encoding/json"
	"strings"
	"testing"

	"sallyport/security"
)

// parse reads JSON as a token is read.
func parse(t testing.TB, text string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// asked reads "publish a/b 1 retain" as a request of a client c1 with the name pump.
func asked(t *testing.T, text string) *security.Request {
	t.Helper()
	w := strings.Fields(text)
	q := &security.Request{
		Principal: &security.Principal{ClientID: "c1", Name: "pump"}, Topic: w[1],
		Action: map[string]security.Action{"publish": security.Publish, "subscribe": security.Subscribe, "receive": security.Receive}[w[0]],
	}
	for _, x := range w[2:] {
		switch x {
		case "1", "2":
			q.QoS = x[0] - '0'
		case "retain":
			q.Retain = true
		case "will":
			q.Will = true
		default:
			t.Fatalf("%q in %q", x, text)
		}
	}
	return q
}

func TestPermissionsOfAClaim(t *testing.T) {
	for _, tt := range []struct {
		name, claim        string
		allow, deny, quiet string // requests, separated by commas
	}{
		{
			"a permission file's terms", `[{"effect":"allow","action":"publish","topic":["a/#","${clientid}/${username}"],"qos":[0,1]},
				{"effect":"deny","action":"all","topic":"a/secret"},{"effect":"allow","action":"subscribe","topic":"b/+"}]`,
			"publish a/b, publish a/b 1, publish a/b retain, publish a/b will, publish c1/pump, subscribe b/x, subscribe b/+, receive b/x 2",
			"publish a/secret, subscribe a/secret, receive a/secret",
			"publish a/b 2, publish b/x, subscribe a/b, subscribe b/#, subscribe #, publish c2/pump",
		},
		{"deny beats allow in whatever order", `[{"effect":"allow","action":"all","topic":"#"},{"effect":"deny","action":"publish","topic":"x"}]`,
			"publish y, subscribe x", "publish x", ""},
		{"retained or not", `[{"effect":"allow","action":"publish","topic":"r","retain":true},{"effect":"allow","action":"publish","topic":"n","retain":"forbidden"},
			{"effect":"allow","action":"publish","topic":"e","retain":"all"}]`,
			"publish r retain, publish n, publish e, publish e retain", "", "publish r, publish n retain"},
		{"EMQX's list, the first that matches", `[{"permission":"allow","action":"publish","topic":"a/1"},{"permission":"deny","action":"publish","topic":"a/#"},
			{"permission":"allow","action":"all","topic":"#","qos":1,"retain":false}]`,
			"publish a/1, publish b 1, subscribe b 1", "publish a/2 1", "publish b, publish b 1 retain"},
		{"EMQX's list, literally", `[{"permission":"deny","action":"subscribe","topic":"eq #"},{"permission":"allow","action":"subscribe","topic":"eq a/+"},
			{"permission":"allow","action":"publish","topic":"eq p/q"},{"permission":"allow","action":"subscribe","topic":"b/#"}]`,
			"subscribe a/+, receive a/x, publish p/q, subscribe b/#", "subscribe #", "subscribe a/x, publish a/x, receive c, subscribe a/#"},
		{"EMQX's placeholders", `[{"permission":"allow","action":"publish","topic":"d/%c/%u"},{"permission":"allow","action":"publish","topic":"e/${clientid}"}]`,
			"publish d/c1/pump, publish e/c1", "", "publish d/c2/pump, publish d/%c/%u"},
		{"a subscription that several cover", `[{"permission":"allow","action":"subscribe","topic":"a"},{"permission":"deny","action":"subscribe","topic":"a/x"},
			{"permission":"allow","action":"subscribe","topic":"a/+/#"}]`,
			"subscribe a/+, receive a/y", "receive a/x, subscribe a/x", "subscribe +"},
		{"older lists", `{"pub":["p/${clientid}"],"sub":["s/#"],"all":["x"]}`,
			"publish p/c1, subscribe s/#, receive s/1, publish x, subscribe x", "", "publish s/1, subscribe p/c1"},
		{"none", `[]`, "", "", "publish a, subscribe a"},
		{"no lists", `{}`, "", "", "publish a"},
	} {
		s, err := compile(parse(t, tt.claim))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		p := NewPolicy("of token")
		for want, list := range map[security.Effect]string{security.Allow: tt.allow, security.Deny: tt.deny, security.Silent: tt.quiet} {
			for text := range strings.SplitSeq(list, ",") {
				if text = strings.TrimSpace(text); text == "" {
					continue
				}
				q := asked(t, text)
				q.Principal.Token = &security.Token{Granted: &Grants{steps: s}}
				v := p.Decide(q)
				if v.Effect != want || v.Policy != "of token" || v.Rule == "" {
					t.Errorf("%s: %s: %v %q of %q, want %v", tt.name, text, v.Effect, v.Rule, v.Policy, want)
				}
				if x := p.Explain(q).Verdict; x.Effect != want {
					t.Errorf("%s: %s is explained as %v, want %v", tt.name, text, x.Effect, want)
				}
			}
		}
	}
}

// TestMalformedPermissionsRefuse: at login, and without a value in the error.
func TestMalformedPermissionsRefuse(t *testing.T) {
	many := strings.TrimSuffix(strings.Repeat(`{"effect":"allow","action":"all","topic":"t"},`, maxPermissions+1), ",")
	for name, claim := range map[string]string{
		"a text":                    `"a/#"`,
		"a list of texts":           `["SECRET"]`,
		"no effect":                 `[{"action":"all","topic":"SECRET"}]`,
		"an effect that is none":    `[{"effect":"SECRET","action":"all","topic":"a"}]`,
		"no action":                 `[{"effect":"allow","topic":"SECRET"}]`,
		"no topic":                  `[{"effect":"allow","action":"all"}]`,
		"an empty list of topics":   `[{"effect":"allow","action":"all","topic":[]}]`,
		"a topic that is a number":  `[{"effect":"allow","action":"all","topic":1}]`,
		"a filter that is none":     `[{"effect":"allow","action":"all","topic":"SECRET/#/a"}]`,
		"an empty filter":           `[{"effect":"allow","action":"all","topic":""}]`,
		"a shared one":              `[{"effect":"allow","action":"all","topic":"$share/g/SECRET"}]`,
		"a placeholder of nothing":  `[{"effect":"allow","action":"all","topic":"${SECRET}"}]`,
		"a placeholder, not closed": `[{"effect":"allow","action":"all","topic":"${clientid"}]`,
		"a literal placeholder":     `[{"permission":"allow","action":"all","topic":"eq ${clientid}"}]`,
		"two spellings":             `[{"permission":"deny","action":"all","topic":"%c/${username}"}]`,
		"a key that is a condition": `[{"permission":"allow","action":"all","topic":"a","ipaddr":"SECRET"}]`,
		"both forms":                `[{"permission":"allow","action":"all","topic":"a"},{"effect":"allow","action":"all","topic":"a"}]`,
		"a QoS that is none":        `[{"effect":"allow","action":"all","topic":"a","qos":3}]`,
		"a QoS with a fraction":     `[{"effect":"allow","action":"all","topic":"a","qos":[0,1.5]}]`,
		"no QoS in the list":        `[{"effect":"allow","action":"all","topic":"a","qos":[]}]`,
		"retain that is none":       `[{"effect":"allow","action":"all","topic":"a","retain":"SECRET"}]`,
		"retain that is an object":  `[{"effect":"allow","action":"all","topic":"a","retain":{}}]`,
		"another list":              `{"pub":["a"],"SECRET":["b"]}`,
		"a list that is none":       `{"pub":{"SECRET":1}}`,
		"too many":                  "[" + many + "]",
	} {
		a := member(t, mapping(Mapping{Permissions: "acl"}))
		p, err := judgeBy(t, a, withToken(tokenOf("acl", json.RawMessage(claim))))
		if err == nil || !isRefused(err) {
			t.Errorf("%s: %v, %v", name, p, err)
		} else if strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v shows a value", name, err)
		}
	}
}

// What a token permits is asked of its principal, also of one that was stored.
func TestPermissionsSurviveThePrincipal(t *testing.T) {
	a := member(t, mapping(Mapping{Permissions: "perm.acl"}))
	acl := map[string]any{"acl": parse(t, `[{"effect":"allow","action":"publish","topic":"a","qos":1},{"effect":"deny","action":"publish","topic":"b/${claim.gone}"}]`)}
	p, err := judgeBy(t, a, withToken(tokenOf("perm", acl)))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Claims) != 1 || p.Claims["perm"] == nil {
		t.Errorf("kept: %v", p.Claims)
	}
	policy := NewPolicy("t", a)
	stored := *p
	text, err := json.Marshal(p.Claims)
	if err != nil {
		t.Fatal(err)
	}
	stored.Token, stored.Claims = nil, nil
	if err := json.Unmarshal(text, &stored.Claims); err != nil { // as a store has it: numbers lose their form
		t.Fatal(err)
	}
	foreign := stored
	foreign.Method = "another"
	for name, who := range map[string]*security.Principal{"live": p, "stored": &stored, "accepted by several": &foreign} {
		q := &security.Request{Principal: who, Action: security.Publish, Topic: "a", QoS: 1}
		if v := policy.Decide(q); v.Effect != security.Deny { // what the deny is about can't be told
			t.Errorf("%s: %v, %s", name, v.Effect, v.Rule)
		}
		if err := policy.Admit(who); err == nil || !strings.Contains(err.Error(), "claim.gone") {
			t.Errorf("%s: admitted: %v", name, err)
		}
	}
	broken := stored
	broken.Claims = map[string]any{"perm": map[string]any{"acl": "x"}}
	nobody := security.Principal{Name: "alice"}
	for name, tt := range map[string]struct {
		who  *security.Principal
		want security.Effect
	}{"broken": {&broken, security.Deny}, "without a token": {&nobody, security.Silent}, "nobody": {nil, security.Deny}} {
		if v := policy.Decide(&security.Request{Principal: tt.who, Action: security.Publish, Topic: "a"}); v.Effect != tt.want {
			t.Errorf("%s: %v", name, v.Effect)
		}
	}
	if err := policy.Admit(&broken); err == nil {
		t.Error("a principal whose permissions can't be read is admitted")
	}
}

// What is a permission for one authenticator is nothing in another's token, live, stored
// or where several are needed together.
func TestPermissionsAreNobodyElses(t *testing.T) {
	a := member(t, func(o *Options) { o.Issuers, o.Mapping = o.Issuers[:1], Mapping{All: true} })
	b := member(t, func(o *Options) {
		o.Name, o.Issuers, o.Mapping = "others", o.Issuers[1:], Mapping{All: true, Permissions: "acl"}
	})
	policy := NewPolicy("t", b, a)
	for name, acl := range map[string]any{
		"what would be one": parse(t, `[{"effect":"allow","action":"all","topic":"#"}]`), "what would be none": "x",
	} {
		p, err := judgeBy(t, a, withToken(tokenOf("acl", acl)))
		if err != nil {
			t.Fatal(err)
		}
		stored, several := *p, *p
		stored.Token = &security.Token{Issuer: p.Token.Issuer, Key: p.Token.Key}
		several.Method = "all of them"
		for kind, who := range map[string]*security.Principal{"live": p, "stored": &stored, "accepted by several": &several} {
			if v := policy.Decide(&security.Request{Principal: who, Action: security.Publish, Topic: "x"}); v.Effect != security.Silent {
				t.Errorf("%s, %s: %v, %s", name, kind, v.Effect, v.Rule)
			}
			if err := policy.Admit(who); err != nil {
				t.Errorf("%s, %s: %v", name, kind, err)
			}
		}
	}
	p, err := judgeBy(t, b, withToken(sign(privateB, `{"alg":"EdDSA","kid":"kb"}`, claims("iss", "b", "acl", parse(t, `[{"effect":"allow","action":"all","topic":"#"}]`)))))
	if err != nil {
		t.Fatal(err)
	}
	p.Method, p.Token.Granted = "all of them", nil
	if v := policy.Decide(&security.Request{Principal: p, Action: security.Publish, Topic: "x"}); v.Effect != security.Allow {
		t.Errorf("its own, accepted by several: %v, %s", v.Effect, v.Rule)
	}
}

// A fleet whose tokens say the same shares what was compiled, and what is remembered
// has a bound.
func TestPermissionsAreShared(t *testing.T) {
	a := member(t, mapping(Mapping{Permissions: "acl"}))
	get := func(acl any) *Grants {
		t.Helper()
		p, err := judgeBy(t, a, withToken(tokenOf("acl", acl)))
		if err != nil {
			t.Fatal(err)
		}
		return p.Token.Granted.(*Grants)
	}
	acl := parse(t, `[{"effect":"allow","action":"all","topic":"${clientid}/#"}]`)
	if first, second := get(acl), get(acl); first != second {
		t.Error("the same permissions are compiled twice")
	}
	for i := range maxGrants + 10 {
		a.grants.keep([32]byte{byte(i), byte(i >> 8), 1}, &Grants{})
	}
	if n := len(a.grants.of); n > maxGrants {
		t.Errorf("%d are remembered", n)
	}
}

func TestClaimsThatAreKept(t *testing.T) {
	for _, tt := range []struct {
		name string
		m    Mapping
		want []string
	}{
		{"all", Mapping{All: true}, []string{"iss", "aud", "sub", "exp", "iat", "jti", "plant", "acl"}},
		{"none", Mapping{}, nil},
		{"some", Mapping{Keep: []string{"plant", "gone"}}, []string{"plant"}},
		{"what permissions need", Mapping{Keep: []string{"plant"}, Permissions: "acl"}, []string{"plant", "acl"}},
	} {
		p, err := judgeBy(t, member(t, mapping(tt.m)), withToken(tokenOf("plant", "north", "acl", []any{})))
		if err != nil {
			t.Fatal(err)
		}
		ok := len(p.Claims) == len(tt.want)
		for _, c := range tt.want {
			ok = ok && p.Claims[c] != nil
		}
		if !ok {
			t.Errorf("%s: %v", tt.name, p.Claims)
		}
	}
	if _, err := judgeBy(t, member(t, mapping(Mapping{Keep: []string{"plant"}})), withToken(tokenOf("x", strings.Repeat("y", maxClaims)))); err != nil {
		t.Errorf("what is not kept counts: %v", err)
	}
}

func FuzzPermissions(f *testing.F) {
	for _, s := range []string{
		`[{"effect":"allow","action":"publish","topic":["a/#","${clientid}"],"qos":[0,1],"retain":true}]`,
		`[{"permission":"deny","action":"all","topic":"eq a/#","qos":2}]`,
		`{"pub":["%c"],"sub":["${username}/+"],"all":[]}`, `[]`, `{}`, `[[]]`, `[{"permission":1}]`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		var v any
		if len(text) > maxClaims || d.Decode(&v) != nil {
			return
		}
		s, err := compile(v)
		if err != nil {
			return
		}
		rules := 0
		for _, x := range s {
			rules += len(x.set.Rules())
		}
		if rules > maxPermissions {
			t.Errorf("%d rules", rules)
		}
		p := NewPolicy("p")
		for _, q := range []string{"publish a/b 1", "subscribe a/#", "receive a/b"} {
			r := asked(t, q)
			r.Principal.Token = &security.Token{Granted: &Grants{steps: s}}
			if v, x := p.Decide(r), p.Explain(r).Verdict; v.Effect != x.Effect {
				t.Errorf("%s: %v, explained as %v", q, v.Effect, x.Effect)
			}
		}
	})
}
