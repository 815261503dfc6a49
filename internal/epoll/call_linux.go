//go:build !386 && !s390x

package epoll

import (
	"net/netip"
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

// Accept takes a newcomer of a nonblocking listening socket: its descriptor,
// nonblocking and closed on exec, and where it comes from, IPv4 unmapped and
// without zone; not valid where it has no IP address. EAGAIN says that there is
// none.
func Accept(fd int) (newcomer int, from netip.AddrPort, errno syscall.Errno) {
	var sa syscall.RawSockaddrAny
	for {
		size := uint32(unsafe.Sizeof(sa))
		n, _, errno := syscall.RawSyscall6(syscall.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(unsafe.Pointer(&size)),
			syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0, 0)
		if errno == 0 {
			return int(n), addrPort(&sa), 0
		}
		if errno != syscall.EINTR {
			return -1, netip.AddrPort{}, errno
		}
	}
}

func addrPort(sa *syscall.RawSockaddrAny) netip.AddrPort {
	var a netip.Addr
	switch sa.Addr.Family {
	case syscall.AF_INET:
		a = netip.AddrFrom4((*syscall.RawSockaddrInet4)(unsafe.Pointer(sa)).Addr)
	case syscall.AF_INET6:
		a = netip.AddrFrom16((*syscall.RawSockaddrInet6)(unsafe.Pointer(sa)).Addr).Unmap()
	default:
		return netip.AddrPort{}
	}
	// In both the port is after the family, in the order of the network.
	port := (*[2]byte)(unsafe.Pointer(&(*syscall.RawSockaddrInet4)(unsafe.Pointer(sa)).Port))
	return netip.AddrPortFrom(a, uint16(port[0])<<8|uint16(port[1]))
}
