package turns

import (
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// pause waits for a timer as others wait for a socket (timerfd_create(2)), so that
// it ends only after the scheduler has asked which sockets are readable, and what
// was ready by then has run or is next. A sleep may be over before that.
type pause struct {
	mu     sync.Mutex
	opened bool
	timer  *os.File // nil where the system gives none
}

// wait pauses for d, unless somebody does already.
func (p *pause) wait(d time.Duration) {
	if !p.mu.TryLock() {
		return
	}
	defer p.mu.Unlock()
	if !p.opened {
		p.opened = true
		const monotonic = 1
		fd, _, errno := syscall.Syscall(syscall.SYS_TIMERFD_CREATE, monotonic, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
		if errno == 0 {
			p.timer = os.NewFile(fd, "timer")
		}
	}
	if p.timer == nil {
		time.Sleep(d)
		return
	}
	spec := [2]syscall.Timespec{{}, syscall.NsecToTimespec(int64(d))}
	raw, err := p.timer.SyscallConn()
	if err != nil {
		return
	}
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, errno = syscall.RawSyscall6(syscall.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	})
	if err == nil && errno == 0 {
		var expirations [8]byte
		_, _ = p.timer.Read(expirations[:]) // however it ends, the pause is over
	}
}
