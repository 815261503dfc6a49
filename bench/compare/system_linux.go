package main

import (
	"os/exec"
	"syscall"
)

// dieWithParent ends cmd when this process is killed and can't end it itself.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// descriptorLimit is how many descriptors a process may have at most.
func descriptorLimit() uint64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 1024
	}
	return l.Max
}

// raiseDescriptorLimit gives that many to this process and to those it starts:
// a limit that was set is inherited, where one raised by the runtime is not.
func raiseDescriptorLimit() {
	l := syscall.Rlimit{Cur: descriptorLimit(), Max: descriptorLimit()}
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l) // then connections fail, and say so
}
