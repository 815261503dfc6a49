package listener

import (
	"net"
	"syscall"
)

// peerOf returns who is at the other end of a Unix socket, or nil.
func peerOf(c net.Conn) *Peer {
	u, isUnix := c.(*net.UnixConn)
	if !isUnix {
		return nil
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil
	}
	var peer *Peer
	if raw.Control(func(fd uintptr) { peer = peerOfSocket(int(fd)) }) != nil {
		return nil
	}
	return peer
}

// peerOfSocket is peerOf for a descriptor (SO_PEERCRED).
func peerOfSocket(fd int) *Peer {
	cred, err := syscall.GetsockoptUcred(fd, syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	if err != nil {
		return nil
	}
	return &Peer{UID: cred.Uid, GID: cred.Gid, PID: cred.Pid}
}
