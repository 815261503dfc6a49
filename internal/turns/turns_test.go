package turns

import (
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestTurnsAreDealtBySource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := New(1)
		var mu sync.Mutex
		var order []string
		wait := func(prefix, name string) {
			go func() {
				turns.Enter(netip.MustParsePrefix(prefix))
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
				turns.Leave()
			}()
			synctest.Wait() // until it waits
		}
		turns.Enter(netip.Prefix{})
		for _, name := range []string{"a1", "a2", "a3"} {
			wait("192.0.2.1/32", name)
		}
		wait("192.0.2.2/32", "b1")
		wait("2001:db8::/64", "c1")
		wait("192.0.2.2/32", "b2")
		turns.Leave()
		synctest.Wait()
		if want := []string{"a1", "b1", "c1", "a2", "b2", "a3"}; !slices.Equal(order, want) {
			t.Errorf("%v, want %v", order, want)
		}
		for _, l := range turns.lines {
			if turns.running != 0 || l.order.Len() != 0 || len(l.waiting) != 0 {
				t.Errorf("%d run, %d prefixes wait, %d are known; want none", turns.running, l.order.Len(), len(l.waiting))
			}
		}
	})
}

// However many handshakes wait, who has to prove something has every other turn, and
// the other way round.
func TestProofsAndHandshakesAlternate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := New(1)
		var mu sync.Mutex
		var order []byte
		note := func(c byte) {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, c)
		}
		turns.Enter(netip.Prefix{})
		for _, c := range []byte("hhhhhppp") {
			prefix := netip.MustParsePrefix("192.0.2.1/32")
			if c == 'p' {
				go turns.Do(prefix, func() { note(c) })
			} else {
				go func() { turns.Enter(prefix); note(c); turns.Leave() }()
			}
			synctest.Wait() // until it waits
		}
		turns.Leave()
		synctest.Wait()
		if got := string(order); got != "hphphphh" {
			t.Errorf("%s, want hphphphh", got)
		}
		if running, waiting := turns.State(); running != 0 || waiting != 0 {
			t.Errorf("%d run and %d wait, want none", running, waiting)
		}
	})
}

func TestTurnsAreNeverNone(t *testing.T) {
	for _, n := range []int{-1, 0} {
		if got := New(n).limit; got < 1 {
			t.Errorf("New(%d) makes %d turns", n, got)
		}
	}
}

// TestOthersRunBetweenTurns: what is ready to run does so before much more is
// computed.
func TestOthersRunBetweenTurns(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	turns := New(1)
	for range 100 {
		var ran atomic.Bool
		go func() { ran.Store(true) }()
		turns.Add(restAfter)
		if turns.Rest(); !ran.Load() {
			t.Fatal("a goroutine that was ready did not run")
		}
	}
	if turns.worked != 0 {
		t.Errorf("%s of work is left to rest for", turns.worked)
	}
}
