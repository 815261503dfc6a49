package revocation

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	ber "golang.org/x/crypto/cryptobyte/asn1"
	xocsp "golang.org/x/crypto/ocsp"
)

// movable is a clock that a test moves.
type movable struct{ offset atomic.Int64 }

func (m *movable) now() time.Time        { return testNow.Add(time.Duration(m.offset.Load())) }
func (m *movable) move(by time.Duration) { m.offset.Add(int64(by)) }

// site is a web server whose answer a test changes.
type site struct {
	url   string
	asked atomic.Int64
	// mu guards the fields below.
	mu      sync.Mutex
	handler http.HandlerFunc
}

func newSite(t testing.TB, h http.HandlerFunc) *site {
	s := &site{handler: h}
	s.url = serve(t, func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		s.mu.Lock()
		h := s.handler
		s.mu.Unlock()
		h(w, r)
	})
	return s
}

func (s *site) set(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler = h
}

func static(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) } // the test sees what came
}

func failing(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }

// idle waits until nothing is fetched.
func idle(t testing.TB, n *Online) {
	t.Helper()
	for range 1000 {
		n.lists.mu.Lock()
		flying := n.lists.flying
		n.lists.mu.Unlock()
		n.answers.mu.Lock()
		flying += n.answers.flying
		n.answers.mu.Unlock()
		if flying == 0 {
			return
		}
		time.Sleep(5 * time.Millisecond) // real sockets know no virtual time
	}
	t.Fatal("fetches don't end")
}

func newChecker(t testing.TB, o Options) *Checker {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func checkOf(c *Checker, chain []*x509.Certificate) error {
	return c.Check(context.Background(), [][]*x509.Certificate{chain})
}

func recheckOf(c *Checker, chain []*x509.Certificate) error {
	return c.Recheck([][]*x509.Certificate{chain})
}

func TestDistributionPointIsFetchedOnceAndRemembered(t *testing.T) {
	root := newCA(t, "root", nil)
	s := newSite(t, nil)
	good, bad := root.leaf(t, at(s.url+"/a.crl")), root.leaf(t, at(s.url+"/a.crl"))
	s.set(static(root.crl(t, revoking(1, bad))))
	var clock movable
	n := newOnline(t, OnlineOptions{Now: clock.now})
	c := newChecker(t, Options{Points: true, Online: n, Now: clock.now})
	for range 3 {
		wantCause(t, "good", checkOf(c, chain(good, root)), none)
		e := wantCause(t, "bad", checkOf(c, chain(bad, root)), Revoked)
		if e != nil && e.Source != s.url+"/a.crl" {
			t.Errorf("source %q", e.Source)
		}
		wantCause(t, "bad, again", recheckOf(c, chain(bad, root)), Revoked)
	}
	if got := s.asked.Load(); got != 1 {
		t.Errorf("asked %d times, want 1", got)
	}
	// A reload makes another checker, which knows what was fetched.
	wantCause(t, "after a reload", checkOf(newChecker(t, Options{Points: true, Online: n, Now: clock.now}), chain(bad, root)), Revoked)
	if got := s.asked.Load(); got != 1 {
		t.Errorf("after a reload asked %d times, want 1", got)
	}
	if states := c.States(); len(states) != 1 || states[0].Source != s.url+"/a.crl" || states[0].Entries != 1 || states[0].Err != "" || !states[0].Fetched.Equal(testNow) {
		t.Errorf("%+v", states)
	}
}

func TestManyHandshakesFetchOnce(t *testing.T) {
	root := newCA(t, "root", nil)
	list := root.crl(t)
	s := newSite(t, func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(100 * time.Millisecond) // so that all come meanwhile
		_, _ = w.Write(list)
	})
	c := newChecker(t, Options{Points: true, Online: newOnline(t, OnlineOptions{Now: clockNow}), Wait: 10 * time.Second, Now: clockNow})
	var all sync.WaitGroup
	for range 50 {
		leaf := root.leaf(t, at(s.url))
		all.Go(func() { wantCause(t, "leaf", checkOf(c, chain(leaf, root)), none) })
	}
	all.Wait()
	if got := s.asked.Load(); got != 1 {
		t.Errorf("asked %d times, want 1", got)
	}
}

func TestFailedFetchKeepsTheOldListUntilItExpires(t *testing.T) {
	root := newCA(t, "root", nil)
	bad := root.leaf(t)
	s := newSite(t, static(root.crl(t, revoking(0, bad)))) // -1 h to +1 h
	leaf := root.leaf(t, at(s.url))
	var clock movable
	n := newOnline(t, OnlineOptions{Now: clock.now})
	c := newChecker(t, Options{Points: true, Online: n, Now: clock.now})
	wantCause(t, "at first", checkOf(c, chain(leaf, root)), none)
	s.set(failing)
	clock.move(55 * time.Minute)
	wantCause(t, "due, and the server fails", checkOf(c, chain(leaf, root)), none)
	idle(t, n)
	if got := s.asked.Load(); got != 2 {
		t.Errorf("asked %d times, want 2", got)
	}
	if st := c.States()[0]; st.Err == "" || !st.Alarm() {
		t.Errorf("%+v: no error, or no alarm", st)
	}
	for range 10 {
		wantCause(t, "within the pause", checkOf(c, chain(leaf, root)), none)
	}
	if got := s.asked.Load(); got != 2 {
		t.Errorf("asked %d times within the pause, want 2", got)
	}
	clock.move(time.Minute)
	wantCause(t, "after the pause", checkOf(c, chain(leaf, root)), none)
	idle(t, n)
	if got := s.asked.Load(); got != 3 {
		t.Errorf("asked %d times after the pause, want 3", got)
	}
	clock.move(10 * time.Minute)
	wantCause(t, "expired", checkOf(c, chain(leaf, root)), ExpiredList)
	wantCause(t, "expired, for a session that stands", recheckOf(c, chain(leaf, root)), none)
	idle(t, n)
	s.set(static(root.crl(t, from(time.Hour, 5*time.Hour), number(2))))
	clock.move(2 * time.Hour)
	wantCause(t, "recovered: this handshake waits for it", checkOf(c, chain(leaf, root)), none)
}

func TestConditionalRequests(t *testing.T) {
	root := newCA(t, "root", nil)
	list := root.crl(t, from(-time.Hour, 100*time.Hour))
	var full, unchanged atomic.Int64
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") == `"v1"` && r.Header.Get("If-Modified-Since") == "Mon, 02 Jan 2006 15:04:05 GMT" {
			unchanged.Add(1)
			w.WriteHeader(http.StatusNotModified)
			return
		}
		full.Add(1)
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
		_, _ = w.Write(list)
	})
	leaf := root.leaf(t, at(s.url))
	var clock movable
	n := newOnline(t, OnlineOptions{Now: clock.now, MaxListAge: 2 * time.Hour})
	c := newChecker(t, Options{Points: true, Online: n, Now: clock.now})
	for range 3 {
		wantCause(t, "leaf", checkOf(c, chain(leaf, root)), none)
		idle(t, n)
		clock.move(2 * time.Hour)
	}
	if full.Load() != 1 || unchanged.Load() != 2 {
		t.Errorf("%d whole answers and %d unchanged ones, want 1 and 2", full.Load(), unchanged.Load())
	}
	// What has expired is not made good by a server that has no other.
	clock.move(200 * time.Hour)
	wantCause(t, "expired and not modified", checkOf(c, chain(leaf, root)), ExpiredList)
	// And nobody may say "not modified" to a question without condition.
	other := newSite(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) })
	wantCause(t, "not modified, unasked", checkOf(c, chain(root.leaf(t, at(other.url)), root)), NoList)
}

func TestListsThatAreNotTakenFromADistributionPoint(t *testing.T) {
	root := newCA(t, "root", nil)
	other := newCA(t, "root", nil)
	stop := make(chan struct{})
	defer close(stop)
	for _, c := range []struct {
		name string
		h    http.HandlerFunc
	}{
		{"another issuer of that name", static(other.crl(t))},
		{"an expired list", static(root.crl(t, from(-2*time.Hour, -time.Second)))},
		{"a list from the future", static(root.crl(t, from(time.Second, time.Hour)))},
		{"a delta", static(root.crl(t, number(2), delta(1)))},
		{"an indirect list", static(root.crl(t, scoped(indirect)))},
		{"two lists", static(toPEM(blockType, root.crl(t), root.crl(t)))},
		{"two lists in DER", static(append(root.crl(t), root.crl(t)...))},
		{"a web page", static([]byte("<html>0"))},
		{"nothing", static(nil)},
		{"not found", http.NotFound},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/other", http.StatusFound) }},
		{"silence", func(http.ResponseWriter, *http.Request) { <-stop }},
		{"too large", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(append(root.crl(t), bytes.Repeat([]byte{0}, maxBody)...))
		}},
	} {
		s := newSite(t, c.h)
		n := newOnline(t, OnlineOptions{Now: clockNow, FetchTimeout: 500 * time.Millisecond})
		leaf := root.leaf(t, at(s.url))
		checker := newChecker(t, Options{Points: true, Online: n, Now: clockNow})
		wantCause(t, c.name, checkOf(checker, chain(leaf, root)), NoList)
		wantCause(t, c.name+", for a session that stands", recheckOf(checker, chain(leaf, root)), none)
		if st := checker.States(); len(st) != 1 || st[0].Err == "" || !st[0].Alarm() {
			t.Errorf("%s: states %+v", c.name, st)
		}
		lenient := newChecker(t, Options{Points: true, Online: n, Now: clockNow, Missing: AcceptMissing})
		wantCause(t, c.name+", accepted as missing", checkOf(lenient, chain(leaf, root)), none)
	}
	s := newSite(t, static(toPEM(blockType, root.crl(t))))
	checker := newChecker(t, Options{Points: true, Online: newOnline(t, OnlineOptions{Now: clockNow}), Now: clockNow})
	wantCause(t, "one list in PEM", checkOf(checker, chain(root.leaf(t, at(s.url)), root)), none)
}

func TestOlderListDoesNotReplaceANewerOne(t *testing.T) {
	root := newCA(t, "root", nil)
	s := newSite(t, nil)
	bad := root.leaf(t, at(s.url))
	s.set(static(root.crl(t, revoking(0, bad), from(-time.Hour, 48*time.Hour))))
	var clock movable
	n := newOnline(t, OnlineOptions{Now: clock.now, MaxListAge: time.Hour})
	c := newChecker(t, Options{Points: true, Online: n, Now: clock.now})
	wantCause(t, "at first", checkOf(c, chain(bad, root)), Revoked)
	s.set(static(root.crl(t, from(-2*time.Hour, 48*time.Hour))))
	clock.move(2 * time.Hour)
	wantCause(t, "due", checkOf(c, chain(bad, root)), Revoked)
	idle(t, n)
	wantCause(t, "an older list was offered", checkOf(c, chain(bad, root)), Revoked)
}

func TestPartitionsOfDistributionPoints(t *testing.T) {
	root := newCA(t, "root", nil)
	s := newSite(t, nil)
	a, b := root.leaf(t, at(s.url+"/a")), root.leaf(t, at(s.url+"/b"))
	swapped := root.crl(t, scoped(pointNames(s.url+"/a")))
	s.set(static(swapped)) // the partition of a, wherever one asks
	c := newChecker(t, Options{Points: true, Online: newOnline(t, OnlineOptions{Now: clockNow}), Now: clockNow})
	wantCause(t, "its partition", checkOf(c, chain(a, root)), none)
	wantCause(t, "another's partition", checkOf(c, chain(b, root)), NotCovered)
}

func TestPointsOfTheWholeChain(t *testing.T) {
	root := newCA(t, "root", nil)
	s := newSite(t, nil)
	sub := newCA(t, "sub", root, at(s.url+"/root"))
	leaf := sub.leaf(t, at("ldap://ldap.test/x", s.url+"/sub"))
	rootList, subList := root.crl(t, revoking(2, sub.cert)), sub.crl(t)
	s.set(func(w http.ResponseWriter, r *http.Request) {
		static(map[string][]byte{"/root": rootList, "/sub": subList}[r.URL.Path])(w, r)
	})
	c := newChecker(t, Options{Points: true, Online: newOnline(t, OnlineOptions{Now: clockNow}), Now: clockNow})
	if e := wantCause(t, "revoked CA", checkOf(c, chain(leaf, sub, root)), Revoked); e != nil && e.Depth != 1 {
		t.Errorf("%v", e)
	}
}

func TestSweepRefreshesListsBeforeTheyAreNeeded(t *testing.T) {
	root := newCA(t, "root", nil)
	s := newSite(t, static(root.crl(t)))
	leaf := root.leaf(t, at(s.url))
	var clock movable
	n := newOnline(t, OnlineOptions{Now: clock.now})
	c := newChecker(t, Options{Points: true, Online: n, Now: clock.now})
	wantCause(t, "at first", checkOf(c, chain(leaf, root)), none)
	s.set(static(root.crl(t, number(2), from(50*time.Minute, 3*time.Hour))))
	clock.move(55 * time.Minute)
	n.lists.refresh(clock.now().Add(-idleLists))
	idle(t, n)
	if st := c.States()[0]; !st.ThisUpdate.Equal(testNow.Add(50 * time.Minute)) {
		t.Errorf("%+v, want the new list", st)
	}
	clock.move(2 * idleLists)
	n.lists.refresh(clock.now().Add(-idleLists))
	if st := c.States(); len(st) != 0 {
		t.Errorf("%+v, want what nobody asks for forgotten", st)
	}
}

func TestSSRFByCertificate(t *testing.T) {
	root := newCA(t, "root", nil)
	s := newSite(t, static(root.crl(t)))
	leaf := root.leaf(t, at(s.url), responderAt(s.url))
	n, err := NewOnline(OnlineOptions{Now: clockNow}) // nothing inside is allowed
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	e := wantCause(t, "points", checkOf(newChecker(t, Options{Points: true, Online: n, Now: clockNow}), chain(leaf, root)), NoList)
	if e != nil && (e.Err == nil || !strings.Contains(e.Err.Error(), "not public")) {
		t.Errorf("%v does not say why", e)
	}
	wantCause(t, "OCSP", checkOf(newChecker(t, Options{OCSP: HardFail, Online: n, Now: clockNow}), chain(leaf, root)), ResponderFailed)
	if got := s.asked.Load(); got != 0 {
		t.Errorf("%d requests came", got)
	}
}

// responder answers for one issuer.
type responder struct {
	t       testing.TB
	issuer  *ca
	signer  *ca
	mu      sync.Mutex // guards the fields below
	status  map[string][]byte
	valid   time.Duration
	clock   func() time.Time
	noNonce bool
	running int
	most    int
	pause   time.Duration
}

func (r *responder) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	r.running++
	r.most = max(r.most, r.running)
	pause := r.pause
	r.mu.Unlock()
	time.Sleep(pause)
	defer func() {
		r.mu.Lock()
		r.running--
		r.mu.Unlock()
	}()
	body, err := io.ReadAll(q.Body)
	if err != nil || q.Method != http.MethodPost || q.Header.Get("Content-Type") != "application/ocsp-request" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	request, err := xocsp.ParseRequest(body)
	if err != nil {
		_, _ = w.Write(xocsp.MalformedRequestErrorResponse)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a := answerOf{
		about: &x509.Certificate{SerialNumber: request.SerialNumber}, issuer: r.issuer.cert, signer: r.signer,
		status: r.status[request.SerialNumber.String()],
	}
	if r.clock != nil {
		a.this = r.clock().Sub(testNow) - time.Second
		a.next = a.this + r.valid
	}
	if !r.noNonce {
		a.nonce = nonceOf(body)
	}
	if r.signer != r.issuer {
		a.certificates = []*x509.Certificate{r.signer.cert}
	}
	_, _ = w.Write(a.der(r.t))
}

// nonceOf reads the nonce of a request.
func nonceOf(der []byte) []byte {
	in := cryptobyte.String(der)
	var request, tbs, wrapped, list, one, value, nonce cryptobyte.String
	if !in.ReadASN1(&request, ber.SEQUENCE) || !request.ReadASN1(&tbs, ber.SEQUENCE) || !tbs.SkipASN1(ber.SEQUENCE) ||
		!tbs.ReadASN1(&wrapped, constructed(2)) || !wrapped.ReadASN1(&list, ber.SEQUENCE) || !list.ReadASN1(&one, ber.SEQUENCE) ||
		!one.SkipASN1(ber.OBJECT_IDENTIFIER) || !one.ReadASN1(&value, ber.OCTET_STRING) || !value.ReadASN1(&nonce, ber.OCTET_STRING) {
		return nil
	}
	return nonce
}

func newResponder(t testing.TB, issuer *ca) (*responder, *site) {
	r := &responder{t: t, issuer: issuer, signer: issuer, status: make(map[string][]byte)}
	return r, newSite(t, r.ServeHTTP)
}

func (r *responder) say(c *x509.Certificate, status []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status[c.SerialNumber.String()] = status
}

func TestOCSP(t *testing.T) {
	root := newCA(t, "root", nil)
	r, s := newResponder(t, root)
	good, bad, held, strange := root.leaf(t, responderAt(s.url)), root.leaf(t, responderAt(s.url)), root.leaf(t, responderAt(s.url)), root.leaf(t, responderAt(s.url))
	r.say(bad, isRevoked(1))
	r.say(held, isRevoked(6))
	r.say(strange, isUnknown)
	for _, policy := range []OCSP{HardFail, SoftFail} {
		c := newChecker(t, Options{OCSP: policy, Online: newOnline(t, OnlineOptions{Now: clockNow}), Now: clockNow})
		before := s.asked.Load()
		for range 3 {
			wantCause(t, "good", checkOf(c, chain(good, root)), none)
			wantCause(t, "unknown", checkOf(c, chain(strange, root)), UnknownStatus)
			wantCause(t, "held", checkOf(c, chain(held, root)), Revoked)
			e := wantCause(t, "revoked", checkOf(c, chain(bad, root)), Revoked)
			if e != nil && (e.Reason != 1 || !e.At.Equal(testNow.Add(-time.Hour)) || e.Source != s.url || !e.Final()) {
				t.Errorf("%+v", e)
			}
			wantCause(t, "revoked, again", recheckOf(c, chain(bad, root)), Revoked)
		}
		if got := s.asked.Load() - before; got != 4 {
			t.Errorf("asked %d times, want once per certificate", got)
		}
	}
}

func TestOCSPOfDelegateThatListsRevoke(t *testing.T) {
	root := newCA(t, "root", nil)
	r, s := newResponder(t, root)
	r.signer = root.responder(t)
	leaf := root.leaf(t, responderAt(s.url))
	n := newOnline(t, OnlineOptions{Now: clockNow})
	wantCause(t, "delegated", checkOf(newChecker(t, Options{OCSP: HardFail, Online: n, Now: clockNow}), chain(leaf, root)), none)
	lists := mustParse(t, root.crl(t, revoking(1, r.signer.cert)))
	wantCause(t, "by a revoked delegate", checkOf(newChecker(t, Options{OCSP: HardFail, Online: n, Now: clockNow, Lists: lists}), chain(leaf, root)), ResponderFailed)
}

func TestResponderFails(t *testing.T) {
	root, other := newCA(t, "root", nil), newCA(t, "root", nil)
	stop := make(chan struct{})
	defer close(stop)
	wrong, wrongSite := newResponder(t, root)
	wrong.signer = other
	for _, c := range []struct{ name, url string }{
		{"silent", newSite(t, func(http.ResponseWriter, *http.Request) { <-stop }).url},
		{"try later", newSite(t, static(xocsp.TryLaterErrorResponse)).url},
		{"huge", newSite(t, static(make([]byte, 2*maxAnswer))).url},
		{"another signer", wrongSite.url},
		{"an error", newSite(t, failing).url},
		{"a redirect", newSite(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", http.StatusTemporaryRedirect) }).url},
		{"nobody there", "http://127.0.0.1:" + freePort(t)},
	} {
		n := newOnline(t, OnlineOptions{Now: clockNow})
		leaf := root.leaf(t, responderAt(c.url))
		for policy, want := range map[OCSP]Cause{HardFail: ResponderFailed, SoftFail: none} {
			checker := newChecker(t, Options{OCSP: policy, Online: n, Wait: 200 * time.Millisecond, Now: clockNow})
			begun := time.Now()
			wantCause(t, c.name, checkOf(checker, chain(leaf, root)), want)
			if took := time.Since(begun); took > 2*time.Second {
				t.Errorf("%s: a handshake waited %s", c.name, took)
			}
			begun = time.Now()
			wantCause(t, c.name+", for a session that stands", recheckOf(checker, chain(leaf, root)), none)
			if took := time.Since(begun); took > time.Second {
				t.Errorf("%s: a recheck waited %s", c.name, took)
			}
		}
	}
}

// The wait is one for the whole chain, and all are asked at once.
func TestWaitIsForTheWholeHandshake(t *testing.T) {
	stop := make(chan struct{})
	s := newSite(t, func(http.ResponseWriter, *http.Request) { <-stop })
	defer close(stop)
	parent := newCA(t, "0", nil)
	cas := []*ca{parent}
	for i := range 5 {
		parent = newCA(t, fmt.Sprint(i+1), parent, responderAt(s.url), at(s.url))
		cas = append([]*ca{parent}, cas...)
	}
	leaf := parent.leaf(t, responderAt(s.url), at(s.url))
	n := newOnline(t, OnlineOptions{Now: clockNow})
	c := newChecker(t, Options{OCSP: SoftFail, Points: true, Missing: AcceptMissing, Online: n, Wait: 300 * time.Millisecond, Now: clockNow})
	begun := time.Now()
	wantCause(t, "silent", checkOf(c, chain(leaf, cas...)), none)
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("a handshake waited %s", took)
	}
}

func TestNoResponder(t *testing.T) {
	root := newCA(t, "root", nil)
	plain, ldap := root.leaf(t), root.leaf(t, responderAt("ldap://ldap.test/x"))
	n := newOnline(t, OnlineOptions{Now: clockNow})
	lists := mustParse(t, root.crl(t))
	for _, leaf := range []*x509.Certificate{plain, ldap} {
		wantCause(t, "hard", checkOf(newChecker(t, Options{OCSP: HardFail, Online: n, Now: clockNow}), chain(leaf, root)), NoResponder)
		wantCause(t, "soft", checkOf(newChecker(t, Options{OCSP: SoftFail, Online: n, Now: clockNow}), chain(leaf, root)), none)
		wantCause(t, "hard, and a list shows that it is good", checkOf(newChecker(t, Options{OCSP: HardFail, Online: n, Now: clockNow, Lists: lists}), chain(leaf, root)), none)
		none := mustParse(t, newCA(t, "other", nil).crl(t))
		wantCause(t, "hard, and a list is missing and may be", checkOf(newChecker(t, Options{OCSP: HardFail, Online: n, Now: clockNow, Lists: none, Missing: AcceptMissing}), chain(leaf, root)), NoResponder)
	}
}

func TestSecondResponderIsAskedWhenTheFirstFails(t *testing.T) {
	root := newCA(t, "root", nil)
	r, s := newResponder(t, root)
	first := newSite(t, failing)
	good, bad := root.leaf(t, responderAt(first.url, s.url)), root.leaf(t, responderAt(first.url, s.url))
	r.say(bad, isRevoked(1))
	c := newChecker(t, Options{OCSP: HardFail, Online: newOnline(t, OnlineOptions{Now: clockNow}), Now: clockNow})
	for range 2 {
		wantCause(t, "good", checkOf(c, chain(good, root)), none)
		wantCause(t, "bad", checkOf(c, chain(bad, root)), Revoked)
	}
}

func TestOneRequestPerIssuerAtATime(t *testing.T) {
	root := newCA(t, "root", nil)
	r, s := newResponder(t, root)
	r.pause = 10 * time.Millisecond
	c := newChecker(t, Options{OCSP: HardFail, Online: newOnline(t, OnlineOptions{Now: clockNow}), Wait: 10 * time.Second, Now: clockNow})
	var all sync.WaitGroup
	for range 20 {
		leaf := root.leaf(t, responderAt(s.url))
		for range 5 {
			all.Go(func() { wantCause(t, "leaf", checkOf(c, chain(leaf, root)), none) })
		}
	}
	all.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if got := s.asked.Load(); got != 20 || r.most != 1 {
		t.Errorf("asked %d times, %d at once, want 20 and 1", got, r.most)
	}
}

// Not every certificate of an issuer waits for its dead responder.
func TestSilentResponderIsLeftAlone(t *testing.T) {
	root := newCA(t, "root", nil)
	r, s := newResponder(t, root)
	s.set(failing)
	var clock movable
	n := newOnline(t, OnlineOptions{Now: clock.now})
	c := newChecker(t, Options{OCSP: HardFail, Online: n, Now: clock.now})
	for range 20 {
		wantCause(t, "while it fails", checkOf(c, chain(root.leaf(t, responderAt(s.url)), root)), ResponderFailed)
	}
	if got := s.asked.Load(); got != 1 {
		t.Errorf("asked %d times, want 1", got)
	}
	s.set(r.ServeHTTP)
	clock.move(3 * time.Second)
	wantCause(t, "later", checkOf(c, chain(root.leaf(t, responderAt(s.url)), root)), none)
}

func TestAnswersAreRefreshedAndExpire(t *testing.T) {
	root := newCA(t, "root", nil)
	r, s := newResponder(t, root)
	leaf := root.leaf(t, responderAt(s.url))
	var clock movable
	r.clock, r.valid = clock.now, 10*time.Hour
	n := newOnline(t, OnlineOptions{Now: clock.now, MaxAnswerAge: time.Hour})
	c := newChecker(t, Options{OCSP: HardFail, Online: n, Now: clock.now})
	asked := func(want int64) {
		t.Helper()
		idle(t, n)
		if got := s.asked.Load(); got != want {
			t.Errorf("asked %d times, want %d", got, want)
		}
	}
	wantCause(t, "at first", checkOf(c, chain(leaf, root)), none)
	clock.move(20 * time.Minute)
	wantCause(t, "young", checkOf(c, chain(leaf, root)), none)
	asked(1)
	clock.move(15 * time.Minute)
	wantCause(t, "middle-aged: refreshed behind", recheckOf(c, chain(leaf, root)), none)
	asked(2)
	s.set(failing)
	clock.move(50 * time.Minute)
	wantCause(t, "the old one still counts", checkOf(c, chain(leaf, root)), none)
	asked(3)
	clock.move(50 * time.Minute)
	wantCause(t, "no more", checkOf(c, chain(leaf, root)), ResponderFailed)
	asked(4)
	wantCause(t, "no more, for a session that stands", recheckOf(c, chain(leaf, root)), none)
	s.set(r.ServeHTTP)
	r.say(leaf, isRevoked(6))
	clock.move(10 * time.Minute)
	wantCause(t, "revoked meanwhile", checkOf(c, chain(leaf, root)), Revoked)
	asked(5)
	// A revocation doesn't become good by a responder that is silent.
	s.set(failing)
	clock.move(100 * time.Hour)
	soft := newChecker(t, Options{OCSP: SoftFail, Online: n, Now: clock.now})
	n.answers.forget(clock.now())
	wantCause(t, "long after", checkOf(soft, chain(leaf, root)), Revoked)
	asked(6)
	s.set(r.ServeHTTP)
	r.say(leaf, isGood)
	clock.move(10 * time.Minute)
	_ = checkOf(c, chain(leaf, root)) // asks again
	idle(t, n)
	wantCause(t, "the hold was lifted", checkOf(c, chain(leaf, root)), none)
}

func TestEveryRequestHasItsOwnNonce(t *testing.T) {
	root := newCA(t, "root", nil)
	r := &responder{t: t, issuer: root, signer: root, status: make(map[string][]byte)}
	seen := make(map[string]bool) // one request at a time: each is waited for
	s := newSite(t, func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		if n := nonceOf(body); len(n) != nonceSize || seen[string(n)] {
			t.Errorf("nonce %x of %d bytes, after %d others", n, len(n), len(seen))
		} else {
			seen[string(n)] = true
		}
		q.Body = io.NopCloser(bytes.NewReader(body))
		r.ServeHTTP(w, q)
	})
	c := newChecker(t, Options{OCSP: HardFail, Online: newOnline(t, OnlineOptions{Now: clockNow}), Now: clockNow})
	for range 3 {
		wantCause(t, "good", checkOf(c, chain(root.leaf(t, responderAt(s.url)), root)), none)
	}
	if len(seen) != 3 {
		t.Errorf("%d requests, want 3", len(seen))
	}
}

func TestResponderWithoutNonce(t *testing.T) {
	root := newCA(t, "root", nil)
	r, s := newResponder(t, root)
	r.noNonce = true
	c := newChecker(t, Options{OCSP: HardFail, Online: newOnline(t, OnlineOptions{Now: clockNow}), Now: clockNow})
	wantCause(t, "an answer made before", checkOf(c, chain(root.leaf(t, responderAt(s.url)), root)), none)
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	root := newCA(t, "root", nil)
	r, s := newResponder(t, root)
	n := newOnline(t, OnlineOptions{Now: clockNow})
	n.answers.max = 10
	c := newChecker(t, Options{OCSP: HardFail, Online: n, Now: clockNow})
	bad := root.leaf(t, responderAt(s.url))
	r.say(bad, isRevoked(1))
	wantCause(t, "bad", checkOf(c, chain(bad, root)), Revoked)
	for range 50 {
		wantCause(t, "good", checkOf(c, chain(root.leaf(t, responderAt(s.url)), root)), none)
	}
	idle(t, n)
	for _, s := range n.answers.slots {
		if s.load != nil {
			t.Fatal("a slot holds its certificate")
		}
	}
	if len(n.answers.slots) > 10 || len(n.answers.lanes) != 0 {
		t.Errorf("%d answers and %d lanes are remembered, want at most 10 and 0", len(n.answers.slots), len(n.answers.lanes))
	}
	before := s.asked.Load()
	wantCause(t, "bad, still", recheckOf(c, chain(bad, root)), Revoked)
	if s.asked.Load() != before {
		t.Error("a revocation was forgotten to make room")
	}
	n.answers.flights = 0
	wantCause(t, "too much at once", checkOf(c, chain(root.leaf(t, responderAt(s.url)), root)), ResponderFailed)
}

// The certificates of one issuer with a slow responder leave room for others.
func TestSlowIssuerLeavesRoom(t *testing.T) {
	slow, quick := newCA(t, "slow", nil), newCA(t, "quick", nil)
	stop := make(chan struct{})
	silent := newSite(t, func(http.ResponseWriter, *http.Request) { <-stop })
	defer close(stop)
	_, s := newResponder(t, quick)
	n := newOnline(t, OnlineOptions{Now: clockNow})
	n.answers.flights, n.answers.perLane = 4, 2
	c := newChecker(t, Options{OCSP: HardFail, Online: n, Wait: time.Millisecond, Now: clockNow})
	for range 10 {
		wantCause(t, "slow", checkOf(c, chain(slow.leaf(t, responderAt(silent.url)), slow)), ResponderFailed)
	}
	c = newChecker(t, Options{OCSP: HardFail, Online: n, Now: clockNow})
	wantCause(t, "quick", checkOf(c, chain(quick.leaf(t, responderAt(s.url)), quick)), none)
}

func TestCloseEndsWhatRuns(t *testing.T) {
	root := newCA(t, "root", nil)
	stop := make(chan struct{})
	defer close(stop)
	s := newSite(t, func(http.ResponseWriter, *http.Request) { <-stop })
	n := newOnline(t, OnlineOptions{Now: clockNow})
	c := newChecker(t, Options{OCSP: HardFail, Points: true, Online: n, Wait: 50 * time.Millisecond, Now: clockNow})
	leaf := root.leaf(t, responderAt(s.url), at(s.url))
	wantCause(t, "silent", checkOf(c, chain(leaf, root)), NoList)
	begun := time.Now()
	n.Close()
	if took := time.Since(begun); took > time.Second {
		t.Errorf("Close took %s", took)
	}
	n.Close() // once more does no harm
	wantCause(t, "after the end", checkOf(c, chain(root.leaf(t, responderAt(s.url), at(s.url+"/x")), root)), NoList)
}

func TestChecksAndReloadsTogether(t *testing.T) {
	root := newCA(t, "root", nil)
	r, s := newResponder(t, root)
	list := root.crl(t)
	points := newSite(t, static(list))
	n := newOnline(t, OnlineOptions{Now: clockNow})
	bad := root.leaf(t, responderAt(s.url), at(points.url))
	r.say(bad, isRevoked(1))
	good := root.leaf(t, responderAt(s.url), at(points.url))
	var current atomic.Pointer[Checker]
	reload := func() {
		current.Store(newChecker(t, Options{OCSP: HardFail, Points: true, Lists: mustParse(t, list), Online: n, Now: clockNow}))
	}
	reload()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				wantCause(t, "good", checkOf(current.Load(), chain(good, root)), none)
				wantCause(t, "bad", checkOf(current.Load(), chain(bad, root)), Revoked)
				_ = recheckOf(current.Load(), chain(good, root)) // may run before the answer is there
				_ = current.Load().States()
			}
		})
	}
	for range 50 {
		reload()
	}
	all.Wait()
}
