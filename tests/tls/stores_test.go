package tls_test

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"testing"
)

// store is one form of key material, as the listener names it.
type store struct {
	name string
	// make writes the files and returns the keys of the tls section; "" where the
	// form can't hold such a key, and why.
	make func(s *site, cert *x509.Certificate, key any) (section, cannot string)
}

const storePassword = "correct horse"

func stores() []store {
	separate := func(kind string, der func(key any) ([]byte, error)) func(*site, *x509.Certificate, any) (string, string) {
		return func(s *site, cert *x509.Certificate, key any) (string, string) {
			data, err := der(key)
			if err != nil {
				return "", err.Error()
			}
			s.write("server.crt", pemOf(cert))
			s.write("server.key", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}))
			return "certificate: server.crt\nkey: server.key", ""
		}
	}
	// made is a store that a program makes of PEM files.
	made := func(section string, commands ...[]string) func(*site, *x509.Certificate, any) (string, string) {
		return func(s *site, cert *x509.Certificate, key any) (string, string) {
			der, err := x509.MarshalPKCS8PrivateKey(key)
			if err != nil {
				s.t.Fatal(err)
			}
			s.write("in.crt", pemOf(cert))
			s.write("in.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
			s.write("password", []byte(storePassword+"\n"))
			for _, c := range commands {
				s.tool(c[0], c[1:]...)
			}
			for _, name := range []string{"server.p12", "server.jks", "server.key"} {
				_ = os.Chmod(s.path(name), 0o600) // where there is one
			}
			return section, ""
		}
	}
	p12 := []string{"openssl", "pkcs12", "-export", "-in", "in.crt", "-inkey", "in.key", "-name", "server", "-out", "server.p12", "-passout", "pass:" + storePassword}
	jks := []string{"keytool", "-importkeystore", "-noprompt", "-srckeystore", "server.p12", "-srcstoretype", "PKCS12", "-srcstorepass", storePassword,
		"-destkeystore", "server.jks", "-deststoretype", "JKS", "-deststorepass", storePassword, "-srcalias", "server", "-destalias", "broker", "-destkeypass", "another one"}
	return []store{
		{"PEM PKCS#1", separate("RSA PRIVATE KEY", func(key any) ([]byte, error) {
			if k, ok := key.(*rsa.PrivateKey); ok {
				return x509.MarshalPKCS1PrivateKey(k), nil
			}
			return nil, fmt.Errorf("PKCS#1 is for RSA keys")
		})},
		{"PEM SEC1", separate("EC PRIVATE KEY", func(key any) ([]byte, error) {
			if k, ok := key.(*ecdsa.PrivateKey); ok {
				return x509.MarshalECPrivateKey(k)
			}
			return nil, fmt.Errorf("SEC1 is for ECDSA keys")
		})},
		{"PEM PKCS#8", separate("PRIVATE KEY", x509.MarshalPKCS8PrivateKey)},
		{"PEM encrypted", made("certificate: in.crt\nkey: server.key\npassword: {file: password}",
			[]string{"openssl", "pkcs8", "-topk8", "-in", "in.key", "-out", "server.key", "-v2", "aes-256-cbc", "-passout", "pass:" + storePassword})},
		{"PKCS#12", made("certificate: server.p12\npassword: {file: password}", p12)},
		{"PKCS#12 legacy", made("certificate: server.p12\npassword: {file: password}", append(p12, "-legacy"))},
		{"JKS", made("certificate: server.jks\npassword: {command: [/bin/cat, PATH/password]}\nkey_password: {env: SALLYPORT_TEST_KEY_PASSWORD}\nalias: broker", p12, jks)},
	}
}

// notHeld says which keys a form can't hold because its tool doesn't make it.
func notHeld(form, kind string) string {
	switch {
	case form == "PEM PKCS#1" && !strings.HasPrefix(kind, "rsa"), form == "PEM SEC1" && !strings.HasPrefix(kind, "p"):
		return "the form is for other keys"
	}
	return ""
}

// TestEveryStoreServes: kinds of keys x forms of stores x versions, with crypto/tls
// and OpenSSL as clients. A cell that can't be is named; every other one is served.
func TestEveryStoreServes(t *testing.T) {
	t.Setenv("SALLYPORT_TEST_KEY_PASSWORD", "another one")
	ca := newAuthority(t, "ca", nil)
	cells := 0
	for _, kind := range []string{"rsa2048", "rsa4096", "p256", "p384", "ed25519"} {
		key := newKey(t, kind)
		cert := ca.issue("broker.example", key, nil)
		for _, form := range stores() {
			t.Run(kind+"/"+form.name, func(t *testing.T) {
				s := newSite(t)
				section, cannot := form.make(s, cert, key)
				if want := notHeld(form.name, kind); want != "" || cannot != "" {
					if want == "" || cannot == "" {
						t.Fatalf("an empty cell: %q, expected %q", cannot, want)
					}
					return
				}
				s.write("ca.crt", pemOf(ca.cert))
				section = strings.ReplaceAll(section, "PATH", s.dir)
				s.configure("transport: tls\ntls:\n" + indent(section, "  ") + "\nauthenticators: [anyone]\npolicies: [all]\n")
				s.start()
				for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
					c := ca.trusts("broker.example", nil)
					c.MinVersion, c.MaxVersion = version, version
					_, state, err := s.greet(c, "a")
					if err != nil || !state.PeerCertificates[0].Equal(cert) {
						t.Errorf("version %x: %v", version, err)
					}
					flag := map[uint16]string{tls.VersionTLS12: "-tls1_2", tls.VersionTLS13: "-tls1_3"}[version]
					if out := s.sClient(flag, "-CAfile", "ca.crt", "-verify_hostname", "broker.example"); !strings.Contains(out, "Verify return code: 0 (ok)") || !strings.Contains(out, "Verified peername: broker.example") {
						t.Errorf("OpenSSL %s:\n%s", flag, out)
					}
					cells++
				}
				if log := s.log.String(); strings.Contains(log, storePassword) || strings.Contains(log, "another one") {
					t.Error("a password is in the log")
				}
			})
		}
	}
	if cells != 2*(2*6+2*6+5) {
		t.Errorf("%d cells were served", cells)
	}
}

// TestAStoreThatCannotBeOpenedIsRefused: the error names the file and no secret.
func TestAStoreThatCannotBeOpenedIsRefused(t *testing.T) {
	t.Setenv("SALLYPORT_TEST_KEY_PASSWORD", "not the one")
	ca := newAuthority(t, "ca", nil)
	key := newKey(t, "p256")
	cert := ca.issue("broker.example", key, nil)
	forms := map[string]store{}
	for _, f := range stores() {
		forms[f.name] = f
	}
	for name, c := range map[string]struct {
		form   string
		change func(s *site, section string) string
		want   string
	}{
		"wrong password": {"PKCS#12", func(s *site, section string) string {
			s.write("password", []byte("guess"))
			return section
		}, "wrong password"},
		"no password":        {"PKCS#12", func(_ *site, section string) string { return "certificate: server.p12" }, "password is missing"},
		"wrong key password": {"JKS", func(s *site, section string) string { return strings.ReplaceAll(section, "PATH", s.dir) }, "wrong password"},
		"unknown alias": {"JKS", func(s *site, section string) string {
			return strings.ReplaceAll(strings.ReplaceAll(section, "PATH", s.dir), "alias: broker", "alias: nobody")
		}, "nobody"},
		"key of another certificate": {"PEM PKCS#8", func(s *site, section string) string {
			s.write("server.key", keyPEM(s.t, newKey(s.t, "p256")))
			return section
		}, "belongs to none"},
		"damaged": {"JKS", func(s *site, section string) string {
			data, err := os.ReadFile(s.path("server.jks"))
			if err != nil {
				s.t.Fatal(err)
			}
			data[len(data)/2] ^= 1
			s.write("server.jks", data)
			return strings.ReplaceAll(section, "PATH", s.dir)
		}, "server.jks"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			section, cannot := forms[c.form].make(s, cert, key)
			if cannot != "" {
				t.Fatal(cannot)
			}
			s.configure("transport: tls\ntls:\n" + indent(c.change(s, section), "  ") + "\nauthenticators: [anyone]\npolicies: [all]\n")
			err := s.open()
			if err == nil {
				t.Fatal("it starts")
			}
			if text := err.Error(); !strings.Contains(text, c.want) || !strings.Contains(text, "listener door") || strings.Contains(text, storePassword) || strings.Contains(text, "guess") {
				t.Errorf("the error is %q, want %q", text, c.want)
			}
		})
	}
}
