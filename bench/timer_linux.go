package bench

import (
	"syscall"
	"unsafe"
)

// newTimer returns the descriptor of a timer (timerfd_create(2)). The runtime's
// own timers are a millisecond coarse in a process that waits.
func newTimer() (int, error) {
	const monotonic = 1
	fd, _, errno := syscall.Syscall(syscall.SYS_TIMERFD_CREATE, monotonic, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// isDue reports whether messages have become due by now.
func (lp *loop) isDue(now int64) bool { return lp.schedule != nil && now >= lp.armed && lp.sending }

// arm sets the timer for at, on the run's clock; that it has expired is forgotten.
func (lp *loop) arm(at int64) error {
	if lp.armed == at {
		return nil
	}
	lp.armed = at
	// A time of zero would turn it off.
	spec := [2]syscall.Timespec{{}, syscall.NsecToTimespec(max(1, at-lp.r.now()))}
	_, _, errno := syscall.RawSyscall6(syscall.SYS_TIMERFD_SETTIME, uintptr(lp.timer), 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
