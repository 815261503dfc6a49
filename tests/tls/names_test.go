package tls_test

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// folder is a site whose door has a folder of certificates.
func folder(t *testing.T, ca *authority, more string) *site {
	t.Helper()
	s := newSite(t)
	for file, name := range map[string]string{"one": "one.example", "wild": "*.wild.example"} {
		key := newKey(t, "p256")
		s.write("certs/"+file+".crt", pemOf(ca.issue(name, key, nil)))
		s.write("certs/"+file+".key", keyPEM(t, key))
	}
	rsaKey := newKey(t, "rsa2048")
	s.write("certs/one-rsa.pem", append(pemOf(ca.issue("one.example", rsaKey, nil)), keyPEM(t, rsaKey)...))
	s.write("ca.crt", pemOf(ca.cert))
	s.configure("transport: tls\ntls:\n  certificates: {dir: certs, " + more + "}\nauthenticators: [anyone]\npolicies: [all]\n")
	return s
}

func TestCertificatesByServerName(t *testing.T) {
	ca := newAuthority(t, "ca", nil)
	for mode, more := range map[string]string{"strict": "strict_sni: true", "default": "default: one.crt"} {
		t.Run(mode, func(t *testing.T) {
			s := folder(t, ca, more)
			s.start()
			for _, c := range []struct{ name, want string }{ // want: the certificate's name, "" refused where strict
				{"one.example", "one.example"}, {"ONE.example", "one.example"},
				{"a.wild.example", "*.wild.example"}, {"a.b.wild.example", ""}, {"wild.example", ""},
				{"other.example", ""}, {"", ""},
			} {
				for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
					client := ca.trusts(c.name, nil)
					client.MinVersion, client.MaxVersion, client.InsecureSkipVerify = version, version, true // which one is shown is what counts
					_, state, err := s.greet(client, "a")
					switch {
					case c.want == "" && mode == "strict":
						if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
							t.Errorf("%q, %x: %v, want the alert unrecognized_name", c.name, version, err)
						}
					case err != nil:
						t.Errorf("%q, %x: %v", c.name, version, err)
					default:
						want := c.want
						if want == "" {
							want = "one.example"
						}
						if got := state.PeerCertificates[0].DNSNames[0]; got != want {
							t.Errorf("%q, %x: the certificate of %s, want %s", c.name, version, got, want)
						}
					}
				}
			}
			out := s.sClient("-servername", "a.wild.example", "-CAfile", "ca.crt", "-verify_hostname", "a.wild.example")
			if !strings.Contains(out, "Verify return code: 0 (ok)") {
				t.Errorf("OpenSSL:\n%s", out)
			}
			// A client that can't verify ECDSA gets the RSA certificate of the same name.
			if out := s.sClient("-servername", "one.example", "-tls1_2", "-sigalgs", "RSA-PSS+SHA256"); !strings.Contains(out, "RSA-PSS") {
				t.Errorf("OpenSSL with RSA alone:\n%s", out)
			}
			if out := s.sClient("-servername", "other.example"); strings.Contains(out, "unrecognized name") != (mode == "strict") {
				t.Errorf("OpenSSL with an unknown name:\n%s", out)
			}
		})
	}
}

// TestATicketPassesNoStrictName: with the ticket of a name that is served, one that
// isn't is refused as by a fresh handshake.
func TestATicketPassesNoStrictName(t *testing.T) {
	ca := newAuthority(t, "ca", nil)
	s := folder(t, ca, "strict_sni: true")
	s.start()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client := ca.trusts("one.example", nil)
		client.MinVersion, client.MaxVersion = version, version
		client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		for _, resumed := range []bool{false, true} {
			if _, state, err := s.greet(client, "a"); err != nil || state.DidResume != resumed {
				t.Fatalf("%x: resumed %t, want %t: %v", version, state.DidResume, resumed, err)
			}
		}
		// crypto/tls keys its cache by the name; a client that lies about it has one for all.
		client.ClientSessionCache = oneTicket{client.ClientSessionCache}
		client.ServerName, client.InsecureSkipVerify = "other.example", true
		if _, _, err := s.greet(client, "a"); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("%x: %v, want the alert unrecognized_name", version, err)
		}
	}
}

// oneTicket gives the ticket of one.example to every name.
type oneTicket struct{ tls.ClientSessionCache }

func (o oneTicket) Get(string) (*tls.ClientSessionState, bool) {
	return o.ClientSessionCache.Get("one.example")
}

// TestACertificateIsAddedWhileServing: a folder mounted as Kubernetes does it, whose
// content changes by the swap of a link.
func TestACertificateIsAddedWhileServing(t *testing.T) {
	ca := newAuthority(t, "ca", nil)
	s := newSite(t)
	put := func(version string, names ...string) {
		for _, name := range names {
			key := newKey(t, "p256")
			s.write("certs/"+version+"/"+name+".crt", pemOf(ca.issue(name, key, nil)))
			s.write("certs/"+version+"/"+name+".key", keyPEM(t, key))
			for _, end := range []string{".crt", ".key"} {
				_ = os.Symlink(filepath.Join("..data", name+end), s.path("certs/"+name+end)) // it may be there
			}
		}
		if err := os.Symlink(version, s.path("certs/..new")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(s.path("certs/..new"), s.path("certs/..data")); err != nil {
			t.Fatal(err)
		}
	}
	put("..1", "one.example")
	s.configure("transport: tls\ntls:\n  certificates: {dir: certs, strict_sni: true}\nauthenticators: [anyone]\npolicies: [all]\n")
	s.start()
	stays, _, err := s.greet(ca.trusts("one.example", nil), "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.greet(ca.trusts("two.example", nil), "b"); err == nil {
		t.Error("a name without certificate is served")
	}
	put("..2", "one.example", "two.example")
	s.reload()
	for _, name := range []string{"one.example", "two.example"} {
		if _, _, err := s.greet(ca.trusts(name, nil), name); err != nil {
			t.Errorf("%s after the swap: %v", name, err)
		}
	}
	// A broken file keeps everything as it was.
	s.write("certs/..2/two.example.key", []byte("nonsense"))
	if err := s.srv.ReloadFiles(); err == nil || !strings.Contains(err.Error(), "two.example") {
		t.Errorf("a broken key: %v", err)
	}
	if _, _, err := s.greet(ca.trusts("two.example", nil), "two"); err != nil {
		t.Errorf("after a refused reload: %v", err)
	}
	if _, err := stays.Write([]byte{0xC0, 0}); err != nil {
		t.Fatal(err)
	}
	if n, err := stays.Read(make([]byte, 2)); n == 0 {
		t.Errorf("the client of before: %v", err)
	}
}
