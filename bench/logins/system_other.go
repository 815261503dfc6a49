//go:build !linux

package main

import (
	"net"
	"os/exec"
)

func dieWithParent(*exec.Cmd) {}

func enoughFiles(int) error { return nil }

func silent(net.Conn) bool { return true }
