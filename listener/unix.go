package listener

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

// bindUnix binds the socket's path. A stale socket file is removed: one that
// nobody answers on. Anything else in the way is left alone and an error.
func (l *Listener) bindUnix() error {
	path := l.options.Address
	if err := removeStale(path); err != nil {
		return fmt.Errorf("listener: socket %s: %w", path, err)
	}
	mode := l.options.SocketMode
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { restrictSocket(fd, mode) })
	}}
	ln, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return fmt.Errorf("listener: %w", err)
	}
	// The umask may have taken bits away, or, where restrictSocket can do
	// nothing, left some.
	if err := os.Chmod(path, mode); err != nil {
		_ = ln.Close() // the error of chmod is the one to report
		return fmt.Errorf("listener: %w", err)
	}
	// We remove the file ourselves: only if it is still ours.
	if u, isUnix := ln.(*net.UnixListener); isUnix {
		u.SetUnlinkOnClose(false)
	}
	l.unix = path
	l.unixFile, _ = os.Lstat(path) // nil is never the same file, so then nothing is removed
	l.sockets = []*socket{{Listener: ln}}
	return nil
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("exists and is not a socket")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = c.Close() // it answered, nothing more was wanted
		return errors.New("in use by another process")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("exists, and whether it is in use is unknown: %w", err)
	}
	return os.Remove(path)
}

// removeUnix removes the socket file if it is still the one that was bound.
func (l *Listener) removeUnix() {
	if l.unix == "" || l.unixFile == nil {
		return
	}
	if now, err := os.Lstat(l.unix); err == nil && os.SameFile(now, l.unixFile) {
		// A file that stays is stale, and the next start removes it.
		_ = os.Remove(l.unix)
	}
}
