package script_test

import (
	"bytes"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
)

// stillness finds out whether the process is at rest.
type stillness struct {
	stacks  []byte // room for all stacks
	seen    []byte // those of the last look
	in      *os.File
	woken   chan struct{}
	threads threads
}

// newStillness begins to watch; it ends with the test.
func newStillness(t *testing.T) *stillness {
	t.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := &stillness{stacks: make([]byte, 1<<20), in: in, woken: make(chan struct{}, 1)}
	over := make(chan struct{})
	go func() {
		defer close(over)
		var b [1]byte
		for {
			if n, _ := out.Read(b[:]); n == 0 {
				return // closed with the test
			}
			s.woken <- struct{}{}
		}
	}()
	t.Cleanup(func() {
		s.threads.close()
		_ = in.Close()
		<-over
		_ = out.Close()
	})
	return s
}

// pass returns when the runtime has looked at what the kernel had ready: a pipe
// that becomes readable now comes after all that was readable before.
func (s *stillness) pass() error {
	if _, err := s.in.Write([]byte{0}); err != nil {
		return err
	}
	<-s.woken
	return nil
}

// parked reports whether every goroutine but the caller's waits for another one
// or for the kernel. The world is stopped for the look, so that the answer is
// true for one moment.
func (s *stillness) parked() bool {
	n := runtime.Stack(s.stacks, true)
	for n == len(s.stacks) {
		s.stacks = make([]byte, 2*n)
		n = runtime.Stack(s.stacks, true)
	}
	s.seen = s.stacks[:n]
	for i, g := range bytes.Split(s.seen, []byte("\n\ngoroutine ")) {
		if i > 0 && !waits(g) {
			return false
		}
	}
	return true
}

// waits reads the state of a goroutine from its first line: "12 [IO wait, 2 minutes]:".
func waits(g []byte) bool {
	_, state, _ := bytes.Cut(g, []byte("["))
	state = state[:max(0, bytes.IndexAny(state, ",]"))]
	switch string(state) {
	case "IO wait", "select", "chan receive", "chan send", "sync.Cond.Wait", "sync.WaitGroup.Wait":
		return true
	}
	// All else runs, or will without being asked: a lock has a holder.
	return false
}

func TestStillnessIsSeen(t *testing.T) {
	s := newStillness(t)
	if err := s.pass(); err != nil {
		t.Fatal(err)
	}
	settled := func() bool {
		for range 1000 { // goroutines of other tests may be on their way out
			if s.parked() {
				return true
			}
			runtime.Gosched()
		}
		return false
	}
	if !settled() {
		t.Fatalf("not at rest:\n%s", s.seen)
	}
	var stop atomic.Bool
	over := make(chan struct{})
	go func() {
		defer close(over)
		for !stop.Load() {
			runtime.Gosched()
		}
	}()
	if s.parked() {
		t.Errorf("a goroutine runs, and was not seen:\n%s", s.seen)
	}
	stop.Store(true)
	<-over
	lock := make(chan struct{})
	go func() { <-lock }()
	if !settled() {
		t.Errorf("a goroutine that waits counts as one that runs:\n%s", s.seen)
	}
	close(lock)
}
