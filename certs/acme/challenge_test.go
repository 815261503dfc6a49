package acme

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/crypto/acme"
)

// prepared is a Keeper that answers a challenge for mqtt.example.org.
func prepared(t *testing.T, o Options) (k *Keeper, thumbprint string, done func()) {
	t.Helper()
	k, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	client := &acme.Client{Key: mustKey(t)}
	if done, err = k.prepare(client, "the-token", "mqtt.example.org"); err != nil {
		t.Fatal(err)
	}
	if thumbprint, err = acme.JWKThumbprint(client.Key.Public()); err != nil {
		t.Fatal(err)
	}
	return k, thumbprint, done
}

// shake is a handshake in memory, with a listener that has a challenge configuration.
func shake(t *testing.T, k *Keeper, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	client.InsecureSkipVerify = true
	served := make(chan error, 1)
	go func() {
		defer far.Close()
		s := tls.Server(far, &tls.Config{
			NextProtos:     []string{"mqtt"},
			GetCertificate: k.Certificate,
			GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				if IsChallenge(hello) {
					return k.ChallengeConfig(), nil
				}
				return nil, nil
			},
		})
		served <- s.Handshake()
	}()
	c := tls.Client(near, client)
	err := c.Handshake()
	if err == nil {
		_, err = c.Read(make([]byte, 1)) // with TLS 1.3 a refusal comes after the handshake
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	<-served
	return c.ConnectionState(), err
}

func TestAChallengeIsAnsweredToWhoAsksForIt(t *testing.T) {
	k, thumbprint, done := prepared(t, options(t, newFake(t)))
	state, err := shake(t, k, &tls.Config{ServerName: "MQTT.example.org", NextProtos: []string{Protocol}})
	if err != nil {
		t.Fatal(err)
	}
	if state.NegotiatedProtocol != Protocol || state.DidResume {
		t.Errorf("state %+v", state)
	}
	cert := state.PeerCertificates[0]
	if err := cert.VerifyHostname("mqtt.example.org"); err != nil {
		t.Error(err)
	}
	sum := sha256.Sum256([]byte("the-token." + thumbprint))
	want, err := asn1.Marshal(sum[:])
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, e := range cert.Extensions {
		found = found || e.Id.String() == "1.3.6.1.5.5.7.1.31" && e.Critical && bytes.Equal(e.Value, want)
	}
	if !found {
		t.Error("the certificate has no acmeIdentifier of the token") // RFC 8737, 3
	}
	done()
	if _, err := shake(t, k, &tls.Config{ServerName: "mqtt.example.org", NextProtos: []string{Protocol}}); err == nil {
		t.Error("a challenge is answered after its end")
	}
}

func TestAChallengeIsAnsweredToNobodyElse(t *testing.T) {
	k, _, done := prepared(t, options(t, newFake(t)))
	defer done()
	for _, c := range []struct {
		name   string
		client *tls.Config
		alert  string
	}{
		{"another name", &tls.Config{ServerName: "other.example.org", NextProtos: []string{Protocol}}, "unrecognized name"},
		{"no name", &tls.Config{NextProtos: []string{Protocol}}, "unrecognized name"},
		{"an older version", &tls.Config{ServerName: "mqtt.example.org", NextProtos: []string{Protocol}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, "protocol version"},
		{"a client of MQTT", &tls.Config{ServerName: "mqtt.example.org", NextProtos: []string{"mqtt"}}, "unrecognized name"},
		{"a client without protocols", &tls.Config{ServerName: "mqtt.example.org"}, "unrecognized name"},
		{"a client of both", &tls.Config{ServerName: "mqtt.example.org", NextProtos: []string{Protocol, "mqtt"}}, "unrecognized name"},
	} {
		_, err := shake(t, k, c.client)
		if err == nil || !strings.Contains(err.Error(), c.alert) {
			t.Errorf("%s: %v, want the alert %q", c.name, err, c.alert)
		}
	}
	// A certificate of ours is for clients, and the challenge's is not.
	key := mustKey(t)
	f := newFake(t)
	ours := f.sign(&x509.Certificate{SerialNumber: f.ca.SerialNumber, DNSNames: []string{"mqtt.example.org"}, NotAfter: f.ca.NotAfter}, f.ca, key.Public(), f.caKey)
	k.cert.Store(&tls.Certificate{Certificate: [][]byte{ours.Raw}, PrivateKey: key, Leaf: ours})
	state, err := shake(t, k, &tls.Config{ServerName: "mqtt.example.org", NextProtos: []string{Protocol, "mqtt"}})
	if err != nil || !state.PeerCertificates[0].Equal(ours) || state.NegotiatedProtocol != "mqtt" {
		t.Errorf("a client of both: %v, protocol %q", err, state.NegotiatedProtocol)
	}
	state, err = shake(t, k, &tls.Config{ServerName: "mqtt.example.org", NextProtos: []string{Protocol}})
	if err != nil || state.PeerCertificates[0].Equal(ours) {
		t.Errorf("a challenge is answered with the certificate for clients, or with %v", err)
	}
}

func TestHTTPChallengesAreAnsweredAndNothingElse(t *testing.T) {
	o := options(t, newFake(t))
	o.Challenge = HTTP01
	k, thumbprint, done := prepared(t, o)
	defer k.Close()
	const path = "/.well-known/acme-challenge/the-token"
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", path, 200},
		{"HEAD", path, 200},
		{"GET", path + "?with=query", 200},
		{"POST", path, 404},
		{"DELETE", path, 404},
		{"GET", path + "/", 404},
		{"GET", "/.well-known/acme-challenge/", 404},
		{"GET", "/.well-known/acme-challenge/other", 404},
		{"GET", "/.well-known/acme-challenge/../acme-challenge/the-token", 404},
		{"GET", "/.well-known/acme-challenge//the-token", 404},
		{"GET", "/the-token", 404},
		{"GET", "/", 404},
		{"CONNECT", "/", 404},
	} {
		w := httptest.NewRecorder()
		k.ServeHTTP(w, httptest.NewRequest(c.method, c.path, strings.NewReader("ignored")))
		if w.Code != c.status {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, w.Code, c.status)
		}
		if want := "the-token." + thumbprint; (w.Code == 200) != (w.Body.String() == want) {
			t.Errorf("%s %s: body %q", c.method, c.path, w.Body)
		}
	}
	done()
	w := httptest.NewRecorder()
	k.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	if w.Code != 404 {
		t.Error("a challenge is answered after its end")
	}
}

func TestTheServerOfChallengesIsBounded(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := newFake(t)
	f.answers["/dir"] = func(r *http.Request, _ []byte) *http.Response {
		<-r.Context().Done()
		return refuse(500, "", "")
	}
	o := options(t, f)
	o.Challenge = HTTP01
	k := beginAt(t, o, ln)
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 2*httpHeader) + "\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"nonsense\r\n\r\n",
	} {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprint(c, request); err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(c) // it may be reset, with what it did not read
		status, _, _ := strings.Cut(string(got), "\r\n")
		if !strings.Contains("HTTP/1.1 431 Request Header Fields Too Large HTTP/1.1 404 Not Found HTTP/1.1 400 Bad Request", status) || strings.Contains(status, " 200 ") {
			t.Errorf("request of %d bytes: %q", len(request), got)
		}
		_ = c.Close()
	}
	k.Close()
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("the port is open after Close")
	}
}

func TestOnlySoManyConnectionsAreAccepted(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &few{Listener: ln, places: make(chan struct{}, 2), ended: make(chan struct{})}
	accepted := make(chan net.Conn)
	failed := make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				failed <- err
				return
			}
			accepted <- c
		}
	}()
	var theirs []net.Conn
	for range 3 {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		theirs = append(theirs, c)
	}
	first, second := <-accepted, <-accepted
	select {
	case <-accepted:
		t.Error("a third was accepted while two are open")
	default:
	}
	_ = first.Close()
	_ = first.Close() // gives one place back, not two
	third := <-accepted
	if n := len(l.places); n != 2 {
		t.Errorf("%d places are taken, want 2", n)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	for _, c := range append(theirs, second, third) {
		_ = c.Close()
	}
}
