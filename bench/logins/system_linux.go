package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
)

// dieWithParent ends cmd when this process is killed and can't end it itself.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// enoughFiles refuses a fleet for whose connections there are no descriptors; Go has
// raised the limit as far as it goes.
func enoughFiles(clients int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return os.NewSyscallError("getrlimit", err)
	}
	if need := uint64(clients) + 500; limit.Max < need {
		return fmt.Errorf("%d clients need %d open files, and the limit is %d", clients, need, limit.Max)
	}
	return nil
}

// silent reports whether c is open and holds nothing to read. A Read with a deadline
// in the past would not look.
func silent(c net.Conn) bool {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return false
	}
	var answer error
	err = raw.Control(func(fd uintptr) {
		_, _, answer = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return err == nil && errors.Is(answer, syscall.EAGAIN)
}
