package tls_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestAHundredSwapsUnderLoad: 1,000 clients publish and receive while the
// certificate is swapped a hundred times. None of them is disturbed, and each
// handshake after a swap gets the new certificate.
func TestAHundredSwapsUnderLoad(t *testing.T) {
	const clients, swaps = 1000, 100
	ca := newAuthority(t, "ca", nil)
	s := newSite(t)
	swap := func() *x509.Certificate {
		key := newKey(t, "p256")
		c := ca.issue("broker.example", key, nil)
		s.write("server.crt", pemOf(c))
		s.write("server.key", keyPEM(t, key))
		return c
	}
	swap()
	s.configure("transport: tls\ntls:\n  certificate: server.crt\n  key: server.key\nauthenticators: [anyone]\npolicies: [all]\n")
	s.start()

	var published, lost atomic.Int64
	done := make(chan struct{})
	var all sync.WaitGroup
	for i := range clients {
		id := fmt.Sprintf("c%d", i)
		conn, _, err := s.greet(ca.trusts("broker.example", nil), id)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(5 * time.Minute)) // it is open
		all.Go(func() {
			if err := exchange(conn, id, done, &published); err != nil {
				lost.Add(1)
				t.Errorf("%s: %v", id, err)
			}
		})
	}
	for n := range swaps {
		want := swap()
		s.reload()
		_, state, err := s.greet(ca.trusts("broker.example", nil), "new")
		if err != nil || !state.PeerCertificates[0].Equal(want) {
			t.Errorf("swap %d: the handshake got another certificate, %v", n, err)
		}
	}
	before := published.Load()
	eventually(t, "a message of each client after the last swap", func() bool { return published.Load() >= before+clients })
	close(done)
	all.Wait()
	t.Logf("%d messages, %d connections lost", published.Load(), lost.Load())
}

// exchange subscribes to a topic of its own and publishes to it at QoS 1, each
// message after the one before has come back and was acknowledged.
func exchange(conn net.Conn, id string, done <-chan struct{}, count *atomic.Int64) error {
	topic := "t/" + id
	subscribe := append([]byte{0x82, byte(5 + len(topic)), 0, 1, 0, byte(len(topic))}, topic...)
	publish := append([]byte{0x32, byte(6 + len(topic)), 0, byte(len(topic))}, topic...)
	publish = append(publish, 0, 2, 'h', 'i')
	echo := append([]byte{0x30, byte(4 + len(topic)), 0, byte(len(topic))}, topic...)
	echo = append(echo, 'h', 'i')
	if _, err := conn.Write(append(subscribe, 0)); err != nil {
		return err
	}
	if err := expect(conn, []byte{0x90, 3, 0, 1, 0}); err != nil {
		return err
	}
	pause := time.NewTicker(400 * time.Millisecond) // what a thousand clients send is what two processors bear
	defer pause.Stop()
	for {
		select {
		case <-done:
			return nil
		case <-pause.C:
		}
		if _, err := conn.Write(publish); err != nil {
			return err
		}
		got := make([]byte, len(echo)+4)
		if _, err := io.ReadFull(conn, got); err != nil {
			return err
		}
		if a, b := string(echo)+"\x40\x02\x00\x02", "\x40\x02\x00\x02"+string(echo); string(got) != a && string(got) != b {
			return fmt.Errorf("got %x", got)
		}
		count.Add(1)
	}
}

func expect(r io.Reader, want []byte) error {
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil {
		return err
	}
	if string(got) != string(want) {
		return fmt.Errorf("got %x, want %x", got, want)
	}
	return nil
}

// TestWhatATrustChangeDoes: clients that stand end, or stay where keep says so, and
// no new handshake passes in either case.
func TestWhatATrustChangeDoes(t *testing.T) {
	for _, keep := range []bool{false, true} {
		for what, change := range map[string]func(s *site, ca *authority, d *tls.Certificate){
			"revoked": func(s *site, ca *authority, d *tls.Certificate) {
				s.write("clients.crl", ca.list(time.Hour, d.Leaf))
			},
			"authority taken out": func(s *site, ca *authority, _ *tls.Certificate) {
				other := newAuthority(s.t, "other", nil)
				s.write("clients.crt", pemOf(other.cert))
				s.write("clients.crl", append(other.list(time.Hour), ca.list(time.Hour)...))
			},
		} {
			t.Run(fmt.Sprintf("%s, keep %t", what, keep), func(t *testing.T) {
				ca := newAuthority(t, "clients", nil)
				more := "crl: clients.crl\n"
				if keep {
					more += "on_trust_change: keep\n"
				}
				s := mutual(t, ca, more)
				s.write("clients.crl", ca.list(time.Hour))
				s.start()
				d := ca.device("device", nil)
				client := ca.trusts("broker.example", d)
				client.InsecureSkipVerify, client.ClientSessionCache = true, tls.NewLRUClientSessionCache(1)
				stands, _, err := s.greet(client, "stands")
				if err != nil {
					t.Fatal(err)
				}
				change(s, ca, d)
				s.reload()
				_, err = stands.Write([]byte{0xC0, 0})
				if err == nil {
					err = expect(stands, []byte{0xD0, 0})
				}
				if (err == nil) != keep {
					t.Errorf("the client that stands: %v, keep %t", err, keep)
				}
				if _, state, err := s.greet(client, "again"); err == nil {
					t.Errorf("with its ticket (resumed %t) it comes in again", state.DidResume)
				}
				client.ClientSessionCache = nil
				if _, _, err := s.greet(client, "afresh"); err == nil {
					t.Error("it comes in again")
				}
				if !keep && !strings.Contains(s.log.String(), "disconnected=1") {
					t.Errorf("the log:\n%s", s.log)
				}
			})
		}
	}
}

// TestALPN: the listener's favourite that the client offers; h2 never.
func TestALPN(t *testing.T) {
	ca := newAuthority(t, "ca", nil)
	for _, c := range []struct{ transport, more, offer, want string }{
		{"tls", "", "mqtt", "mqtt"},
		{"tls", "", "h2,http/1.1", ""},
		{"tls", "alpn: [x-custom, mqtt]", "mqtt,x-custom", "x-custom"},
		{"tls", "alpn: []", "mqtt", ""},
		{"wss", "", "h2,http/1.1", "http/1.1"},
		{"wss", "", "h2", ""},
		{"wss", "", "mqtt", ""},
	} {
		s := newSite(t)
		key := newKey(t, "p256")
		s.write("server.crt", pemOf(ca.issue("broker.example", key, nil)))
		s.write("server.key", keyPEM(t, key))
		s.configure("transport: " + c.transport + "\ntls:\n  certificate: server.crt\n  key: server.key\n" + indent(c.more, "  ") + "\nauthenticators: [anyone]\npolicies: [all]\n")
		s.start()
		client := ca.trusts("broker.example", nil)
		client.NextProtos = strings.Split(c.offer, ",")
		conn, err := tls.Dial("tcp", s.addr(), client)
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		if got := conn.ConnectionState().NegotiatedProtocol; got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
		_ = conn.Close() // nothing was written
		if c.transport != "tls" {
			continue
		}
		// A reload may choose others.
		text, err := os.ReadFile(s.path("sallyport.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if c.more == "" {
			text = bytes.Replace(text, []byte("certificate: server.crt"), []byte("certificate: server.crt\n      alpn: [later]"), 1)
		} else {
			text = bytes.Replace(text, []byte(c.more), []byte("alpn: [later]"), 1)
		}
		s.write("sallyport.yaml", text)
		s.reload()
		client.NextProtos = []string{"mqtt", "later"}
		if conn, err = tls.Dial("tcp", s.addr(), client); err != nil {
			t.Errorf("%+v after a reload: %v", c, err)
			continue
		}
		if got := conn.ConnectionState().NegotiatedProtocol; got != "later" {
			t.Errorf("%+v after a reload: %q", c, got)
		}
		_ = conn.Close() // nothing was written
	}
}

// rewrite replaces a text of the configuration.
func (s *site) rewrite(old, text string) {
	s.t.Helper()
	was, err := os.ReadFile(s.path("sallyport.yaml"))
	if err != nil {
		s.t.Fatal(err)
	}
	if !bytes.Contains(was, []byte(old)) {
		s.t.Fatalf("the configuration has no %q:\n%s", old, was)
	}
	s.write("sallyport.yaml", bytes.Replace(was, []byte(old), []byte(text), 1))
}

// TestKeepKeepsNobodyWhoseAccountIsGone: on_trust_change: keep is about certificates alone.
func TestKeepKeepsNobodyWhoseAccountIsGone(t *testing.T) {
	ca := newAuthority(t, "clients", nil)
	s := mutual(t, ca, "on_trust_change: keep")
	s.start()
	client := ca.trusts("broker.example", ca.device("device", nil))
	client.InsecureSkipVerify = true
	stands, _, err := s.greet(client, "stands")
	if err != nil {
		t.Fatal(err)
	}
	alive := func() error {
		if _, err := stands.Write([]byte{0xC0, 0}); err != nil {
			return err
		}
		return expect(stands, []byte{0xD0, 0})
	}
	s.write("clients.crt", pemOf(newAuthority(t, "other", nil).cert))
	s.reload()
	if err := alive(); err != nil {
		t.Fatalf("its CA is gone, which keep forgives: %v", err)
	}
	s.rewrite("    transport: tls", "    transport: tls\n    client_id_prefixes: [others-]")
	s.reload()
	if err := alive(); err == nil {
		t.Error("the listener accepts no such client any more, and it stays")
	}
}

// TestWhoMayBorrowACertificateIsSettledAtTheStart: of which origins pages may
// connect depends on whether browsers are asked for certificates.
func TestWhoMayBorrowACertificateIsSettledAtTheStart(t *testing.T) {
	ca := newAuthority(t, "clients", nil)
	s := newSite(t)
	key := newKey(t, "p256")
	s.write("server.crt", pemOf(ca.issue("broker.example", key, nil)))
	s.write("server.key", keyPEM(t, key))
	s.write("clients.crt", pemOf(ca.cert))
	s.configure("transport: wss\ntls:\n  certificate: server.crt\n  key: server.key\nauthenticators: [anyone]\npolicies: [all]\n")
	s.start()
	s.rewrite("key: server.key", "key: server.key\n      client_ca: clients.crt\n      client_auth: optional")
	if err := s.srv.ReloadFiles(); err == nil || !strings.Contains(err.Error(), "can't change tls.client_auth") {
		t.Errorf("certificates are asked for where every page may connect: %v", err)
	}
}
