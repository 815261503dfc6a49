package challenge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"sallyport/internal/scram"
	"sallyport/security"
	"sallyport/security/authn"
)

var secret = []byte("the secret of a broker: 32 bytes")

func verifier(t testing.TB, h scram.Hash, password string) *scram.Verifier {
	t.Helper()
	v, err := scram.NewVerifier(h, password, []byte("sixteen bytes, 16"), scram.MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// database is accounts as a test changes them.
type database struct {
	users map[string][]*scram.Verifier
	down  error
	asked int
}

func (d *database) lookup(name string, h scram.Hash) (*scram.Verifier, bool, error) {
	d.asked++
	for _, v := range d.users[name] {
		if v.Hash == h {
			return v, true, d.down
		}
	}
	return nil, false, d.down
}

// bed is an authenticator over a database with alice (both hashes) and bob (SHA-256).
func bed(t testing.TB, alter func(*Options)) (*Authenticator, *database) {
	t.Helper()
	d := &database{users: map[string][]*scram.Verifier{
		"alice": {verifier(t, scram.SHA256, "wonderland"), verifier(t, scram.SHA512, "wonderland")},
		"bob":   {verifier(t, scram.SHA256, "builder")},
	}}
	o := Options{Name: "scram", Lookup: d.lookup, Secret: func() []byte { return secret }, Iterations: scram.MinIterations}
	if alter != nil {
		alter(&o)
	}
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return a, d
}

// login runs a whole exchange.
func login(a *Authenticator, c *authn.Credentials, o scram.ClientOptions) (*security.Principal, error) {
	client, err := scram.NewClient(o)
	if err != nil {
		return nil, err
	}
	c.AuthMethod = o.Method.String()
	x, err := a.Start(c)
	if err != nil {
		return nil, err
	}
	m, err := client.First()
	for range 2 {
		if err != nil {
			return nil, err
		}
		reply, p, err := x.Next(context.Background(), m)
		if err != nil {
			return nil, err
		}
		next, done, err := client.Next(reply)
		if err != nil {
			return nil, err
		}
		if done != (p != nil) {
			return nil, fmt.Errorf("client is done: %v, server's principal: %v", done, p)
		}
		if done {
			return p, nil
		}
		m = next
	}
	return nil, errors.New("not done after two rounds")
}

func alice(h scram.Hash) scram.ClientOptions {
	return scram.ClientOptions{Method: scram.Method{Hash: h}, Name: "alice", Password: "wonderland"}
}

func TestLogin(t *testing.T) {
	a, _ := bed(t, nil)
	for _, h := range []scram.Hash{scram.SHA256, scram.SHA512} {
		for _, c := range []*authn.Credentials{{}, {HasUsername: true, Username: "alice"}} {
			p, err := login(a, c, alice(h))
			if err != nil || p.Name != "alice" || p.Realm != "accounts" {
				t.Errorf("%s with %v: %+v, %v", h, c, p, err)
			}
		}
	}
}

func TestLoginRefusals(t *testing.T) {
	for _, tt := range []struct {
		name   string
		creds  authn.Credentials
		client func(*scram.ClientOptions)
		do     func(*Authenticator, *database)
		is     error  // wrapped
		reason string // of the *authn.Refused; a part of it
	}{
		{name: "a wrong password", client: func(o *scram.ClientOptions) { o.Password = "Wonderland" }, reason: `wrong password: "alice"`},
		{name: "nobody", client: func(o *scram.ClientOptions) { o.Name = "mallory" }, reason: `nobody has a verifier for SCRAM-SHA-256 under this name: "mallory"`},
		{name: "nobody with this hash", client: func(o *scram.ClientOptions) { o.Name, o.Password, o.Method.Hash = "bob", "builder", scram.SHA512 }, reason: `nobody has a verifier for SCRAM-SHA-512`},
		{name: "another user name in the CONNECT", creds: authn.Credentials{HasUsername: true, Username: "bob"}, reason: `not the name that SCRAM says: "alice"`},
		{name: "an empty user name in the CONNECT", creds: authn.Credentials{HasUsername: true}, reason: `not the name that SCRAM says`},
		{name: "a password in the CONNECT", creds: authn.Credentials{HasPassword: true, Password: []byte("wonderland")}, reason: "a password beside SCRAM"},
		{name: "an empty password in the CONNECT", creds: authn.Credentials{HasPassword: true}, reason: "a password beside SCRAM"},
		{name: "authorization as another", client: func(o *scram.ClientOptions) { o.AuthzID = "bob" }, reason: "authorization as another"},
		{name: "-PLUS without TLS", client: func(o *scram.ClientOptions) {
			o.Method.Plus, o.Binding = true, &scram.Binding{Type: scram.Exporter, Data: []byte("x")}
		}, reason: "method is not offered here"},
		{name: "a database that is down", do: func(_ *Authenticator, d *database) { d.down = errors.New("on fire") }, is: authn.ErrUnavailable},
		{name: "no secret yet", do: func(a *Authenticator, _ *database) { a.o.Secret = func() []byte { return nil } }, is: authn.ErrUnavailable},
		{name: "a method that is not offered", do: func(a *Authenticator, _ *database) { a.o.Methods = []scram.Method{{Hash: scram.SHA512}} }, reason: "method is not offered here"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, d := bed(t, nil)
			o := alice(scram.SHA256)
			if tt.client != nil {
				tt.client(&o)
			}
			if tt.do != nil {
				tt.do(a, d)
			}
			p, err := login(a, &tt.creds, o)
			if p != nil || err == nil {
				t.Fatalf("accepted as %v", p)
			}
			refused, ok := errors.AsType[*authn.Refused](err)
			switch {
			case tt.is != nil && !errors.Is(err, tt.is):
				t.Errorf("ends with %v, want %v", err, tt.is)
			case tt.is == nil && (!ok || refused.Method != "scram" || !strings.Contains(refused.Reason, tt.reason)):
				t.Errorf("ends with %v, want a refusal with %q", err, tt.reason)
			}
			for _, s := range []string{"wonderland", "builder", "on fire" + "!"} {
				if strings.Contains(strings.ToLower(err.Error()), s) {
					t.Errorf("the error tells a secret: %v", err)
				}
			}
		})
	}
}

// begin sends a client-first of name, and gives what the server answers.
func begin(t *testing.T, a *Authenticator, method, name string) (authn.Exchange, string) {
	t.Helper()
	x, err := a.Start(&authn.Credentials{AuthMethod: method})
	if err != nil {
		t.Fatal(err)
	}
	reply, p, err := x.Next(context.Background(), []byte("n,,n="+name+",r=abcdefghijkl"))
	if err != nil || p != nil {
		t.Fatalf("%s: %v, %v", name, p, err)
	}
	return x, string(reply)
}

var nonce = regexp.MustCompile(`^r=abcdefghijkl[^,]{32},`)

func TestNobodyIsAskedAsEverybody(t *testing.T) {
	a, _ := bed(t, func(o *Options) { o.Iterations = scram.MinIterations })
	for _, method := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
		_, known := begin(t, a, method, "alice")
		_, first := begin(t, a, method, "nobody")
		_, again := begin(t, a, method, "nobody")
		_, other := begin(t, a, method, "somebody")
		if !nonce.MatchString(known) || !nonce.MatchString(first) {
			t.Fatalf("%q, %q", known, first)
		}
		strip := func(s string) string { return nonce.ReplaceAllString(s, "") }
		if strip(first) != strip(again) {
			t.Errorf("the salt of nobody changes: %q, %q", first, again)
		}
		if strip(first) == strip(other) {
			t.Errorf("two names have one salt: %q", first)
		}
		restarted, _ := bed(t, nil)
		if _, later := begin(t, restarted, method, "nobody"); strip(later) != strip(first) {
			t.Errorf("with the same secret the salt is another: %q, %q", first, later)
		}
		file, _ := bed(t, func(o *Options) { o.Source = "another file" })
		if _, elsewhere := begin(t, file, method, "nobody"); strip(elsewhere) == strip(first) {
			t.Errorf("nobody has the same salt in two files, as nobody else has: %q", first)
		}
		door, _ := bed(t, func(o *Options) { o.Name, o.Realm = "door", "door" })
		if _, elsewhere := begin(t, door, method, "nobody"); strip(elsewhere) != strip(first) {
			t.Errorf("two authenticators with one source have two salts: %q, %q", first, elsewhere)
		}
		stranger, _ := bed(t, func(o *Options) { o.Secret = func() []byte { return bytes.Repeat([]byte{1}, 32) } })
		if _, elsewhere := begin(t, stranger, method, "nobody"); strip(elsewhere) == strip(first) {
			t.Errorf("the salt does not depend on the secret: %q", first)
		}
	}
}

// TestNobodyLooksLikeAUser holds the shape of the answers: salts of new verifiers and
// of nobody have the same length.
func TestNobodyLooksLikeAUser(t *testing.T) {
	a, d := bed(t, nil)
	v, err := scram.NewVerifier(scram.SHA256, "x", bytes.Repeat([]byte{7}, scram.MinSalt), scram.MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	d.users["carol"] = []*scram.Verifier{v}
	xs := map[string]authn.Exchange{}
	var shapes []string
	for _, name := range []string{"carol", "nobody"} {
		x, reply := begin(t, a, "SCRAM-SHA-256", name)
		xs[name] = x
		shapes = append(shapes, regexp.MustCompile(`[A-Za-z0-9+/]{20,}`).ReplaceAllStringFunc(reply, func(s string) string { return strings.Repeat("*", len(s)) }))
	}
	if shapes[0] != shapes[1] {
		t.Errorf("a user is asked with %q, nobody with %q", shapes[0], shapes[1])
	}
}

func TestExchangeEndsAfterTwoMessages(t *testing.T) {
	a, _ := bed(t, nil)
	x, _ := begin(t, a, "SCRAM-SHA-256", "alice")
	if reply, p, err := x.Next(context.Background(), []byte("n,,n=alice,r=abcdefghijkl")); reply != nil || p != nil || err == nil {
		t.Fatalf("a second first message: %q, %v, %v", reply, p, err)
	}
	for range 2 {
		if reply, p, err := x.Next(context.Background(), []byte("n,,n=alice,r=abcdefghijkl")); reply != nil || p != nil || err == nil {
			t.Fatalf("after the end: %q, %v, %v", reply, p, err)
		}
	}
	// A refusal of the name ends it too, though the protocol would go on.
	x, err := a.Start(&authn.Credentials{AuthMethod: "SCRAM-SHA-256", HasUsername: true, Username: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if reply, p, err := x.Next(context.Background(), []byte("n,,n=alice,r=abcdefghijkl")); reply != nil || p != nil || err == nil {
			t.Fatalf("another name: %q, %v, %v", reply, p, err)
		}
	}
}

func TestAnAccountThatChangesDuringTheExchange(t *testing.T) {
	for name, change := range map[string]func(*testing.T, *database){
		"gone": func(_ *testing.T, d *database) { delete(d.users, "alice") },
		"another password": func(t *testing.T, d *database) {
			d.users["alice"] = []*scram.Verifier{verifier(t, scram.SHA256, "other")}
		},
		"down": func(_ *testing.T, d *database) { d.down = errors.New("on fire") },
	} {
		t.Run(name, func(t *testing.T) {
			a, d := bed(t, nil)
			client, err := scram.NewClient(alice(scram.SHA256))
			if err != nil {
				t.Fatal(err)
			}
			first, _ := client.First()
			x, err := a.Start(&authn.Credentials{AuthMethod: "SCRAM-SHA-256"})
			if err != nil {
				t.Fatal(err)
			}
			reply, _, err := x.Next(context.Background(), first)
			if err != nil {
				t.Fatal(err)
			}
			final, _, err := client.Next(reply)
			if err != nil {
				t.Fatal(err)
			}
			change(t, d)
			if reply, p, err := x.Next(context.Background(), final); reply != nil || p != nil || err == nil {
				t.Errorf("%q, %v, %v", reply, p, err)
			}
		})
	}
}

func TestPlainCredentialsAreNotMine(t *testing.T) {
	a, d := bed(t, nil)
	c := &authn.Credentials{HasUsername: true, Username: "alice", HasPassword: true, Password: []byte("wonderland")}
	p, err := a.Authenticate(context.Background(), c)
	if p != nil || !errors.Is(err, authn.ErrNotMine) {
		t.Errorf("%v, %v", p, err)
	}
	p, err, known := a.Quick(c)
	if p != nil || !errors.Is(err, authn.ErrNotMine) || !known || d.asked != 0 {
		t.Errorf("%v, %v, %v", p, err, known)
	}
}

func TestServesWhatIsOffered(t *testing.T) {
	a, _ := bed(t, func(o *Options) { o.Methods = []scram.Method{{Hash: scram.SHA256}, {Hash: scram.SHA512, Plus: true}} })
	for method, want := range map[string]bool{
		"SCRAM-SHA-256": true, "SCRAM-SHA-512-PLUS": true, "SCRAM-SHA-512": false, "SCRAM-SHA-256-PLUS": false,
		"SCRAM-SHA-1": false, "scram-sha-256": false, "": false, "PLAIN": false,
	} {
		if got := a.Serves(method); got != want {
			t.Errorf("Serves(%q) = %v, want %v", method, got, want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	d := &database{}
	good := Options{Lookup: d.lookup, Secret: func() []byte { return secret }}
	for name, alter := range map[string]func(*Options){
		"no verifiers":         func(o *Options) { o.Lookup = nil },
		"no secret":            func(o *Options) { o.Secret = nil },
		"too few iterations":   func(o *Options) { o.Iterations = 4095 },
		"too many iterations":  func(o *Options) { o.Iterations = scram.MaxIterations + 1 },
		"no hash":              func(o *Options) { o.Methods = []scram.Method{{}} },
		"another hash":         func(o *Options) { o.Methods = []scram.Method{{Hash: 7}} },
		"no hash, and binding": func(o *Options) { o.Methods = []scram.Method{{Plus: true}} },
	} {
		o := good
		alter(&o)
		if a, err := New(o); err == nil {
			t.Errorf("%s: %v", name, a)
		}
	}
	if _, err := New(good); err != nil {
		t.Error(err)
	}
}

func TestKeeps(t *testing.T) {
	a, d := bed(t, nil)
	for _, tt := range []struct {
		p    security.Principal
		want bool
	}{
		{security.Principal{Realm: "accounts", Name: "alice"}, true},
		{security.Principal{Realm: "accounts", Name: "bob"}, true}, // by one of the hashes
		{security.Principal{Realm: "accounts", Name: "mallory"}, false},
		{security.Principal{Realm: "other", Name: "alice"}, false},
		{security.Principal{}, false},
	} {
		if got := a.Keeps(&tt.p); got != tt.want {
			t.Errorf("Keeps(%s/%s) = %v, want %v", tt.p.Realm, tt.p.Name, got, tt.want)
		}
	}
	d.down = errors.New("on fire")
	if !a.Keeps(&security.Principal{Realm: "accounts", Name: "mallory"}) {
		t.Error("a database that is down ends sessions")
	}
}

func TestIntroduce(t *testing.T) {
	a, d := bed(t, nil)
	for _, tt := range []struct {
		creds    authn.Credentials
		accepted bool
		text     string
	}{
		{authn.Credentials{HasUsername: true, Username: "alice", AuthMethod: "SCRAM-SHA-256"}, true, "knows alice by SCRAM"},
		{authn.Credentials{HasUsername: true, Username: "alice"}, true, "knows alice by SCRAM"},
		{authn.Credentials{HasUsername: true, Username: "mallory"}, false, "has no verifier of mallory"},
		{authn.Credentials{HasUsername: true, Username: "alice", AuthMethod: "OAUTHBEARER"}, false, "does not know the method OAUTHBEARER"},
		{authn.Credentials{HasUsername: true, Username: "alice", HasPassword: true}, false, "takes no password"},
		{authn.Credentials{}, false, "knows nobody without a name"},
	} {
		p, text, remedy, err := a.Introduce(context.Background(), &tt.creds)
		if (p != nil) != tt.accepted || (err == nil) != tt.accepted || !strings.Contains(text, tt.text) || (remedy == "") != tt.accepted {
			t.Errorf("%v: %v, %q, %q, %v", &tt.creds, p, text, remedy, err)
		}
	}
	d.down = errors.New("on fire")
	if p, _, _, err := a.Introduce(context.Background(), &authn.Credentials{HasUsername: true, Username: "mallory"}); p != nil || !errors.Is(err, authn.ErrUnavailable) {
		t.Errorf("%v, %v", p, err)
	}
}

func BenchmarkLogin(b *testing.B) {
	a, _ := bed(b, nil)
	o := alice(scram.SHA256)
	warm, err := scram.NewClient(o)
	if err != nil {
		b.Fatal(err)
	}
	x, _ := a.Start(&authn.Credentials{AuthMethod: "SCRAM-SHA-256"})
	first, _ := warm.First()
	reply, _, _ := x.Next(context.Background(), first)
	final, _, _ := warm.Next(reply)
	last, _, err := x.Next(context.Background(), final)
	if err != nil {
		b.Fatal(err)
	}
	if _, done, err := warm.Next(last); !done {
		b.Fatal(err)
	}
	o.Salted = warm.Salted() // the client's iterations are not the broker's cost
	b.ReportAllocs()
	for b.Loop() {
		if _, err := login(a, &authn.Credentials{}, o); err != nil {
			b.Fatal(err)
		}
	}
}
