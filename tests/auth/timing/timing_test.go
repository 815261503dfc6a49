package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func sample(rnd *rand.Rand, n int, shift float64) []time.Duration {
	list := make([]time.Duration, n)
	for i := range list {
		list[i] = time.Duration((10 + rnd.NormFloat64() + shift) * 1e6)
	}
	slices.Sort(list)
	return list
}

// The test finds a difference of a spread, and calls what has none different about as
// often as it says.
func TestSmirnov(t *testing.T) {
	if d, p := smirnov([]time.Duration{1, 2, 3, 4}, []time.Duration{1, 2, 3, 4}); d != 0 || p != 1 {
		t.Errorf("the same: %v, %v", d, p)
	}
	if d, p := smirnov([]time.Duration{1, 2, 3, 4}, []time.Duration{5, 6, 7, 8}); d != 1 || p > 0.05 {
		t.Errorf("apart: %v, %v", d, p)
	}
	// Of 1.36 / sqrt(n/2) the probability is 5 % (the table of the limit).
	n := 5000
	a, b := make([]time.Duration, n), make([]time.Duration, n)
	for i := range n {
		a[i], b[i] = time.Duration(i), time.Duration(i+int(1.36*math.Sqrt(2/float64(n))*float64(n)))
	}
	if _, p := smirnov(a, b); math.Abs(p-0.05) > 0.005 {
		t.Errorf("p %v, want 0.05", p)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	alarms := 0
	for range 500 {
		if _, p := smirnov(sample(rnd, 300, 0), sample(rnd, 300, 0)); p < 0.05 {
			alarms++
		}
		if _, p := smirnov(sample(rnd, 300, 0), sample(rnd, 300, 0.7)); p >= alpha() {
			t.Fatalf("a difference of 0.7 of the spread is not seen: p %v", p)
		}
	}
	if alarms < 5 || alarms > 45 {
		t.Errorf("%d of 500 equal pairs are different at 5 %%", alarms)
	}
}

// What can be told apart fails, and so does a measurement that sees nothing.
func TestCompare(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 5))
	shifted := map[string]float64{
		"":                            0,
		byPassword + ": unknown user": 1,
		byProof1 + ": unknown user":   -1,
		byToken + ": bad signature":   -1,
		byBearer + ": expired":        1,
		successes[byPassword]:         5, // where the refusals are: it sees nothing
	}
	for name, shift := range shifted {
		took := map[string][]time.Duration{}
		for _, g := range groups() {
			for _, label := range g.labels {
				took[label] = sample(rnd, 300, 0)
			}
			if s := successes[g.name]; s != "" {
				took[s] = sample(rnd, 300, -5)
			}
		}
		if name != "" {
			if took[name] == nil {
				t.Fatalf("nothing is called %q", name)
			}
			for i := range took[name] {
				took[name][i] += time.Duration(shift * 1e6)
			}
		}
		var out strings.Builder
		err := compare(&out, took)
		want := name
		if name == successes[byPassword] {
			want = "it sees nothing"
		}
		if (err == nil) != (name == "") || err != nil && !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := run(t.Context(), nil, 1, 1); err == nil {
		t.Error("too few measurements are taken")
	}
}

// What the package comment says of false alarms is of so many pairs, and no two answers
// of a group have one name.
func TestGroups(t *testing.T) {
	if n := pairs(); n != 55 {
		t.Errorf("%d pairs: the package comment and docs/passwords.md say 55", n)
	}
	seen := map[string]bool{}
	for _, g := range groups() {
		if len(g.labels) < 2 {
			t.Errorf("%s: nothing to compare", g.name)
		}
		for _, label := range g.labels {
			if seen[label] {
				t.Errorf("%q stands twice", label)
			}
			seen[label] = true
		}
	}
}

// No refusal of credentials is told before the floor, whatever the reason: where there
// are hashes that of the configuration, else the least that a broker has by itself.
func TestNoRefusalIsEarly(t *testing.T) {
	floors := map[string]time.Duration{people: 300 * time.Millisecond, proofs: 10 * time.Millisecond, tokens: 10 * time.Millisecond}
	t.Chdir("../../..")
	w, err := start(t.Context(), t.TempDir(), floors[people])
	if err != nil {
		t.Fatal(err)
	}
	defer w.stop()
	var asking sync.WaitGroup
	for i, k := range kinds {
		asking.Go(func() {
			// Twice: the second one is answered out of what is remembered.
			for range 2 {
				took, err := k.ask(w.doors[k.door], source(4*i), k)
				if err != nil {
					t.Errorf("%s: %v", k.label(0), err)
					return
				}
				if last := took[len(took)-1]; last < floors[k.door] && k.code == badLogin {
					t.Errorf("%s is told after %v", k.label(len(took)-1), last)
				}
			}
		})
	}
	asking.Wait()
}
