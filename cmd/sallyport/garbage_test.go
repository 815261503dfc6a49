package main

import (
	"runtime/metrics"
	"testing"
)

const mib = 1 << 20

func TestHashesAreCollectedWhenTheyEnd(t *testing.T) {
	g := garbage{workers: 2}
	var h heap
	for i, step := range []struct {
		allocated uint64 // since the step before
		scannable uint64
		want      bool
		why       string
	}{
		{10 * mib, mib, false, "little was allocated"},
		{0, mib, false, "nothing more was"},
		{28 * mib, mib, true, "two hashes took 38 MiB, and one has ended"},
		{0, mib, true, "the other one has"},
		{0, mib, false, "neither took anything again"},
		{19 * mib, mib, true, "one did"},
		{1000 * mib, mib, true, "messages came in between"},
		{0, mib, true, "what was allocated counts for both workers"},
		{0, mib, false, "and no more than once"},
		{19 * mib, 100 * mib, false, "the heap is large"},
		{19 * mib, 100 * mib, false, "a few hashes are little then"},
		{200 * mib, 100 * mib, true, "and many are not"},
	} {
		h.allocated, h.scannable = h.allocated+step.allocated, step.scannable
		if got := g.due(h); got != step.want {
			t.Errorf("step %d, %s: %t", i, step.why, got)
		}
	}
}

func TestOneWorkerLeavesNothingForOthers(t *testing.T) {
	g := garbage{workers: 1}
	for i, want := range []bool{true, false} {
		if got := g.due(heap{allocated: 1000 * mib}); got != want {
			t.Errorf("time %d: %t", i, got)
		}
	}
}

// forced is how many collections were asked for.
func forced() uint64 {
	s := []metrics.Sample{{Name: "/gc/cycles/forced:gc-cycles"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func TestWhatAHashTookIsCollected(t *testing.T) {
	t.Setenv("GOGC", "")
	hashed := collectHashes(1)
	hashed() // whatever was allocated before
	before := forced()
	block := make([]uint64, 19*mib/8)
	block[len(block)-1] = 1
	if hashed(); forced() == before {
		t.Error("no collection after 19 MiB")
	}
	before = forced()
	if hashed(); forced() != before {
		t.Error("a collection without a reason")
	}
}

func TestTheEnvironmentSaysWhenToCollect(t *testing.T) {
	t.Setenv("GOGC", "200")
	if collectHashes(2) != nil {
		t.Error("hashes are collected in spite of GOGC")
	}
}

func TestTheHeapIsRead(t *testing.T) {
	if h := readHeap(); h.allocated == 0 || h.scannable == 0 || h.scannable > h.allocated {
		t.Errorf("%+v", h)
	}
}
