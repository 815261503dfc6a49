//go:build !linux

package turns

import "time"

// pause lets others run.
type pause struct{}

// wait pauses for d.
func (pause) wait(d time.Duration) { time.Sleep(d) }
