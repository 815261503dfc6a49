package token

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sallyport/internal/jwt"
	"sallyport/security"
	"sallyport/security/authn"
)

// now is the moment of the tests.
var now = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// claims are those of a good token of issuer a, with others in their place.
func claims(with ...any) map[string]any {
	c := map[string]any{
		"iss": "a", "aud": "mqtt", "sub": "pump", "exp": now.Add(time.Hour).Unix(), "iat": now.Unix(), "jti": "7",
	}
	for i := 0; i+1 < len(with); i += 2 {
		if with[i+1] == nil {
			delete(c, with[i].(string))
			continue
		}
		c[with[i].(string)] = with[i+1]
	}
	return c
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func encode(v any) string {
	if s, ok := v.(string); ok {
		return b64([]byte(s))
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b64(b)
}

// privateA and privateB are the keys of issuers a and b.
var (
	privateA = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	privateB = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, ed25519.SeedSize))
)

// sign makes a token. header and payload are values, or JSON as texts.
func sign(key ed25519.PrivateKey, header, payload any) string {
	signed := encode(header) + "." + encode(payload)
	return signed + "." + b64(ed25519.Sign(key, []byte(signed)))
}

func headerA(with ...any) map[string]any {
	h := map[string]any{"alg": "EdDSA", "kid": "ka"}
	for i := 0; i+1 < len(with); i += 2 {
		h[with[i].(string)] = with[i+1]
	}
	return h
}

// tokenOf is a good token with these claims.
func tokenOf(with ...any) string { return sign(privateA, headerA(), claims(with...)) }

func publicPEM(t testing.TB, key ed25519.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func keySet(t testing.TB, id string, key ed25519.PrivateKey) *jwt.KeySet {
	t.Helper()
	keys, err := jwt.ParsePEM(publicPEM(t, key), id)
	if err != nil {
		t.Fatal(err)
	}
	set, err := jwt.NewKeySet(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// options are those of a chain's member with two issuers.
func options(t testing.TB) Options {
	return Options{
		Name: "tokens", Skew: 10 * time.Second, Now: func() time.Time { return now },
		Issuers: []Issuer{
			{Realm: "r:a", Name: "a", Audiences: []string{"mqtt"}, Keys: keySet(t, "ka", privateA)},
			{Realm: "r:b", Name: "b", Audiences: []string{"mqtt"}, Keys: keySet(t, "kb", privateB)},
		},
		Mapping: Mapping{All: true},
	}
}

func member(t testing.TB, change func(*Options)) *Authenticator {
	t.Helper()
	o := options(t)
	if change != nil {
		change(&o)
	}
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// same is the table of groups and roles: what they are called here.
var same = authn.Mapping{"g1": {"g1"}, "g 2": {"g 2"}, "r1": {"r1"}, "r2": {"r2"}}

// judgeBy asks a chain of the member alone.
func judgeBy(t testing.TB, a *Authenticator, c *authn.Credentials) (*security.Principal, error) {
	t.Helper()
	chain, err := authn.NewChain(authn.ChainOptions{
		Members: []authn.Member{{Authenticator: a, Groups: same, Roles: same}}, Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return chain.Authenticate(context.Background(), c)
}

func withToken(token string) *authn.Credentials {
	return &authn.Credentials{
		ClientID: "c1", Listener: "l", Addr: netip.MustParseAddrPort("192.0.2.1:1"), HasPassword: true, Password: []byte(token),
	}
}

func TestAGoodTokenSaysWhoTheClientIs(t *testing.T) {
	a := member(t, func(o *Options) {
		o.Mapping = Mapping{
			Groups: "groups", Roles: "realm_access.roles", All: true,
			Attributes: map[string]string{"plant": "loc.plant", "floor": "loc.floor", "gone": "gone", "null": "null"},
		}
	})
	p, err := judgeBy(t, a, withToken(tokenOf("groups", []string{"g1", "g 2"}, "realm_access", map[string]any{"roles": "r1 r2"},
		"loc", map[string]any{"plant": "north", "floor": 3}, "null", json.RawMessage("null"))))
	if err != nil {
		t.Fatal(err)
	}
	if p.Realm != "r:a" || p.Name != "pump" || p.Method != "tokens" || p.ClientID != "c1" {
		t.Errorf("principal is %+v", p)
	}
	if fmt.Sprint(p.Groups) != "[g1 g 2]" || len(p.Groups) != 2 || fmt.Sprint(p.Roles) != "[r1 r2]" {
		t.Errorf("groups %q, roles %q", p.Groups, p.Roles)
	}
	if want := map[string]string{"plant": "north", "floor": "3"}; !maps.Equal(p.Attrs, want) {
		t.Errorf("attributes %v, want %v", p.Attrs, want)
	}
	if want := uint32(now.Add(time.Hour + 10*time.Second).Unix()); p.Expires != want {
		t.Errorf("expires %d, want exp and the skew: %d", p.Expires, want)
	}
	if p.Token == nil || p.Token.ID != "7" || p.Token.Issuer != "a" || p.Token.Key != keySet(t, "", privateA).Keys()[0].Thumbprint() {
		t.Errorf("token is %+v", p.Token)
	}
	if p.Claims["jti"] != "7" || p.Token.Granted != nil {
		t.Errorf("claims %v, granted %v", p.Claims, p.Token.Granted)
	}
}

func TestTheEarliestEndOfATokenCounts(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    func(*Options)
		with []any
		want time.Duration // from now
	}{
		{"exp", nil, nil, time.Hour},
		{"max_age", func(o *Options) { o.MaxAge = time.Minute }, nil, time.Minute},
		{"exp before max_age", func(o *Options) { o.MaxAge = 2 * time.Hour }, nil, time.Hour},
		{"max_age without exp", func(o *Options) { o.MaxAge, o.NoExpiry = time.Minute, true }, []any{"exp", nil}, time.Minute},
	} {
		p, err := judgeBy(t, member(t, tt.o), withToken(tokenOf(tt.with...)))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if want := now.Add(tt.want + 10*time.Second).Unix(); int64(p.Expires) != want {
			t.Errorf("%s: expires %d, want %d", tt.name, p.Expires, want)
		}
	}
	p, err := judgeBy(t, member(t, func(o *Options) { o.NoExpiry = true }), withToken(tokenOf("exp", nil)))
	if err != nil || p.Expires != 0 {
		t.Errorf("without exp: %v, %v", p, err)
	}
}

// A token is where it is looked for, and nowhere else.
func TestWhereTheTokenTravels(t *testing.T) {
	good := tokenOf()
	creds := func(username, password string) *authn.Credentials {
		c := withToken(password)
		c.HasUsername, c.Username = username != "-", strings.TrimPrefix(username, "-")
		c.HasPassword = password != "-"
		return c
	}
	for _, tt := range []struct {
		name               string
		from               From
		username, password string
		want               string // the error's text; empty: accepted
	}{
		{"password without user name", Password, "-", good, ""},
		{"password and its own name", Password, "pump", good, ""},
		{"password and an empty user name", Password, "", good, ""},
		{"password and another name", Password, "root", good, "user name is not the one of the token"},
		{"password with Bearer", Password, "-", "bearer  " + good, ""},
		{"password with a space before it", Password, "-", " " + good, "no authenticator knows"},
		{"user name, not looked at", Password, good, "-", "no authenticator knows"},
		{"both, and the user name is not its name", Password, good, good, "user name is not the one of the token"},
		{"user name", Username, good, "-", ""},
		{"user name and a password beside it", Username, "Bearer " + good, "x", ""},
		{"password, not looked at", Username, "pump", good, "no authenticator knows"},
		{"either: the password", Either, "pump", good, ""},
		{"either: the user name", Either, good, "secret", ""},
		{"either: two tokens", Either, good, good, "user name is not the one of the token"},
		{"nothing", Either, "-", "-", "no authenticator knows"},
	} {
		p, err := judgeBy(t, member(t, func(o *Options) { o.From = tt.from }), creds(tt.username, tt.password))
		switch {
		case tt.want == "" && (err != nil || p.Name != "pump"):
			t.Errorf("%s: %v, %v", tt.name, p, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// What is no token of ours is left to others, and at once where its form tells.
func TestWhatIsNotOurs(t *testing.T) {
	a := member(t, nil)
	hs := sha256.New
	mac := hmac.New(hs, bytes.Repeat([]byte{9}, 32))
	foreign := encode(map[string]any{"alg": "HS256"}) + "." + encode(claims("iss", "c"))
	mac.Write([]byte(foreign))
	for _, tt := range []struct {
		name, password string
		quick          bool
	}{
		{"a password", "secret", true},
		{"a password with dots", "a.b.c", true},
		{"four parts", "eyJh.b.c.d", true},
		{"a header that is no JSON", "eyJ4." + encode("{}") + ".x", false},
		{"a header without alg", encode(`{"kid":"ka"}`) + "." + encode(claims()) + ".x", false},
		{"of another issuer", foreign + "." + b64(mac.Sum(nil)), false},
		{"of nobody, by a key of nobody", sign(privateA, `{"alg":"EdDSA","kid":"kc"}`, claims("iss", nil)), false},
	} {
		c := withToken(tt.password)
		if _, err, known := a.Quick(c); known != tt.quick || known && !errors.Is(err, authn.ErrNotMine) {
			t.Errorf("%s: quick says %v, %v", tt.name, err, known)
		}
		if _, err := a.Authenticate(context.Background(), c); !errors.Is(err, authn.ErrNotMine) {
			t.Errorf("%s: %v, want ErrNotMine", tt.name, err)
		}
	}
	if _, err, known := a.Quick(withToken(tokenOf())); known {
		t.Errorf("a good token is answered without a worker: %v", err)
	}
	if _, err, known := a.Quick(withToken(tokenOf("pad", strings.Repeat("x", jwt.MaxToken)))); !known || !isRefused(err) {
		t.Errorf("a token that is too long: %v, %v", err, known)
	}
}

func isRefused(err error) bool {
	_, ok := errors.AsType[*authn.Refused](err)
	return ok
}

// A key of one issuer vouches for no other, and two with one name are two principals.
func TestIssuersAreApart(t *testing.T) {
	a := member(t, nil)
	p, err := judgeBy(t, a, withToken(sign(privateB, `{"alg":"EdDSA","kid":"kb"}`, claims("iss", "b"))))
	if err != nil {
		t.Fatal(err)
	}
	q, err := judgeBy(t, a, withToken(tokenOf()))
	if err != nil {
		t.Fatal(err)
	}
	if p.Same(q) || p.Name != q.Name {
		t.Errorf("%s/%s and %s/%s", p.Realm, p.Name, q.Realm, q.Name)
	}
	for name, token := range map[string]string{
		"b speaks for a":              sign(privateB, `{"alg":"EdDSA","kid":"kb"}`, claims()),
		"b speaks for a, without kid": sign(privateB, `{"alg":"EdDSA"}`, claims()),
		"b under the kid of a":        sign(privateB, headerA(), claims("iss", "b")),
		"a's key, nobody's name":      sign(privateA, headerA(), claims("iss", "c")),
	} {
		if p, err := judgeBy(t, a, withToken(token)); !isRefused(err) {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
}

// TestKeeps: who is kept once the keys are others.
func TestKeeps(t *testing.T) {
	p, err := judgeBy(t, member(t, nil), withToken(tokenOf()))
	if err != nil {
		t.Fatal(err)
	}
	stored := *p
	stored.Token = nil
	for _, tt := range []struct {
		name         string
		change       func(*Options)
		live, stored bool
	}{
		{"nothing changed", nil, true, true},
		{"the key is gone", func(o *Options) { o.Issuers[0].Keys = keySet(t, "ka", privateB) }, false, true},
		{"the key has another kid", func(o *Options) { o.Issuers[0].Keys = keySet(t, "new", privateA) }, true, true},
		{"another issuer has the key", func(o *Options) { o.Issuers[0].Keys, o.Issuers[1].Keys = o.Issuers[1].Keys, o.Issuers[0].Keys }, false, true},
		{"the issuer is gone", func(o *Options) { o.Issuers = o.Issuers[1:] }, false, false},
		{"the issuer has another name", func(o *Options) { o.Issuers[0].Name = "c" }, false, false},
		{"the realm is another", func(o *Options) { o.Issuers[0].Realm = "x" }, false, false},
	} {
		a := member(t, tt.change)
		if got := a.Keeps(p); got != tt.live {
			t.Errorf("%s: keeps %v", tt.name, got)
		}
		if got := a.Keeps(&stored); got != tt.stored {
			t.Errorf("%s: keeps the stored one %v", tt.name, got)
		}
	}
}

// TestKeepsSecrets: of a stored principal the secret is known by its kid alone, since
// its thumbprint would give it to guessing.
func TestKeepsSecrets(t *testing.T) {
	secrets := func(id string, fill byte) *jwt.KeySet {
		key, err := jwt.SecretKey(bytes.Repeat([]byte{fill}, 32), id)
		if err != nil {
			t.Fatal(err)
		}
		set, err := jwt.NewKeySet(key)
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	with := func(keys *jwt.KeySet) *Authenticator {
		return member(t, func(o *Options) { o.Issuers[0].Keys = keys })
	}
	text := encode(map[string]any{"alg": "HS256", "kid": "s"}) + "." + encode(claims())
	mac := hmac.New(sha256.New, bytes.Repeat([]byte{1}, 32))
	mac.Write([]byte(text))
	p, err := judgeBy(t, with(secrets("s", 1)), withToken(text+"."+b64(mac.Sum(nil))))
	if err != nil {
		t.Fatal(err)
	}
	if !p.Token.Secret || p.Token.KeyID != "s" {
		t.Errorf("the token's key: %+v", p.Token)
	}
	stored := *p
	stored.Token = &security.Token{ID: p.Token.ID, Issuer: p.Token.Issuer, Secret: true, KeyID: "s"}
	for _, tt := range []struct {
		name         string
		keys         *jwt.KeySet
		live, stored bool
	}{
		{"nothing changed", secrets("s", 1), true, true},
		{"another secret of the kid", secrets("s", 2), false, true},
		{"another kid of the secret", secrets("t", 1), true, false},
		{"another secret and kid", secrets("t", 2), false, false},
		{"a public key of the kid", keySet(t, "s", privateA), false, false},
	} {
		a := with(tt.keys)
		if got := a.Keeps(p); got != tt.live {
			t.Errorf("%s: keeps %v", tt.name, got)
		}
		if got := a.Keeps(&stored); got != tt.stored {
			t.Errorf("%s: keeps the stored one %v", tt.name, got)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Options)
	}{
		{"no issuer", func(o *Options) { o.Issuers = nil }},
		{"an issuer twice", func(o *Options) { o.Issuers[1].Name = "a" }},
		{"any issuer beside one", func(o *Options) { o.Issuers[1].Name, o.Issuers[1].NoIssuer = "", true }},
		{"an issuer without a name", func(o *Options) { o.Issuers[1].Name = "" }},
		{"no audience", func(o *Options) { o.Issuers[0].Audiences = nil }},
		{"no key", func(o *Options) { o.Issuers[0].Keys = nil }},
		{"skew", func(o *Options) { o.Skew = time.Hour }},
		{"a template without placeholder", func(o *Options) { o.ClientID = "same" }},
		{"a template of something else", func(o *Options) { o.ClientID = "${address}" }},
		{"a template whose parts touch", func(o *Options) { o.ClientID = "${username}${claim.x}" }},
		{"a template that is not closed", func(o *Options) { o.ClientID = "${username" }},
		{"an attribute of no claim", func(o *Options) { o.Mapping.Attributes = map[string]string{"x": ""} }},
	} {
		o := options(t)
		tt.change(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s is accepted", tt.name)
		}
	}
}
