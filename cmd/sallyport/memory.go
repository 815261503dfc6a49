package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"
)

// gcPercent is GOGC: a broker is worth more memory than collections, see
// docs/performance.md.
const gcPercent = 200

// tuneMemory sets the collector up for a broker and gives memory back when it is
// quiet, until ctx ends. GOGC and GOMEMLIMIT of the environment win.
func tuneMemory(ctx context.Context) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		if text, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil {
			if limit := memoryLimit(string(text)); limit > 0 {
				debug.SetMemoryLimit(limit)
			}
		}
	}
	go func() {
		ticks := time.NewTicker(quietTick)
		defer ticks.Stop()
		var q quiet
		for {
			select {
			case <-ticks.C:
				if q.over(readHeap()) {
					debug.FreeOSMemory()
					q.freed(readHeap())
				}
			case <-ctx.Done():
				return
			}
		}
	}()
}

// memoryLimit is the soft limit of the collector under a control group's
// memory.max, in bytes: a tenth below it, for what is not the heap. 0 is none.
func memoryLimit(text string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n <= 0 {
		return 0 // "max"
	}
	return n - n/10
}

// quietTick is how often the heap is looked at.
const quietTick = 2 * time.Second

// heap is what the collector knows, in bytes.
type heap struct {
	allocated uint64 // since the start
	live      uint64 // at the last collection
	idle      uint64 // held from the system, without an object in use
	scannable uint64 // what the last collection had to look through
}

func readHeap() heap {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
		{Name: "/gc/scan/heap:bytes"}}
	metrics.Read(s)
	return heap{s[0].Value.Uint64(), s[1].Value.Uint64(), s[2].Value.Uint64(), s[3].Value.Uint64()}
}

// quiet finds the moment to collect and give memory back: when there is
// something to give, and hardly anything was allocated for a while, so that
// nobody waits for it. A storm of connections leaves garbage behind that the
// collector, which runs when more is allocated, would not find for minutes.
type quiet struct {
	last    heap
	since   uint64 // allocated when memory was given back last
	ticks   int    // quiet ones in a row
	resting bool
}

// over reports whether this is the moment.
func (q *quiet) over(h heap) bool {
	grown := h.allocated - q.last.allocated
	q.last = h
	if grown > 64<<10+h.live/1024 {
		q.ticks, q.resting = 0, false
		return false
	}
	if q.ticks++; q.ticks < 2 || q.resting {
		return false
	}
	// What was allocated since may be garbage by now; what is idle surely is.
	return h.allocated-q.since > 1<<20+h.live/8 || h.idle > 8<<20+h.live/4
}

// freed notes that memory was given back.
func (q *quiet) freed(h heap) {
	q.last, q.since, q.resting = h, h.allocated, true
}
