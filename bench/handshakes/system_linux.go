package main

import (
	"os/exec"
	"syscall"
)

// dieWithParent ends cmd when this process is killed and can't end it itself.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
