//go:build !386 && !s390x

package epoll

import (
	"io"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"testing"
)

func pair(t *testing.T) (a, b int) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Close(fds[0]); Close(fds[1]) })
	return fds[0], fds[1]
}

func newPoll(t *testing.T) *Poll {
	t.Helper()
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func TestParkReturnsWhenADescriptorIsReady(t *testing.T) {
	p := newPoll(t)
	a, b := pair(t)
	const data = 7<<32 | 1<<31 | 9
	if err := p.Add(a, data, In); err != nil {
		t.Fatal(err)
	}
	if n := p.Ready(); n != 0 {
		t.Fatalf("%d events of a silent socket", n)
	}
	go Write(b, []byte("x"))
	n, err := p.Park()
	if err != nil || n != 1 {
		t.Fatal(n, err)
	}
	if got, ready := p.Event(0); got != data || ready&In == 0 {
		t.Fatalf("data %x, ready %x", got, ready)
	}
	if n := p.Ready(); n != 1 {
		t.Fatal("readiness is not by level")
	}
	if err := p.Modify(a, data, 0); err != nil {
		t.Fatal(err)
	}
	if n := p.Ready(); n != 0 {
		t.Fatal("an event that nobody asked for")
	}
	if err := p.Remove(a); err != nil {
		t.Fatal(err)
	}
}

func TestWakeEndsPark(t *testing.T) {
	p := newPoll(t)
	for range 3 {
		done := make(chan struct{})
		go func() { p.Wake(); close(done) }()
		if n, err := p.Park(); n != 0 || err != nil {
			t.Fatal(n, err)
		}
		<-done
	}
}

func TestYieldLetsTheNetworkBeServedAndReturns(t *testing.T) {
	p := newPoll(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	echoed := make(chan error, 1)
	go func() {
		c, err := ln.Accept()
		if err == nil {
			_, err = io.ReadFull(c, make([]byte, 1))
			c.Close()
		}
		echoed <- err
	}()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	for range 1_000_000 {
		if _, err := p.Yield(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-echoed:
			if err != nil {
				t.Fatal(err)
			}
			return
		default:
		}
	}
	t.Fatal("the server's goroutine was never served")
}

func TestCloseEndsPark(t *testing.T) {
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	parked := make(chan error)
	go func() { _, err := p.Park(); parked <- err }()
	_ = p.Close()
	if err := <-parked; err == nil {
		t.Fatal("a closed instance goes on")
	}
}

func TestReadAndWriteTellTheirEnds(t *testing.T) {
	a, b := pair(t)
	buf := make([]byte, 16)
	if _, errno := Read(a, buf); errno != syscall.EAGAIN {
		t.Fatalf("nothing to read: %v", errno)
	}
	if n, errno := Write(b, []byte("hello")); n != 5 || errno != 0 {
		t.Fatal(n, errno)
	}
	if n, errno := Read(a, buf); n != 5 || errno != 0 || string(buf[:n]) != "hello" {
		t.Fatal(n, errno)
	}
	if _, errno := Read(a, nil); errno != syscall.EINVAL {
		t.Fatal("an empty read looks like the end")
	}
	if err := ShutdownWrite(b); err != nil {
		t.Fatal(err)
	}
	if n, errno := Read(a, buf); n != 0 || errno != 0 {
		t.Fatal(n, errno)
	}
	full := make([]byte, 1<<20)
	for {
		if _, errno := Write(a, full); errno != 0 {
			if errno != syscall.EAGAIN {
				t.Fatal(errno)
			}
			break
		}
	}
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	Close(fds[1])
	if _, errno := Write(fds[0], full); errno != syscall.EPIPE {
		t.Fatalf("a peer that has gone: %v", errno)
	}
	Close(fds[0])
}

func TestAcceptTellsWhereANewcomerComesFrom(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", "[::]:0"} {
		ln, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		raw, err := ln.(syscall.Conn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		accept := func() (fd int, from netip.AddrPort, errno syscall.Errno) {
			if err := raw.Control(func(of uintptr) { fd, from, errno = Accept(int(of)) }); err != nil {
				t.Fatal(err)
			}
			return fd, from, errno
		}
		if _, _, errno := accept(); errno != syscall.EAGAIN {
			t.Fatalf("nobody waits: %v", errno)
		}
		to := ln.Addr().String()
		if address == "[::]:0" { // an IPv4 peer on a socket of both families
			to = net.JoinHostPort("127.0.0.1", strconv.Itoa(ln.Addr().(*net.TCPAddr).Port))
		}
		c, err := net.Dial("tcp", to)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fd, from, errno := accept()
		if errno != 0 {
			t.Fatal(errno)
		}
		defer Close(fd)
		if from.String() != c.LocalAddr().String() {
			t.Errorf("%s: from %s, want %s", address, from, c.LocalAddr())
		}
		if _, errno := Read(fd, make([]byte, 1)); errno != syscall.EAGAIN {
			t.Errorf("%s: it blocks, or %v", address, errno)
		}
	}
}

func TestWakeAfterCloseWritesToNobody(t *testing.T) {
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	a, b := pair(t) // the lowest numbers that are free: those that were p's
	p.Wake()
	for _, fd := range []int{a, b} {
		if n, errno := Read(fd, make([]byte, 8)); errno != syscall.EAGAIN {
			t.Errorf("%d bytes, %v: another descriptor was written to", n, errno)
		}
	}
}
