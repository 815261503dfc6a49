//go:build !linux

package bench

import "time"

// processCPU has no answer here.
func processCPU(int) (time.Duration, bool) { return 0, false }
