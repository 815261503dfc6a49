//go:build !linux

package listener

import (
	"errors"
	"syscall"
)

func (l *Listener) serveSockets(func(Socket)) error { return errors.ErrUnsupported }

// bequeath does nothing: package net sets the options of each connection.
func bequeath(syscall.RawConn, bool) error { return nil }
