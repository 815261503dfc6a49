//go:build unix

package main

import "syscall"

// hangup is the signal that reloads.
const hangup = syscall.SIGHUP
