package keystore

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	gopkcs12 "software.sslmate.com/src/go-pkcs12"
)

// trusts loads a trust store and fails unless it holds want.
func trusts(t *testing.T, s TrustSource, want ...*x509.Certificate) []Warning {
	t.Helper()
	trust, warnings, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	if len(trust.Certificates) != len(want) {
		t.Fatalf("%d certificates, want %d; %v", len(trust.Certificates), len(want), warnings)
	}
	for i, c := range want {
		if !trust.Certificates[i].Equal(c) {
			t.Errorf("certificate %d is %v, want %v", i, trust.Certificates[i].Subject, c.Subject)
		}
	}
	return warnings
}

func TestTrustOfPEM(t *testing.T) {
	a, b := newAuthority(t, "a", nil), newAuthority(t, "b", nil)
	dir := t.TempDir()
	odd := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw[:100]})
	for _, c := range []struct {
		name  string
		parts [][]byte
		want  []*x509.Certificate
		warns string
	}{
		{"two", [][]byte{certPEM(a.cert, b.cert)}, []*x509.Certificate{a.cert, b.cert}, ""},
		{"one twice", [][]byte{certPEM(a.cert, b.cert, a.cert)}, []*x509.Certificate{a.cert, b.cert}, ""},
		{"text between", [][]byte{[]byte("0 s:CN=a\n"), certPEM(a.cert), []byte("\nb:\n"), certPEM(b.cert)}, []*x509.Certificate{a.cert, b.cert}, ""},
		{"one that can't be read", [][]byte{odd, certPEM(b.cert)}, []*x509.Certificate{b.cert}, "certificate 1 is left out"},
		{"half a block at the end", [][]byte{certPEM(a.cert), certPEM(b.cert)[:300]}, []*x509.Certificate{a.cert}, "1 of 2 PEM blocks can't be read"},
		{"a key among them", [][]byte{certPEM(a.cert), keyPEM(t, a.key)}, []*x509.Certificate{a.cert}, "1 private keys in it"},
		{"OpenSSL's own form", [][]byte{bytes.ReplaceAll(certPEM(a.cert), []byte("CERTIFICATE"), []byte("TRUSTED CERTIFICATE")), certPEM(b.cert)}, []*x509.Certificate{b.cert}, "TRUSTED CERTIFICATE is left out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := trusts(t, TrustSource{Path: write(t, filepath.Join(dir, "ca"), c.parts...)}, c.want...)
			if c.warns == "" && len(got) > 0 || c.warns != "" && !warned(got, c.warns) {
				t.Errorf("warnings %v, want %q", got, c.warns)
			}
		})
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":            {nil, "file is empty"},
		"no form known":      {[]byte("hello"), "is neither PEM"},
		"no certificate":     {keyPEM(t, a.key), "no certificate in it can be used"},
		"none that is whole": {odd, "no certificate in it can be used: "},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := TrustSource{Path: write(t, filepath.Join(dir, "ca"), c.data)}.Load()
			refuses(t, err, nil, c.want)
		})
	}
	_, _, err := TrustSource{Path: write(t, filepath.Join(dir, "ca"), certPEM(a.cert)), Password: []byte("sesame")}.Load()
	refuses(t, err, nil, "has no password")
	_, _, err = TrustSource{}.Load()
	refuses(t, err, nil, "no path is given")
	_, _, err = TrustSource{Path: filepath.Join(dir, "none")}.Load()
	refuses(t, err, nil, "no such file")
}

func TestTrustOfADirectory(t *testing.T) {
	a, b, c := newAuthority(t, "a", nil), newAuthority(t, "b", nil), newAuthority(t, "c", nil)
	dir := t.TempDir()
	s := TrustSource{Path: dir}
	_, _, err := s.Load()
	refuses(t, err, nil, "no certificate in it can be used")
	write(t, filepath.Join(dir, "a.crt"), certPEM(a.cert))
	write(t, filepath.Join(dir, "README"), []byte("our CAs"))
	write(t, filepath.Join(dir, "b.pem"), certPEM(b.cert, a.cert))
	write(t, filepath.Join(dir, "c.der"), c.cert.Raw)
	write(t, filepath.Join(dir, ".d.pem.swp"), certPEM(c.cert))
	if err := os.Mkdir(filepath.Join(dir, "old"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "old", "c.pem"), certPEM(c.cert))
	if err := os.Symlink("a.crt", filepath.Join(dir, "0a1b2c3d.0")); err != nil {
		t.Fatal(err)
	}
	if got := trusts(t, s, a.cert, b.cert); len(got) > 0 {
		t.Errorf("warnings %v", got)
	}
	// What can't be read is named, and the rest is not lost.
	write(t, filepath.Join(dir, "e.pem"), []byte("-----BEGIN CERTIFICATE-----\n"))
	write(t, filepath.Join(dir, "f.pem"), certPEM(c.cert), make([]byte, maxFile))
	if err := os.Symlink("nowhere", filepath.Join(dir, "g.pem")); err != nil {
		t.Fatal(err)
	}
	got := trusts(t, s, a.cert, b.cert)
	for _, want := range []string{"e.pem: left out: PEM is damaged", "f.pem: left out: ", "g.pem: left out: "} {
		if !warned(got, want) {
			t.Errorf("warnings %v, want %q", got, want)
		}
	}
	for i := range maxFiles {
		write(t, filepath.Join(dir, "n"+string(rune('a'+i%26))+string(rune('a'+i/26%26))+string(rune('a'+i/676))))
	}
	_, _, err = s.Load()
	refuses(t, err, nil, "more than 1000 files")
	_, err = s.Digest()
	refuses(t, err, nil, "more than 1000 files")
}

func TestTrustOfPKCS12(t *testing.T) {
	w := newWorld(t, "P-256")
	dir := t.TempDir()
	file := filepath.Join(dir, "store")
	s := TrustSource{Path: file, Password: []byte("sesame")}
	both := []*x509.Certificate{w.root.cert, w.middle.cert}
	data, err := gopkcs12.Modern2023.EncodeTrustStore(both, "sesame") // marked, as Java does
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, data)
	trusts(t, s, both...)
	_, _, err = TrustSource{Path: file, Password: []byte("Sesame")}.Load()
	refuses(t, err, ErrPassword, "wrong password")
	if data, err = gopkcs12.Passwordless.EncodeTrustStore(both, ""); err != nil {
		t.Fatal(err)
	}
	write(t, file, data)
	trusts(t, TrustSource{Path: file}, both...)
	// OpenSSL marks nothing.
	in := write(t, filepath.Join(dir, "in.pem"), certPEM(both...))
	run(t, "openssl", "pkcs12", "-export", "-nokeys", "-in", in, "-out", file, "-passout", "pass:sesame")
	trusts(t, s, both...)
	// The chain of a key is no trust store.
	if data, err = gopkcs12.Modern2023.Encode(w.key, w.leaf, both, "sesame"); err != nil {
		t.Fatal(err)
	}
	write(t, file, data)
	_, _, err = s.Load()
	refuses(t, err, nil, "no certificate in it can be used")
}

func TestTrustOfJKSKeepsWhatCanBeRead(t *testing.T) {
	a, b := newAuthority(t, "a", nil), newAuthority(t, "b", nil)
	file := write(t, filepath.Join(t.TempDir(), "store"), jksTrust(t, a.cert.Raw, a.cert.Raw[:50], b.cert.Raw))
	got := trusts(t, TrustSource{Path: file, Password: []byte("sesame")}, a.cert, b.cert)
	if !warned(got, `entry "anchor2" is left out`) {
		t.Errorf("warnings %v", got)
	}
}
