package jwt

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const (
	keyEd = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	// secret32 is a secret of 32 bytes.
	secret32 = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"
)

// with is a JWK with further members.
func with(jwk, members string) string { return strings.TrimSuffix(jwk, "}") + "," + members + "}" }

func TestAlgorithmsOfKeys(t *testing.T) {
	oct := func(n int) string { return `{"kty":"oct","k":"` + b64(strings.Repeat("s", n)) + `"}` }
	for jwk, want := range map[string][]Algorithm{
		keyA2:                        {RS256, RS384, RS512, PS256, PS384, PS512},
		with(keyA2, `"alg":"PS384"`): {PS384},
		keyA3:                        {ES256},
		with(keyA3, `"alg":"ES256","kid":"a","use":"sig","key_ops":["verify"],"x5c":["?"],"new":{}`): {ES256},
		keyEd:                          {EdDSA, Ed25519},
		with(keyEd, `"alg":"EdDSA"`):   {EdDSA},
		oct(32):                        {HS256},
		oct(48):                        {HS256, HS384},
		oct(64):                        {HS256, HS384, HS512},
		with(oct(64), `"alg":"HS512"`): {HS512},
	} {
		got := keys(t, jwk).Keys()
		if len(got) != 1 || !slices.Equal(got[0].Algorithms(), want) {
			t.Errorf("%s: %v", jwk, got)
		}
	}
}

// TestKeysThatAreRefused: and the set with them.
func TestKeysThatAreRefused(t *testing.T) {
	n := func(bits int) string {
		return b64(string(new(big.Int).SetBit(new(big.Int).SetBit(new(big.Int), bits-1, 1), 0, 1).Bytes()))
	}
	rsaKey := func(n, e string) string { return fmt.Sprintf(`{"kty":"RSA","n":"%s","e":"%s"}`, n, e) }
	for name, jwk := range map[string]string{
		"no object":                  `"key"`,
		"no kty":                     `{}`,
		"kty is a number":            `{"kty":1}`,
		"KTY":                        `{"KTY":"oct","k":"` + secret32 + `"}`,
		"kid is a number":            with(keyA3, `"kid":1`),
		"key_ops is a number":        with(keyA3, `"key_ops":1`),
		"a secret of 31 bytes":       `{"kty":"oct","k":"` + b64(strings.Repeat("s", 31)) + `"}`,
		"an empty secret":            `{"kty":"oct","k":""}`,
		"no secret":                  `{"kty":"oct"}`,
		"a secret with padding":      `{"kty":"oct","k":"` + secret32 + `="}`,
		"a secret in base64":         `{"kty":"oct","k":"` + secret32 + `++++"}`,
		"32 bytes for HS512":         `{"kty":"oct","alg":"HS512","k":"` + secret32 + `"}`,
		"HS256 with RSA":             with(keyA2, `"alg":"HS256"`),
		"RS256 with a secret":        `{"kty":"oct","alg":"RS256","k":"` + secret32 + `"}`,
		"ES384 with P-256":           with(keyA3, `"alg":"ES384"`),
		"ES256 with Ed25519":         with(keyEd, `"alg":"ES256"`),
		"RSA, private":               with(keyA2, `"d":"AQAB"`),
		"EC, private":                with(keyA3, `"d":"AQAB"`),
		"OKP, private":               with(keyEd, `"d":null`),
		"private, and encrypts":      with(keyA3, `"d":"AQAB","use":"enc"`),
		"RSA, a factor":              with(keyA2, `"p":"AQAB"`),
		"EC with a secret":           with(keyA3, `"k":"`+secret32+`"`),
		"RSA, 2047 bits":             rsaKey(n(2047), "AQAB"),
		"RSA, 1024 bits and zeros":   rsaKey(b64(strings.Repeat("\x00", 256))+n(1024), "AQAB"),
		"RSA, 8193 bits":             rsaKey(n(8193), "AQAB"),
		"RSA, even":                  rsaKey(b64("\x80"+strings.Repeat("\x00", 255)), "AQAB"),
		"RSA, no modulus":            rsaKey("", "AQAB"),
		"RSA, exponent 1":            rsaKey(n(2048), "AQ"),
		"RSA, exponent 3":            rsaKey(n(2048), "Aw"),
		"RSA, exponent 65536":        rsaKey(n(2048), "AQAA"),
		"RSA, exponent 65538":        rsaKey(n(2048), "AQAC"),
		"RSA, exponent of 32 bits":   rsaKey(n(2048), "_____w"),
		"RSA, exponent of 72 bits":   rsaKey(n(2048), "AQAAAAAAAQAB"),
		"RSA, no exponent":           rsaKey(n(2048), ""),
		"EC, no y":                   `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"}`,
		"EC, not on the curve":       strings.Replace(keyA3, "x_FEz", "x_FEy", 1),
		"EC, the origin":             `{"kty":"EC","crv":"P-256","x":"` + strings.Repeat("A", 43) + `","y":"` + strings.Repeat("A", 43) + `"}`,
		"EC, of another curve":       strings.Replace(keyA3, "P-256", "P-384", 1),
		"EC, short":                  strings.Replace(keyA3, "f83O", "", 1),
		"OKP, short":                 strings.Replace(keyEd, "11qY", "", 1),
		"OKP, no x":                  `{"kty":"OKP","crv":"Ed25519"}`,
		"a name that stands twice":   with(keyA3, `"kty":"EC"`),
		"a name twice, with escapes": with(keyA3, `"\u006bty":"EC"`),
	} {
		for _, file := range []string{jwk, `{"keys":[` + keyA3 + `,` + jwk + `]}`} {
			got, _, err := ParseJWKS([]byte(file))
			if err == nil || got != nil {
				t.Errorf("%s: accepted", name)
			} else if strings.Contains(err.Error(), "token") || strings.Contains(err.Error(), secret32) || strings.Contains(err.Error(), "AQAB") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for name, file := range map[string]string{
		"empty": ``, "a list": `[` + keyA3 + `]`, "no keys": `{}`, "keys of another case": `{"Keys":[` + keyA3 + `]}`,
		"keys is an object": `{"keys":` + keyA3 + `}`, "two sets": `{"keys":[]}{"keys":[]}`, "long": strings.Repeat(" ", MaxKeyFile) + keyA3,
		"too many": `{"keys":[` + strings.Repeat(keyA3+",", MaxKeys) + keyA3 + `]}`,
	} {
		if got, _, err := ParseJWKS([]byte(file)); err == nil || got != nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestKeysOfOtherKinds are left out, and it is said.
func TestKeysOfOtherKinds(t *testing.T) {
	others := []string{
		with(keyA2, `"use":"enc"`), with(keyA2, `"alg":"RSA-OAEP-256"`), with(keyA2, `"alg":"none"`), with(keyA3, `"key_ops":["sign"]`),
		`{"kty":"AKP","alg":"ML-DSA-44","pub":"AA"}`, `{"kty":"AKP","pub":"AA"}`, `{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}`,
		`{"kty":"OKP","crv":"X25519","x":"AA"}`, `{"kty":"OKP","crv":"Ed448","x":"AA"}`,
	}
	got, warnings, err := ParseJWKS([]byte(`{"keys":[` + strings.Join(others, ",") + `,` + with(keyA3, `"kid":"a"`) + `]}`))
	if err != nil || len(got) != 1 || got[0].ID() != "a" || len(warnings) != len(others) {
		t.Fatalf("%v %q %v", got, warnings, err)
	}
	for i, w := range warnings {
		if !strings.HasPrefix(string(w), fmt.Sprintf("key %d: not used: ", i+1)) {
			t.Errorf("%s", w)
		}
	}
	if got, _, err := ParseJWKS([]byte(`{"keys":[]}`)); err != nil || len(got) > 0 {
		t.Error(got, err)
	}
}

func TestSecretsThatAreNone(t *testing.T) {
	der, err := x509.MarshalPKIXPublicKey(ed25519.PublicKey(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"31 bytes": strings.Repeat("s", 31), "long": strings.Repeat("s", MaxSecret+1), "DER": string(der), "JWK": " " + keyA3 + "\n",
		"PEM": "# key\n" + string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
	} {
		if _, err := SecretKey([]byte(value), ""); err == nil || strings.Contains(err.Error(), value) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := SecretKey(bytes.Repeat([]byte("s"), 32), "", RS256); err == nil {
		t.Error("RS256 with a secret")
	}
	value := bytes.Repeat([]byte("s"), 32)
	k, err := SecretKey(value, "")
	if err != nil {
		t.Fatal(err)
	}
	value[0] = 'x'
	if !verifySignature(HS256, k.material, []byte("a"), macOf(bytes.Repeat([]byte("s"), 32), "a")) {
		t.Error("a secret that its caller can change")
	}
}

// TestNothingShowsASecret: whatever prints a key, a set or a verifier.
func TestNothingShowsASecret(t *testing.T) {
	w := newWorld(t)
	v, err := New(w.o)
	if err != nil {
		t.Fatal(err)
	}
	k := w.o.Keys.keys[0]
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, a := range []any{k, &k, []Key{k}, w.o.Keys, *w.o.Keys, v, *v, w.o, struct{ k Key }{k}} {
			text := fmt.Sprintf(verb, a)
			for _, s := range []string{"secret: ", fmt.Sprintf("%x", "secret: "), "115 101 99", "0x73, 0x65"} {
				if strings.Contains(text, s) {
					t.Errorf("%s of %T: %s", verb, a, text)
				}
			}
		}
	}
	for _, a := range []any{k, w.o.Keys} {
		if b, err := json.Marshal(a); err != nil || string(b) != "{}" {
			t.Errorf("%s %v", b, err)
		}
	}
}

// TestEd25519KeysOfSmallOrder: for each, R of the identity and S of zero is a signature
// of one message in eight, at least; so without the check everybody could make tokens.
func TestEd25519KeysOfSmallOrder(t *testing.T) {
	for _, y := range []string{
		"0100000000000000000000000000000000000000000000000000000000000000",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"0000000000000000000000000000000000000000000000000000000000000000",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	} {
		k, err := hex.DecodeString(y)
		if err != nil {
			t.Fatal(err)
		}
		if !forgeable(k) {
			t.Errorf("%s is no key of a small order: the table is wrong", y)
		}
		for _, sign := range []byte{0, 0x80} {
			k[31] ^= sign
			if _, err := newKey(ed25519.PublicKey(k), "", nil); err == nil {
				t.Errorf("%x: accepted", k)
			}
		}
	}
	if k := keys(t, keyEd).Keys()[0].material.(ed25519.PublicKey); forgeable(k) {
		t.Error("a right key takes a signature of nobody")
	}
}

func forgeable(k ed25519.PublicKey) bool {
	sig := make([]byte, ed25519.SignatureSize)
	sig[0] = 1
	for i := range 256 {
		if ed25519.Verify(k, []byte{byte(i)}, sig) {
			return true
		}
	}
	return false
}

func TestPEM(t *testing.T) {
	w := newWorld(t)
	block := func(kind string, der []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	pkix := func(k any) string {
		der, err := x509.MarshalPKIXPublicKey(k)
		return block("PUBLIC KEY", der, err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &w.ec.PublicKey, w.ec)
	certificate := block("CERTIFICATE", der, err)
	private, err := x509.MarshalPKCS8PrivateKey(w.ed)
	pkcs8 := block("PRIVATE KEY", private, err)

	all := pkix(&w.rsa.PublicKey) + "a comment\n" + certificate + pkix(w.ed.Public()) + block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&w.rsa.PublicKey), nil)
	got, err := ParsePEM([]byte(all), "id")
	if err != nil || len(got) != 4 || got[0].ID() != "id" || got[0].Thumbprint() != got[3].Thumbprint() ||
		!reflect.DeepEqual(got[1].Algorithms(), []Algorithm{ES256}) || !reflect.DeepEqual(got[2].Algorithms(), []Algorithm{EdDSA, Ed25519}) {
		t.Fatalf("%v %v", got, err)
	}
	if got, err := ParsePEM([]byte(pkix(&w.rsa.PublicKey)), "", PS256, PS384); err != nil || !reflect.DeepEqual(got[0].Algorithms(), []Algorithm{PS256, PS384}) {
		t.Errorf("%v %v", got, err)
	}

	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small := &rsa.PublicKey{N: new(big.Int).SetBit(new(big.Int).SetBit(new(big.Int), 1023, 1), 0, 1), E: 65537}
	for name, text := range map[string]string{
		"empty":            "",
		"no PEM":           "key",
		"a private key":    pkcs8,
		"one behind":       certificate + pkcs8,
		"an old one":       block("EC PRIVATE KEY", private, nil),
		"something else":   certificate + block("X509 CRL", der, nil),
		"cut off":          certificate + certificate[:len(certificate)-20],
		"broken in front":  strings.Replace(certificate, "END", "END ", 1) + certificate,
		"no key":           block("PUBLIC KEY", []byte("key"), nil),
		"P-224":            pkix(&p224.PublicKey),
		"RSA of 1024 bits": pkix(small),
		"too many":         strings.Repeat(pkix(w.ed.Public()), MaxKeys+1),
		"long":             strings.Repeat("\n", MaxKeyFile) + certificate,
	} {
		if got, err := ParsePEM([]byte(text), ""); err == nil || got != nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := ParsePEM([]byte(certificate), "", HS256); err == nil {
		t.Error("HS256 with a certificate")
	}
}
