//go:build linux || darwin

package listener

import (
	"net"
	"syscall"
	"testing"
)

func TestLimitOfOpenFiles(t *testing.T) { checkLimitOfOpenFiles(t, start(t, Options{}, echo)) }

// checkLimitOfOpenFiles wants newcomers to be closed at the limit, and served after it.
func checkLimitOfOpenFiles(t *testing.T, l *Listener) {
	t.Helper()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	checkEcho(t, dial(t, l), "before") // the accept loop holds its spare
	// Client sockets first, so that only accept meets the limit.
	const clients = 3
	addr := l.Addrs()[0].(*net.TCPAddr)
	var fds [clients]int
	for i := range fds {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer syscall.Close(fd)
		fds[i] = fd
	}
	lowered := old
	lowered.Cur = lowestFree(t)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &lowered); err != nil {
		t.Fatal(err)
	}
	for i, fd := range fds {
		err := syscall.Connect(fd, &syscall.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())})
		n, readErr := -1, error(nil)
		if err == nil {
			n, readErr = syscall.Read(fd, make([]byte, 1))
		}
		if err != nil || n > 0 {
			t.Errorf("client %d: %v, read %d, %v, want a closed connection", i, err, n, readErr)
		}
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if got := l.counts.RefusedFiles.Load(); got != clients {
		t.Errorf("RefusedFiles = %d, want %d", got, clients)
	}
	checkEcho(t, dial(t, l), "after")
}

// lowestFree is the number that the next descriptor would get: as a limit it
// lets none be opened.
func lowestFree(t *testing.T) uint64 {
	t.Helper()
	fd, err := syscall.Dup(0)
	if err != nil {
		t.Fatal(err)
	}
	_ = syscall.Close(fd)
	return uint64(fd)
}
