//go:build !386 && !s390x

package epoll

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// What a descriptor is asked about, and what is ready.
const (
	In   = syscall.EPOLLIN
	Out  = syscall.EPOLLOUT
	Gone = syscall.EPOLLERR | syscall.EPOLLHUP // reported unasked
)

// batch is how many events one call takes at most.
const batch = 256

// wakeUp is the data of the event that Wake causes; it is not reported.
const wakeUp = ^uint64(0)

// Poll is an epoll instance. Ready, Park, Yield and Event are for the one
// goroutine that is its loop; the rest may be called from any.
type Poll struct {
	fd   int
	file *os.File // fd, as the runtime's poller knows it
	raw  syscall.RawConn

	waking sync.RWMutex // held for reading while wakeFD is written to; guards it
	wakeFD int          // -1: closed

	n      int
	events [batch]syscall.EpollEvent
	park   func(fd uintptr) bool
	yields bool
	err    error
	waits  uint64
}

// New makes an instance without descriptors. Close ends it.
func New() (*Poll, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	p := &Poll{fd: fd, wakeFD: -1}
	p.park = p.tryPark
	if err := p.open(); err != nil {
		_ = p.Close() // the first error is the one to report
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return p, nil
}

func (p *Poll) open() error {
	// os.NewFile registers with the runtime's poller what does not block.
	if err := syscall.SetNonblock(p.fd, true); err != nil {
		return err
	}
	p.file = os.NewFile(uintptr(p.fd), "epoll")
	var err error
	if p.raw, err = p.file.SyscallConn(); err != nil {
		return err
	}
	fd, _, errno := syscall.Syscall(syscall.SYS_EVENTFD2, 0, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		return errno
	}
	p.wakeFD = int(fd)
	// Edge triggered: its counter need not be read to be ready anew.
	const edge = 1 << 31
	return p.control(syscall.EPOLL_CTL_ADD, p.wakeFD, wakeUp, In|edge)
}

// Close closes the instance, not the descriptors in it. A parked loop returns
// with an error.
func (p *Poll) Close() error {
	var err error
	if p.file != nil {
		err = p.file.Close()
	} else {
		err = syscall.Close(p.fd)
	}
	p.waking.Lock()
	defer p.waking.Unlock()
	if p.wakeFD >= 0 {
		_ = syscall.Close(p.wakeFD) // nothing was written that somebody needs
		p.wakeFD = -1
	}
	return err
}

// Add asks about fd, level triggered. data comes back with its events, and may
// be anything but the largest number.
func (p *Poll) Add(fd int, data uint64, interest uint32) error {
	return p.control(syscall.EPOLL_CTL_ADD, fd, data, interest)
}

// Modify changes what is asked about fd.
func (p *Poll) Modify(fd int, data uint64, interest uint32) error {
	return p.control(syscall.EPOLL_CTL_MOD, fd, data, interest)
}

// Remove stops asking about fd. Closing the last descriptor of a socket does so too.
func (p *Poll) Remove(fd int) error { return p.control(syscall.EPOLL_CTL_DEL, fd, 0, 0) }

func (p *Poll) control(op, fd int, data uint64, interest uint32) error {
	e := syscall.EpollEvent{Events: interest, Fd: int32(uint32(data)), Pad: int32(uint32(data >> 32))}
	_, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, uintptr(p.fd), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(&e)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// Ready looks what is ready, without waiting, and returns how many events there
// are: see Event. It may be 0 though Wake was called.
func (p *Poll) Ready() int {
	p.look(uintptr(p.fd))
	return p.n
}

// look fills events and reports whether there was one, Wake's included.
func (p *Poll) look(fd uintptr) bool {
	p.n = 0
	p.waits++
	r, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(&p.events)), batch, 0, 0, 0)
	if errno != 0 {
		if errno != syscall.EINTR {
			p.err = errno
		}
		return p.err != nil
	}
	for i := range int(r) {
		e := p.events[i]
		if uint64(uint32(e.Fd))|uint64(uint32(e.Pad))<<32 != wakeUp {
			p.events[p.n] = e
			p.n++
		}
	}
	return r > 0
}

// Park waits until something is ready or Wake is called, and returns the number
// of events. The error is final: the instance was closed.
func (p *Poll) Park() (int, error) {
	if err := p.raw.Read(p.park); err != nil {
		p.n = 0
		return 0, err
	}
	return p.n, p.err
}

// Yield lets goroutines run that are ready or wait for the network, though this
// loop has work: a loop that never parks would keep the runtime from asking its
// poller for them. It returns as Park does, at the latest when they have run.
func (p *Poll) Yield() (int, error) {
	p.yields = true
	return p.Park()
}

func (p *Poll) tryPark(fd uintptr) bool {
	if p.yields {
		// The runtime forgot earlier readiness just before: what is written now is
		// seen by it, and so this goroutine waits no longer than one look takes.
		p.yields = false
		p.Wake()
		return false
	}
	return p.look(fd)
}

// Wake makes the loop's present or next Park return. After Close it does nothing:
// the descriptor may be somebody else's by then.
func (p *Poll) Wake() {
	p.waking.RLock()
	defer p.waking.RUnlock()
	if p.wakeFD < 0 {
		return
	}
	one := uint64(1)
	// It fails only when it has been called 2^64 times.
	_, _, _ = syscall.RawSyscall(syscall.SYS_WRITE, uintptr(p.wakeFD), uintptr(unsafe.Pointer(&one)), 8)
}

// Event returns the data of event i of those that are ready, and what is ready.
func (p *Poll) Event(i int) (data uint64, ready uint32) {
	e := &p.events[i]
	return uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32, e.Events
}

// Waits is how often the system was asked for events.
func (p *Poll) Waits() uint64 { return p.waits }
