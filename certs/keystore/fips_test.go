package keystore

import (
	"crypto/fips140"
	"crypto/x509/pkix"
	"encoding/asn1"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	gopkcs12 "software.sslmate.com/src/go-pkcs12"
)

// TestFIPS runs itself again where FIPS 140-3 is enforced: what is outside of it
// is refused there, and doesn't panic; what is within is read.
func TestFIPS(t *testing.T) {
	if dir := os.Getenv("KEYSTORE_FIPS_TEST"); dir != "" {
		readWithFIPS(t, dir)
		return
	}
	dir := t.TempDir()
	w := newWorld(t, "P-256")
	for name, e := range map[string]*gopkcs12.Encoder{"legacy.p12": gopkcs12.LegacyRC2, "modern.p12": gopkcs12.Modern2023, "approved.p12": gopkcs12.Modern2026} {
		data, err := e.Encode(w.key, w.leaf, nil, "sesame sesame")
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), data)
	}
	write(t, filepath.Join(dir, "store.jks"), jksStore(t, w, "sesame sesame", "sesame sesame"))
	plain := write(t, filepath.Join(dir, "approved.pem"), keyPEM(t, w.key), certPEM(w.leaf))
	run(t, "openssl", "pkcs8", "-topk8", "-scrypt", "-in", plain, "-out", filepath.Join(dir, "scrypt.key"), "-passout", "pass:sesame sesame")
	key, err := os.ReadFile(filepath.Join(dir, "scrypt.key"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "scrypt.pem"), key, certPEM(w.leaf))
	cmd := exec.Command(os.Args[0], "-test.run=^TestFIPS$", "-test.v")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only", "KEYSTORE_FIPS_TEST="+dir)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "read 6 stores") {
		t.Errorf("%v\n%s", err, out)
	}
}

func readWithFIPS(t *testing.T, dir string) {
	if !fips140.Enforced() {
		t.Fatal("FIPS 140-3 is not enforced")
	}
	names := map[string]string{
		"legacy.p12": "the key derivation of PKCS#12 is outside", "modern.p12": "the key derivation of PKCS#12 is outside",
		"store.jks": "JKS is outside", "scrypt.pem": "scrypt is outside", "approved.p12": "", "approved.pem": "",
	}
	for name, want := range names {
		p, _, err := Source{File: filepath.Join(dir, name), Password: []byte("sesame sesame")}.Load()
		if want != "" {
			refuses(t, err, nil, want)
		} else if err != nil || p.Legacy {
			t.Errorf("%s: %v", name, err)
		}
	}
	sha1MAC := der(t, struct{ KDF, MAC pkix.AlgorithmIdentifier }{
		algorithm(t, rsadsi(1, 5, 12), pbkdf2Parameters{make([]byte, 16), 1}), algorithm(t, rsadsi(2, 7), asn1.NullRawValue),
	})
	_, err := (&p12{passwords: passwords{store: []byte("sesame"), budget: newBudget(1)}}).pbmac1(sha1MAC)
	refuses(t, err, nil, "a MAC with SHA-1 is outside")
	t.Logf("read %d stores", len(names))
}
