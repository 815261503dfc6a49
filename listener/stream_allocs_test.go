//go:build !race

package listener

import (
	"bytes"
	"testing"
)

// The race detector empties pools: ./test runs this once without it.

func TestStreamAllocatesNextToNothingPerMessage(t *testing.T) {
	message := bytes.Repeat([]byte("x"), 64)
	for _, l := range layers(t) {
		if l.name == "TLS 1.2 with CBC" {
			continue // tls.Conn itself allocates for it
		}
		const rounds = 200
		s, p := l.pair(t)
		wire := make([][]byte, rounds+1)
		for i := range wire {
			wire[i] = p.send(message)
		}
		mqtt, out, i := make([]byte, 4096), []byte(nil), 0
		got := testing.AllocsPerRun(rounds, func() {
			out = turn(s, wire[i], mqtt, out)
			i++
		})
		// With TLS one of 32 bytes: tls.Conn wraps its reader for each filling of its buffer.
		want := 0.0
		if s.tls != nil {
			want = 1
		}
		if got > want {
			t.Errorf("%s: %v allocations for a message in and out, want %v", l.name, got, want)
		}
	}
}
