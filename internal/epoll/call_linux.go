//go:build !386 && !s390x

package epoll

import (
	"syscall"
	"unsafe"
)

// Read reads once from a nonblocking socket: 0 without an error is its end, and
// EAGAIN says that there is nothing now. It is never interrupted.
func Read(fd int, p []byte) (int, syscall.Errno) {
	if len(p) == 0 {
		return 0, syscall.EINVAL
	}
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), 0, 0, 0)
		if errno == 0 {
			return int(n), 0
		}
		if errno != syscall.EINTR {
			return 0, errno
		}
	}
}

// Write writes once to a nonblocking socket and returns how much was taken;
// EAGAIN says that it takes nothing now. A peer that has gone causes no signal.
func Write(fd int, p []byte) (int, syscall.Errno) {
	if len(p) == 0 {
		return 0, 0
	}
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), syscall.MSG_NOSIGNAL, 0, 0)
		if errno == 0 {
			return int(n), 0
		}
		if errno != syscall.EINTR {
			return 0, errno
		}
	}
}

// Close closes a descriptor.
func Close(fd int) {
	// Whatever it answers the descriptor is gone, and nobody could be told.
	_, _, _ = syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(fd), 0, 0)
}

// ShutdownWrite ends the sending side of a socket.
func ShutdownWrite(fd int) error {
	_, _, errno := syscall.RawSyscall(syscall.SYS_SHUTDOWN, uintptr(fd), syscall.SHUT_WR, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
