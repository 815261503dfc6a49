package bench

import (
	"syscall"
	"unsafe"

	"sallyport/internal/epoll"
)

// timerData is the data of a timer's events; a connection's is its index.
const timerData = 1 << 32

// timer wakes a loop (timerfd_create(2)). The runtime's own timers are a
// millisecond coarse in a process that waits.
type timer struct {
	fd    int
	armed int64 // for when it is set, on the run's clock
}

// newTimer returns a timer that poll looks after, not set.
func newTimer(poll *epoll.Poll) (*timer, error) {
	const monotonic = 1
	fd, _, errno := syscall.Syscall(syscall.SYS_TIMERFD_CREATE, monotonic, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		return nil, errno
	}
	t := &timer{fd: int(fd)}
	if err := poll.Add(t.fd, timerData, epoll.In); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// arm sets the timer for at; now is the time. That it has expired is forgotten.
func (t *timer) arm(now, at int64) error {
	if t.armed == at {
		return nil
	}
	t.armed = at
	// A time of zero would turn it off.
	spec := [2]syscall.Timespec{{}, syscall.NsecToTimespec(max(1, at-now))}
	_, _, errno := syscall.RawSyscall6(syscall.SYS_TIMERFD_SETTIME, uintptr(t.fd), 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func (t *timer) close() {
	if t != nil {
		epoll.Close(t.fd)
	}
}
