//go:build unix

package bench

import (
	"syscall"
	"time"
)

// ownUsage is the CPU time of this process.
func ownUsage() usage {
	var ru syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &ru) != nil {
		return usage{}
	}
	u := usage{known: true, user: time.Duration(ru.Utime.Nano()), system: time.Duration(ru.Stime.Nano())}
	u.cpu = u.user + u.system
	return u
}
