// Package staple keeps the OCSP status of the broker's own certificates at
// hand, so that it can be stapled into handshakes (RFC 6066, 8): one request
// for many clients, and none of theirs to the CA.
//
// Words: a [Stapler] has one schedule for all certificates of a broker; a
// [Staple] is the status of one of them, as one configuration uses it; a
// response is cached from when it was verified until it expires or is dropped.
//
// The status is requested when a certificate is added; when Interval has
// passed, at the latest at half of the response's validity; when a client asks
// and nothing is cached; and when the cached response has expired and a
// connection comes. While requests fail they are repeated every Retry. When
// they have failed for DropAfter, counted from the first failure after a
// success, the cached response is dropped.
//
// Invariants: only a verified response is stapled, to the certificate that it
// is about, and never after its NextUpdate by our clock; "revoked" is stapled,
// for it is the truth; "unknown" is not, and counts as a failure; there is one
// request per certificate at a time and Parallel in all; a handshake waits only
// if its client asks and nothing is cached, and no request holds handshakes for
// longer than Wait, however many and slow.
//
// The responder is named by the operator, or by the operator's own certificate.
// So its address may be private or the loopback's: unlike a URL in a client's
// certificate, it is nothing that a stranger could choose.
package staple

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"sallyport/certs/ocsp"
)

// Defaults and bounds of Options.
const (
	DefaultInterval  = time.Hour
	DefaultRetry     = 15 * time.Second
	DefaultDropAfter = 30 * time.Minute
	DefaultWait      = 200 * time.Millisecond
	DefaultJitter    = 3 * time.Second
	DefaultParallel  = 8

	// MaxWait bounds Wait: a handshake has only seconds in all.
	MaxWait = 5 * time.Second

	// requestTimeout is for one request, with its redirects.
	requestTimeout = 10 * time.Second
	// demandGap is how soon after a failure a connection may cause a request.
	demandGap = time.Second
	// maxStaple bounds what is stapled, in bytes: Certificate of TLS 1.3 counts
	// the extensions of a certificate in 16 bits, and clients bound it too.
	maxStaple = 32 << 10
)

// Options are of all certificates of a Stapler. The zero value is usable.
type Options struct {
	// Interval is how long a response is kept before the next request, and not
	// less than Retry; 0 is an hour (HiveMQ's cache-interval).
	Interval time.Duration
	// Retry is the pause between requests while they fail; 0 is 15 s.
	Retry time.Duration
	// DropAfter is how long requests may fail before the cached response is
	// dropped; 0 is 30 min.
	DropAfter time.Duration
	// Wait is how long a handshake whose client asks waits for the first
	// response, at most MaxWait; 0 is 200 ms, less than 0 none.
	Wait time.Duration
	// Outside runs what waits so in a handshake; nil just runs it.
	Outside func(wait func())
	// Jitter spreads the first requests, so that many brokers that start at once
	// don't ask at once; 0 is up to 3 s, less than 0 none. A client that asks
	// doesn't wait for it.
	Jitter time.Duration
	// Parallel is the number of requests at a time; 0 is 8.
	Parallel int
	// OverrideURL is asked instead of the responders that certificates name;
	// http or https, without credentials.
	OverrideURL string
	// Client sends the requests; nil is one that uses the proxy of the
	// environment and keeps no connections.
	Client *http.Client
	// Now is the clock that responses are judged by; nil is time.Now.
	Now func() time.Time
	// Log gets what an operator should know; nil discards it.
	Log *slog.Logger
	// Alarm is called, on a goroutine of the Stapler, for what somebody should
	// act on; nil for nobody. It must not block, and may call State.
	Alarm func(Alarm)
}

// Why a certificate can't be stapled; [Stapler.Add] wraps them.
var (
	ErrNoResponder = errors.New("certificate names no OCSP responder, and override_url is not set")
	ErrNoIssuer    = errors.New("certificate's issuer is not in its chain file")
	ErrWrongIssuer = errors.New("certificate was not issued by what stands for its issuer")
	ErrSelfSigned  = errors.New("certificate is self-signed: there is no issuer that could answer for it")
	ErrClosed      = errors.New("stapling has ended")
)

// Warning is what an operator should know although it stops nothing.
type Warning string

// Stapler asks for the status of any number of certificates. It is safe for
// concurrent use, and owns a goroutine for the schedule, and one per request.
type Stapler struct {
	options Options
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	group   sync.WaitGroup
	wake    chan struct{} // holds one: the schedule has changed

	mu sync.Mutex
	// mu guards the fields below, and those of entries that say so.
	entries map[identity]*entry
	queue   schedule
	running int
	closed  bool
}

// identity is the digest of a certificate and its issuer.
type identity [sha256.Size]byte

// New checks the options and begins the schedule. The caller must Close it.
func New(o Options) (*Stapler, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	s := &Stapler{options: o, wake: make(chan struct{}, 1), entries: make(map[identity]*entry)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.group.Go(s.run)
	return s, nil
}

// complete sets the defaults and refuses what makes no sense.
func (o *Options) complete() error {
	orElse := func(d *time.Duration, other time.Duration) {
		if *d == 0 {
			*d = other
		}
	}
	orElse(&o.Interval, DefaultInterval)
	orElse(&o.Retry, DefaultRetry)
	orElse(&o.DropAfter, DefaultDropAfter)
	orElse(&o.Wait, DefaultWait)
	if o.Outside == nil {
		o.Outside = func(wait func()) { wait() }
	}
	orElse(&o.Jitter, DefaultJitter)
	if o.Parallel == 0 {
		o.Parallel = DefaultParallel
	}
	switch {
	case o.Retry < time.Second:
		return fmt.Errorf("OCSP stapling: retry of %v: at least 1s is meant", o.Retry)
	case o.Interval < o.Retry:
		return fmt.Errorf("OCSP stapling: cache_interval of %v is below the retry of %v", o.Interval, o.Retry)
	case o.DropAfter < o.Retry:
		return fmt.Errorf("OCSP stapling: a response would be dropped after %v, before a retry in %v", o.DropAfter, o.Retry)
	case o.Wait > MaxWait:
		return fmt.Errorf("OCSP stapling: staple_wait of %v: at most %v is accepted", o.Wait, MaxWait)
	case o.Parallel < 0:
		return errors.New("OCSP stapling: no request could be sent")
	}
	if o.OverrideURL != "" {
		if err := ocsp.CheckURL(o.OverrideURL); err != nil {
			return fmt.Errorf("OCSP stapling: override_url: %w", err)
		}
	}
	if o.Client == nil {
		o.Client = &http.Client{Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, MaxResponseHeaderBytes: 16 << 10,
		}}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Alarm == nil {
		o.Alarm = func(Alarm) {}
	}
	return nil
}

// Close ends the schedule and all requests, and waits for them. What is stapled
// afterwards is nothing.
func (s *Stapler) Close() {
	s.mu.Lock()
	s.closed = true
	for _, e := range s.entries {
		s.removeLocked(e)
	}
	s.mu.Unlock()
	s.cancel()
	s.group.Wait()
}

// Add begins to keep the status of cert, whose issuer is in its chain unless it
// is given. A precondition that is not met is an error, to be shown loudly; the
// Staple that comes with it gives the certificate without a response, so that
// the listener can serve nevertheless. Warnings come with either.
//
// The same certificate may be added again, by another listener or a reload: its
// cached response and its requests are shared until the last Staple of it is
// closed. So a reload adds the new before it closes the old.
func (s *Stapler) Add(cert *tls.Certificate, issuer *x509.Certificate) (*Staple, []Warning, error) {
	leaf, err := leafOf(cert)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate to staple to: %w", err)
	}
	bare := func(err error, more ...Warning) (*Staple, []Warning, error) {
		if Demanded(leaf) {
			more = append(more, "certificate demands a staple (RFC 7633) and can't have one: clients that know of this will refuse it")
		}
		return &Staple{plain: cert, refused: err}, more, err
	}
	if issuer, err = findIssuer(leaf, cert.Certificate[1:], issuer); err != nil {
		return bare(err)
	}
	urls, warnings := s.responders(leaf)
	if len(urls) == 0 {
		return bare(ErrNoResponder, warnings...)
	}
	if end := leaf.NotAfter; s.options.Now().After(end) {
		warnings = append(warnings, Warning("certificate expired on "+end.UTC().Format(time.RFC3339)+": a responder may not answer for it any more"))
	}
	id := identity(sha256.Sum256(append(bytes.Clone(leaf.Raw), issuer.Raw...)))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return bare(ErrClosed, warnings...)
	}
	e := s.entries[id]
	if e == nil {
		if e, err = newEntry(s, id, leaf, issuer, urls); err != nil {
			return bare(err, warnings...)
		}
		s.entries[id] = e
		s.pushLocked(e, time.Now().Add(s.jitter()))
	}
	e.users++
	return &Staple{entry: e, plain: cert}, warnings, nil
}

// leafOf is the parsed first certificate of a chain.
func leafOf(cert *tls.Certificate) (*x509.Certificate, error) {
	if cert == nil || len(cert.Certificate) == 0 {
		return nil, errors.New("there is none")
	}
	if cert.Leaf != nil {
		return cert.Leaf, nil
	}
	return x509.ParseCertificate(cert.Certificate[0])
}

// findIssuer returns who signed leaf: the one given, or else one of the chain.
func findIssuer(leaf *x509.Certificate, chain [][]byte, given *x509.Certificate) (*x509.Certificate, error) {
	if bytes.Equal(leaf.RawIssuer, leaf.RawSubject) && leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature) == nil {
		return nil, ErrSelfSigned
	}
	if given != nil {
		if !issued(given, leaf) {
			return nil, ErrWrongIssuer
		}
		return given, nil
	}
	for _, der := range chain {
		if c, err := x509.ParseCertificate(der); err == nil && issued(c, leaf) {
			return c, nil
		}
	}
	return nil, ErrNoIssuer
}

func issued(issuer, leaf *x509.Certificate) bool {
	return bytes.Equal(issuer.RawSubject, leaf.RawIssuer) && leaf.CheckSignatureFrom(issuer) == nil
}

// maxResponders bounds how many of a certificate's responders are asked in turn.
const maxResponders = 4

// responders returns who is to be asked.
func (s *Stapler) responders(leaf *x509.Certificate) (urls []string, warnings []Warning) {
	if s.options.OverrideURL != "" {
		return []string{s.options.OverrideURL}, nil
	}
	for i, u := range leaf.OCSPServer {
		if i == maxResponders {
			return urls, append(warnings, Warning(fmt.Sprintf("certificate names %d OCSP responders: the first %d count", len(leaf.OCSPServer), maxResponders)))
		}
		if err := ocsp.CheckURL(u); err != nil {
			warnings = append(warnings, Warning(fmt.Sprintf("OCSP responder %d of the certificate is not asked: %v", i+1, err)))
			continue
		}
		urls = append(urls, u)
	}
	return urls, warnings
}
