package staple

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"sallyport/certs/ocsp"
)

// entry is the status of one certificate.
type entry struct {
	stapler *Stapler
	id      identity
	leaf    *x509.Certificate
	issuer  *x509.Certificate
	urls    []string // at least one; asked in turn while they fail
	must    bool     // the certificate demands a staple
	query   []byte   // the request, DER
	ctx     context.Context
	cancel  context.CancelFunc

	cached atomic.Pointer[cached] // stored under the Stapler's mu

	// The Stapler's mu guards the fields below.
	users    int
	gone     bool
	place    int // in the schedule, or notQueued
	due      time.Time
	flight   *flight // asked for or under way
	at       int     // of urls
	status   ocsp.Status
	requests uint64
	failures uint64
	// failing is the first failure after a success, failed the last one.
	failing, failed          time.Time
	lastRequest, lastSuccess time.Time
	lastError                string
	warned                   time.Time // last told that requests fail
	bare                     bool      // it was told that there is nothing to staple
}

// cached is a verified response. It is immutable.
type cached struct {
	*ocsp.Response
	// expires is when it ends by itself, until when it must not be stapled any
	// more: sooner while requests fail.
	expires, until time.Time
}

// flight is one request. Everybody who wants one shares it.
type flight struct {
	began time.Time // asked for
	done  chan struct{}
	err   error // why there is nothing to staple; set before done is closed
}

func newEntry(s *Stapler, id identity, leaf, issuer *x509.Certificate, urls []string) (*entry, error) {
	query, err := ocsp.NewRequest(leaf, issuer, nil)
	if err != nil {
		return nil, err
	}
	e := &entry{stapler: s, id: id, leaf: leaf, issuer: issuer, urls: urls, must: Demanded(leaf), query: query, place: notQueued}
	e.ctx, e.cancel = context.WithCancel(s.ctx)
	return e, nil
}

// holds tells whether c may be stapled now.
func (e *entry) holds(c *cached) bool {
	return c != nil && e.stapler.options.Now().Before(c.until)
}

// flightLocked returns the request under way, or the next.
func (e *entry) flightLocked() *flight {
	if e.flight == nil {
		e.flight = &flight{began: time.Now(), done: make(chan struct{})}
	}
	return e.flight
}

// landLocked tells those who wait that the request has ended.
func (e *entry) landLocked(err error) {
	e.flight.err = err
	close(e.flight.done)
	e.flight = nil
}

// demand begins a request because a connection wants one; nil if it is too soon
// after a failure, so that connections can't make a flood of requests.
func (e *entry) demand() *flight {
	e.stapler.mu.Lock()
	defer e.stapler.mu.Unlock()
	if e.flight == nil && time.Since(e.failed) < demandGap {
		return nil
	}
	return e.askLocked()
}

// ask begins a request unless one is under way.
func (e *entry) ask() *flight {
	e.stapler.mu.Lock()
	defer e.stapler.mu.Unlock()
	return e.askLocked()
}

func (e *entry) askLocked() *flight {
	if e.gone {
		return nil
	}
	f := e.flightLocked()
	if now := time.Now(); e.place != notQueued && e.due.After(now) {
		e.stapler.pushLocked(e, now)
	}
	return f
}

// request asks the responder, once. It runs on a goroutine of its own.
func (e *entry) request(f *flight) {
	s := e.stapler
	ctx, cancel := context.WithTimeout(e.ctx, requestTimeout)
	defer cancel()
	s.mu.Lock()
	responder := e.urls[e.at]
	e.lastRequest = s.options.Now()
	s.mu.Unlock()
	response, err := e.fetch(ctx, responder)
	s.mu.Lock()
	s.running--
	s.signal()
	if e.gone {
		e.landLocked(ErrClosed)
		s.mu.Unlock()
		return
	}
	e.requests++
	var all []news
	if err == nil {
		all = e.succeedLocked(response)
	} else {
		err = fmt.Errorf("%s: %w", responder, err)
		all = e.failLocked(err)
	}
	s.pushLocked(e, e.due)
	e.landLocked(err)
	s.mu.Unlock()
	for _, n := range all {
		n.tell(e)
	}
}

// fetch returns a response that may be stapled now.
func (e *entry) fetch(ctx context.Context, responder string) (*cached, error) {
	o := &e.stapler.options
	der, err := ocsp.Ask(ctx, o.Client, responder, e.query)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer in %v", requestTimeout)
	}
	if err != nil {
		return nil, err
	}
	now := o.Now()
	// Without a next update it lives for as long as the schedule would keep it.
	endless := o.Interval + o.DropAfter
	r, err := ocsp.Verify(der, e.leaf, e.issuer, ocsp.Options{Now: now, Endless: endless})
	if err != nil {
		return nil, err
	}
	c := &cached{Response: r, expires: r.NextUpdate}
	if c.expires.IsZero() {
		c.expires = r.ThisUpdate.Add(endless)
	}
	if c.Delegate != nil && c.Delegate.NotAfter.Before(c.expires) {
		c.expires = c.Delegate.NotAfter // from then on no client would take it
	}
	c.until = c.expires
	switch {
	case len(der) > maxStaple:
		return nil, fmt.Errorf("response of %d bytes is too large to be stapled: at most %d are", len(der), maxStaple)
	case r.Status == ocsp.Unknown:
		return c, errUnknown
	case !now.Before(c.expires):
		// Verify allows for skew, a client might not.
		return nil, fmt.Errorf("response expired at %s", c.expires.UTC().Format(time.RFC3339))
	}
	return c, nil
}

var errUnknown = errors.New("responder doesn't know the certificate")

// succeedLocked takes a response over.
func (e *entry) succeedLocked(c *cached) (all []news) {
	now := e.stapler.options.Now()
	if old := e.cached.Load(); old != nil && now.Before(old.expires) && c.ThisUpdate.Before(old.ThisUpdate) {
		// Responders behind one name differ, and somebody on the way may replay:
		// what is older never takes the place of what is newer.
		fresh := *old
		fresh.until = old.expires
		c = &fresh
	}
	if e.lastSuccess.IsZero() || !e.failing.IsZero() {
		all = append(all, news{text: "certificate has an OCSP response to staple", level: slog.LevelInfo, reason: c.Status.String()})
	}
	if c.Status == ocsp.Revoked && e.status != ocsp.Revoked {
		all = append(all, news{"certificate is revoked, and stapled so", slog.LevelError,
			Revoked, "revoked at " + c.RevokedAt.UTC().Format(time.RFC3339)})
	}
	e.status, e.bare = c.Status, false
	e.failing, e.failed, e.lastSuccess = time.Time{}, time.Time{}, now
	e.cached.Store(c)
	e.due = time.Now().Add(e.pause(c, now))
	return all
}

// pause is how long after a success the next request is due.
func (e *entry) pause(c *cached, now time.Time) time.Duration {
	d := e.stapler.options.Interval
	if !c.NextUpdate.IsZero() {
		half := c.ThisUpdate.Add(c.expires.Sub(c.ThisUpdate) / 2).Sub(now)
		if half <= 0 {
			// The responder signs in advance and hasn't yet again.
			half = c.expires.Sub(now) / 2
		}
		d = min(d, half)
	}
	return max(d, e.stapler.options.Retry)
}

// remindAfter is how often requests that go on failing are a warning.
const remindAfter = 10 * time.Minute

// failLocked keeps the cached response for as long as it may be.
func (e *entry) failLocked(err error) (all []news) {
	now := e.stapler.options.Now()
	if errors.Is(err, errUnknown) {
		e.status = ocsp.Unknown
	}
	e.failures++
	text := err.Error()
	level := slog.LevelDebug // every 15 s the same would hide the rest
	if e.failing.IsZero() || time.Since(e.warned) >= remindAfter {
		level, e.warned = slog.LevelWarn, time.Now()
	}
	if e.failing.IsZero() {
		e.failing = now
	}
	e.failed, e.lastError = time.Now(), text
	e.at = (e.at + 1) % len(e.urls)
	e.due = time.Now().Add(e.stapler.options.Retry)
	all = append(all, news{text: "OCSP request failed", level: level, reason: text})

	drop := e.failing.Add(e.stapler.options.DropAfter)
	c := e.cached.Load()
	switch {
	case c == nil:
	case !now.Before(drop) || !now.Before(c.expires):
		e.cached.Store(nil)
		all = append(all, news{"OCSP response is dropped", slog.LevelWarn, Dropped, text})
		c = nil
	case drop.Before(c.until):
		// Ends at the moment itself, and not at the failure after it.
		sooner := *c
		sooner.until = drop
		e.cached.Store(&sooner)
	}
	if c == nil && e.must && !e.bare {
		e.bare = true
		all = append(all, news{"certificate demands a staple, and there is none", slog.LevelError, Missing, text})
	}
	return all
}

// AlarmKind is what an alarm is about.
type AlarmKind string

const (
	Revoked AlarmKind = "revoked" // the responder says that the certificate is revoked
	Dropped AlarmKind = "dropped" // the cached response is too old: nothing is stapled
	Missing AlarmKind = "missing" // a certificate that demands a staple (RFC 7633) has none
)

// Alarm is what somebody should act on.
type Alarm struct {
	Kind        AlarmKind
	Certificate string // the subject
	Serial      string // hexadecimal
	Reason      string
}

// news is for the log, and with a kind for Options.Alarm.
type news struct {
	text   string
	level  slog.Level
	kind   AlarmKind
	reason string
}

func (n news) tell(e *entry) {
	subject, serial := e.leaf.Subject.String(), e.serial()
	attrs := []slog.Attr{slog.String("certificate", subject), slog.String("serial", serial)}
	if n.reason != "" {
		attrs = append(attrs, slog.String("reason", n.reason))
	}
	e.stapler.options.Log.LogAttrs(e.ctx, n.level, n.text, attrs...)
	if n.kind != "" {
		e.stapler.options.Alarm(Alarm{n.kind, subject, serial, n.reason})
	}
}

func (e *entry) serial() string { return e.leaf.SerialNumber.Text(16) }

func (e *entry) state() State {
	e.stapler.mu.Lock()
	defer e.stapler.mu.Unlock()
	s := State{
		Certificate: e.leaf.Subject.String(), Serial: e.serial(), NotAfter: e.leaf.NotAfter, MustStaple: e.must, URL: e.urls[e.at],
		Status: e.status.String(), LastRequest: e.lastRequest, LastSuccess: e.lastSuccess, FailingSince: e.failing,
		LastError: e.lastError, Requests: e.requests, Failures: e.failures,
	}
	if e.place != notQueued {
		s.NextRequest = e.due
	}
	if c := e.cached.Load(); e.holds(c) {
		s.Stapled, s.Age, s.Expires, s.Bytes = true, e.stapler.options.Now().Sub(c.ThisUpdate), c.until, len(c.Raw)
		if c.Delegate != nil {
			s.Delegate = c.Delegate.Subject.String()
		}
	}
	return s
}

func (s State) compare(other State) int {
	return cmp.Or(strings.Compare(s.Certificate, other.Certificate), strings.Compare(s.Serial, other.Serial))
}
