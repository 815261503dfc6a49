package jwt

import (
	"bytes"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// openssl runs the command, and returns what it writes.
func openssl(t *testing.T, in string, args ...string) []byte {
	t.Helper()
	c := exec.Command("openssl", args...)
	var out, errs bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader([]byte(in)), &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("openssl %q: %v %s", args, err, errs.Bytes())
	}
	return out.Bytes()
}

// fixed writes an ECDSA signature as JWS has it, with numbers of size bytes.
func fixed(t *testing.T, der []byte, size int) []byte {
	t.Helper()
	var sig struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &sig); err != nil {
		t.Fatal(err)
	}
	return append(sig.R.FillBytes(make([]byte, size)), sig.S.FillBytes(make([]byte, size))...)
}

// TestTokensOfOpenSSL: every algorithm, with keys and signatures of others; and no
// other algorithm takes the signature.
func TestTokensOfOpenSSL(t *testing.T) {
	dir := t.TempDir()
	pss := []string{"-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"}
	for _, c := range []struct {
		genpkey []string
		alg     Algorithm
		hash    string
		sign    []string
		size    int // of a number of ECDSA
	}{
		{[]string{"RSA", "-pkeyopt", "rsa_keygen_bits:2048"}, RS256, "-sha256", nil, 0},
		{[]string{"RSA", "-pkeyopt", "rsa_keygen_bits:2048"}, RS384, "-sha384", nil, 0},
		{[]string{"RSA", "-pkeyopt", "rsa_keygen_bits:2048"}, RS512, "-sha512", nil, 0},
		{[]string{"RSA", "-pkeyopt", "rsa_keygen_bits:2048"}, PS256, "-sha256", pss, 0},
		{[]string{"RSA", "-pkeyopt", "rsa_keygen_bits:2048"}, PS384, "-sha384", pss, 0},
		{[]string{"RSA", "-pkeyopt", "rsa_keygen_bits:2048"}, PS512, "-sha512", pss, 0},
		{[]string{"EC", "-pkeyopt", "ec_paramgen_curve:P-256"}, ES256, "-sha256", nil, 32},
		{[]string{"EC", "-pkeyopt", "ec_paramgen_curve:P-384"}, ES384, "-sha384", nil, 48},
		{[]string{"EC", "-pkeyopt", "ec_paramgen_curve:P-521"}, ES512, "-sha512", nil, 66},
		{[]string{"ED25519"}, EdDSA, "", nil, 0},
	} {
		key := filepath.Join(dir, string(c.alg))
		openssl(t, "", append([]string{"genpkey", "-out", key, "-algorithm"}, c.genpkey...)...)
		signed := b64(`{"alg":"`+string(c.alg)+`"}`) + "." + b64(good)
		var sig []byte
		if c.hash == "" {
			file := key + ".txt" // one-shot signatures are of files only
			if err := os.WriteFile(file, []byte(signed), 0o600); err != nil {
				t.Fatal(err)
			}
			sig = openssl(t, "", "pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", file)
		} else {
			sig = openssl(t, signed, append([]string{"dgst", c.hash, "-sign", key, "-binary"}, c.sign...)...)
		}
		if c.size > 0 {
			sig = fixed(t, sig, c.size)
		}
		all, err := ParsePEM(openssl(t, "", "pkey", "-in", key, "-pubout"), "")
		if err != nil {
			t.Fatal(err)
		}
		checkToken(t, c.alg, all, signed+"."+b64(string(sig)))
		for _, other := range append(all[0].Algorithms(), HS256) {
			same := other == c.alg || c.alg == EdDSA && other == Ed25519
			if got := verifySignature(other, all[0].material, []byte(signed), sig); got != same {
				t.Errorf("%s verifies %s: %v", other, c.alg, got)
			}
		}
	}
}

func TestMACsOfOpenSSL(t *testing.T) {
	value := bytes.Repeat([]byte{0xfe, 0x00}, 32)
	for alg, hash := range map[Algorithm]string{HS256: "-sha256", HS384: "-sha384", HS512: "-sha512"} {
		signed := b64(`{"alg":"`+string(alg)+`"}`) + "." + b64(good)
		sum := openssl(t, signed, "dgst", hash, "-mac", "HMAC", "-macopt", "hexkey:"+hex.EncodeToString(value), "-binary")
		k, err := SecretKey(value, "")
		if err != nil {
			t.Fatal(err)
		}
		checkToken(t, alg, []Key{k}, signed+"."+b64(string(sum)))
	}
}

func checkToken(t *testing.T, alg Algorithm, all []Key, token string) {
	t.Helper()
	set, err := NewKeySet(all...)
	if err != nil {
		t.Fatal(err)
	}
	v, err := New(Options{Keys: set, Issuers: []string{"issuer"}, Audiences: []string{"broker"}, Now: at(now)})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := v.Verify([]byte(token), nil); err != nil || got.Algorithm != alg || got.Subject != "pump" {
		t.Errorf("%s: %v", alg, err)
	}
}
