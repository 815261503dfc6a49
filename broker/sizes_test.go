//go:build !race

package broker

import "testing"

// Sizes, which the race detector changes: ./test runs these once without it.

func TestAnIdleConnectionIsSmall(t *testing.T) {
	const ceiling = 751
	got := idleBytes(t, 2000, 12000)
	t.Logf("%.0f bytes", got)
	if got > ceiling {
		t.Errorf("an idle connection holds %.0f bytes, want at most %d", got, ceiling)
	}
}

// BenchmarkIdleConnection tells what one of many idle connections holds.

// A filter of one of many clients takes little: what stays alive of it, in the
// tree, in its session and as text. The bytes are the same on every run but for
// the shape that a random seed gives to hash tables.
func TestAFilterTakesLittle(t *testing.T) {
	w := newBenchWorld(t, policyFunc(allowAll), 0, 0)
	if got, ceiling := subscribeMany(t, w, 100, 1000), 205.0; got > ceiling {
		t.Errorf("a filter takes %.0f bytes, want at most %.0f", got, ceiling)
	}
}
