package listener

import (
	"net"
	"syscall"
)

// peerOf returns who is at the other end of a Unix socket (SO_PEERCRED), or nil.
func peerOf(c net.Conn) *Peer {
	u, isUnix := c.(*net.UnixConn)
	if !isUnix {
		return nil
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil
	}
	var cred *syscall.Ucred
	controlErr := raw.Control(func(fd uintptr) {
		cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if controlErr != nil || err != nil {
		return nil
	}
	return &Peer{UID: cred.Uid, GID: cred.Gid, PID: cred.Pid}
}
