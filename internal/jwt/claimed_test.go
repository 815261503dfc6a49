package jwt

import (
	"crypto/rsa"
	"math/big"
	"slices"
	"strings"
	"testing"
)

func TestPeek(t *testing.T) {
	header := b64(`{"alg":"HS256","kid":"k"}`)
	for _, c := range []struct {
		name, token string
		form, ok    bool
		want        Claimed
	}{
		{"a token", header + "." + b64(`{"iss":"a"}`) + ".sig", true, true, Claimed{"a", "k"}},
		{"without a signature", header + "." + b64(`{"iss":"a"}`) + ".", true, true, Claimed{"a", "k"}},
		{"an encrypted one", b64(`{"alg":"dir","enc":"x"}`) + "..a.b.c", true, true, Claimed{}},
		{"claims that are none", header + ".x.sig", true, true, Claimed{"", "k"}},
		{"iss twice", header + "." + b64(`{"iss":"a","iss":"b"}`) + ".sig", true, true, Claimed{"", "k"}},
		{"iss that is no text", header + "." + b64(`{"iss":["a"]}`) + ".sig", true, true, Claimed{"", "k"}},
		{"kid that is no text", b64(`{"alg":"x","kid":1}`) + "." + b64(`{"iss":"a"}`) + ".sig", true, true, Claimed{"a", ""}},
		{"white space in the header", b64("{\n\"alg\":\"x\"}") + ".e30.", true, true, Claimed{}},
		{"no alg", b64(`{"kid":"k"}`) + ".e30.", true, false, Claimed{}},
		{"alg that is no text", b64(`{"alg":1}`) + ".e30.", true, false, Claimed{}},
		{"a header that is no JSON", "eyJ4.e30.", true, false, Claimed{}},
		{"too long", header + "." + strings.Repeat("x", MaxToken) + ".", true, false, Claimed{}},
		{"two parts", header + ".e30", false, false, Claimed{}},
		{"four parts", header + ".e30.x.y", false, false, Claimed{}},
		{"padding", header + "=.e30.x", false, false, Claimed{}},
		{"a line end", header + ".e30.x\n", false, false, Claimed{}},
		{"a header that is no object", b64(`["alg"]`) + ".e30.x", false, false, Claimed{}},
		{"nothing", "", false, false, Claimed{}},
		{"dots", "..", false, false, Claimed{}},
	} {
		if got := HasForm([]byte(c.token)); got != c.form {
			t.Errorf("%s: has the form %v", c.name, got)
		}
		if got, ok := Peek([]byte(c.token)); ok != c.ok || got != c.want {
			t.Errorf("%s: %+v, %v", c.name, got, ok)
		}
	}
}

func TestWhatResemblesAToken(t *testing.T) {
	token := b64(`{"alg":"HS256","typ":"JWT"}`) + "." + b64(good) + "." + strings.Repeat("s", 43)
	for _, s := range []string{
		token, "Bearer " + token, "x=" + token, token[:30], token[2:], token[20:], b64(`{ "alg":"EdDSA"}`), b64("{\n \"alg\":\"EdDSA\"}"), b64("{\r\n\"alg\":\"EdDSA\"}"), b64("{\t\"alg\":\"EdDSA\"}"),
	} {
		if !Resembles(s) {
			t.Errorf("%q is shown", s)
		}
	}
	for _, s := range []string{"", "alice", "eyJ", "eyJohn", "sensor.plant-7.example.org", "a.b.c", "CN=pump,OU=line 2", "00000000-0000-4000-8000-000000000000"} {
		if Resembles(s) {
			t.Errorf("%q is hidden", s)
		}
	}
}

func TestKeysForFewerAlgorithms(t *testing.T) {
	k, err := SecretKey([]byte(strings.Repeat("k", 64)), "id")
	if err != nil {
		t.Fatal(err)
	}
	if !k.Secret() || !k.Approved() {
		t.Error("a secret is none, or not approved")
	}
	only, ok := k.Only(HS512, RS256)
	if !ok || !slices.Equal(only.Algorithms(), []Algorithm{HS512}) || len(k.Algorithms()) != 3 {
		t.Errorf("%v of %v, %v", only.Algorithms(), k.Algorithms(), ok)
	}
	if _, ok := k.Only(RS256); ok {
		t.Error("a key for no algorithm")
	}
	odd := new(big.Int).SetBit(big.NewInt(1), 2048, 1) // 2049 bits
	r, err := newKey(&rsa.PublicKey{N: odd, E: 65537}, "", nil)
	if err != nil || r.Approved() || r.Secret() {
		t.Errorf("an RSA key of an odd length: approved %v, %v", r.Approved(), err)
	}
}

func FuzzPeek(f *testing.F) {
	for _, s := range []string{tokenA1, tokenA3, "eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJkaXIifQ..a.b.c", "ey..", b64("{\"alg\":\"\"}") + "..", "Bearer " + tokenA1} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, token []byte) {
		c, ok := Peek(token)
		switch {
		case ok && !HasForm(token):
			t.Error("a token without the form")
		case !ok && c != Claimed{}:
			t.Errorf("what is no token claims %+v", c)
		case ok && len(token) > 40 && !Resembles(string(token)) && c.KeyID+c.Issuer != "":
			t.Errorf("%q would be shown", token)
		}
	})
}
