package keystore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gopkcs12 "software.sslmate.com/src/go-pkcs12"
)

// outside holds what OutsideFIPS says; no want is nothing.
func outside(t *testing.T, name, got, want string) {
	t.Helper()
	if (got == "") != (want == "") || !strings.Contains(got, want) {
		t.Errorf("%s: %q, want %q", name, got, want)
	}
}

func TestPKCS12OutsideFIPS(t *testing.T) {
	w := newWorld(t, "P-256")
	dir := t.TempDir()
	in := write(t, filepath.Join(dir, "in.pem"), keyPEM(t, w.key), certPEM(w.leaf))
	out := filepath.Join(dir, "out.p12")
	for _, c := range []struct{ args, want string }{
		{"", "a MAC whose key comes of the derivation of PKCS#12"},
		{"-legacy", "a MAC whose key comes of the derivation of PKCS#12"},
		{"-legacy -nomac", "RC2 or 3DES"},
		{"-nomac -keypbe PBE-SHA1-3DES -certpbe NONE", "RC2 or 3DES"},
		{"-nomac -keypbe NONE -certpbe PBE-SHA1-RC2-40 -legacy", "RC2 or 3DES"},
		{"-nomac", "a salt of 8 bytes"}, // of OpenSSL before 3.2
		{"-nomac -keypbe NONE -certpbe NONE", ""},
	} {
		run(t, "openssl", append([]string{"pkcs12", "-export", "-in", in, "-out", out, "-passout", "pass:sesame"}, strings.Fields(c.args)...)...)
		outside(t, c.args, load(t, Source{File: out, Password: []byte("sesame")}).OutsideFIPS(), c.want)
	}
	for name, c := range map[string]struct {
		encoder *gopkcs12.Encoder
		want    string
	}{
		"PBMAC1": {gopkcs12.Modern2026, ""}, "PBMAC1, cheap": {gopkcs12.Modern2026.WithIterations(999), "999 iterations"},
		"modern": {gopkcs12.Modern2023, "a MAC whose key comes of"}, "RC2": {gopkcs12.LegacyRC2, "a MAC whose key"},
	} {
		data, err := c.encoder.Encode(w.key, w.leaf, nil, "sesame")
		if err != nil {
			t.Fatal(err)
		}
		outside(t, name, load(t, Source{File: write(t, out, data), Password: []byte("sesame")}).OutsideFIPS(), c.want)
		if data, err = c.encoder.EncodeTrustStore([]*x509.Certificate{w.root.cert}, "sesame"); err != nil {
			t.Fatal(err)
		}
		trust, _, err := TrustSource{Path: write(t, out, data), Password: []byte("sesame")}.Load()
		if err != nil {
			t.Fatal(err)
		}
		outside(t, "trust in "+name, trust.OutsideFIPS(), c.want)
	}
}

func TestJavaOutsideFIPS(t *testing.T) {
	w := newWorld(t, "P-256")
	dir := t.TempDir()
	jks := write(t, filepath.Join(dir, "store"), jksStore(t, w, "sesame", "sesame"))
	outside(t, "JKS", load(t, Source{File: jks, Password: []byte("sesame")}).OutsideFIPS(), "(JKS), which is outside FIPS 140-3")
	trust, _, err := TrustSource{Path: write(t, filepath.Join(dir, "trust"), jksTrust(t, w.root.cert.Raw)), Password: []byte("sesame")}.Load()
	if err != nil {
		t.Fatal(err)
	}
	outside(t, "JKS trust store", trust.OutsideFIPS(), "(JKS)")
	for args, want := range map[string]string{"": "a MAC whose key comes of", "-J-Dkeystore.pkcs12.macAlgorithm=NONE": ""} {
		out := filepath.Join(t.TempDir(), "java.p12")
		keytool(t, append([]string{"-genkeypair", "-alias", "broker", "-keyalg", "EC", "-groupname", "secp256r1", "-dname", "CN=broker",
			"-keystore", out, "-storetype", "PKCS12", "-storepass", "sesame"}, strings.Fields(args)...)...)
		outside(t, "keytool "+args, load(t, Source{File: out, Password: []byte("sesame")}).OutsideFIPS(), want)
	}
}

// TestKeyOutsideFIPS is about keys that are encrypted by themselves.
func TestKeyOutsideFIPS(t *testing.T) {
	kdf := func(salt, iterations int, prf ...int) pkix.AlgorithmIdentifier {
		p := paramsPBKDF2{Salt: make([]byte, salt), Iterations: iterations}
		if prf != nil {
			p.PRF = algorithm(t, rsadsi(prf...), asn1.NullRawValue)
		}
		return algorithm(t, rsadsi(1, 5, 12), p)
	}
	for _, c := range []struct {
		name string
		key  []byte
		want string
	}{
		{"PBKDF2 with SHA-256", pbes2Key(t, kdf(16, 1000, 2, 9)), ""},
		{"PBKDF2 with SHA-512", pbes2Key(t, kdf(16, 1000, 2, 11)), ""},
		{"PBKDF2 with SHA-1", pbes2Key(t, kdf(16, 1000, 2, 7)), "PBKDF2 with SHA-1"},
		{"PBKDF2 with no hash named", pbes2Key(t, algorithm(t, rsadsi(1, 5, 12), pbkdf2Parameters{make([]byte, 16), 1000})), "PBKDF2 with SHA-1"},
		{"PBKDF2 with a hash that nobody knows", pbes2Key(t, kdf(16, 1000, 2, 99)), "PBKDF2 with SHA-1"},
		{"a short salt", pbes2Key(t, kdf(15, 1000, 2, 9)), "a salt of 15 bytes"},
		{"few iterations", pbes2Key(t, kdf(16, 999, 2, 9)), "999 iterations"},
		{"scrypt", pbes2Key(t, algorithm(t, oid(1, 3, 6, 1, 4, 1, 11591, 4, 11), asn1.NullRawValue)), "scrypt"},
		{"PBKDF2 that can't be read", pbes2Key(t, algorithm(t, rsadsi(1, 5, 12), asn1.NullRawValue)), "can't be read"},
		{"3DES", der(t, encryptedKey{Data: make([]byte, 64), Algorithm: algorithm(t, rsadsi(1, 12, 1, 3), pbkdf2Parameters{make([]byte, 16), 1000})}), "RC2 or 3DES"},
		{"nothing", nil, "can't be read"},
	} {
		outside(t, c.name, keyOutside(c.key), c.want)
	}
	w := newWorld(t, "P-256")
	dir := t.TempDir()
	plain := write(t, filepath.Join(dir, "plain"), keyPEM(t, w.key))
	cert := write(t, filepath.Join(dir, "cert"), certPEM(w.leaf))
	outside(t, "PEM in the clear", load(t, Source{File: cert, KeyFile: plain}).OutsideFIPS(), "")
	out := filepath.Join(dir, "out")
	run(t, "openssl", "pkcs8", "-topk8", "-scrypt", "-in", plain, "-out", out, "-passout", "pass:sesame")
	outside(t, "PEM with scrypt", load(t, Source{File: cert, KeyFile: out, Password: []byte("sesame")}).OutsideFIPS(), "is protected by scrypt, which is outside")
}

// TestCertificatesOutsideFIPS holds keys and signatures of chains and anchors.
func TestCertificatesOutsideFIPS(t *testing.T) {
	signer := newWorld(t, "RSA").root
	rsaKey := func(bits, e int) crypto.PublicKey {
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		return &rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: e}
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edKey, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		key  crypto.PublicKey
		want string
	}{
		"RSA 2048": {rsaKey(2048, 65537), ""}, "RSA 1024": {rsaKey(1024, 65537), "an RSA key of 1024 bits"},
		"RSA 2047": {rsaKey(2047, 65537), "an RSA key of 2047 bits"}, "RSA 2049": {rsaKey(2049, 65537), "an RSA key of 2049 bits"},
		"RSA with 3": {rsaKey(2048, 3), "the exponent 3"}, "P-224": {p224.Public(), "the curve P-224"},
		"P-256": {newKey(t, "P-256").Public(), ""}, "Ed25519": {edKey, ""},
	} {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "subject"}, NotAfter: time.Now().Add(time.Hour)}
		raw, err := x509.CreateCertificate(rand.Reader, template, signer.cert, c.key, signer.key)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		x, err := x509.ParseCertificate(raw)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		outside(t, name, (&Pair{Chain: []*x509.Certificate{signer.cert, x}, Format: PEM}).OutsideFIPS(), c.want)
		outside(t, name, (&Trust{Certificates: []*x509.Certificate{signer.cert, x}, Format: PEM}).OutsideFIPS(), c.want)
		x.SignatureAlgorithm = x509.SHA1WithRSA
		if c.want == "" {
			outside(t, name+" signed with SHA-1", outsideCertificate(x), "a signature by SHA1-RSA")
		}
		x.RawIssuer = x.RawSubject
		outside(t, name+", an anchor by SHA-1", outsideCertificate(x), c.want)
	}
	outside(t, "no key of TLS", outsideCertificate(&x509.Certificate{PublicKeyAlgorithm: x509.DSA}), "a key of type DSA")
	many := &Pair{Key: &rsa.PrivateKey{Primes: []*big.Int{big.NewInt(3), big.NewInt(5), big.NewInt(7)}}, Format: PEM}
	outside(t, "three primes", many.OutsideFIPS(), "two primes of one length")
	outside(t, "nothing but legacy", (&Pair{Format: PKCS12, Legacy: true}).OutsideFIPS(), "obsolete algorithms")
}
