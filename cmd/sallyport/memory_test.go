package main

import "testing"

func TestMemoryLimitIsATenthBelowTheGroups(t *testing.T) {
	for text, want := range map[string]int64{"1000000000\n": 900_000_000, "max\n": 0, "": 0, "-5": 0, "x": 0} {
		if got := memoryLimit(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

func TestMemoryIsGivenBackOnceWhenItIsQuiet(t *testing.T) {
	var q quiet
	for i, step := range []struct {
		heap heap
		want bool
		why  string
	}{
		{heap{allocated: 100 * mib, live: 10 * mib}, false, "a storm"},
		{heap{allocated: 300 * mib, live: 50 * mib}, false, "still a storm"},
		{heap{allocated: 300 * mib, live: 50 * mib}, false, "quiet for one tick only"},
		{heap{allocated: 300 * mib, live: 50 * mib}, true, "quiet, with much that may be garbage"},
		{heap{allocated: 300 * mib, live: 30 * mib}, false, "it was done"},
		{heap{allocated: 301 * mib, live: 30 * mib}, false, "some work"},
		{heap{allocated: 301 * mib, live: 30 * mib}, false, "quiet again"},
		{heap{allocated: 301 * mib, live: 30 * mib}, false, "but there is nothing to gain"},
		{heap{allocated: 301 * mib, live: 30 * mib, idle: 40 * mib}, true, "unless much is idle"},
	} {
		if got := q.over(step.heap); got != step.want {
			t.Errorf("step %d, %s: %t", i, step.why, got)
		}
		if step.want {
			q.freed(step.heap)
		}
	}
}
