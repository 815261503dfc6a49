package token

import (
	"crypto"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"sallyport/internal/jwt"
)

// TestAttacks: each is refused by a chain, for the reason that it is, and the error
// holds nothing of the token.
func TestAttacks(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	keys, err := jwt.ParsePEM(public, "rsa")
	if err != nil {
		t.Fatal(err)
	}
	set, err := jwt.NewKeySet(append(keys, keySet(t, "ka", privateA).Keys()...)...)
	if err != nil {
		t.Fatal(err)
	}
	cert, other := &x509.Certificate{Raw: []byte("mine")}, &x509.Certificate{Raw: []byte("theirs")}
	thumb := func(c *x509.Certificate) map[string]any {
		sum := sha256.Sum256(c.Raw)
		return map[string]any{"x5t#S256": b64(sum[:])}
	}
	byHMAC := func(header any, key []byte) string {
		signed := encode(header) + "." + encode(claims())
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(signed))
		return signed + "." + b64(mac.Sum(nil))
	}
	byRSA := func(header any) string {
		signed := encode(header) + "." + encode(claims())
		sum := sha256.Sum256([]byte(signed))
		sig, err := rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA256, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return signed + "." + b64(sig)
	}
	ownKey := `{"alg":"EdDSA","kid":"ka","jwk":{"kty":"OKP","crv":"Ed25519","x":"` + b64(privateB.Public().(ed25519.PublicKey)) + `"}}`
	good := tokenOf()
	tests := []struct {
		name, token, want string
		change            func(*Options)
		cert, user        string
	}{
		{name: "alg none", token: encode(`{"alg":"none","kid":"ka"}`) + "." + encode(claims()) + ".", want: "algorithm"},
		{name: "alg None with a signature", token: sign(privateA, headerA("alg", "None"), claims()), want: "algorithm"},
		{name: "alg empty", token: sign(privateA, headerA("alg", ""), claims()), want: "algorithm"},
		{name: "HS256 with the public key, PEM", token: byHMAC(`{"alg":"HS256","kid":"rsa"}`, public), want: "algorithm"},
		{name: "HS256 with the public key, DER", token: byHMAC(`{"alg":"HS256","kid":"rsa"}`, der), want: "algorithm"},
		{name: "HS256 with an empty key", token: byHMAC(`{"alg":"HS256","kid":"ka"}`, nil), want: "algorithm"},
		{name: "RS256 said to be PS256", token: byRSA(`{"alg":"PS256","kid":"rsa"}`), want: "signature"},
		{name: "RS256 under the kid of another kind of key", token: byRSA(`{"alg":"RS256","kid":"ka"}`), want: "unknown_key"},
		{name: "kid that is a path", token: sign(privateB, headerA("kid", "../../dev/null"), claims()), want: "signature|unknown_key"},
		{name: "kid that is SQL", token: sign(privateB, headerA("kid", "x' UNION SELECT 'key"), claims()), want: "signature|unknown_key"},
		{name: "kid that is a number", token: sign(privateA, headerA("kid", 1), claims()), want: "malformed"},
		{name: "jwk with a key of one's own", token: sign(privateB, ownKey, claims()), want: "signature"},
		{name: "jku", token: sign(privateB, headerA("jku", "https://evil.example/keys"), claims()), want: "signature"},
		{name: "x5u", token: sign(privateB, headerA("x5u", "https://evil.example/cert"), claims()), want: "signature"},
		{name: "x5c", token: sign(privateB, headerA("x5c", []string{"MIIB"}), claims()), want: "signature"},
		{name: "unknown crit", token: sign(privateA, headerA("crit", []string{"exp"}), claims()), want: "critical"},
		{name: "crit that is empty", token: sign(privateA, headerA("crit", []string{}), claims()), want: "critical"},
		{name: "b64 false", token: sign(privateA, headerA("b64", false), claims()), want: "critical"},
		{name: "signature of another key", token: sign(privateB, headerA(), claims()), want: "signature"},
		{name: "signature cut", token: good[:len(good)-3], want: "malformed|signature"},
		{name: "signature of other claims", token: encode(headerA()) + "." + encode(claims("sub", "root")) + good[strings.LastIndexByte(good, '.'):], want: "signature"},
		{name: "no signature", token: good[:strings.LastIndexByte(good, '.')+1], want: "signature"},
		{name: "expired", token: tokenOf("exp", now.Add(-11*time.Second).Unix()), want: "expired"},
		{name: "no exp", token: tokenOf("exp", nil), want: "missing_claim"},
		{name: "exp that is a text", token: tokenOf("exp", "9999999999"), want: "malformed"},
		{name: "exp of 1e400", token: sign(privateA, headerA(), `{"iss":"a","aud":"mqtt","sub":"pump","exp":1e400}`), want: "malformed"},
		{name: "not yet valid", token: tokenOf("nbf", now.Add(11*time.Second).Unix()), want: "not_yet_valid"},
		{name: "issued in the future", token: tokenOf("iat", now.Add(time.Hour).Unix()), want: "not_yet_valid"},
		{name: "too old", token: tokenOf("iat", now.Add(-time.Hour).Unix()), want: "expired", change: func(o *Options) { o.MaxAge = time.Minute }},
		{name: "wrong aud", token: tokenOf("aud", "web"), want: "audience"},
		{name: "no aud", token: tokenOf("aud", nil), want: "missing_claim"},
		{name: "aud that begins alike", token: tokenOf("aud", []string{"mqtt2", "mqt"}), want: "audience"},
		{name: "wrong iss", token: tokenOf("iss", "A"), want: "issuer"},
		{name: "no iss", token: tokenOf("iss", nil), want: "missing_claim"},
		{name: "sub twice", token: sign(privateA, headerA(), `{"iss":"a","aud":"mqtt","exp":9999999999,"sub":"pump","sub":"root"}`), want: "duplicate"},
		{name: "sub twice, once escaped", token: sign(privateA, headerA(), `{"iss":"a","aud":"mqtt","exp":9999999999,"sub":"pump","\u0073ub":"root"}`), want: "duplicate"},
		{name: "alg twice", token: sign(privateA, `{"alg":"none","alg":"EdDSA","kid":"ka"}`, claims()), want: "no authenticator knows"},
		{name: "a token in a token", token: sign(privateA, headerA("cty", "JWT"), good), want: "type"},
		{name: "an encrypted one", token: encode(`{"alg":"dir","enc":"A256GCM","kid":"ka"}`) + ".." + b64([]byte("iv")) + "." + b64([]byte("text")) + "." + b64([]byte("tag")), want: "malformed"},
		{name: "a logout token", token: sign(privateA, headerA("typ", "logout+jwt"), claims()), want: "type"},
		{name: "another typ than asked for", token: sign(privateA, headerA("typ", "JWT"), claims()), want: "type", change: func(o *Options) { o.Types = []string{"at+jwt"} }},
		{name: "too long", token: tokenOf("pad", strings.Repeat("x", jwt.MaxToken)), want: "longer than"},
		{name: "too deep", token: sign(privateA, headerA(), `{"iss":"a","x":`+strings.Repeat("[", 40)+strings.Repeat("]", 40)+`}`), want: "malformed"},
		{name: "bound to another certificate", token: tokenOf("cnf", thumb(other)), want: "binding", cert: "mine"},
		{name: "bound, and no certificate", token: tokenOf("cnf", thumb(cert)), want: "binding"},
		{name: "bound, and the certificate is not verified", token: tokenOf("cnf", thumb(cert)), want: "binding", cert: "unverified"},
		{name: "bound to a key of DPoP", token: tokenOf("cnf", map[string]any{"jkt": "x"}), want: "binding", cert: "mine"},
		{name: "bound to two things", token: tokenOf("cnf", map[string]any{"jkt": "x", "x5t#S256": "y"}), want: "binding", cert: "mine"},
		{name: "not bound where it has to be", token: good, want: "missing_claim", cert: "mine", change: func(o *Options) { o.Bound = true }},
		{name: "user name unequal", token: good, user: "root", want: "user name"},
		{name: "user name of another case", token: good, user: "Pump", want: "user name"},
		{name: "client id mismatch", token: tokenOf("device", "d1"), want: "client id", change: func(o *Options) { o.ClientID = "${claim.device}" }},
		{name: "client id whose claim is missing", token: good, want: "client id", change: func(o *Options) { o.ClientID = "${claim.device}" }},
		{name: "client id whose claim is a list", token: tokenOf("device", []string{"c1"}), want: "client id", change: func(o *Options) { o.ClientID = "${claim.device}" }},
		{name: "no name", token: tokenOf("sub", nil), want: "sub, which is the name"},
		{name: "an empty name", token: tokenOf("sub", ""), want: "sub, which is the name"},
		{name: "a name that is a number", token: tokenOf("sub", 1), want: "malformed"},
		{name: "a name that is a filter", token: tokenOf("sub", "+"), want: "sub, which is the name"},
		{name: "a name of two levels", token: tokenOf("sub", "a/b"), want: "sub, which is the name"},
		{name: "a name with a line end", token: tokenOf("sub", "a\nb"), want: "sub, which is the name"},
		{name: "a name that is too long", token: tokenOf("sub", strings.Repeat("n", 256)), want: "sub, which is the name"},
		{name: "groups that are an object", token: tokenOf("groups", map[string]any{"a": 1}), want: "claim groups", change: mapping(Mapping{Groups: "groups", All: true})},
		{name: "groups with a number", token: tokenOf("groups", []any{"a", 1}), want: "claim groups", change: mapping(Mapping{Groups: "groups", All: true})},
		{name: "too many groups", token: tokenOf("groups", strings.Repeat("g ", 129)), want: "claim groups", change: mapping(Mapping{Groups: "groups", All: true})},
		{name: "an attribute that is a list", token: tokenOf("x", []string{"a"}), want: "claim x", change: mapping(Mapping{Attributes: map[string]string{"y": "x"}, All: true})},
		{name: "claims that are too many to keep", token: tokenOf("x", strings.Repeat("y", maxClaims)), want: "keep_claims"},
	}
	for _, tt := range tests {
		a := member(t, func(o *Options) {
			o.Issuers[0].Keys = set
			if tt.change != nil {
				tt.change(o)
			}
		})
		c := withToken(tt.token)
		c.HasUsername, c.Username = tt.user != "", tt.user
		if tt.cert != "" {
			c.Cert, c.CertVerified = cert, tt.cert == "mine"
		}
		p, err := judgeBy(t, a, c)
		if err == nil {
			t.Errorf("%s: accepted as %s", tt.name, p.Name)
			continue
		}
		if !isRefused(err) {
			t.Errorf("%s: %v is no refusal", tt.name, err)
		}
		hit := false
		for want := range strings.SplitSeq(tt.want, "|") {
			hit = hit || strings.Contains(err.Error(), want)
		}
		if !hit {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		noneOf(t, tt.name, err.Error(), tt.token)
	}
}

func mapping(m Mapping) func(*Options) { return func(o *Options) { o.Mapping = m } }

// noneOf looks for pieces of a token in what is shown.
func noneOf(t *testing.T, name, shown, token string) {
	t.Helper()
	for part := range strings.SplitSeq(token, ".") {
		for i := 0; i+8 <= len(part); i += 8 {
			if strings.Contains(shown, part[i:i+8]) {
				t.Errorf("%s: %q holds a piece of the token", name, shown)
				return
			}
		}
	}
}

// What a binding asks for, it accepts.
func TestBindingsThatHold(t *testing.T) {
	cert := &x509.Certificate{Raw: []byte("mine")}
	sum := sha256.Sum256(cert.Raw)
	for _, tt := range []struct {
		name, clientID string
		change         func(*Options)
		with           []any
	}{
		{"certificate", "c1", func(o *Options) { o.Bound = true }, []any{"cnf", map[string]any{"x5t#S256": b64(sum[:])}}},
		{"client id", "dev-north:7", func(o *Options) { o.ClientID = "dev-${claim.loc.plant}:${claim.n}" }, []any{"loc", map[string]any{"plant": "north"}, "n", 7}},
		{"name", "pump", func(o *Options) { o.ClientID = "${username}" }, nil},
	} {
		c := withToken(tokenOf(tt.with...))
		c.ClientID, c.Cert, c.CertVerified = tt.clientID, cert, true
		if _, err := judgeBy(t, member(t, tt.change), c); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	// Two tokens never yield one client id.
	tpl, err := parseTemplate("${claim.a}-${claim.b}")
	if err != nil {
		t.Fatal(err)
	}
	if s, err := tpl.expand("", map[string]any{"a": "x-y", "b": "z"}); err == nil {
		t.Errorf("a value with the text that ends it yields %q", s)
	}
}
