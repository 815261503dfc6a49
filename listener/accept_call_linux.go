//go:build 386 || s390x

package listener

import (
	"net/netip"
	"syscall"
)

// acceptOne takes a newcomer.
func acceptOne(fd int) (newcomer, error) {
	n, from, err := syscall.Accept4(fd, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
	return newcomer{fd: n, from: sourceOf(from)}, err
}

// sourceOf returns the address of a TCP peer, IPv4 unmapped, without zone.
func sourceOf(a syscall.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}
