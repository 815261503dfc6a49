package main

import "syscall"

// bound has the kernel kill the broker should this process end without doing it.
func bound() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
