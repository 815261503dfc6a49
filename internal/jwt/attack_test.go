package jwt

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
)

const now = 1_800_000_000

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// world is one key of each kind, and who may make tokens with them.
type world struct {
	rsa    *rsa.PrivateKey
	ec     *ecdsa.PrivateKey
	ed     ed25519.PrivateKey
	secret []byte
	o      Options
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{secret: bytes.Repeat([]byte("secret: "), 8)}
	var err error
	if w.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	if w.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if _, w.ed, err = ed25519.GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	hs, err := SecretKey(w.secret, "hs", HS256)
	if err != nil {
		t.Fatal(err)
	}
	all := []Key{hs}
	for _, k := range []struct {
		id     string
		public any
	}{{"rs", &w.rsa.PublicKey}, {"es", &w.ec.PublicKey}, {"ed", w.ed.Public()}} {
		key, err := newKey(k.public, k.id, nil)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, key)
	}
	set, err := NewKeySet(all...)
	if err != nil {
		t.Fatal(err)
	}
	w.o = Options{Keys: set, Issuers: []string{"issuer"}, Audiences: []string{"broker", "mqtt"}, Now: at(now)}
	return w
}

// verify verifies a token with the world's options, changed.
func (w *world) verify(t testing.TB, token string, peer *x509.Certificate, change ...func(*Options)) (*Token, error) {
	t.Helper()
	o := w.o
	for _, f := range change {
		f(&o)
	}
	v, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return v.Verify([]byte(token), peer)
}

// hs makes a token with the secret, whatever the header says.
func (w *world) hs(header, claims string) string { return mac(w.secret, header, claims) }

func mac(key []byte, header, claims string) string {
	signed := b64(header) + "." + b64(claims)
	return signed + "." + b64(string(macOf(key, signed)))
}

func macOf(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// es signs with ECDSA, and writes R and S as form says.
func es(t *testing.T, key *ecdsa.PrivateKey, header string, form func(r, s *big.Int) []byte) string {
	t.Helper()
	signed := b64(header) + "." + b64(good)
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + b64(string(form(r, s)))
}

func raw32(r, s *big.Int) []byte {
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

const (
	hsHeader = `{"alg":"HS256","typ":"JWT","kid":"hs"}`
	good     = `{"iss":"issuer","sub":"pump","aud":"broker","exp":1800000600,"nbf":1799999999,"iat":1799999999,"jti":"1"}`
)

func TestGoodTokens(t *testing.T) {
	w := newWorld(t)
	signed := b64(`{"alg":"Ed25519"}`) + "." + b64(good)
	for name, token := range map[string]string{
		"HS256":           w.hs(hsHeader, good),
		"no kid, no typ":  w.hs(`{"alg":"HS256"}`, good),
		"at+jwt":          w.hs(`{"alg":"HS256","typ":"application/AT+JWT"}`, good),
		"other members":   w.hs(`{"alg":"HS256","x":{"y":[null,1.5e9,true]},"cty":"json"}`, good),
		"white space":     w.hs(" {\r\n\t\"alg\" : \"HS256\"} ", " "+good+"\n"),
		"aud is a list":   w.hs(hsHeader, strings.Replace(good, `"broker"`, `["x","mqtt"]`, 1)),
		"exp, a fraction": w.hs(hsHeader, strings.Replace(good, "1800000600", "1800000600.25", 1)),
		"escapes":         w.hs(`{"\u0061lg":"HS\u003256"}`, good),
		"depth of 16":     w.hs(hsHeader, strings.Replace(good, `"sub"`, `"x":`+strings.Repeat("[", 15)+strings.Repeat("]", 15)+`,"sub"`, 1)),
		"ES256":           es(t, w.ec, `{"alg":"ES256","kid":"es"}`, raw32),
		"Ed25519":         signed + "." + b64(string(ed25519.Sign(w.ed, []byte(signed)))),
	} {
		got, err := w.verify(t, token, nil)
		if err != nil || got.Subject != "pump" || got.Issuer != "issuer" || got.ID != "1" || got.Certificate != nil {
			t.Errorf("%s: %v %+v", name, err, got)
		}
	}
}

// TestAttacksOnTheForm: nothing but one form is a token, whoever signed it.
func TestAttacksOnTheForm(t *testing.T) {
	w := newWorld(t)
	token := w.hs(hsHeader, good)
	head, rest, _ := strings.Cut(token, ".")
	last := token[len(token)-1]
	deep := strings.Repeat("[", 17) + strings.Repeat("]", 17)
	for name, c := range map[string]struct {
		token string
		want  Reason
	}{
		"empty":               {"", Malformed},
		"two parts":           {head + "." + head, Malformed},
		"four parts":          {token + ".", Malformed},
		"encrypted":           {strings.Repeat("e30.", 4) + "e30", Malformed},
		"dots":                {"..", Malformed},
		"no signature":        {token[:strings.LastIndex(token, ".")+1], BadSignature},
		"half a signature":    {token[:len(token)-20], BadSignature},
		"a longer signature":  {token + "AAAA", BadSignature},
		"padding":             {token + "=", Malformed},
		"loose bits":          {token[:len(token)-1] + string(last+1), Malformed},
		"standard base64":     {head + "+." + rest, Malformed},
		"a space in front":    {" " + token, Malformed},
		"a line end behind":   {token + "\n", Malformed},
		"a line end inside":   {head + "\n." + rest, Malformed},
		"a NUL behind":        {token + "\x00", Malformed},
		"Bearer":              {"Bearer " + token, Malformed},
		"JSON serialization":  {`{"payload":"` + head + `","signatures":[]}`, Malformed},
		"16 KiB and a byte":   {strings.Repeat("A", MaxToken+1), Malformed},
		"huge":                {w.hs(hsHeader, `{"x":"`+strings.Repeat("a", MaxToken)+`"}`), Malformed},
		"deep claims":         {w.hs(hsHeader, strings.Replace(good, `"sub"`, `"x":`+deep[1:len(deep)-1]+`,"sub"`, 1)), Malformed},
		"deep header":         {w.hs(`{"alg":"HS256","x":`+deep+`}`, good), Malformed},
		"very deep":           {w.hs(hsHeader, strings.Repeat("[", 11000)), Malformed},
		"claims are a list":   {w.hs(hsHeader, `[`+good+`]`), Malformed},
		"claims are null":     {w.hs(hsHeader, `null`), Malformed},
		"claims are empty":    {w.hs(hsHeader, ``), Malformed},
		"something behind":    {w.hs(hsHeader, good+`{}`), Malformed},
		"a comma too many":    {w.hs(hsHeader, strings.Replace(good, "}", ",}", 1)), Malformed},
		"a comment":           {w.hs(hsHeader, good+"//"), Malformed},
		"a byte order mark":   {w.hs(hsHeader, "\uFEFF"+good), Malformed},
		"not UTF-8":           {w.hs(hsHeader, strings.Replace(good, "pump", "pump\xff", 1)), Malformed},
		"half a surrogate":    {w.hs(hsHeader, strings.Replace(good, "pump", `pump\ud800`, 1)), Malformed},
		"half of one, a name": {w.hs(hsHeader, strings.Replace(good, `"sub"`, `"\udc00"`, 1)), Malformed},
		"NaN":                 {w.hs(hsHeader, strings.Replace(good, "1800000600", "NaN", 1)), Malformed},
		"header no object":    {w.hs(`"alg"`, good), Malformed},
		"duplicate alg":       {w.hs(`{"alg":"none","alg":"HS256"}`, good), Duplicate},
		"duplicate, escaped":  {w.hs(`{"alg":"HS256","\u0061lg":"HS256"}`, good), Duplicate},
		"duplicate kid":       {w.hs(`{"alg":"HS256","kid":"x","kid":"hs"}`, good), Duplicate},
		"duplicate sub":       {w.hs(hsHeader, strings.Replace(good, `"sub"`, `"sub":"root","sub"`, 1)), Duplicate},
		"duplicate, escaped ": {w.hs(hsHeader, strings.Replace(good, `"sub"`, `"s\u0075b":"root","sub"`, 1)), Duplicate},
		"duplicate, nested":   {w.hs(hsHeader, strings.Replace(good, `"sub"`, `"x":[{"r":1,"r":1}],"sub"`, 1)), Duplicate},
	} {
		if got, err := w.verify(t, c.token, nil); got != nil || reason(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// TestLengthOfTokens: the bound is that of the token, whatever its parts have.
func TestLengthOfTokens(t *testing.T) {
	w := newWorld(t)
	long := func(n int) string {
		return w.hs(hsHeader, strings.Replace(good, `"sub"`, `"x":"`+strings.Repeat("x", n)+`","sub"`, 1))
	}
	n := 0
	for len(long(n+1)) <= MaxToken {
		n += max(1, (MaxToken-len(long(n+1)))/2)
	}
	if _, err := w.verify(t, long(n), nil); err != nil {
		t.Errorf("%d bytes: %v", len(long(n)), err)
	}
	if _, err := w.verify(t, long(n+1), nil); reason(err) != Malformed {
		t.Errorf("%d bytes: %v", len(long(n+1)), err)
	}
}

// TestAttacksOnTheHeader: what a header says chooses among configured keys only.
func TestAttacksOnTheHeader(t *testing.T) {
	w := newWorld(t)
	der, err := x509.MarshalPKIXPublicKey(&w.rsa.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	mine, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := mine.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	jwk := fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":"%s","y":"%s"}`, b64(string(point[1:33])), b64(string(point[33:])))
	zero := func(r, s *big.Int) []byte { return make([]byte, 64) }
	attacks := map[string]struct {
		token string
		want  Reason
	}{
		"no alg":                      {w.hs(`{"kid":"hs"}`, good), BadAlgorithm},
		"ALG":                         {w.hs(`{"ALG":"HS256"}`, good), BadAlgorithm},
		"alg in small letters":        {w.hs(`{"alg":"hs256"}`, good), BadAlgorithm},
		"alg is a list":               {w.hs(`{"alg":["HS256"]}`, good), Malformed},
		"alg is null":                 {w.hs(`{"alg":null}`, good), Malformed},
		"HS384 with a key of HS256":   {w.hs(`{"alg":"HS384"}`, good), BadAlgorithm},
		"ES384 with a key of P-256":   {w.hs(`{"alg":"ES384","kid":"es"}`, good), BadAlgorithm},
		"HS256, the PEM as secret":    {mac(public, `{"alg":"HS256","kid":"rs"}`, good), UnknownKey},
		"HS256, the PEM, no kid":      {mac(public, `{"alg":"HS256"}`, good), BadSignature},
		"HS256, the DER as secret":    {mac(der, `{"alg":"HS256"}`, good), BadSignature},
		"HS256, the modulus":          {mac(w.rsa.N.Bytes(), `{"alg":"HS256"}`, good), BadSignature},
		"HS256, an empty secret":      {mac(nil, `{"alg":"HS256"}`, good), BadSignature},
		"RS256, a MAC":                {w.hs(`{"alg":"RS256","kid":"rs"}`, good), BadSignature},
		"ES256, zeros":                {es(t, w.ec, `{"alg":"ES256","kid":"es"}`, zero), BadSignature},
		"ES256, DER":                  {es(t, w.ec, `{"alg":"ES256","kid":"es"}`, derForm(t)), BadSignature},
		"ES256, another key":          {es(t, mine, `{"alg":"ES256","kid":"es"}`, raw32), BadSignature},
		"ES256 of the key of RSA":     {es(t, w.ec, `{"alg":"ES256","kid":"rs"}`, raw32), UnknownKey},
		"RS256, ES256's signature":    {es(t, w.ec, `{"alg":"RS256"}`, raw32), BadSignature},
		"jwk":                         {es(t, mine, `{"alg":"ES256","jwk":`+jwk+`}`, raw32), BadSignature},
		"jku":                         {es(t, mine, `{"alg":"ES256","jku":"https://attacker.example/jwks"}`, raw32), BadSignature},
		"x5u":                         {es(t, mine, `{"alg":"ES256","x5u":"https://attacker.example/pem"}`, raw32), BadSignature},
		"x5c":                         {es(t, mine, `{"alg":"ES256","x5c":["`+b64(string(point))+`"]}`, raw32), BadSignature},
		"kid is a path":               {w.hs(`{"alg":"HS256","kid":"../../dev/null"}`, good), UnknownKey},
		"kid is SQL":                  {w.hs(`{"alg":"HS256","kid":"x' UNION SELECT 'a' --"}`, good), UnknownKey},
		"kid ends early":              {w.hs(`{"alg":"HS256","kid":"hs\u0000"}`, good), UnknownKey},
		"kid is empty":                {w.hs(`{"alg":"HS256","kid":""}`, good), UnknownKey},
		"kid is a number":             {w.hs(`{"alg":"HS256","kid":0}`, good), Malformed},
		"crit":                        {w.hs(`{"alg":"HS256","crit":["exp"],"exp":1}`, good), Critical},
		"crit of b64":                 {w.hs(`{"alg":"HS256","crit":["b64"],"b64":false}`, good), Critical},
		"crit is empty":               {w.hs(`{"alg":"HS256","crit":[]}`, good), Critical},
		"crit is null":                {w.hs(`{"alg":"HS256","crit":null}`, good), Critical},
		"b64 alone":                   {w.hs(`{"alg":"HS256","b64":true}`, good), Critical},
		"enc":                         {w.hs(`{"alg":"HS256","enc":"A128GCM"}`, good), BadType},
		"nested":                      {w.hs(`{"alg":"HS256","cty":"JWT"}`, good), BadType},
		"nested, in full":             {w.hs(`{"alg":"HS256","cty":"Application/jwt"}`, good), BadType},
		"nested, and nothing says so": {w.hs(`{"alg":"HS256"}`, w.hs(hsHeader, good)), Malformed},
		"a token for a logout":        {w.hs(`{"alg":"HS256","typ":"logout+jwt"}`, good), BadType},
		"typ is empty":                {w.hs(`{"alg":"HS256","typ":""}`, good), BadType},
		"typ is a number":             {w.hs(`{"alg":"HS256","typ":1}`, good), Malformed},
	}
	for _, none := range []string{"none", "None", "NONE", "nOnE", "", " none", "none\\u0000", "HS256 ", "HS256\\u0000", "null"} {
		for _, signature := range []string{"", b64("x")} {
			token := b64(`{"alg":"`+none+`"}`) + "." + b64(good) + "." + signature
			attacks["alg "+none+"/"+signature] = struct {
				token string
				want  Reason
			}{token, BadAlgorithm}
		}
	}
	for name, c := range attacks {
		if got, err := w.verify(t, c.token, nil); got != nil || reason(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func derForm(t *testing.T) func(r, s *big.Int) []byte {
	return func(r, s *big.Int) []byte {
		b, err := marshalDER(r, s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
}

// TestPSSWithAnotherSalt: RFC 7518 3.5 has one length.
func TestPSSWithAnotherSalt(t *testing.T) {
	w := newWorld(t)
	signed := b64(`{"alg":"PS256"}`) + "." + b64(good)
	sum := sha256.Sum256([]byte(signed))
	for salt, want := range map[int]Reason{32: "", 20: BadSignature, 222: BadSignature} {
		sig, err := rsa.SignPSS(rand.Reader, w.rsa, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: salt})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.verify(t, signed+"."+b64(string(sig)), nil); reason(err) != want {
			t.Errorf("salt of %d: %v", salt, err)
		}
	}
}
