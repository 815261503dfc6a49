package bench

import (
	"syscall"
	"time"
	"unsafe"
)

// processCPU is the CPU time of all threads of a process, ended ones included,
// from its CPU clock (clock_getcpuclockid(3)).
func processCPU(pid int) (time.Duration, bool) {
	const scheduled = 2 // what the scheduler has counted, in nanoseconds
	clock := int32(^pid)<<3 | scheduled
	var ts syscall.Timespec
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&ts)), 0)
	return time.Duration(ts.Nano()), errno == 0
}
