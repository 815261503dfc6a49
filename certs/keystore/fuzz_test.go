package keystore

import (
	"bytes"
	"crypto/sha1"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gopkcs12 "software.sslmate.com/src/go-pkcs12"
)

// fuzzIterations keeps what an input may cost within what the fuzzer waits.
const fuzzIterations = 20_000

// fuzzStore holds that whatever is read becomes a valid pair or an error, within
// its budget, and that no error tells the password.
func fuzzStore(t *testing.T, data []byte) {
	password := []byte("sesame")
	b := newBudget(fuzzIterations)
	c, err := open(data, passwords{store: password, key: password, budget: b})
	if b.left < 0 {
		t.Errorf("%d iterations over the budget", -b.left)
	}
	if err != nil {
		if strings.Contains(err.Error(), "sesame") && !bytes.Contains(data, password) {
			t.Errorf("error %q tells the password", err)
		}
		return
	}
	if len(c.keys)+len(c.certs) > maxEntries {
		t.Errorf("%d keys and %d certificates", len(c.keys), len(c.certs))
	}
	for i := range c.keys {
		p, _, err := c.pair(&c.keys[i], "f")
		if err != nil {
			continue
		}
		if !p.Leaf().PublicKey.(public).Equal(p.Key.Public()) || len(p.Chain) > maxChain {
			t.Errorf("a pair that is none: %d certificates, %v", len(p.Chain), p.Leaf().Subject)
		}
		if why := p.OutsideFIPS(); why == "" && (p.Legacy || p.Format == JKS) {
			t.Errorf("a legacy %s store is within FIPS 140-3", p.Format)
		}
		for j, x := range p.Chain[1:] {
			if !bytes.Equal(p.Chain[j].RawIssuer, x.RawSubject) {
				t.Errorf("certificate %d didn't issue %d", j+1, j)
			}
		}
	}
	_, _ = choose(c, "broker") // must not panic
	tr := &trust{seen: make(map[string]bool)}
	tr.collect("f", c)
	if len(tr.Certificates) > len(c.certs) {
		t.Errorf("%d anchors of %d certificates", len(tr.Certificates), len(c.certs))
	}
}

func FuzzPEM(f *testing.F) {
	w := newWorld(f, "P-256")
	chain, key := certPEM(w.leaf, w.middle.cert), keyPEM(f, w.key)
	f.Add(slices.Concat(chain, key))
	f.Add(chain[:200])
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: pbes2Key(f, algorithm(f, rsadsi(1, 5, 12), pbkdf2Parameters{[]byte("salt"), 1}))}))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: pbes2Key(f, algorithm(f, oid(1, 3, 6, 1, 4, 1, 11591, 4, 11), scryptParameters{[]byte("salt"), 16, 1, 1}))}))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(testRSA())}))
	f.Add([]byte("-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n"))
	f.Fuzz(fuzzStore)
}

// FuzzEncryptedKey mutates the DER within a PEM block, which FuzzPEM hardly gets at.
func FuzzEncryptedKey(f *testing.F) {
	f.Add(pbes2Key(f, algorithm(f, rsadsi(1, 5, 12), pbkdf2Parameters{[]byte("salt"), 1})))
	f.Add(pbes2Key(f, algorithm(f, oid(1, 3, 6, 1, 4, 1, 11591, 4, 11), scryptParameters{[]byte("salt"), 16, 1, 1})))
	for _, last := range []int{3, 4, 5, 6} {
		f.Add(der(f, encryptedKey{Data: make([]byte, 64), Algorithm: algorithm(f, rsadsi(1, 12, 1, last), pbkdf2Parameters{[]byte("salt"), 1})}))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b := newBudget(fuzzIterations)
		if _, err := decryptKey(data, []byte("sesame"), b); err != nil && strings.Contains(err.Error(), "sesame") {
			t.Errorf("error %q tells the password", err)
		}
		if b.left < 0 {
			t.Errorf("%d iterations over the budget", -b.left)
		}
	})
}

func FuzzPKCS12(f *testing.F) {
	w := newWorld(f, "P-256")
	for _, e := range []*gopkcs12.Encoder{gopkcs12.LegacyRC2, gopkcs12.LegacyDES, gopkcs12.Modern2023, gopkcs12.Modern2026} {
		data, err := e.WithIterations(2).Encode(w.key, w.leaf, []*x509.Certificate{w.middle.cert}, "sesame")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	// Without MAC and encryption a mutation gets at the bags.
	data, err := gopkcs12.Passwordless.Encode(w.key, w.leaf, []*x509.Certificate{w.middle.cert}, "")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	if data, err = gopkcs12.Passwordless.EncodeTrustStore([]*x509.Certificate{w.root.cert}, ""); err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(fuzzStore)
}

func FuzzJKS(f *testing.F) {
	w := newWorld(f, "P-256")
	f.Add(jksStore(f, w, "sesame", "sesame"))
	f.Add(jksTrust(f, w.root.cert.Raw, []byte("x")))
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzStore(t, data)
		fuzzStore(t, resign(data)) // else hardly a mutation gets past the digest
	})
}

// FuzzTrust reads a directory of two files.
func FuzzTrust(f *testing.F) {
	w := newWorld(f, "P-256")
	f.Add(certPEM(w.root.cert), certPEM(w.root.cert, w.middle.cert)[:900])
	f.Add([]byte("README"), jksTrust(f, w.root.cert.Raw))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		dir := t.TempDir()
		for name, data := range map[string][]byte{"a": a, "b": b} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s := TrustSource{Path: dir}
		tr, _, err := s.Load()
		if err == nil && len(tr.Certificates) == 0 {
			t.Error("a trust store without certificates")
		}
		if err != nil {
			return
		}
		if d, err := s.Digest(); err != nil || d != tr.Digest {
			t.Errorf("digests differ: %v", err)
		}
	})
}

// FuzzLookup holds that names lead to a certificate that is valid for them, as
// crypto/x509 has it.
func FuzzLookup(f *testing.F) {
	dir := f.TempDir()
	ca := newAuthority(f, "ca", nil)
	for name, hosts := range map[string][]string{"a": {"mqtt.example.com", "a_b.example.com"}, "b": {"*.example.com", "*.example"}} {
		key := newKey(f, "P-256")
		write(f, filepath.Join(dir, name+".pem"), certPEM(ca.leaf(f, key, hosts...)), keyPEM(f, key))
	}
	d, _, err := DirectorySource{Path: dir}.Load()
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range []string{"", "mqtt.example.com", "MQTT.example.com.", "x.example", "*.example", "192.0.2.1", "a_b.example.com", "::1", "x..example"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		pairs, ok := d.Lookup(name)
		if ok != (len(pairs) == 1) {
			t.Fatalf("Lookup(%q) = %d pairs, %v", name, len(pairs), ok)
		}
		if ok && pairs[0].Leaf().VerifyHostname(name) != nil {
			t.Errorf("Lookup(%q) finds a certificate that is not valid for it: %v", name, pairs[0].Leaf().VerifyHostname(name))
		}
	})
}

// resign puts the right digest at the end of a Java key store.
func resign(data []byte) []byte {
	if len(data) < sha1.Size {
		return data
	}
	body := slices.Clone(data[:len(data)-sha1.Size])
	h := sha1.New()
	for _, c := range []byte("sesame") {
		h.Write([]byte{0, c})
	}
	h.Write([]byte("Mighty Aphrodite")) // as every JKS has it
	h.Write(body)
	return h.Sum(body)
}
