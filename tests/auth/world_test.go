package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sallyport/internal/certfield"
	tokens "sallyport/internal/jwt"
	"sallyport/internal/scram"
	"sallyport/security"
	"sallyport/security/authn"
	"sallyport/security/authn/accounts"
	"sallyport/security/authn/challenge"
	"sallyport/security/authn/token"
)

// world is members that know the names of the table.
type world struct {
	db     *accounts.Database
	secret []byte
	parts  map[kind]authn.Authenticator
}

const password = "correct horse"

// other is a device whose certificate somebody else presents.
const other = "other"

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{secret: []byte("0123456789abcdef0123456789abcdef"), parts: map[kind]authn.Authenticator{}}
	encoded, err := authn.Hash(authn.PBKDF2SHA512, []byte(password), authn.Params{Iterations: 1000})
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := scram.NewVerifier(scram.SHA256, password, []byte("saltsaltsaltsalt"), 4096)
	if err != nil {
		t.Fatal(err)
	}
	w.db, err = accounts.Open(accounts.Options{Keeper: new(accounts.Memory), Hashing: accounts.Hashing{Algorithm: authn.PBKDF2SHA512, Params: authn.Params{Iterations: 1000}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.db.Close)
	lines, now := "", time.Now()
	for _, state := range append(states, other) {
		lines += state + ":" + encoded + "\n"
		u := accounts.User{Name: state, Kind: accounts.Person, Password: encoded, SCRAM: []string{verifier.Encode()}}
		switch state {
		case "none":
			continue
		case "disabled":
			u.Disabled = true
		case "locked":
			u.Locked = true
		case "early":
			u.ValidFrom = now.Add(time.Hour)
		case "ended":
			u.ValidFrom, u.ValidUntil = now.Add(-2*time.Hour), now.Add(-time.Hour)
		}
		if _, err := w.db.AddUser(u, accounts.How{}); err != nil {
			t.Fatal(err)
		}
	}
	w.members(t, lines)
	return w
}

// members makes one of each kind.
func (w *world) members(t *testing.T, lines string) {
	path := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	keep := func(k kind) func(authn.Authenticator, error) {
		return func(a authn.Authenticator, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			w.parts[k] = a
		}
	}
	passwords, _, err := authn.OpenPasswords(authn.PasswordsOptions{Name: string(file), Path: path})
	keep(file)(passwords, err)
	member, err := accounts.NewMember(w.db, accounts.MemberOptions{Name: string(account)})
	keep(account)(member, err)
	template, err := certfield.ParseTemplate("${cert.cn}")
	keep(cert)(authn.Identity{Template: template, JoinAnchors: true}, err)
	key, err := tokens.SecretKey(w.secret, "k", tokens.HS256)
	if err != nil {
		t.Fatal(err)
	}
	set, err := tokens.NewKeySet(key)
	if err != nil {
		t.Fatal(err)
	}
	bearer, err := token.New(token.Options{Name: string(jwt), Issuers: []token.Issuer{{Name: "issuer", Audiences: []string{"sallyport"}, Keys: set}}})
	keep(jwt)(bearer, err)
	handshake, err := challenge.New(challenge.Options{
		Name: string(scrams), Methods: []scram.Method{{Hash: scram.SHA256}}, Secret: func() []byte { return w.secret }, Lookup: w.lookup,
	})
	keep(scrams)(handshake, err)
	w.parts[guests] = authn.Anonymous{}
}

func (w *world) lookup(name string, h scram.Hash) (*scram.Verifier, bool, error) {
	u, ok := w.db.User(name)
	if !ok {
		return nil, false, nil
	}
	for _, encoded := range u.SCRAM {
		if v, err := scram.ParseVerifier(encoded); err == nil && v.Hash == h {
			return v, true, nil
		}
	}
	return nil, false, nil
}

// failing is a member whose source can't be reached.
type failing struct{ authn.Authenticator }

var errDown = errors.New("connection refused")

func (failing) Authenticate(context.Context, *authn.Credentials) (*security.Principal, error) {
	return nil, errDown
}

// failingExchange is failing, for a method of enhanced authentication.
type failingExchange struct{ failing }

func (f failingExchange) Serves(method string) bool {
	return f.Authenticator.(authn.EnhancedAuthenticator).Serves(method)
}

func (failingExchange) Start(*authn.Credentials) (authn.Exchange, error) { return nil, errDown }

// service is one listener with a chain.
func (w *world) service(t *testing.T, chain []link) *authn.Service {
	t.Helper()
	var members []authn.Member
	for _, l := range chain {
		m := authn.Member{OnErrorNext: l.next, Account: l.rule}
		var parts []authn.Member
		for i, k := range l.all {
			a := w.parts[k]
			if l.down && i == len(l.all)-1 {
				_, enhanced := a.(authn.EnhancedAuthenticator)
				if a = (failing{a}); enhanced {
					a = failingExchange{a.(failing)}
				}
			}
			if k == account || k == scrams {
				m.Account = authn.AccountRequired
			}
			parts = append(parts, authn.Member{Authenticator: a})
		}
		if len(parts) == 1 {
			m.Authenticator = parts[0].Authenticator
		} else {
			m.All, m.Label = parts, "both"
		}
		members = append(members, m)
	}
	c, err := authn.NewChain(authn.ChainOptions{Members: members, Accounts: w.db})
	if err != nil {
		t.Fatal(err)
	}
	pool, err := authn.NewPool(authn.PoolOptions{Workers: 2, Memory: 64 << 20, Queue: 100})
	if err != nil {
		t.Fatal(err)
	}
	s, err := authn.NewService(authn.ServiceOptions{Pool: pool, Chains: map[string]*authn.Chain{"l": c}, Delay: authn.DelayOptions{Free: 1 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); pool.Close() })
	return s
}

// ask is what a client with the name gets.
func (w *world) ask(t *testing.T, s *authn.Service, c credential, name string) string {
	t.Helper()
	cr := &authn.Credentials{ClientID: "c", Listener: "l", Secure: true}
	login := func(name, text string) {
		cr.HasUsername, cr.Username, cr.HasPassword, cr.Password = true, name, true, []byte(text)
	}
	switch {
	case c.stranger:
		login("stranger", password)
	case c.password == right:
		login(name, password)
	case c.password == wrong:
		login(name, "wrong")
	}
	if c.certificate == right {
		cn := name
		if c.otherCertificate {
			cn = other
		}
		cr.Cert, cr.CertVerified = certificate(t, cn), true
	}
	if c.token != absent {
		ends := time.Now().Add(time.Hour)
		if c.token == wrong {
			ends = time.Now().Add(-time.Hour)
		}
		cr.HasPassword, cr.Password = true, []byte(w.sign(t, name, ends))
	}
	if c.scram != absent {
		return w.exchange(t, s, cr, c, name)
	}
	type answer struct {
		p   *security.Principal
		err error
	}
	out := make(chan answer, 1)
	s.Begin(cr, func(p *security.Principal, err error) { out <- answer{p, err} })
	a := <-out
	return word(a.p, a.err)
}

// exchange leads SCRAM as a client does.
func (w *world) exchange(t *testing.T, s *authn.Service, cr *authn.Credentials, c credential, name string) string {
	cr.AuthMethod = "SCRAM-SHA-256"
	n, ok := s.Negotiate(cr)
	if !ok {
		return noMethod
	}
	text := password
	if c.scram == wrong {
		text = "wrong"
	}
	client, err := scram.NewClient(scram.ClientOptions{Method: scram.Method{Hash: scram.SHA256}, Name: name, Password: text})
	if err != nil {
		t.Fatal(err)
	}
	data, err := client.First()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		type answer struct {
			reply []byte
			p     *security.Principal
			err   error
		}
		out := make(chan answer, 1)
		n.Step(data, func(reply []byte, p *security.Principal, err error) { out <- answer{reply, p, err} })
		a := <-out
		if a.p != nil || a.err != nil {
			return word(a.p, a.err)
		}
		if data, _, err = client.Next(a.reply); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("the exchange does not end")
	return ""
}

func (w *world) sign(t *testing.T, name string, ends time.Time) string {
	t.Helper()
	part := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	text := part(map[string]string{"alg": "HS256", "kid": "k"}) + "." +
		part(map[string]any{"iss": "issuer", "aud": "sallyport", "sub": name, "exp": ends.Unix()})
	mac := hmac.New(sha256.New, w.secret)
	fmt.Fprint(mac, text)
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// certificate is one that was verified, as far as a chain looks at it.
func certificate(t *testing.T, cn string) *x509.Certificate {
	t.Helper()
	subject, err := asn1.Marshal(pkix.Name{CommonName: cn}.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	return &x509.Certificate{Raw: []byte(cn), RawSubject: subject, Subject: pkix.Name{CommonName: cn}, SerialNumber: big.NewInt(1)}
}
