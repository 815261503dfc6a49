package authn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"sallyport/security"
)

// broken is an authenticator whose source fails.
type broken struct{}

func (broken) Name() string { return "broken" }

func (broken) Authenticate(context.Context, *Credentials) (*security.Principal, error) {
	return nil, errors.New("the source is away")
}

func TestAChainIsExplained(t *testing.T) {
	users := openFile(t, writeFile(t, "alice:"+mustHash(t, SHA512, "s3cret")), func(o *PasswordsOptions) { o.Name = "passwords" })
	alice := Credentials{ClientID: "dev-1", HasUsername: true, Username: "alice"}
	with := func(change func(*Credentials)) Credentials {
		c := alice
		change(&c)
		return c
	}
	both := []Member{{Authenticator: users}, {Authenticator: Anonymous{}}}
	for _, tt := range []struct {
		name  string
		chain ChainOptions
		cr    Credentials
		who   string // "-" for nobody
		says  string // of the last reached step
	}{
		{"a known user is presumed to have the right password", ChainOptions{Members: both}, alice, "alice", "passwords: knows alice; the password is not checked here"},
		{"a password that is given is checked", ChainOptions{Members: both},
			with(func(c *Credentials) { c.HasPassword, c.Password = true, []byte("s3cret") }), "alice", "passwords: knows alice, and the password is right"},
		{"a wrong password is refused and nobody else is asked", ChainOptions{Members: both},
			with(func(c *Credentials) { c.HasPassword, c.Password = true, []byte("geheim") }), "-", "passwords: wrong password"},
		{"an unknown user is nobody", ChainOptions{Members: both}, with(func(c *Credentials) { c.Username = "bob" }), "-", "chain: no authenticator knows these credentials"},
		{"no credential at all is anonymous", ChainOptions{Members: both}, Credentials{ClientID: "x"}, "", "anonymous: accepts clients without credentials"},
		{"a name can be believed", ChainOptions{Members: []Member{{Authenticator: Anonymous{BelieveUsername: true}}}}, alice, "alice", "anonymous: believes the name alice without a check"},
		{"no member refuses everyone", ChainOptions{}, alice, "-", "chain: no authenticator knows these credentials"},
		{"a missing prefix is refused", ChainOptions{Members: both, ClientIDPrefixes: []string{"sensor-"}}, alice, "-", "client id: client id has none of the required prefixes"},
		{"a prefix lets on", ChainOptions{Members: both, ClientIDPrefixes: []string{"dev-"}}, alice, "alice", "passwords: knows alice; the password is not checked here"},
		{"a client id that is not the user's is refused", ChainOptions{Members: both, ClientID: EqualsUsername}, alice, "-", "client id: client id is not the user name"},
		{"a client id that is the user's passes", ChainOptions{Members: both, ClientID: EqualsUsername},
			with(func(c *Credentials) { c.ClientID = "alice" }), "alice", "client id: is bound to the user name as the listener asks"},
		{"one that can't tell refuses", ChainOptions{Members: append([]Member{{Authenticator: broken{}}}, both...)}, alice, "-", "broken: can't tell without the credential"},
		{"one that can't tell may be passed over", ChainOptions{Members: append([]Member{{Authenticator: broken{}, OnErrorNext: true}}, both...)}, alice, "alice",
			"passwords: knows alice; the password is not checked here"},
		{"a certificate that was not verified is refused", ChainOptions{Members: append([]Member{{Authenticator: byTemplate("${cert.cn}")}}, both...)},
			with(func(c *Credentials) { c.Cert = certWith(t, named()) }), "-", "certificate: certificate was not verified"},
		{"without a certificate the next is asked", ChainOptions{Members: append([]Member{{Authenticator: byTemplate("${cert.cn}")}}, both...)}, alice, "alice",
			"passwords: knows alice; the password is not checked here"},
	} {
		c, err := NewChain(tt.chain)
		if err != nil {
			t.Fatal(err)
		}
		p, said := c.Explain(t.Context(), &tt.cr)
		who := "-"
		if p != nil {
			who = p.Name
		}
		var last string
		decided := false
		for _, s := range said {
			if s.Reached && decided && s.By != "client id" {
				t.Errorf("%s: %s was reached after the decision", tt.name, s.By)
			}
			decided = decided || s.Accepts || s.Refuses
			if s.Reached {
				last = s.By + ": " + s.Text
			}
		}
		if who != tt.who || last != tt.says {
			t.Errorf("%s: %q by %q, want %q by %q", tt.name, who, last, tt.who, tt.says)
		}
		if strings.Contains(fmt.Sprint(said), "geheim") {
			t.Errorf("%s: a password in the explanation", tt.name)
		}
	}
}

func TestARefusalSaysWhatWouldChangeIt(t *testing.T) {
	users := openFile(t, writeFile(t, "alice:"+mustHash(t, SHA512, "s3cret")), func(o *PasswordsOptions) { o.Name = "passwords" })
	path := users.opts.Path
	members := []Member{{Authenticator: users}}
	for _, tt := range []struct {
		name  string
		chain ChainOptions
		cr    Credentials
		want  string
	}{
		{"an unknown user", ChainOptions{Members: members}, Credentials{ClientID: "c", HasUsername: true, Username: "bob"}, "add the user: sallyport passwd " + path + " bob"},
		{"no user", ChainOptions{Members: members}, Credentials{ClientID: "c"}, "send the name and the password of a user in " + path},
		{"a wrong password", ChainOptions{Members: members}, Credentials{ClientID: "c", HasUsername: true, Username: "alice", HasPassword: true, Password: []byte("x")}, "send the password that " + path + " has for alice"},
		{"a prefix", ChainOptions{Members: members, ClientIDPrefixes: []string{"a-", "b-"}}, Credentials{ClientID: "c"}, "take a client id that begins with a- or b-"},
		{"a bound client id", ChainOptions{Members: members, ClientID: EqualsUsername}, Credentials{ClientID: "c", HasUsername: true, Username: "alice"}, "take the client id alice"},
		{"nothing", ChainOptions{Members: members}, Credentials{ClientID: "c", HasUsername: true, Username: "alice"}, ""},
	} {
		c, err := NewChain(tt.chain)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		_, said := c.Explain(t.Context(), &tt.cr)
		for _, s := range said {
			got += s.Opposite
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestAnExplainedChainAgreesWithAuthenticate compares the two for credentials
// that both can check.
func TestAnExplainedChainAgreesWithAuthenticate(t *testing.T) {
	users := openFile(t, writeFile(t, "alice:"+mustHash(t, SHA512, "s3cret")), func(o *PasswordsOptions) { o.Name = "passwords" })
	chains := []ChainOptions{
		{}, {Members: []Member{{Authenticator: users}, {Authenticator: Anonymous{}}}},
		{Members: []Member{{Authenticator: Anonymous{}}, {Authenticator: users}}, ClientID: EqualsUsername},
		{Members: []Member{{Authenticator: byTemplate("${cert.cn}")}, {Authenticator: broken{}, OnErrorNext: true}, {Authenticator: users}}, ClientIDPrefixes: []string{"a"}},
		{Members: []Member{{Authenticator: broken{}}}, ClientID: StartsWithUsername},
	}
	n := 0
	for _, o := range chains {
		c, err := NewChain(o)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"alice", "alice-2", "b"} {
			for _, user := range []string{"", "alice", "bob"} {
				for _, password := range []string{"s3cret", "wrong"} {
					cr := Credentials{ClientID: id, HasUsername: user != "", Username: user, HasPassword: user != "", Password: []byte(password), Listener: "l"}
					if user == "" {
						cr.Password = nil
					}
					want, wantErr := c.Authenticate(t.Context(), &cr)
					got, said := c.Explain(t.Context(), &cr)
					if fmt.Sprint(got) != fmt.Sprint(want) || (wantErr == nil) != (got != nil) {
						t.Errorf("%s as %q with %q: Explain %v (%v), Authenticate %v, %v", id, user, password, got, said, want, wantErr)
					}
					n++
				}
			}
		}
	}
	if n == 0 {
		t.Error("nothing was compared")
	}
}
