package authn

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"sallyport/security"
)

// fake is an authenticator that gives one answer and counts how often.
type fake struct {
	name  string
	err   error
	p     *security.Principal
	asked int
}

func (f *fake) Name() string { return f.name }

func (f *fake) Authenticate(context.Context, *Credentials) (*security.Principal, error) {
	f.asked++
	return f.p, f.err
}

func chainOf(t testing.TB, o ChainOptions, members ...Authenticator) *Chain {
	t.Helper()
	for _, m := range members {
		o.Members = append(o.Members, Member{Authenticator: m})
	}
	c, err := NewChain(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestChainOrder(t *testing.T) {
	yes := &security.Principal{Realm: "r", Name: "alice", Internal: true}
	broken := errors.New("database is down")
	tests := []struct {
		name    string
		members []Member
		accept  bool
		asked   string // how often each member was asked
	}{
		{"an empty chain refuses", nil, false, ""},
		{"not mine asks the next", []Member{{Authenticator: &fake{err: ErrNotMine}}, {Authenticator: &fake{p: yes}}}, true, "11"},
		{"a wrapped not mine asks the next", []Member{{Authenticator: &fake{err: fmt.Errorf("x: %w", ErrNotMine)}}, {Authenticator: &fake{p: yes}}}, true, "11"},
		{"the end refuses", []Member{{Authenticator: &fake{err: ErrNotMine}}}, false, "1"},
		{"the first yes counts", []Member{{Authenticator: &fake{p: yes}}, {Authenticator: &fake{p: yes}}}, true, "10"},
		{"a refusal is final", []Member{{Authenticator: &fake{err: &Refused{}}}, {Authenticator: &fake{p: yes}}}, false, "10"},
		{"a refusal is final also with on_error next", []Member{{Authenticator: &fake{err: &Refused{}}, OnErrorNext: true}, {Authenticator: &fake{p: yes}}}, false, "10"},
		{"an error refuses", []Member{{Authenticator: &fake{err: broken}}, {Authenticator: &fake{p: yes}}}, false, "10"},
		{"an error with on_error next asks the next", []Member{{Authenticator: &fake{err: broken}, OnErrorNext: true}, {Authenticator: &fake{p: yes}}}, true, "11"},
		{"busy is final", []Member{{Authenticator: &fake{err: ErrBusy}, OnErrorNext: true}, {Authenticator: &fake{p: yes}}}, false, "10"},
		{"a yes without a principal refuses", []Member{{Authenticator: &fake{}}, {Authenticator: &fake{p: yes}}}, false, "10"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := NewChain(ChainOptions{Members: tt.members})
			if err != nil {
				t.Fatal(err)
			}
			cr := login("alice", "x")
			cr.Secure = true
			p, err := c.Authenticate(context.Background(), cr)
			if (err == nil) != tt.accept || (p != nil) != tt.accept {
				t.Fatalf("Authenticate = %v, %v; want accepted %t", p, err, tt.accept)
			}
			asked := ""
			for _, m := range tt.members {
				asked += fmt.Sprint(m.Authenticator.(*fake).asked)
			}
			if asked != tt.asked {
				t.Errorf("asked %s, want %s", asked, tt.asked)
			}
			if p != nil && (p.ClientID != "c" || p.Listener != "l" || !p.Secure || p.Internal || p == yes) {
				t.Errorf("principal = %+v", p)
			}
		})
	}
	if _, err := NewChain(ChainOptions{Members: []Member{{}}}); err == nil {
		t.Error("a member without an authenticator is accepted")
	}
	if _, err := NewChain(ChainOptions{ClientID: 9}); err == nil {
		t.Error("an unknown client id rule is accepted")
	}
}

func TestChainConditions(t *testing.T) {
	tests := []struct {
		name     string
		prefixes []string
		rule     ClientIDRule
		clientID string
		user     string
		accept   bool
	}{
		{"no condition", nil, AnyClientID, "x", "alice", true},
		{"a required prefix is there", []string{"a-", "b-"}, AnyClientID, "b-1", "alice", true},
		{"no required prefix is there", []string{"a-", "b-"}, AnyClientID, "c-1", "alice", false},
		{"an empty client id has no prefix", []string{"a-"}, AnyClientID, "", "alice", false},
		{"the client id is the user name", nil, EqualsUsername, "alice", "alice", true},
		{"the client id is longer than the user name", nil, EqualsUsername, "alice1", "alice", false},
		{"the client id begins with the user name", nil, StartsWithUsername, "alice1", "alice", true},
		{"the client id begins otherwise", nil, StartsWithUsername, "xalice", "alice", false},
		{"a nameless principal meets no rule", nil, StartsWithUsername, "x", "", false},
		{"a nameless principal equals no client id", nil, EqualsUsername, "", "", false},
	}
	for _, tt := range tests {
		c := chainOf(t, ChainOptions{ClientIDPrefixes: tt.prefixes, ClientID: tt.rule},
			&fake{p: &security.Principal{Name: tt.user}})
		_, err := c.Authenticate(context.Background(), &Credentials{ClientID: tt.clientID})
		if (err == nil) != tt.accept {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestAVerifiedCertificateTravelsWithEveryMethod(t *testing.T) {
	leaf, anchor := certWith(t, named("pump-7")), &x509.Certificate{RawSubjectPublicKeyInfo: []byte("key")}
	members := map[string]Authenticator{
		"a password": &fake{p: &security.Principal{Realm: "r", Name: "alice"}}, "the certificate": byTemplate("${cert.cn}"), "nothing": Anonymous{},
	}
	for name, m := range members {
		cr := Credentials{ClientID: "c", Listener: "l", Cert: leaf, CertVerified: true, Anchor: anchor, Chain: []*x509.Certificate{leaf, anchor}}
		p, err := chainOf(t, ChainOptions{}, m).Authenticate(t.Context(), &cr)
		if err != nil || p.Cert != leaf || p.Chain == nil || len(*p.Chain) != 2 || &(*p.Chain)[0] != &cr.Chain[0] {
			t.Errorf("%s: %+v, %v, want the certificate and the chain of the handshake, not copied", name, p, err)
		}
		if name == "the certificate" {
			continue // that refuses one that was not verified
		}
		cr.CertVerified = false
		if p, err = chainOf(t, ChainOptions{}, m).Authenticate(t.Context(), &cr); err != nil || p.Cert != nil || p.Chain != nil {
			t.Errorf("%s: %+v, %v, want no trace of a certificate that was not verified", name, p, err)
		}
	}
}

func TestAnonymous(t *testing.T) {
	header := map[string][]string{"Authorization": {"Basic eDp5"}}
	tests := []struct {
		name            string
		creds           Credentials
		plain, trusting string // whose principal: "-" is nobody's
	}{
		{"no credential", Credentials{}, "", ""},
		{"a user name", Credentials{HasUsername: true, Username: "x"}, "-", "x"},
		{"an empty user name", Credentials{HasUsername: true}, "-", ""},
		{"a password alone", Credentials{HasPassword: true}, "-", ""},
		{"an HTTP credential", Credentials{Header: header}, "-", ""},
		{"an authentication method", Credentials{AuthMethod: "SCRAM-SHA-256"}, "-", "-"},
	}
	for _, tt := range tests {
		for member, want := range map[Anonymous]string{
			{}: tt.plain, {BelieveUsername: true}: tt.trusting,
		} {
			c := chainOf(t, ChainOptions{}, member)
			tt.creds.Listener = "door"
			p, err := c.Authenticate(context.Background(), &tt.creds)
			if (err == nil) != (want != "-") {
				t.Errorf("%s, %+v: %v", tt.name, member, err)
			}
			if p == nil {
				continue
			}
			realm := "anonymous:door"
			if want != "" {
				realm = "unchecked:door"
			}
			if p.Name != want || p.Realm != realm || p.Method != "anonymous" {
				t.Errorf("%s, %+v: principal %+v", tt.name, member, p)
			}
		}
	}
}

func TestUncheckedCredentialsStandAlone(t *testing.T) {
	for _, a := range []Anonymous{{BelieveUsername: true}} {
		if _, err := NewChain(ChainOptions{Members: []Member{{Authenticator: &fake{}}, {Authenticator: a}}}); err == nil {
			t.Errorf("%+v is accepted behind a member that checks", a)
		}
		if _, err := NewChain(ChainOptions{Members: []Member{{Authenticator: byTemplate("${cert.cn}")}, {Authenticator: a}}}); err != nil {
			t.Errorf("%+v behind certificates: %v", a, err)
		}
	}
}

// slowFake is a member with a decoy.
type slowFake struct {
	fake
	cost   time.Duration
	decoys []string
}

func (f *slowFake) Cost() time.Duration   { return f.cost }
func (f *slowFake) Decoy(password []byte) { f.decoys = append(f.decoys, string(password)) }

func TestRefusalPaysOneHash(t *testing.T) {
	noName := &Credentials{Listener: "l"}
	tests := []struct {
		name  string
		err   error // of the first member
		creds *Credentials
		want  string // decoys of the cheap and the dear member
	}{
		{"an unknown user pays the dearest", ErrNotMine, login("x", "pw"), "[] [pw]"},
		{"an unpaid refusal pays the dearest", &Refused{Unpaid: true}, login("x", "pw"), "[] [pw]"},
		{"a paid refusal pays no more", &Refused{}, login("x", "pw"), "[] []"},
		{"without a user name nothing is paid", ErrNotMine, noName, "[] []"},
	}
	for _, tt := range tests {
		cheap := &slowFake{fake: fake{err: tt.err}, cost: 1}
		dear := &slowFake{fake: fake{err: ErrNotMine}, cost: 2}
		c := chainOf(t, ChainOptions{}, cheap, dear)
		if _, err := c.Authenticate(context.Background(), tt.creds); err == nil {
			t.Errorf("%s: accepted", tt.name)
		}
		if got := fmt.Sprint(cheap.decoys, " ", dear.decoys); got != tt.want {
			t.Errorf("%s: decoys %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestCredentialsHideSecrets(t *testing.T) {
	c := &Credentials{
		ClientID: "dev1", HasUsername: true, Username: "alice", HasPassword: true, Password: []byte("TOPSECRET"),
		Header: map[string][]string{"Authorization": {"TOPSECRET"}}, Query: "token=TOPSECRET", AuthData: []byte("TOPSECRET"),
	}
	var b strings.Builder
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "creds", c)
	for _, text := range []string{c.String(), fmt.Sprintf("%v %+v %#v %s", c, c, c, c), b.String()} {
		if strings.Contains(text, "TOPSECRET") || !strings.Contains(text, "dev1") {
			t.Errorf("text is %s", text)
		}
	}
	var none *Credentials
	if none.String() == "" || none.LogValue().String() == "" {
		t.Error("nil credentials have no text")
	}
}

// scram is a member that leads exchanges.
type scram struct{ fake }

func (scram) Serves(method string) bool            { return method == "SCRAM-SHA-256" }
func (scram) Start(*Credentials) (Exchange, error) { return nil, errors.New("not here") }

func TestEnhancedMethods(t *testing.T) {
	c := chainOf(t, ChainOptions{}, &fake{}, &scram{fake{name: "scram"}})
	if n, sub := c.serving(&Credentials{AuthMethod: "SCRAM-SHA-256"}); n == nil || sub != 0 || n.name != "scram" {
		t.Error("the chain's method is not found")
	}
	for _, method := range []string{"", "scram-sha-256", "PLAIN"} {
		if n, _ := c.serving(&Credentials{AuthMethod: method}); n != nil {
			t.Errorf("method %q is found", method)
		}
	}
}
