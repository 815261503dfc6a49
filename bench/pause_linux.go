package bench

import (
	"syscall"
	"time"
)

// pause sleeps for d, at most maxPause. The runtime's timers are a millisecond
// coarse on an idle Linux process, which would show in every latency: this one
// goroutine sleeps in the kernel instead.
func pause(d time.Duration) {
	ts := syscall.NsecToTimespec(int64(min(d, maxPause)))
	syscall.Nanosleep(&ts, nil) // an early return costs one more turn
}
