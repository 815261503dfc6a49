package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
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
		if _, p := smirnov(sample(rnd, 300, 0), sample(rnd, 300, 0.6)); p >= alpha {
			t.Fatalf("a difference of 0.6 of the spread is not seen: p %v", p)
		}
	}
	if alarms < 5 || alarms > 45 {
		t.Errorf("%d of 500 equal pairs are different at 5 %%", alarms)
	}
}

// What can be told apart fails, and so does a measurement that sees nothing.
func TestCompare(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for name, change := range map[string]func(map[string][]time.Duration){
		"":                    func(map[string][]time.Duration) {},
		"wrong password":      func(m map[string][]time.Duration) { m["wrong password"] = sample(rnd, 300, 1) },
		"SCRAM, unknown user": func(m map[string][]time.Duration) { m["SCRAM, unknown user, answer 1"] = sample(rnd, 300, -1) },
		"it sees nothing":     func(m map[string][]time.Duration) { m[accepted] = sample(rnd, 300, 0) },
	} {
		took := map[string][]time.Duration{accepted: sample(rnd, 300, -5)}
		for _, g := range groups() {
			for _, label := range g {
				took[label] = sample(rnd, 300, 0)
			}
		}
		change(took)
		var out strings.Builder
		err := compare(&out, took)
		if (err == nil) != (name == "") || err != nil && !strings.Contains(fmt.Sprint(err), name) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := run(t.Context(), nil, 1, 1); err == nil {
		t.Error("too few measurements are taken")
	}
}

// No refusal is told before the floor, whatever the reason.
func TestNoRefusalIsEarly(t *testing.T) {
	const floor = 300 * time.Millisecond
	t.Chdir("../../..")
	b, err := start(t.Context(), t.TempDir(), floor)
	if err != nil {
		t.Fatal(err)
	}
	defer b.stop()
	for i, k := range kinds {
		// Twice: the second one is answered out of what is remembered.
		for range 2 {
			took, err := k.ask(b.address, source(i), k)
			if err != nil {
				t.Fatalf("%s: %v", k.name, err)
			}
			if all := sum(took); all < floor && !k.accepts {
				t.Errorf("%s is told after %v", k.name, all)
			}
		}
	}
}

func sum(list []time.Duration) (all time.Duration) {
	for _, d := range list {
		all += d
	}
	return all
}
