//go:build unix

package listener

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	infos := make(chan Info, 1)
	l := start(t, Options{Transport: Unix, Address: path}, func(c *Conn) {
		infos <- c.Info
		echo(c)
	})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != DefaultSocketMode {
		t.Errorf("mode = %v, %v, want %v", info.Mode(), err, DefaultSocketMode)
	}
	checkEcho(t, dial(t, l), "hello")
	got := <-infos
	if got.Remote.IsValid() {
		t.Errorf("address %v, want none", got.Remote)
	}
	if runtime.GOOS == "linux" && (got.Peer == nil || int(got.Peer.UID) != os.Getuid() || int(got.Peer.PID) != os.Getpid()) {
		t.Errorf("peer = %+v, want this process", got.Peer)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket's file stays: %v", err)
	}
}

func TestUnixSocketModeIsNotCutByTheUmask(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	start(t, Options{Transport: Unix, Address: path, SocketMode: 0o666}, echo)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("mode = %v, %v, want 0666", info.Mode(), err)
	}
}

func TestStaleUnixSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = ln.Close()
	checkEcho(t, dial(t, start(t, Options{Transport: Unix, Address: path}, echo)), "hello")
}

func TestUnixSocketInUseIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l := start(t, Options{Transport: Unix, Address: path}, echo)
	if _, err := Listen(Options{Transport: Unix, Address: path}); err == nil {
		t.Error("a second listener took the socket")
	}
	checkEcho(t, dial(t, l), "hello")
}

func TestCloseLeavesAnotherListenersSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l := start(t, Options{Transport: Unix, Address: path}, echo)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other := start(t, Options{Transport: Unix, Address: path}, echo)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	checkEcho(t, dial(t, other), "hello")
}

// scripted is a net.Listener whose Accept answers are given.
type scripted struct {
	net.Listener
	accept func() (net.Conn, error)
}

func (s scripted) Accept() (net.Conn, error) { return s.accept() }

func TestOutOfFilesFreesTheSpareAndKeepsGoing(t *testing.T) {
	l, err := Listen(Options{Transport: TCP, Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	real := l.sockets[0].Listener
	calls, spareHeld := 0, true
	l.sockets[0].Listener = scripted{real, func() (net.Conn, error) {
		calls++
		switch calls {
		case 1:
			return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
		case 2:
			spareHeld = l.sockets[0].spare != nil
		}
		return real.Accept()
	}}
	go func() { _ = l.Serve(echo) }()
	defer l.Close()
	// Descriptors are free again by then: the newcomer stays.
	checkEcho(t, dial(t, l), "hello")
	if spareHeld {
		t.Error("the spare descriptor was held while accepting again")
	}
}
