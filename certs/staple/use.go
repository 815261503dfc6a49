package staple

import (
	"context"
	"crypto/tls"
	"slices"
	"sync/atomic"
	"time"
)

// Staple is the status of one certificate for one user of it. It is safe for
// concurrent use. Nil and one without preconditions staple nothing.
type Staple struct {
	entry   *entry // nil without its preconditions, of which refused tells
	plain   *tls.Certificate
	refused error
	closed  atomic.Bool
	last    atomic.Pointer[stapled]
}

// stapled is a certificate with a response.
type stapled struct {
	response *cached
	cert     *tls.Certificate
}

// Asked tells whether a client asks for a staple.
func Asked(hello *tls.ClientHelloInfo) bool {
	return slices.Contains(hello.Extensions, statusRequest)
}

// Response returns what to staple now, nil for nothing; the caller must not
// change it. With a cached response it takes no lock. Without one it begins a
// request if asked, or if the last one has expired; it waits for that one, as
// long as Options.Wait allows, only if asked.
func (s *Staple) Response(asked bool) []byte {
	if c := s.response(context.Background(), asked); c != nil {
		return c.Raw
	}
	return nil
}

// Certificate returns the certificate that was added, with what [Staple.Response]
// has for this client; it must not be changed. It is meant for
// tls.Config.GetCertificate, which crypto/tls calls for a client without SNI only
// where Certificates is empty, and in TLS 1.3 not for a handshake that resumes:
// that one needs no staple, and in GetConfigForClient it might wait for one.
func (s *Staple) Certificate(hello *tls.ClientHelloInfo) *tls.Certificate {
	ctx := hello.Context()
	if ctx == nil {
		ctx = context.Background() // a ClientHelloInfo that crypto/tls didn't make
	}
	c := s.response(ctx, Asked(hello))
	if c == nil {
		return s.plain
	}
	// Made once per response: a handshake costs no copy.
	last := s.last.Load()
	if last == nil || last.response != c {
		with := *s.plain
		with.OCSPStaple = c.Raw
		last = &stapled{c, &with}
		s.last.Store(last)
	}
	return last.cert
}

func (s *Staple) works() bool { return s != nil && s.entry != nil && !s.closed.Load() }

func (s *Staple) response(ctx context.Context, asked bool) *cached {
	if !s.works() {
		return nil
	}
	e := s.entry
	c := e.cached.Load()
	if e.holds(c) {
		return c
	}
	if c == nil && !asked {
		return nil
	}
	f := e.demand()
	if f == nil || !asked {
		return nil
	}
	// Counted from the request's beginning: a responder that hangs delays the
	// handshakes of Wait, not all that come while it is asked.
	left := e.stapler.options.Wait - time.Since(f.began)
	if left <= 0 {
		return nil
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	e.stapler.options.Outside(func() {
		select {
		case <-f.done:
		case <-timer.C:
		case <-ctx.Done():
		}
	})
	if c = e.cached.Load(); e.holds(c) {
		return c
	}
	return nil
}

// Ask waits for the request under way, or one made now, and returns why there is
// nothing to staple after it; for checks of a configuration.
func (s *Staple) Ask(ctx context.Context) error {
	if s != nil && s.refused != nil {
		return s.refused
	}
	if !s.works() {
		return ErrClosed
	}
	f := s.entry.ask()
	if f == nil {
		return ErrClosed
	}
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends this use. The last use of a certificate ends its requests, and
// forgets its response.
func (s *Staple) Close() {
	if s == nil || s.entry == nil || s.closed.Swap(true) {
		return
	}
	s.entry.stapler.release(s.entry)
}

// State is what is known of one certificate.
type State struct {
	Certificate string // the subject
	Serial      string // hexadecimal
	NotAfter    time.Time
	MustStaple  bool
	URL         string // whom the next request goes to

	Status   string        // of the last verified response: none, good, revoked or unknown
	Stapled  bool          // whether a handshake would get a response now
	Age      time.Duration // of the cached response, since its ThisUpdate
	Expires  time.Time     // of the cached response; zero without one
	Bytes    int           // of the cached response
	Delegate string        // the responder's subject, if not the issuer

	LastRequest, LastSuccess time.Time // zero for never
	// FailingSince is the first failure after the last success, zero if it was one.
	FailingSince time.Time
	LastError    string // of the last failure; stays after a success
	NextRequest  time.Time
	Requests     uint64
	Failures     uint64
}

// State returns what is known now; the zero value for one that staples nothing.
func (s *Staple) State() State {
	if !s.works() {
		return State{}
	}
	return s.entry.state()
}

// States returns those of all certificates, by subject and serial number.
func (s *Stapler) States() []State {
	s.mu.Lock()
	entries := make([]*entry, 0, len(s.entries))
	for _, e := range s.entries {
		entries = append(entries, e)
	}
	s.mu.Unlock()
	all := make([]State, len(entries))
	for i, e := range entries {
		all[i] = e.state()
	}
	slices.SortFunc(all, State.compare)
	return all
}
