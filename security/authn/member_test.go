package authn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/user"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/security"
)

// states is accounts by name.
type states map[string]AccountState

func (s states) Account(name string) (AccountState, bool) {
	a, ok := s[name]
	return a, ok
}

func all(source int, parts ...Authenticator) Member {
	m := Member{Label: "both", Source: source}
	for _, p := range parts {
		m.All = append(m.All, Member{Authenticator: p})
	}
	return m
}

func yes(name string, p security.Principal) *fake {
	p.Name = name
	p.Realm = "realm of " + name
	return &fake{name: name + "'s", p: &p}
}

func TestAllOf(t *testing.T) {
	token := &security.Token{ID: "1"}
	one := yes("alice", security.Principal{Groups: []string{"g1"}, Attrs: map[string]string{"a": "1", "b": "1"}, Expires: 4000000000})
	two := yes("alice", security.Principal{Groups: []string{"g2"}, Attrs: map[string]string{"b": "2", "c": "2"}, Expires: 3900000000, Token: token, Claims: map[string]any{"x": 1}})
	two.p.Realm = "other realm"
	bob := yes("bob", security.Principal{})
	unknown := &fake{name: "unknown", err: ErrNotMine}
	wrong := &fake{name: "wrong", err: &Refused{Method: "wrong", Reason: "wrong password"}}
	down := &fake{name: "down", err: errors.New("down")}
	third := &fake{name: "third", p: somebody("third")}
	mine := Mapping{"g1": {"G1"}, "g2": {"G2", "G1"}}
	joined := all(1, one, two)
	joined.All[0].Groups, joined.All[1].Groups = mine, mine
	next := all(0, one, down)
	next.OnErrorNext = true
	for _, tt := range []struct {
		name string
		m    Member
		want string // a name; or a refusal with this text, behind a !
	}{
		{"both accept", joined, "alice"},
		{"one names another", all(0, one, bob), "!different users"},
		{"the other way round", all(1, bob, one), "!different users"},
		{"one is wrong", all(0, one, wrong), "!wrong password"},
		{"the first is wrong", all(0, wrong, one), "!wrong password"},
		{"one does not know the client", all(0, one, unknown), "!unknown does not know"},
		{"the first does not know the client", all(0, unknown, one), "!unknown does not know"},
		{"none knows the client", all(0, unknown, unknown), "third"},
		{"one is down", all(0, one, down), "!can't be asked"},
		{"one is down, and next", next, "third"},
		{"two tokens", all(0, two, two), "!two tokens"},
		{"no principal", all(0, one, &fake{name: "none"}), "!without a principal"},
	} {
		c, err := NewChain(ChainOptions{Members: []Member{tt.m, {Authenticator: third}}})
		if err != nil {
			t.Fatal(err)
		}
		p, err := c.Authenticate(t.Context(), login("alice", "x"))
		why, refused := strings.CutPrefix(tt.want, "!")
		switch {
		case refused && (err == nil || !strings.Contains(err.Error(), why)):
			t.Errorf("%s: %v, %v", tt.name, p, err)
		case !refused && (err != nil || p.Name != tt.want):
			t.Errorf("%s: %v, %v", tt.name, p, err)
		}
		who, said := c.Explain(t.Context(), &Credentials{ClientID: "c", Listener: "l", HasUsername: true, Username: "alice", HasPassword: true})
		if (who == nil) != refused {
			t.Errorf("%s: explained as %+v by %+v", tt.name, who, said)
		}
	}
	c, err := NewChain(ChainOptions{Members: []Member{joined}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Authenticate(t.Context(), login("alice", "x"))
	if err != nil || p.Realm != "other realm" || p.Method != "both" || p.Expires != 3900000000 || p.Token != token || p.Claims["x"] != 1 ||
		!reflect.DeepEqual(p.Groups, []string{"G2", "G1"}) || !reflect.DeepEqual(p.Attrs, map[string]string{"a": "1", "b": "2", "c": "2"}) {
		t.Errorf("joined: %+v, %v", p, err)
	}
	if one.p.Groups[0] != "g1" || len(one.p.Attrs) != 2 {
		t.Error("a member's own principal was changed")
	}
}

func TestAllOfThatCantBe(t *testing.T) {
	ok := &fake{name: "m", p: somebody("a")}
	for name, m := range map[string]Member{
		"of one":         all(0, ok),
		"no such source": all(2, ok, ok),
		"anonymous":      all(0, ok, Anonymous{}),
		"missing":        all(0, ok, nil),
		"nested":         {Label: "x", All: []Member{{Authenticator: ok}, {Authenticator: ok, All: []Member{{Authenticator: ok}}}}},
		"nameless":       {All: []Member{{Authenticator: ok}, {Authenticator: ok}}},
		"a member, too":  {Authenticator: ok, Label: "x", All: []Member{{Authenticator: ok}, {Authenticator: ok}}},
		"no rule":        {Authenticator: ok, Require: Requirement{ClientID: 9}},
	} {
		if _, err := NewChain(ChainOptions{Members: []Member{m}}); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// A certificate and a password, both necessary, over the pool: the certificate costs
// nothing, the password a hash, and who fails in either way pays one.
// A principal's member is found by its name: two of one name would be judged by the
// rules of the first.
func TestNoTwoMembersHaveOneName(t *testing.T) {
	called := func(name string) Member { return Member{Authenticator: &fake{name: name, p: somebody("alice")}} }
	for name, members := range map[string][]Member{
		"certificate": {{Authenticator: byTemplate("${cert.cn}")}, called("certificate")},
		"anonymous":   {{Authenticator: Anonymous{}}, called("anonymous")},
		"both":        {all(0, &fake{name: "a"}, &fake{name: "b"}), called("both")},
	} {
		_, err := NewChain(ChainOptions{Members: members})
		if err == nil || !strings.Contains(err.Error(), "two members are called "+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCertificateAndPassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := openFile(t, writeFile(t, "pump-7:"+mustHash(t, PBKDF2SHA512, "wet")), nil)
		id := byTemplate("${cert.cn}")
		id.JoinAnchors = true
		s := serving(t, ChainOptions{}, all(0, id, file))
		defer s.opts.Pool.Close()
		cert := certWith(t, named("pump-7"))
		shown := func(user, password string) *Credentials {
			c := login(user, password)
			c.Cert, c.CertVerified = cert, true
			return c
		}
		none := &Credentials{ClientID: "c", Listener: "l", Cert: cert, CertVerified: true}
		for _, tt := range []struct {
			name string
			c    *Credentials
			want string
		}{
			{"both", shown("pump-7", "wet"), ""},
			{"another's password", shown("pump-8", "wet"), "does not know"},
			{"a wrong password", shown("pump-7", "dry"), "wrong password"},
			{"no password", none, "does not know"},
			{"no certificate", login("pump-7", "wet"), "does not know"},
		} {
			a := <-first(begin(s, tt.c))
			if tt.want == "" && (a.err != nil || a.p.Realm != "certificate" || a.p.Cert != cert) || tt.want != "" && (a.err == nil || !strings.Contains(a.err.Error(), tt.want)) {
				t.Errorf("%s: %+v", tt.name, a)
			}
		}
		c := s.world.Load().chains["l"]
		a := <-first(begin(s, shown("pump-7", "wet")))
		if err := c.Keeps(a.p); err != nil {
			t.Errorf("who was accepted is not kept: %v", err)
		}
		gone := *a.p
		gone.Name = "pump-8"
		if err := c.Keeps(&gone); err == nil {
			t.Error("another name is kept")
		}
	})
}

func TestRequire(t *testing.T) {
	local := func(uid, gid uint32) func(*Credentials) {
		return func(c *Credentials) { c.Addr, c.Peer = netip.AddrPort{}, &Peer{uid, gid} }
	}
	nets := Requirement{Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}}
	peers := Requirement{UIDs: []uint32{1000}, GIDs: []uint32{50}}
	for _, tt := range []struct {
		name   string
		r      Requirement
		change func(*Credentials)
		accept bool
	}{
		{"nothing", Requirement{}, nil, true},
		{"the address", nets, nil, true},
		{"the address, mapped", nets, func(c *Credentials) { from(c, "::ffff:192.0.2.9") }, true},
		{"another address", nets, func(c *Credentials) { from(c, "192.0.3.1") }, false},
		{"the other family", nets, func(c *Credentials) { from(c, "2001:db8::1") }, true},
		{"no address", nets, func(c *Credentials) { c.Addr = netip.AddrPort{} }, false},
		{"the listener", Requirement{Listeners: []string{"x", "l"}}, nil, true},
		{"another listener", Requirement{Listeners: []string{"x"}}, nil, false},
		{"the prefix", Requirement{ClientIDPrefixes: []string{"x", "c"}}, nil, true},
		{"another prefix", Requirement{ClientIDPrefixes: []string{"x"}}, nil, false},
		{"the name as client id", Requirement{ClientID: EqualsUsername}, func(c *Credentials) { c.ClientID = "alice" }, true},
		{"another client id", Requirement{ClientID: EqualsUsername}, nil, false},
		{"the user", peers, local(1000, 1), true},
		{"the group", peers, local(1, 50), true},
		{"neither", peers, local(50, 1000), false},
		{"root", peers, local(0, 0), false},
		{"no process", peers, nil, false},
	} {
		for _, whole := range []bool{false, true} {
			m := Member{Authenticator: &fake{name: "m", p: somebody("alice")}, Require: tt.r}
			if whole { // the conditions of an all_of
				m = all(0, m.Authenticator, m.Authenticator)
				m.Require = tt.r
			}
			// A condition never passes a client on: nobody behind is asked.
			c, err := NewChain(ChainOptions{Members: []Member{m, {Authenticator: &fake{name: "next", p: somebody("next")}}}})
			if err != nil {
				t.Fatal(err)
			}
			cr := from(login("alice", "x"), "192.0.2.7")
			if tt.change != nil {
				tt.change(cr)
			}
			p, err := c.Authenticate(t.Context(), cr)
			if (err == nil) != tt.accept || tt.accept && p.Name != "alice" {
				t.Errorf("%s: %v, %v", tt.name, p, err)
			}
		}
	}
}

// A reload that demands something else of who is there.
func TestWhatIsRequiredIsAskedOfWhoIsThere(t *testing.T) {
	m := &fake{name: "m", p: somebody("alice")}
	p, err := chainOf(t, ChainOptions{}, m).Authenticate(t.Context(), from(login("alice", "x"), "192.0.2.7"))
	if err != nil {
		t.Fatal(err)
	}
	away := *p
	away.Addr = netip.AddrPort{}
	here, there := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	for _, tt := range []struct {
		r           Requirement
		stays, kept bool // connected; away
	}{
		{Requirement{Addresses: here}, true, true},
		{Requirement{Addresses: there}, false, true},
		{Requirement{Listeners: []string{"l"}}, true, true},
		{Requirement{Listeners: []string{"x"}}, false, false},
		{Requirement{ClientIDPrefixes: []string{"x"}}, false, false},
		{Requirement{ClientID: EqualsUsername}, false, false},
		{Requirement{UIDs: []uint32{1}}, true, true},
	} {
		c, err := NewChain(ChainOptions{Members: []Member{{Authenticator: m, Require: tt.r}}})
		if err != nil {
			t.Fatal(err)
		}
		if stays, kept := c.Keeps(p) == nil, c.Keeps(&away) == nil; stays != tt.stays || kept != tt.kept {
			t.Errorf("%+v: connected %t, away %t", tt.r, stays, kept)
		}
	}
}

func TestNamesFromOutsideMeanNothingByThemselves(t *testing.T) {
	m := Member{Authenticator: yes("alice", security.Principal{Groups: []string{"Domain Admins", "Staff", "Staff"}, Roles: []string{"root"}})}
	ask := func(m Member) *security.Principal {
		c, err := NewChain(ChainOptions{Members: []Member{m}})
		if err != nil {
			t.Fatal(err)
		}
		p, err := c.Authenticate(t.Context(), login("alice", "x"))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if p := ask(m); len(p.Groups)+len(p.Roles) != 0 {
		t.Errorf("without tables: %v, %v", p.Groups, p.Roles)
	}
	m.Groups = Mapping{"Staff": {"staff", "people"}, "Domain admins": {"admins"}}
	m.Roles = Mapping{"root": {"reader"}}
	if p := ask(m); fmt.Sprint(p.Groups, p.Roles) != "[staff people] [reader]" {
		t.Errorf("by tables: %v, %v", p.Groups, p.Roles)
	}
}

// The log has to tell whose account refused a client that gave no user name, or another.
func TestARefusalNamesWhomTheConnectDoesNot(t *testing.T) {
	off := states{"pump-7": {Version: 1, Refused: "account is disabled"}}
	for _, tt := range []struct {
		title string
		cr    *Credentials
		m     Member
		want  string
	}{
		{"no user name", &Credentials{ClientID: "c", Listener: "l"}, Member{}, `authn: m: account is disabled: "pump-7"`},
		{"another", login("x", "y"), Member{}, `authn: m: account is disabled: "pump-7"`},
		{"the same", login("pump-7", "y"), Member{}, "authn: m: account is disabled"},
		{"a condition", &Credentials{ClientID: "c", Listener: "l"}, Member{Require: Requirement{ClientID: EqualsUsername}}, `authn: m: client id is not the user name: "pump-7"`},
	} {
		tt.m.Authenticator = &fake{name: "m", p: somebody("pump-7")}
		c, err := NewChain(ChainOptions{Members: []Member{tt.m}, Accounts: off})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Authenticate(t.Context(), from(tt.cr, "192.0.2.7")); err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v", tt.title, err)
		}
	}
}

func TestTheAccountHasTheLastWord(t *testing.T) {
	soon := uint32(time.Now().Add(time.Hour).Unix())
	accounts := states{
		"alice":   {Version: 3, Groups: []string{"g"}, Roles: []string{"r"}, Attributes: map[string]string{"k": "v"}},
		"off":     {Version: 1, Refused: "account is disabled"},
		"ends":    {Version: 1, Expires: soon},
		"ended":   {Version: 1, Expires: 1},
		"here":    {Version: 1, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
		"there":   {Version: 1, Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}},
		"device":  {Version: 1, ClientIDs: []string{"c"}},
		"devices": {Version: 1, ClientIDs: []string{"x", "c*"}},
		"other":   {Version: 1, ClientIDs: []string{"x", "cc*"}},
	}
	for _, tt := range []struct {
		name string
		rule AccountRule
		want string // "" is accepted
	}{
		{"alice", AccountIfKnown, ""}, {"alice", AccountRequired, ""}, {"alice", AccountIgnored, ""},
		{"off", AccountIfKnown, "disabled"}, {"off", AccountRequired, "disabled"}, {"off", AccountIgnored, ""},
		{"nobody", AccountIfKnown, ""}, {"nobody", AccountRequired, "no account"}, {"nobody", AccountIgnored, ""},
		{"ends", AccountIfKnown, ""}, {"ended", AccountIfKnown, "expired"},
		{"here", AccountIfKnown, ""}, {"there", AccountIfKnown, "address"},
		{"device", AccountIfKnown, ""}, {"devices", AccountIfKnown, ""}, {"other", AccountIfKnown, "client id"},
	} {
		m := Member{Authenticator: &fake{name: "m", p: somebody(tt.name)}, Account: tt.rule}
		c, err := NewChain(ChainOptions{Members: []Member{m, {Authenticator: &fake{name: "next", p: somebody("next")}}}, Accounts: accounts})
		if err != nil {
			t.Fatal(err)
		}
		p, err := c.Authenticate(t.Context(), from(login(tt.name, "x"), "192.0.2.7"))
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s, rule %d: %v, %v", tt.name, tt.rule, p, err)
			}
			continue
		}
		if err != nil || p.Name != tt.name {
			t.Errorf("%s, rule %d: %v, %v", tt.name, tt.rule, p, err)
			continue
		}
		if tt.name == "alice" {
			gives := len(p.Groups) == 1 && len(p.Roles) == 1 && p.Attrs["k"] == "v"
			if gives != (tt.rule == AccountRequired) || (p.Account == 3) == (tt.rule == AccountIgnored) {
				t.Errorf("rule %d: %+v", tt.rule, p)
			}
		}
		if tt.name == "ends" && p.Expires != soon {
			t.Errorf("expires %d, want %d", p.Expires, soon)
		}
		if !c.Stands(p) || c.Keeps(p) != nil || c.Renewed(p) != p {
			t.Errorf("%s, rule %d: does not stand", tt.name, tt.rule)
		}
	}
	// Where nothing is known of accounts, one that is required is missing.
	c, err := NewChain(ChainOptions{Members: []Member{{Authenticator: &fake{name: "m", p: somebody("alice")}, Account: AccountRequired}}})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := c.Authenticate(t.Context(), login("alice", "x")); err == nil {
		t.Errorf("without accounts: %v", p)
	}
}

// A password that was right by a record which is another one by now lets nobody in.
func TestAnAccountThatChangesDuringTheCheck(t *testing.T) {
	checked := yes("alice", security.Principal{Account: 1})
	plain := yes("alice", security.Principal{})
	accounts := states{"alice": {Version: 1}}
	for name, m := range map[string]Member{"alone": {Authenticator: checked}, "with another": all(0, plain, checked)} {
		c, err := NewChain(ChainOptions{Members: []Member{m}, Accounts: accounts})
		if err != nil {
			t.Fatal(err)
		}
		p, err := c.Authenticate(t.Context(), login("alice", "x"))
		if err != nil || p.Account != 1 {
			t.Fatalf("%s: %+v, %v", name, p, err)
		}
		for _, now := range []states{{"alice": {Version: 2}}, {}} {
			c.accounts = now
			if p, err := c.Authenticate(t.Context(), login("alice", "x")); err == nil || !strings.Contains(err.Error(), "changed during") {
				t.Errorf("%s: %+v, %v", name, p, err)
			}
		}
		c.accounts = states{"alice": {Version: 2}}
		if err := c.Keeps(p); err != nil {
			t.Errorf("%s: who was let in before is not kept: %v", name, err)
		}
	}
}

func TestAnAccountThatChangesChangesWhoIsThere(t *testing.T) {
	accounts := states{"alice": {Version: 1, Groups: []string{"old"}}}
	for _, rule := range []AccountRule{AccountIfKnown, AccountRequired} {
		accounts["alice"] = AccountState{Version: 1, Groups: []string{"old"}}
		c, err := NewChain(ChainOptions{Members: []Member{{Authenticator: &fake{name: "m", p: somebody("alice")}, Account: rule}}, Accounts: accounts})
		if err != nil {
			t.Fatal(err)
		}
		p, err := c.Authenticate(t.Context(), from(login("alice", "x"), "192.0.2.7"))
		if err != nil {
			t.Fatal(err)
		}
		accounts["alice"] = AccountState{Version: 2, Groups: []string{"new"}}
		q := c.Renewed(p)
		if c.Stands(p) || q == nil || q == p || q.Account != 2 || !q.Same(p) || (fmt.Sprint(q.Groups) == "[new]") != (rule == AccountRequired) {
			t.Errorf("rule %d: %+v", rule, q)
		}
		accounts["alice"] = AccountState{Version: 3, Refused: "account is locked"}
		if c.Renewed(p) != nil || c.Keeps(p) == nil {
			t.Errorf("rule %d: a locked account stays", rule)
		}
		accounts["alice"] = AccountState{Version: 4, Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}
		if c.Renewed(p) != nil {
			t.Errorf("rule %d: stays where it may not come from", rule)
		}
		away := *p
		away.Addr = netip.AddrPort{}
		if c.Renewed(&away) == nil {
			t.Errorf("rule %d: a stored principal is judged by where it is not", rule)
		}
		delete(accounts, "alice")
		if gone := c.Renewed(p) == nil; gone != (rule == AccountRequired) {
			t.Errorf("rule %d: after the account is gone: %t", rule, gone)
		}
	}
	// What a token brought can't be told from what the account gave.
	accounts["alice"] = AccountState{Version: 1}
	m := Member{Authenticator: yes("alice", security.Principal{Token: &security.Token{}}), Account: AccountRequired}
	c, err := NewChain(ChainOptions{Members: []Member{m}, Accounts: accounts})
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Authenticate(t.Context(), login("alice", "x"))
	if err != nil {
		t.Fatal(err)
	}
	accounts["alice"] = AccountState{Version: 2}
	if c.Renewed(p) != nil {
		t.Error("a token's groups are guessed")
	}
}

func TestExchangesOfAllOf(t *testing.T) {
	cert := certWith(t, named("alice"))
	id := byTemplate("${cert.cn}")
	id.JoinAnchors = true
	for _, tt := range []struct {
		name   string
		user   string
		cert   bool
		accept bool
	}{
		{"the same name", "alice", true, true}, {"another name", "bob", true, false}, {"no certificate", "alice", false, false},
	} {
		m := &talker{fake: fake{name: "talk", p: somebody(tt.user)}, rounds: 2}
		s := serving(t, ChainOptions{}, all(1, id, m))
		c := &Credentials{ClientID: "c", Listener: "l", AuthMethod: "TALK", HasUsername: true, Username: "u"}
		if tt.cert {
			c.Cert, c.CertVerified = cert, true
		}
		p, err := converse(t, s, c, "hello")
		if (err == nil) != tt.accept || tt.accept && (p.Method != "both" || p.Realm != "r" || p.Cert != cert) {
			t.Errorf("%s: %v, %v", tt.name, p, err)
		}
		if len(m.begun) != 1 || string(m.begun[0].AuthData) != "hello" {
			t.Errorf("%s: begun with %v", tt.name, m.begun)
		}
	}
}

func TestExchangesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &talker{fake: fake{name: "talk", p: somebody("alice")}, rounds: 2}
		s := serving(t, ChainOptions{Accounts: states{"alice": {Version: 1, Refused: "account is disabled"}}}, Member{Authenticator: m})
		defer s.opts.Pool.Close()
		c := from(&Credentials{ClientID: "c", Listener: "l", AuthMethod: "TALK"}, "192.0.2.1")
		for range 6 {
			if p, err := converse(t, s, c, "x"); err == nil || !strings.Contains(err.Error(), "disabled") {
				t.Fatalf("%v, %v", p, err)
			}
		}
		start := time.Now()
		if _, err := converse(t, s, c, "x"); err == nil || time.Since(start) == 0 {
			t.Errorf("after six failures: %v at once", err)
		}
		if _, ok := s.Negotiate(&Credentials{Listener: "l", AuthMethod: "OTHER"}); ok {
			t.Error("a method that nobody serves")
		}
		// A member that hangs ends with the lane's time.
		hung := &hangs{talker: talker{fake: fake{name: "hung"}}}
		lane := newLane(t, LaneOptions{Name: "hung", Timeout: time.Second})
		defer lane.Close()
		s2 := serving(t, ChainOptions{}, Member{Authenticator: hung, Lane: lane})
		defer s2.opts.Pool.Close()
		start = time.Now()
		if _, err := converse(t, s2, c, "x"); !errors.Is(err, ErrUnavailable) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// hangs is a talker that never answers.
type hangs struct{ talker }

func (m *hangs) Start(*Credentials) (Exchange, error) { return m, nil }

func (m *hangs) Next(ctx context.Context, _ []byte) ([]byte, *security.Principal, error) {
	<-ctx.Done()
	return nil, nil, ctx.Err()
}

func TestUnixPeer(t *testing.T) {
	u := UnixPeer{Label: "os", Lookup: func(uid string) (string, error) {
		switch uid {
		case "1000":
			return "alice", nil
		case "1001":
			return "bad:name", nil
		case "1002":
			return "", errors.New("disk error")
		}
		return "", user.UnknownUserIdError(7)
	}}
	at := func(uid uint32) *Credentials {
		return &Credentials{ClientID: "c", Listener: "l", Peer: &Peer{UID: uid}}
	}
	named := func(uid uint32, name string) *Credentials {
		c := at(uid)
		c.HasUsername, c.Username = true, name
		return c
	}
	for _, tt := range []struct {
		name string
		c    *Credentials
		want string // a name; or an error with this text, behind a !
	}{
		{"a process", at(1000), "alice"},
		{"with its name", named(1000, "alice"), "alice"},
		{"with another name", named(1000, "root"), "!not the one of the process"},
		{"with an empty name", named(1000, ""), "!not the one of the process"},
		{"nobody's number", at(7), "!no name for user 7"},
		{"a name that is none", at(1001), "!no user name"},
		{"a system that can't tell", at(1002), "!can't be asked"},
		{"another transport", login("alice", "x"), "!no authenticator knows"},
	} {
		p, err := chainOf(t, ChainOptions{}, u).Authenticate(t.Context(), tt.c)
		why, refused := strings.CutPrefix(tt.want, "!")
		if refused && (err == nil || !strings.Contains(err.Error(), why)) || !refused && (err != nil || p.Name != tt.want || p.Realm != "os") {
			t.Errorf("%s: %v, %v", tt.name, p, err)
		}
	}
	if _, err := (UnixPeer{Label: "os"}).Authenticate(t.Context(), at(uint32(4_000_000_000))); err == nil {
		t.Error("the system knows a user with an absurd number")
	}
}

// Nobody stands on an account that is required and not there, with whatever version:
// who was left without rights since it was deleted must not be let in by that.
func TestNobodyStandsOnAnAccountThatIsGone(t *testing.T) {
	for rule, stands := range map[AccountRule]bool{AccountIfKnown: true, AccountRequired: false, AccountIgnored: true} {
		c, err := NewChain(ChainOptions{Members: []Member{{Authenticator: &fake{name: "m", p: somebody("alice")}, Account: rule}}, Accounts: states{}})
		if err != nil {
			t.Fatal(err)
		}
		p := somebody("alice")
		p.Method = "m"
		if c.Stands(p) != stands || (c.Renewed(p) == p) != stands {
			t.Errorf("rule %d: stands %t, renewed as %v", rule, c.Stands(p), c.Renewed(p))
		}
	}
}
