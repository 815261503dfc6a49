//go:build !unix

package main

import "syscall"

// hangup is the signal that reloads; this system never sends it.
const hangup = syscall.SIGHUP
