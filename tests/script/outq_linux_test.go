package script_test

import (
	"net"
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
