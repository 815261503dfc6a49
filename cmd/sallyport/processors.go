package main

import (
	"os"
	"runtime"
)

// spareProcessors is told when hashes are computed, and has Go use as many threads more
// meanwhile: nil where there are processors enough without.
//
// A hash takes some 25 ms, and Go lets a goroutine compute for 10 ms before it looks
// whether others are ready: where workers have all processors, clients that are served
// wait for that, again and again. With a thread of their own they share the processors
// with the event loops by the system's rules, which prefer who was asleep. Only while
// there are hashes, since more threads than processors cost something.
func spareProcessors(workers int) func(hashing bool) {
	n := runtime.GOMAXPROCS(0)
	if n >= 4*workers {
		return nil
	}
	fixed := os.Getenv("GOMAXPROCS") != ""
	return func(hashing bool) {
		switch {
		case hashing:
			n = runtime.GOMAXPROCS(0)
			runtime.GOMAXPROCS(n + workers)
		case fixed:
			runtime.GOMAXPROCS(n)
		default:
			runtime.SetDefaultGOMAXPROCS() // which also follows the system's limits again
		}
	}
}
