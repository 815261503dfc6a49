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
		if turns.running != 0 || turns.order.Len() != 0 || len(turns.waiting) != 0 {
			t.Errorf("%d run, %d prefixes wait, %d are known; want none", turns.running, turns.order.Len(), len(turns.waiting))
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
