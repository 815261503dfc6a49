package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"

	"sallyport/certs/acme"
)

func TestMain(m *testing.M) {
	for name, value := range map[string]string{
		"PEBBLE_WFE_NONCEREJECT": "25",
		"PEBBLE_VA_NOSLEEP":      "1",
		"PEBBLE_AUTHZREUSE":      "0", // every order has its challenges
	} {
		if err := os.Setenv(name, value); err != nil {
			log.Fatal(err)
		}
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "acme")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir) // a failure leaves a temporary file
	if err := build(dir); err != nil {
		log.Print(err)
		return 1
	}
	return m.Run()
}

// pebble is an ACME server.
type pebble struct {
	*httptest.Server
	settings settings
	roots    *x509.CertPool // of what it issues
	handler  atomic.Pointer[http.Handler]

	mu sync.Mutex
	// mu guards the fields below.
	requests map[string]int // by the last part of the path
}

// settings are those of a test.
type settings struct {
	httpPort, tlsPort int
	life              uint64 // of certificates, in seconds
	accounts          map[string]string
	blocked           string
}

func newPebble(t *testing.T, s settings) *pebble {
	t.Helper()
	p := &pebble{settings: s, requests: map[string]int{}}
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.requests[r.URL.Path]++
		p.mu.Unlock()
		(*p.handler.Load()).ServeHTTP(w, r)
	}))
	p.Config.ErrorLog = log.New(io.Discard, "", 0)
	p.StartTLS()
	t.Cleanup(p.Close)
	p.forget(t)
	return p
}

// forget makes a server of it that knows of nothing.
func (p *pebble) forget(t *testing.T) {
	t.Helper()
	s := p.settings
	if s.life == 0 {
		s.life = 90 * 24 * 3600
	}
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	for id, key := range s.accounts {
		if err := store.AddExternalAccountKeyByID(id, key); err != nil {
			t.Fatal(err)
		}
	}
	if s.blocked != "" {
		if err := store.AddBlockedDomain(s.blocked); err != nil {
			t.Fatal(err)
		}
	}
	issuer := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{
		"usual": {Description: "as most want it", ValidityPeriod: s.life},
	})
	checks := va.New(quiet, s.httpPort, s.tlsPort, true, nameServer(t), store)
	front := wfe.New(quiet, store, checks, issuer, nil, true, len(s.accounts) > 0, 1, 1)
	handler := front.Handler()
	p.handler.Store(&handler)
	p.roots = x509.NewCertPool()
	if !p.roots.AppendCertsFromPEM(issuer.GetRootCert(0).PEM()) {
		t.Fatal("Pebble has no root")
	}
}

func (p *pebble) count(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests[path]
}

// nameServer sends every name to the loopback.
func nameServer(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	s := &dns.Server{Listener: ln, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = append(m.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(127, 0, 0, 1),
			})
		}
		_ = w.WriteMsg(m) // Pebble asks again, or says that the name is not there
	})}
	ended := make(chan error, 1)
	go func() { ended <- s.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		_ = s.Shutdown()
		<-ended
	})
	return ln.Addr().String()
}

// door is a TLS listener as the broker has one.
type door struct {
	net.Listener
	keeper atomic.Pointer[acme.Keeper]
	shut   atomic.Bool // to challenges
}

func newDoor(t *testing.T) *door {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{Listener: ln}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() { d.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		all.Wait()
	})
	return d
}

func (d *door) serve(c net.Conn) {
	defer c.Close()
	k := d.keeper.Load()
	if k == nil {
		return
	}
	s := tls.Server(c, &tls.Config{
		NextProtos:     []string{"mqtt"},
		GetCertificate: k.Certificate,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if acme.IsChallenge(hello) && !d.shut.Load() {
				return k.ChallengeConfig(), nil
			}
			return nil, nil
		},
	})
	if s.Handshake() != nil || s.ConnectionState().NegotiatedProtocol == acme.Protocol {
		return
	}
	_, _ = io.WriteString(s, "mqtt")
}

func (d *door) port() int { return d.Addr().(*net.TCPAddr).Port }

// visit is a client that trusts roots, and returns what the broker showed.
func (d *door) visit(roots *x509.CertPool, name string) (*x509.Certificate, error) {
	c, err := tls.Dial("tcp", d.Addr().String(), &tls.Config{ServerName: name, RootCAs: roots, NextProtos: []string{"mqtt"}})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := io.ReadFull(c, make([]byte, len("mqtt"))); err != nil {
		return nil, err
	}
	return c.ConnectionState().PeerCertificates[0], nil
}

// lines is a log that a test waits for.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// await reads the log until a line has all the parts, or the tests' time is
// nearly over: then it can still be said what was there instead.
func (l lines) await(t *testing.T, parts ...string) string {
	t.Helper()
	over, stop := context.WithCancel(t.Context())
	defer stop()
	if deadline, bounded := t.Deadline(); bounded {
		over, stop = context.WithDeadline(over, deadline.Add(-15*time.Second))
		defer stop()
	}
	for {
		select {
		case line, more := <-l:
			if !more {
				t.Fatalf("the log ended without a line with %q", parts)
			}
			missing := ""
			for _, p := range parts {
				if !strings.Contains(line, p) {
					missing = p
				}
			}
			if missing == "" {
				return line
			}
			t.Log(strings.TrimSpace(line))
		case <-over.Done():
			t.Fatalf("no line with %q", parts)
		}
	}
}
