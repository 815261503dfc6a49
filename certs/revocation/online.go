package revocation

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"sallyport/certs/ocsp"
)

// OnlineOptions are the bounds of what is fetched. The zero value has the defaults.
type OnlineOptions struct {
	// Allow lists networks that may be asked although they are not public.
	Allow []netip.Prefix
	// MaxListAge is after how long a list is asked for again at the latest,
	// also before its next update. Default 24 h, at least 1 min.
	MaxListAge time.Duration
	// MaxAnswerAge is for how long an OCSP answer is used at most. Default 1 h,
	// at least 1 min.
	MaxAnswerAge time.Duration
	// FetchTimeout bounds one request. Default and maximum 10 s.
	FetchTimeout time.Duration
	// Now is the clock, time.Now if nil.
	Now func() time.Time
}

// Bounds of what is remembered and of how often is asked.
const (
	maxFetchedLists = 256
	maxAnswers      = 100_000
	maxFlights      = 1024
	maxOfIssuer     = 256 // of these
	minAge          = time.Minute
	sweepInterval   = 15 * time.Second
	idleLists       = 24 * time.Hour // lists that no certificate asked for are not kept
	waitForTurn     = 30 * time.Second
	maxDelegates    = 256
	maxPointsOfOne  = 4 // distribution points and responders that are asked for one certificate
)

// Online fetches lists and OCSP answers, and remembers them. It is safe for
// concurrent use, and outlives the checkers that use it. Close ends it.
type Online struct {
	o       OnlineOptions
	fetcher *fetcher
	lists   *cache[*fetchedList]
	answers *cache[*answer]
	cancel  context.CancelFunc
	swept   sync.WaitGroup // the sweeper

	// mu guards delegates: certificates of responders by DER, one for all answers.
	mu        sync.Mutex
	delegates map[string]*x509.Certificate
}

// fetchedList is a list with what the server said of its version.
type fetchedList struct {
	list    *List
	stamp   stamp
	fetched time.Time
}

// NewOnline starts to fetch when a checker first asks for something.
func NewOnline(o OnlineOptions) (*Online, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	for _, d := range []struct {
		value            *time.Duration
		name             string
		normal, min, max time.Duration
	}{
		{&o.MaxListAge, "age of lists", 24 * time.Hour, minAge, 90 * 24 * time.Hour},
		{&o.MaxAnswerAge, "age of OCSP answers", time.Hour, minAge, 7 * 24 * time.Hour},
		{&o.FetchTimeout, "time of a fetch", fetchLimit, 10 * time.Millisecond, fetchLimit},
	} {
		if *d.value == 0 {
			*d.value = d.normal
		}
		if *d.value < d.min || *d.value > d.max {
			return nil, fmt.Errorf("greatest %s must be between %s and %s", d.name, d.min, d.max)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := &Online{o: o, fetcher: newFetcher(o.Allow, o.FetchTimeout), cancel: cancel, delegates: make(map[string]*x509.Certificate)}
	n.lists = &cache[*fetchedList]{
		now: o.Now, ctx: ctx, max: maxFetchedLists, flights: maxFlights, perLane: maxOfIssuer, limit: waitForTurn,
		backoff: [2]time.Duration{30 * time.Second, time.Hour}, sweeps: true,
		keep:  func(*fetchedList) bool { return false },
		slots: make(map[string]*slot[*fetchedList]), lanes: make(map[string]*lane), silent: make(map[string]silence),
	}
	n.answers = &cache[*answer]{
		now: o.Now, ctx: ctx, max: maxAnswers, flights: maxFlights, perLane: maxOfIssuer, limit: waitForTurn,
		backoff: [2]time.Duration{2 * time.Second, time.Minute},
		// What was revoked must not become good by being forgotten.
		keep:  func(a *answer) bool { return a.Status == ocsp.Revoked },
		slots: make(map[string]*slot[*answer]), lanes: make(map[string]*lane), silent: make(map[string]silence),
	}
	n.swept.Add(1)
	go n.sweep(ctx) // ends with Close
	return n, nil
}

// Close ends all fetches and waits for them. Checks go on with what is remembered.
func (n *Online) Close() {
	n.cancel()
	n.lists.close()
	n.answers.close()
	n.swept.Wait()
	n.fetcher.close()
}

// sweep refreshes lists that are in use, so that they are there before they are
// needed, and forgets what nobody asked for. Answers are refreshed when used.
func (n *Online) sweep(ctx context.Context) {
	defer n.swept.Done()
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := n.o.Now()
		n.lists.refresh(now.Add(-idleLists))
		n.answers.forget(now.Add(-2 * n.o.MaxAnswerAge))
	}
}

// keyOf tells issuers apart by name and key.
func keyOf(issuer *x509.Certificate) string {
	h := sha256.New()
	h.Write(issuer.RawSubjectPublicKeyInfo)
	h.Write(issuer.RawSubject)
	return hex.EncodeToString(h.Sum(nil))
}

// pending is something that is fetched, or was.
type pending[V any] struct {
	value  V
	have   bool
	fresh  bool // and it is not out of date
	source string
	flight <-chan struct{}
	err    error
	again  func() pending[V] // looks once more
}

// wait waits for the fetch that runs, or the end of ctx, and looks once more. With
// a value that is not out of date it doesn't wait.
func (p pending[V]) wait(ctx context.Context, outside func(func())) pending[V] {
	if p.fresh || p.flight == nil {
		return p
	}
	landed := false
	outside(func() {
		select {
		case <-p.flight:
			landed = true
		case <-ctx.Done():
		}
	})
	if landed {
		return p.again()
	}
	p.err = ctx.Err()
	return p
}

// fetchLists looks for the lists of c's distribution points. It never waits.
func (n *Online) fetchLists(c, issuer *x509.Certificate) []pending[*fetchedList] {
	var all []pending[*fetchedList]
	for _, p := range points(c) {
		if url := p.url(); url != "" && len(all) < maxPointsOfOne {
			all = append(all, n.fetchList(url, issuer))
		}
	}
	return all
}

func (n *Online) fetchList(url string, issuer *x509.Certificate) pending[*fetchedList] {
	key := keyOf(issuer)
	value, have, flight, err := n.lists.look(url+" "+key, key, hostOf(url), func(ctx context.Context, old *fetchedList, have bool) (*fetchedList, time.Time, error) {
		return n.loadList(ctx, url, issuer, old, have)
	})
	fresh := have && !value.list.expired(n.o.Now())
	return pending[*fetchedList]{value, have, fresh, url, flight, err, func() pending[*fetchedList] { return n.fetchList(url, issuer) }}
}

func (n *Online) loadList(ctx context.Context, url string, issuer *x509.Certificate, old *fetchedList, have bool) (*fetchedList, time.Time, error) {
	var known stamp
	if have {
		known = old.stamp
	}
	body, version, err := n.fetcher.get(ctx, url, known)
	now := n.o.Now()
	switch {
	case errors.Is(err, errNotModified) && have && !old.list.expired(now):
		return &fetchedList{old.list, old.stamp, now}, n.listDue(old.list, now), nil
	case errors.Is(err, errNotModified):
		return nil, time.Time{}, errors.New("the server has no list that is newer than the expired one")
	case err != nil:
		return nil, time.Time{}, err
	}
	list, err := fetchedFrom(body, url, issuer, now)
	if err != nil {
		return nil, time.Time{}, err
	}
	// Over plain HTTP somebody might send an older list, on which a certificate
	// is missing still.
	if have && newer(list, old.list) < 0 {
		return nil, time.Time{}, errors.New("the list is older than the one that is known")
	}
	return &fetchedList{list, version, now}, n.listDue(list, now), nil
}

// fetchedFrom reads the answer of a distribution point: one list, in force, and
// signed by the issuer whose certificate named the point.
func fetchedFrom(body []byte, url string, issuer *x509.Certificate, now time.Time) (*List, error) {
	ders, err := split(body)
	if err != nil {
		return nil, err
	}
	if len(ders) != 1 {
		return nil, errors.New("several lists in one file")
	}
	list, err := ParseList(ders[0], url)
	switch {
	case err != nil:
		return nil, err
	case list.base != nil:
		return nil, errors.New("a delta list where a complete one is due")
	case list.head.NextUpdate.IsZero():
		return nil, errors.New("the list has no next update") // RFC 5280, 5.1.2.5 demands one
	case list.issuer != canonical(issuer.RawSubject) || !list.signedBy(issuer):
		return nil, errors.New("the list is not signed by the certificate's issuer")
	case list.expired(now):
		return nil, errors.New("the list has expired")
	case list.future(now):
		return nil, errors.New("the list is not valid yet")
	}
	return list, nil
}

// listDue is when to ask for the next list: some time before the present one
// ends, so that a failure can be made good.
func (n *Online) listDue(l *List, now time.Time) time.Time {
	early := min(l.head.NextUpdate.Sub(l.head.ThisUpdate)/10, time.Hour)
	due := l.head.NextUpdate.Add(-early)
	if latest := now.Add(n.o.MaxListAge); due.After(latest) {
		due = latest
	}
	if soonest := now.Add(minAge); due.Before(soonest) {
		due = soonest
	}
	return due
}

// States returns the state of every list that was fetched, or should have been.
func (n *Online) States() []State {
	now := n.o.Now()
	var all []State
	n.lists.each(func(key string, f *fetchedList, have bool, err error) {
		s := State{Source: key[:strings.LastIndexByte(key, ' ')]}
		if have {
			s = f.list.state(now)
			s.Fetched = f.fetched
		}
		if err != nil {
			s.Err = err.Error()
		}
		all = append(all, s)
	})
	return all
}

// askResponder looks for the OCSP answer about c. It never waits.
func (n *Online) askResponder(c, issuer *x509.Certificate, url string) pending[*answer] {
	issuerKey := keyOf(issuer)
	key := issuerKey + " " + c.SerialNumber.Text(16) + " " + url
	value, have, flight, err := n.answers.look(key, issuerKey, hostOf(url), func(ctx context.Context, _ *answer, _ bool) (*answer, time.Time, error) {
		return n.loadAnswer(ctx, url, c, issuer)
	})
	fresh := have && value.counts(n.o.Now())
	return pending[*answer]{value, have, fresh, url, flight, err, func() pending[*answer] { return n.askResponder(c, issuer, url) }}
}

func (n *Online) loadAnswer(ctx context.Context, url string, c, issuer *x509.Certificate) (*answer, time.Time, error) {
	nonce := make([]byte, nonceSize)
	if _, err := rand.Read(nonce); err != nil {
		return nil, time.Time{}, err
	}
	question, err := ocsp.NewRequest(c, issuer, nonce)
	if err != nil {
		return nil, time.Time{}, err
	}
	body, err := n.fetcher.post(ctx, url, question)
	if err != nil {
		return nil, time.Time{}, err
	}
	now := n.o.Now()
	a, err := readAnswer(body, c, issuer, nonce, now)
	if err != nil {
		return nil, time.Time{}, err
	}
	a.Delegate = n.delegate(a.Delegate)
	if latest := now.Add(n.o.MaxAnswerAge); a.until.After(latest) {
		a.until = latest
	}
	// Half of the time is left to get the next one in the background.
	return a, now.Add(a.until.Sub(now) / 2), nil
}

// delegate is the one copy of a responder's certificate, or nil.
func (n *Online) delegate(c *x509.Certificate) *x509.Certificate {
	if c == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if known := n.delegates[string(c.Raw)]; known != nil {
		return known
	}
	if len(n.delegates) >= maxDelegates {
		clear(n.delegates)
	}
	n.delegates[string(c.Raw)] = c
	return c
}

// responders are the URLs of c's OCSP responders that can be asked.
func responders(c *x509.Certificate) []string {
	var all []string
	for _, url := range c.OCSPServer {
		if webURL(url) && len(all) < maxPointsOfOne {
			all = append(all, url)
		}
	}
	return all
}
