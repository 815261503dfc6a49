package main

import (
	"os"
	"runtime"
	"sync"
)

// leastGarbage is what is worth a collection, in bytes: less than an argon2id of the
// default cost leaves, 19 MiB, and more than any other hash does.
const leastGarbage = 16 << 20

// garbage is what hashes of passwords leave. argon2id takes its memory anew each time,
// so that the heap would grow to three times (GOGC) what the hashes take that are
// computed at once. It is cheap to collect, having no pointers: the cost is in what else
// there is.
type garbage struct {
	workers uint64 // that compute hashes

	mu        sync.Mutex // guards the field below
	collected uint64     // heap.allocated when it was collected last, less what was left
}

// collectHashes is called after each hash of so many workers, and collects before the
// next one is begun where that costs little: nil if GOGC of the environment says when to
// collect.
func collectHashes(workers int) func() {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	g := garbage{workers: uint64(workers)}
	return func() {
		if g.due(readHeap()) {
			runtime.GC()
		}
	}
}

// due reports whether there is enough to collect: as much as GOGC would let lie about, if
// only what has to be looked through counted. So collections cost hardly more than that.
// What the hashes of others take that are under way is left for their ends.
func (g *garbage) due(h heap) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	enough := max(leastGarbage, gcPercent/100*h.scannable)
	if h.allocated < g.collected+enough {
		return false
	}
	g.collected = h.allocated - min(h.allocated-g.collected-enough, (g.workers-1)*enough)
	return true
}
