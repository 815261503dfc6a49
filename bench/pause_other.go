//go:build !linux

package bench

import "time"

// pause sleeps for d, at most maxPause.
func pause(d time.Duration) { time.Sleep(min(d, maxPause)) }
