package certs

import (
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ocsp"

	"sallyport/certs/revocation"
)

// network is a responder and a distribution point of one authority.
type network struct {
	t       *testing.T
	of      *authority
	now     func() time.Time
	mu      sync.Mutex
	revoked *x509.Certificate
	asked   chan struct{} // one for each request, after the answer
}

func (n *network) revoke(c *x509.Certificate) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.revoked = c
}

// ServeHTTP implements http.Handler.
func (n *network) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() { n.asked <- struct{}{} }()
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.now()
	if r.Method == http.MethodGet {
		var all []*x509.Certificate
		if n.revoked != nil {
			all = append(all, n.revoked)
		}
		b, _ := pem.Decode(n.of.crl(n.t, func(l *x509.RevocationList) {
			l.Number.SetInt64(now.Unix())
			l.ThisUpdate, l.NextUpdate = now, now.Add(7*24*time.Hour)
		}, all...))
		_, _ = w.Write(b.Bytes) // whoever asks sees what is missing
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		n.t.Error(err)
		return
	}
	q, err := ocsp.ParseRequest(body)
	if err != nil {
		n.t.Error(err)
		return
	}
	answer := ocsp.Response{SerialNumber: q.SerialNumber, ThisUpdate: now, NextUpdate: now.Add(7 * 24 * time.Hour)}
	if n.revoked != nil && n.revoked.SerialNumber.Cmp(q.SerialNumber) == 0 {
		answer.Status, answer.RevokedAt = ocsp.Revoked, now
	}
	der, err := ocsp.CreateResponse(n.of.cert, n.of.cert, answer, n.of.key)
	if err != nil {
		n.t.Error(err)
		return
	}
	_, _ = w.Write(der) // whoever asks sees what is missing
}

// TestARevocationOfTheNetworkIsKnownInTime: of whoever is asked about twice in each
// half of Within, as the broker does, whenever that is, it is known within Within.
func TestARevocationOfTheNetworkIsKnownInTime(t *testing.T) {
	const later = 30 * time.Second // the second look
	for _, within := range []time.Duration{5 * time.Minute, time.Hour, 24 * time.Hour} {
		for _, how := range []string{"ocsp", "list"} {
			for phase := range 4 {
				t.Run(within.String()+" "+how, func(t *testing.T) {
					w := newWorld(t)
					// Answers bear the time of their signature, so that the test begins now.
					begin, since := time.Now(), atomic.Int64{}
					now := func() time.Time { return begin.Add(time.Duration(since.Load())) }
					lives := func(c *x509.Certificate) { c.NotBefore, c.NotAfter = begin.Add(-time.Hour), begin.Add(1000*time.Hour) }
					w.root.cert = w.root.renewed(t, lives)
					w.certs("ca.crt", w.root.cert)
					n := &network{t: t, of: w.root, now: now, asked: make(chan struct{}, 100)}
					srv := httptest.NewServer(n)
					defer srv.Close()
					w.options.Now = now
					w.options.Revocation = Revocation{Within: within, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
					leaf, _ := w.root.leaf(t, func(c *x509.Certificate) {
						lives(c)
						c.OCSPServer, c.CRLDistributionPoints = []string{srv.URL}, []string{srv.URL}
					})
					if how == "ocsp" {
						w.options.Revocation.OCSP = revocation.HardFail
					} else {
						w.options.Revocation.Points = true
					}
					s := w.load()
					defer s.Close()
					chains, err := s.Verify([]*x509.Certificate{leaf})
					if err != nil {
						t.Fatal(err)
					}
					<-n.asked
					n.revoke(leaf) // just after it was asked about
					first := time.Duration(phase) * within / 8
					for at := first; at+later <= within; at += within / 2 {
						since.Store(int64(at))
						if s.Keeps(chains[0]) != nil {
							return
						}
						since.Store(int64(at + later))
						last := at+within/2+later > within
						if soon(func() bool { return s.Keeps(chains[0]) != nil }, last) {
							return
						}
					}
					t.Errorf("asked about from %s on: it is kept after %s", first, within)
				})
			}
		}
	}
}

// soon asks once, or until what was asked of the network must have come.
func soon(known func() bool, must bool) bool {
	for end := time.Now().Add(10 * time.Second); !known(); <-time.After(time.Millisecond) {
		if !must || time.Now().After(end) {
			return false
		}
	}
	return true
}

// TestAnIdleServerAsksNobody: a check of a configuration must not, and leaves nothing behind.
func TestAnIdleServerAsksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		leaf, key := w.root.leaf(t, func(c *x509.Certificate) { c.OCSPServer = []string{"http://192.0.2.1/"} })
		w.options.CertFile, w.options.KeyFile = w.certs("server.crt", leaf, w.root.cert), w.key("server.key", key)
		w.options.Stapling, w.options.Idle = &Stapling{}, true
		s := w.load() // a goroutine that goes on fails the test
		if warnings := s.Staples(); len(warnings) != 1 {
			t.Errorf("its preconditions were not looked at: %v", warnings)
		}
	})
}
