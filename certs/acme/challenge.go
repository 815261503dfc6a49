package acme

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
)

// Bounds of what answers http-01.
const (
	httpTimeout = 5 * time.Second
	httpConns   = 256
	httpHeader  = 4 << 10
	maxToken    = 256
)

const challengePath = "/.well-known/acme-challenge/" // RFC 8555, 8.3

// pending is what is to be shown now.
type pending struct {
	mu sync.Mutex
	// mu guards the fields below.
	certs map[string]*tls.Certificate // by domain, for tls-alpn-01
	texts map[string]string           // by token, for http-01
}

// prepare gets ready to answer a challenge, until done is called.
func (k *Keeper) prepare(client *acme.Client, token, domain string) (done func(), err error) {
	if token == "" || len(token) > maxToken || strings.Trim(token, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		return nil, errors.New("the token is not base64url") // RFC 8555, 8.3
	}
	p := &k.pending
	if k.options.Challenge == HTTP01 {
		text, err := client.HTTP01ChallengeResponse(token)
		if err != nil {
			return nil, err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.texts = map[string]string{token: text}
	} else {
		cert, err := client.TLSALPN01ChallengeCert(token, domain)
		if err != nil {
			return nil, err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.certs = map[string]*tls.Certificate{domain: &cert}
	}
	return p.clear, nil
}

func (p *pending) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.certs, p.texts = nil, nil
}

// IsChallenge tells whether a client wants to see the answer to a tls-alpn-01
// challenge: it offers that protocol and no other (RFC 8737, 3).
func IsChallenge(hello *tls.ClientHelloInfo) bool {
	return len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == Protocol
}

// ChallengeConfig is for the handshakes of which [IsChallenge] is true, and for
// no others. It has the certificate of a challenge under way, or none, which
// refuses the handshake; it asks for no client certificate and resumes nothing.
// A connection that was made with it proves nothing but the server's control of
// a name: its [tls.ConnectionState.NegotiatedProtocol] is [Protocol], and it
// must be closed before a byte is read from it.
func (k *Keeper) ChallengeConfig() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS12, // RFC 8737, 4
		NextProtos:             []string{Protocol},
		SessionTicketsDisabled: true,
		ClientAuth:             tls.NoClientCert,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			k.pending.mu.Lock()
			defer k.pending.mu.Unlock()
			return k.pending.certs[strings.ToLower(hello.ServerName)], nil
		},
	}
}

// ServeHTTP answers http-01 challenges under way, and nothing else.
func (k *Keeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.URL.Path, challengePath)
	k.pending.mu.Lock()
	text := k.pending.texts[token]
	k.pending.mu.Unlock()
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if !ok || text == "" || r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream") // RFC 8555, 8.3
	_, _ = io.WriteString(w, text)                             // the server asks again if it got nothing
}

// serveHTTP serves the challenges of HTTP01 until stop is called.
func (k *Keeper) serveHTTP(port net.Listener) (stop func()) {
	if port == nil {
		return func() {}
	}
	s := &http.Server{
		Handler:           k,
		ReadHeaderTimeout: httpTimeout,
		ReadTimeout:       httpTimeout,
		WriteTimeout:      httpTimeout,
		MaxHeaderBytes:    httpHeader,
		ErrorLog:          log.New(io.Discard, "", 0), // everybody's mistakes
	}
	s.SetKeepAlivesEnabled(false)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.Serve(&few{Listener: port, places: make(chan struct{}, httpConns), ended: make(chan struct{})}); !errors.Is(err, http.ErrServerClosed) {
			k.log.Error("http-01 challenges can't be answered any more", "reason", err.Error())
		}
	}()
	return func() {
		_ = s.Close() // every connection with it
		<-ended
	}
}

// few is a listener with a bound on the connections that are open at a time:
// the next waits to be accepted.
type few struct {
	net.Listener
	places chan struct{}
	once   sync.Once
	ended  chan struct{}
}

// Accept implements net.Listener.
func (f *few) Accept() (net.Conn, error) {
	select {
	case f.places <- struct{}{}:
	case <-f.ended:
		return nil, net.ErrClosed
	}
	c, err := f.Listener.Accept()
	if err != nil {
		<-f.places
		return nil, err
	}
	return &placed{Conn: c, leave: sync.OnceFunc(func() { <-f.places })}, nil
}

// Close implements net.Listener.
func (f *few) Close() error {
	f.once.Do(func() { close(f.ended) })
	return f.Listener.Close()
}

// placed is a connection that gives its place back.
type placed struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (p *placed) Close() error {
	defer p.leave()
	return p.Conn.Close()
}
