package keystore

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gopkcs12 "software.sslmate.com/src/go-pkcs12"
)

// The passwords that stores of these tests have: each says it in its own way.
var peerPasswords = []string{"sesame", "", "sésame ß", "sesame 🔑 ключ"}

func TestOpenSSLKeys(t *testing.T) {
	dir := t.TempDir()
	plain, out := filepath.Join(dir, "plain.pem"), filepath.Join(dir, "out.pem")
	for _, kind := range []string{"RSA", "P-256", "P-384", "P-521", "Ed25519"} {
		w := newWorld(t, kind)
		write(t, plain, keyPEM(t, w.key))
		cert := write(t, filepath.Join(dir, "cert.pem"), certPEM(w.leaf))
		forms := map[string][]string{
			"PKCS#8":           {"pkcs8", "-topk8", "-nocrypt"},
			"encrypted PKCS#8": {"pkcs8", "-topk8", "-passout", "pass:sesame"},
		}
		if kind == "P-256" {
			forms["scrypt"] = []string{"pkcs8", "-topk8", "-scrypt", "-passout", "pass:sesame"}
			forms["PBES1 3DES"] = []string{"pkcs8", "-topk8", "-v1", "PBE-SHA1-3DES", "-passout", "pass:sesame"}
		}
		if kind == "RSA" {
			forms["PKCS#1"] = []string{"rsa", "-traditional"}
		} else if kind != "Ed25519" {
			forms["SEC1"] = []string{"ec"}
			forms["SEC1 with parameters"] = []string{"ecparam", "-genkey", "-name", map[string]string{"P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1"}[kind]}
		}
		for form, args := range forms {
			t.Run(kind+" "+form, func(t *testing.T) {
				if args[0] == "ecparam" {
					// A key of OpenSSL's own, with a block of parameters before it; no certificate has it.
					run(t, "openssl", append(args, "-out", out)...)
					_, _, err := Source{File: cert, KeyFile: out}.Load()
					refuses(t, err, nil, "belongs to none")
					return
				}
				run(t, "openssl", append(args, "-in", plain, "-out", out)...)
				s := Source{File: cert, KeyFile: out}
				if strings.Contains(strings.Join(args, " "), "-passout") {
					_, _, err := s.Load()
					refuses(t, err, ErrNoPassword, "encrypted")
					for _, wrong := range []string{"", "Sesame"} {
						s.Password = []byte(wrong)
						_, _, err = s.Load()
						refuses(t, err, ErrPassword, "wrong password")
					}
					s.Password = []byte("sesame")
				}
				p := load(t, s)
				same(t, p, w.key, w.leaf)
				if p.Legacy != strings.Contains(form, "PBES1") {
					t.Errorf("Legacy is %v", p.Legacy)
				}
			})
		}
	}
}

func TestOpenSSLEncryptedKeys(t *testing.T) {
	w := newWorld(t, "P-256")
	dir := t.TempDir()
	plain := write(t, filepath.Join(dir, "plain.pem"), keyPEM(t, w.key))
	cert := write(t, filepath.Join(dir, "cert.pem"), certPEM(w.leaf))
	out := filepath.Join(dir, "out.pem")
	for _, prf := range []string{"hmacWithSHA1", "hmacWithSHA224", "hmacWithSHA256", "hmacWithSHA384", "hmacWithSHA512"} {
		for _, cipher := range []string{"aes-128-cbc", "aes-192-cbc", "aes-256-cbc"} {
			run(t, "openssl", "pkcs8", "-topk8", "-in", plain, "-out", out, "-v2", cipher, "-v2prf", prf, "-iter", "3000", "-passout", "pass:sesame")
			same(t, load(t, Source{File: cert, KeyFile: out, Password: []byte("sesame")}), w.key, w.leaf)
		}
	}
	for _, password := range peerPasswords {
		run(t, "openssl", "pkcs8", "-topk8", "-in", plain, "-out", out, "-passout", "pass:"+password)
		same(t, load(t, Source{File: cert, KeyFile: out, Password: []byte(password)}), w.key, w.leaf)
	}
	// Refused: what is not AES in CBC mode, and OpenSSL's old form.
	run(t, "openssl", "pkcs8", "-topk8", "-in", plain, "-out", out, "-v2", "des3", "-passout", "pass:sesame")
	_, _, err := Source{File: cert, KeyFile: out, Password: []byte("sesame")}.Load()
	refuses(t, err, nil, "cipher 1.2.840.113549.3.7 of PBES2 is not supported")
	run(t, "openssl", "ec", "-in", plain, "-out", out, "-aes256", "-passout", "pass:sesame")
	_, _, err = Source{File: cert, KeyFile: out, Password: []byte("sesame")}.Load()
	refuses(t, err, nil, "openssl pkcs8 -topk8")
}

func TestOpenSSLPKCS12(t *testing.T) {
	dir := t.TempDir()
	for _, kind := range []string{"RSA", "P-256", "Ed25519"} {
		w := newWorld(t, kind)
		in := write(t, filepath.Join(dir, "in.pem"), keyPEM(t, w.key), certPEM(w.leaf))
		more := write(t, filepath.Join(dir, "more.pem"), certPEM(w.root.cert, w.middle.cert))
		out := filepath.Join(dir, "out") // no end that says what it is
		for _, c := range []struct {
			args   string
			warns  string
			legacy bool
		}{
			{args: ""},
			{args: "-legacy", legacy: true},
			{args: "-descert -legacy", legacy: true},
			{args: "-keypbe PBE-SHA1-RC2-128 -certpbe PBE-SHA1-RC2-128 -legacy", legacy: true},
			{args: "-keypbe PBE-SHA1-2DES -certpbe PBE-SHA1-2DES", legacy: true},
			{args: "-keypbe PBE-SHA1-3DES -certpbe NONE", legacy: true},
			{args: "-keypbe NONE -certpbe NONE"},
			{args: "-keypbe aes-128-cbc -certpbe aes-192-cbc -macalg sha512 -iter 5000"},
			{args: "-macalg sha384"},
			{args: "-macalg sha224 -nomaciter"},
			{args: "-macalg sha1", legacy: true},
			{args: "-nomac", warns: "no MAC"},
			{args: "-nomac -certpbe aes-256-cbc", warns: "no MAC"},
		} {
			t.Run(kind+" "+c.args, func(t *testing.T) {
				args := append([]string{"pkcs12", "-export", "-in", in, "-certfile", more, "-out", out, "-name", "Broker", "-passout", "pass:sesame"}, strings.Fields(c.args)...)
				run(t, "openssl", args...)
				if err := os.Chmod(out, 0o600); err != nil {
					t.Fatal(err)
				}
				s := Source{File: out, Password: []byte("sesame")}
				p, warnings, err := s.Load()
				if err != nil {
					t.Fatal(err)
				}
				same(t, p, w.key, w.leaf, w.middle.cert, w.root.cert)
				if p.Alias != "Broker" || p.Format != PKCS12 || p.Legacy != c.legacy {
					t.Errorf("alias %q, format %s, legacy %v", p.Alias, p.Format, p.Legacy)
				}
				if c.warns == "" && len(warnings) > 0 || c.warns != "" && !warned(warnings, c.warns) {
					t.Errorf("warnings %v, want %q", warnings, c.warns)
				}
				for _, wrong := range []string{"", "Sesame"} {
					s.Password = []byte(wrong)
					_, _, err = s.Load()
					refuses(t, err, ErrPassword, "wrong password")
				}
				s.Password = nil
				_, _, err = s.Load()
				refuses(t, err, ErrNoPassword, "")
			})
		}
	}
}

func TestOpenSSLPKCS12Passwords(t *testing.T) {
	w := newWorld(t, "P-256")
	dir := t.TempDir()
	in := write(t, filepath.Join(dir, "in.pem"), keyPEM(t, w.key), certPEM(w.leaf))
	out := filepath.Join(dir, "out.p12")
	for _, password := range peerPasswords {
		for _, args := range [][]string{nil, {"-legacy"}} {
			run(t, "openssl", append([]string{"pkcs12", "-export", "-in", in, "-out", out, "-passout", "pass:" + password}, args...)...)
			same(t, load(t, Source{File: out, Password: []byte(password)}), w.key, w.leaf)
			_, _, err := Source{File: out}.Load()
			refuses(t, err, ErrNoPassword, "password is missing")
		}
	}
}

// Each entry's count would be allowed; together they are not.
func TestWorkIsBoundedTogether(t *testing.T) {
	w := newWorld(t, "P-256")
	enc := gopkcs12.Modern2023.WithIterations(1000)
	data, err := enc.Encode(w.key, w.leaf, nil, "sesame")
	if err != nil {
		t.Fatal(err)
	}
	for left, want := range map[int]string{2999: "too much work", 3000: ""} { // MAC, certificates, key
		c, err := open(data, passwords{store: []byte("sesame"), key: []byte("sesame"), budget: newBudget(left)})
		if err == nil {
			_, _, err = c.pair(&c.keys[0], "f")
		}
		if want == "" && err != nil {
			t.Errorf("with %d iterations: %v", left, err)
		} else if want != "" {
			refuses(t, err, nil, want)
		}
	}
}

// Forms that OpenSSL 3.0 doesn't write.
func TestGoPKCS12(t *testing.T) {
	w := newWorld(t, "RSA")
	out := filepath.Join(t.TempDir(), "out.p12")
	chain := []*x509.Certificate{w.middle.cert, w.root.cert}
	for name, e := range map[string]*gopkcs12.Encoder{"PBMAC1": gopkcs12.Modern2026, "modern": gopkcs12.Modern2023, "DES": gopkcs12.LegacyDES, "RC2": gopkcs12.LegacyRC2} {
		for _, password := range []string{"sesame", "", "sésame ключ"} {
			data, err := e.Encode(w.key, w.leaf, chain, password)
			if err != nil {
				t.Fatal(err)
			}
			write(t, out, data)
			same(t, load(t, Source{File: out, Password: []byte(password)}), w.key, w.leaf, w.middle.cert, w.root.cert)
			_, _, err = Source{File: out, Password: []byte("Sesame")}.Load()
			refuses(t, err, ErrPassword, "wrong password")
			if t.Failed() {
				t.Fatal(name, password)
			}
		}
	}
	data, err := gopkcs12.Passwordless.Encode(w.key, w.leaf, chain, "")
	if err != nil {
		t.Fatal(err)
	}
	same(t, load(t, Source{File: write(t, out, data)}), w.key, w.leaf, w.middle.cert, w.root.cert)
}

func TestPKCS12ThatIsDamaged(t *testing.T) {
	w := newWorld(t, "P-256")
	for name, e := range map[string]*gopkcs12.Encoder{"PBMAC1": gopkcs12.Modern2026.WithIterations(10), "modern": gopkcs12.Modern2023.WithIterations(10), "legacy": gopkcs12.LegacyRC2.WithIterations(10)} {
		t.Run(name, func(t *testing.T) {
			data, err := e.Encode(w.key, w.leaf, []*x509.Certificate{w.middle.cert}, "sesame")
			if err != nil {
				t.Fatal(err)
			}
			damage(t, data, w, Source{Password: []byte("sesame")})
		})
	}
	// The digest of the MAC is at the end of the file, before its salt: the rest opens.
	data, err := gopkcs12.Modern2023.Encode(w.key, w.leaf, nil, "sesame")
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-30] ^= 1
	_, err = open(data, passwords{store: []byte("sesame"), key: []byte("sesame"), budget: newBudget(maxIterations)})
	refuses(t, err, nil, "its MAC is wrong, the password is right")
}

// damage cuts data everywhere and flips a bit of each byte: what is read of it is
// the same pair or none. Cut stores don't pass for a wrong password.
func damage(t *testing.T, data []byte, w *world, s Source) {
	t.Helper()
	read := func(data []byte) error {
		p, _, err := s.parse(data, nil)
		if err == nil {
			same(t, p, w.key, w.leaf, w.middle.cert)
		}
		return err
	}
	if err := read(data); err != nil {
		t.Fatal(err)
	}
	for n := range data {
		refuses(t, read(data[:n]), nil, "")
	}
	accepted := 0
	for i := range data {
		data[i] ^= 1 << (i % 8)
		err := read(data)
		data[i] ^= 1 << (i % 8)
		if err == nil {
			accepted++ // a parameter that means nothing
		} else if strings.Contains(err.Error(), "sesame") {
			t.Errorf("error %q tells the password", err)
		}
	}
	if accepted > 40 {
		t.Errorf("%d of %d damaged stores are accepted", accepted, len(data))
	}
}
