package script_test

import (
	"bytes"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// unsent is how many bytes of nc, a TCP socket, have not arrived in the other
// end's kernel; 0 for all that is no TCP socket: a write to a Unix socket
// returns when the bytes are there.
func unsent(nc net.Conn) int {
	s, ok := nc.(*net.TCPConn)
	if !ok {
		return 0
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return 0 // it is closed, and sends nothing any more
	}
	var n int32
	_ = raw.Control(func(fd uintptr) {
		// SIOCOUTQ; an error leaves 0.
		_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&n)))
	})
	return int(n)
}

// threads are the process's own, as the kernel lists them.
type threads struct {
	stats []int // descriptors of their state
	links uint64
}

// sleep reports whether the kernel has no thread of the process to run but the
// caller's. One that it has may hold goroutines which are to be woken and don't
// show it yet.
func (x *threads) sleep() bool {
	var dir syscall.Stat_t
	if syscall.Stat("/proc/self/task", &dir) != nil {
		return true // it is not told here
	}
	// One link for each thread: so the list is read only when there are others.
	if uint64(dir.Nlink) != x.links {
		x.list()
		x.links = uint64(dir.Nlink)
	}
	awake := 0
	var buf [512]byte
	for _, fd := range x.stats {
		n, err := syscall.Pread(fd, buf[:], 0)
		if err != nil {
			x.links = 0 // it has ended, and another may have begun
			return false
		}
		// The state is behind the name, which is in parentheses.
		if i := bytes.LastIndexByte(buf[:n], ')'); i >= 0 && i+2 < n && buf[i+2] != 'S' {
			awake++
		}
	}
	return awake <= 1
}

func (x *threads) list() {
	x.close()
	tasks, _ := os.ReadDir("/proc/self/task") // none: nothing is told here
	for _, task := range tasks {
		if fd, err := syscall.Open("/proc/self/task/"+task.Name()+"/stat", syscall.O_RDONLY|syscall.O_CLOEXEC, 0); err == nil {
			x.stats = append(x.stats, fd)
		}
	}
}

func (x *threads) close() {
	for _, fd := range x.stats {
		_ = syscall.Close(fd) // nothing was written
	}
	x.stats = nil
}
