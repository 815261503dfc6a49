package tickets

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// watch is a clock that a test sets.
type watch struct {
	mu  sync.Mutex
	now time.Time // guarded by mu
}

func newWatch() *watch { return &watch{now: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)} }

func (w *watch) time() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *watch) add(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// fixed is a fleet's ring with secrets that begin with the given bytes.
func fixed(first ...byte) *Ring {
	r := &Ring{now: time.Now, fleet: true}
	for _, b := range first {
		s := secret{b}
		for i := 1; i < len(s); i++ {
			s[i] = byte(i)
		}
		r.secrets = append(r.secrets, dated{secret: s})
	}
	r.generation.Store(1)
	return r
}

func TestScopesThatDifferShareNoKey(t *testing.T) {
	r := fixed(1, 2)
	scope := Scope{Listener: "door", Server: "a", Trust: TrustOf(nil), ClientAuth: tls.RequireAndVerifyClientCert, Rules: "1.2"}
	same, _ := r.keys(scope)
	if again, _ := r.keys(scope); !slices.Equal(same, again) || len(same) != 2 || same[0] == same[1] {
		t.Fatalf("the keys of a scope: %x, then %x", same, again)
	}
	for name, change := range map[string]func(*Scope){
		"another listener":           func(s *Scope) { s.Listener = "gate" },
		"another certificate":        func(s *Scope) { s.Server = "b" },
		"another trust store":        func(s *Scope) { s.Trust = TrustOf([]*x509.Certificate{{Raw: []byte("CA")}}) },
		"certificates are optional":  func(s *Scope) { s.ClientAuth = tls.VerifyClientCertIfGiven },
		"certificates are not asked": func(s *Scope) { s.ClientAuth = tls.NoClientCert },
		"other rules":                func(s *Scope) { s.Rules = "1.3" },
		"a text that crosses over":   func(s *Scope) { s.Listener, s.Server = "doora", "" },
		"a text with a length in it": func(s *Scope) { s.Listener, s.Server = "door\x00\x00\x00\x01a", "" },
	} {
		other := scope
		change(&other)
		keys, _ := r.keys(other)
		for _, key := range keys {
			if slices.Contains(same, key) {
				t.Errorf("%s: the same key", name)
			}
		}
	}
	for _, key := range same {
		for i := range r.secrets {
			if key == r.secrets[i].secret {
				t.Error("a secret itself is a key")
			}
		}
	}
}

// TestKeysOfAFleetLast: brokers of different versions of Sallyport make the same
// keys of a file. Who changes this ends every session of a fleet that is upgraded
// broker by broker.
func TestKeysOfAFleetLast(t *testing.T) {
	r := fixed(1)
	keys, _ := r.keys(Scope{Listener: "door", Server: "a", Trust: TrustOf(nil), ClientAuth: tls.NoClientCert, Rules: "r"})
	const want, wantID = "aca2c127fb1ec4da8b261a504c8ecc5878ddbc45b1de6cc18d321b5d1739cd1d", "a2a31388"
	if got := hex.EncodeToString(keys[0][:]); got != want {
		t.Errorf("the key is %s, want %s", got, want)
	}
	if got := r.IDs(); got[0] != wantID {
		t.Errorf("its id is %s, want %s", got[0], wantID)
	}
}

func TestTrustIsASet(t *testing.T) {
	a, b := &x509.Certificate{Raw: []byte("a")}, &x509.Certificate{Raw: []byte("b")}
	both := TrustOf([]*x509.Certificate{a, b})
	if both != TrustOf([]*x509.Certificate{b, a, b}) {
		t.Error("order or repetition counts")
	}
	for _, less := range [][]*x509.Certificate{nil, {a}, {b}, {{Raw: []byte("ab")}}} {
		if TrustOf(less) == both {
			t.Errorf("%d anchors digest like two others", len(less))
		}
	}
}

func TestRotation(t *testing.T) {
	w := newWatch()
	r := New(w.time)
	first := r.IDs()[0]
	step := func(d time.Duration, changed bool, secrets, place int) {
		t.Helper()
		w.add(d)
		if got := r.Rotate(); got != changed {
			t.Errorf("Rotate = %t, want %t", got, changed)
		}
		if r.Rotate() {
			t.Error("it rotates twice at one time")
		}
		if ids := r.IDs(); len(ids) != secrets || slices.Index(ids, first) != place {
			t.Errorf("%d secrets, the first at %d; want %d and %d", len(ids), slices.Index(ids, first), secrets, place)
		}
	}
	step(Period-1, false, 1, 0)
	step(1, true, 2, 1)
	for days := 2; days <= 6; days++ {
		step(Period, true, days+1, days)
	}
	step(Period-1, false, 7, 6)
	step(1, true, 7, -1) // after 7 days
}

func TestSecretsEndAndAreOverwritten(t *testing.T) {
	w := newWatch()
	r := New(w.time)
	old := r.secrets // the array that holds the first
	w.add(Life - 1)
	r.Rotate()
	if ids := r.IDs(); len(ids) != 2 || old[0].secret != (secret{}) {
		t.Errorf("just before its end: %d secrets; the array that was left holds %x", len(ids), old[0].secret)
	}
	middle, id := r.secrets, r.secrets[1].secret.id()
	w.add(1)
	if !r.Rotate() || len(r.IDs()) != 1 || r.IDs()[0] == id {
		t.Errorf("after 7 days the first is still there: %v", r.IDs())
	}
	for i := range middle {
		if middle[i].secret != (secret{}) {
			t.Errorf("secret %d was not overwritten", i)
		}
	}
	w.add(100 * Life)
	if !r.Rotate() || len(r.IDs()) != 1 {
		t.Errorf("after a long time: %v", r.IDs())
	}
}

func TestAFleetsKeysDoNotRotateByThemselves(t *testing.T) {
	w := newWatch()
	r := fixed(1, 2)
	r.now = w.time
	before := r.IDs()
	w.add(100 * Life)
	if r.Rotate() || !slices.Equal(before, r.IDs()) {
		t.Error("time changes what a file says")
	}
}

func TestNoVerbShowsASecret(t *testing.T) {
	r := fixed(0xab)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		text := fmt.Sprintf(verb, r) + fmt.Sprintf(verb, struct{ R *Ring }{r})
		for _, form := range []string{"ab0102", "AB0102", "171 1 2", "0xab, 0x1"} {
			if strings.Contains(text, form) {
				t.Errorf("%s shows it: %s", verb, text)
			}
		}
	}
}

func TestRingsAreUsedByManyAtOnce(t *testing.T) {
	w := newWatch()
	r := New(w.time)
	configs := []*tls.Config{{}, {}}
	b := r.Bind(Scope{Listener: "door"}, configs...)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				w.add(Period / 3)
				b.Refresh()
				_ = r.IDs()
			}
		})
	}
	all.Wait()
	b.Refresh()
	if b.generation.Load() != r.generation.Load() {
		t.Error("the configurations are behind the ring")
	}
}

func BenchmarkRefresh(b *testing.B) {
	binding := New(nil).Bind(Scope{Listener: "door"}, &tls.Config{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			binding.Refresh()
		}
	})
}
