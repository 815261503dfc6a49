package listener

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// startSockets serves o with descriptors and closes it with the test.
func startSockets(t testing.TB, o Options, h func(Socket)) *Listener {
	t.Helper()
	if o.Address == "" {
		o.Address = "127.0.0.1:0"
	}
	l, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- l.ServeSockets(h) }()
	t.Cleanup(func() {
		if err := errors.Join(l.Close(), <-served); err != nil {
			t.Errorf("listener: %v", err)
		}
	})
	return l
}

// driver is the simplest receiver of a Socket: a goroutine that waits in the
// runtime's poller.
type driver struct {
	*os.File
	Socket
}

func newDriver(s Socket) *driver { return &driver{os.NewFile(uintptr(s.FD), "socket"), s} }

func (d *driver) leave() {
	_ = d.File.Close()
	d.Done()
}

// flush writes what the stream has pending.
func (d *driver) flush() error {
	var wire []byte
	for d.Stream.Pending() {
		wire = d.Stream.Take(wire)
		if _, err := d.File.Write(wire); err != nil {
			return err
		}
	}
	d.Stream.Take(wire)
	return nil
}

// each calls f with MQTT bytes as they come. It returns io.EOF after an orderly end.
func (d *driver) each(f func([]byte) error) error {
	wire, mqtt := make([]byte, 4<<10), make([]byte, 1<<10)
	for {
		for d.Stream != nil {
			n, err := d.Stream.Read(mqtt)
			if err == ErrMore {
				break
			}
			if err == nil {
				err = f(mqtt[:n])
			}
			if flushErr := d.flush(); err == nil {
				err = flushErr
			}
			if err != nil {
				return err
			}
		}
		if d.Stream != nil {
			if err := d.flush(); err != nil {
				return err
			}
		}
		n, err := d.File.Read(wire)
		switch {
		case err != nil:
			return err
		case d.Stream != nil:
			d.Stream.Receive(wire[:n])
		default:
			if err := f(wire[:n]); err != nil {
				return err
			}
		}
	}
}

// send writes MQTT bytes.
func (d *driver) send(p []byte) error {
	if d.Stream == nil {
		_, err := d.File.Write(p)
		return err
	}
	if err := d.Stream.Send(p); err != nil {
		return err
	}
	return d.flush()
}

// echoSocket is echo for descriptors.
func echoSocket(s Socket) {
	go func() {
		d := newDriver(s)
		defer d.leave()
		_ = d.each(d.send) // however it ends, the client sees it
	}()
}

func unexpectedSocket(t *testing.T) func(Socket) {
	return func(s Socket) {
		t.Errorf("handler got %v", s.Info)
		newDriver(s).leave()
	}
}

func TestSocketOfTCP(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", ":0"} { // on the second IPv4 comes as mapped addresses
		infos := make(chan Info, 1)
		l := startSockets(t, Options{Name: "front", Transport: TCP, Address: address}, func(s Socket) {
			infos <- s.Info
			if s.Stream != nil {
				t.Error("TCP has a stream")
			}
			echoSocket(s)
		})
		c := dialAddr(t, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: l.Addrs()[0].(*net.TCPAddr).Port})
		checkEcho(t, c, "hello")
		want := Info{Listener: "front", Transport: TCP, Remote: c.LocalAddr().(*net.TCPAddr).AddrPort()}
		if got := <-infos; got.String() != want.String() || got.Remote != want.Remote {
			t.Errorf("info = %+v, want %+v", got, want)
		}
		if got := l.counts.Served.Load(); got != 1 {
			t.Errorf("Served = %d, want 1", got)
		}
		_ = c.Close()
		eventually(t, "Open", l.counts.Open.Load, 0)
	}
}

func TestSocketOfUnix(t *testing.T) {
	infos := make(chan Info, 1)
	path := filepath.Join(t.TempDir(), "s")
	l := startSockets(t, Options{Transport: Unix, Address: path}, func(s Socket) {
		infos <- s.Info
		echoSocket(s)
	})
	checkEcho(t, dial(t, l), "hello")
	if got := <-infos; got.Remote.IsValid() || got.Peer == nil || int(got.Peer.UID) != os.Getuid() || int(got.Peer.PID) != os.Getpid() {
		t.Errorf("info = %+v of peer %+v, want this process", got, got.Peer)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket's file stays: %v", err)
	}
}

func TestSocketsInheritTheirOptions(t *testing.T) {
	for _, noDelay := range []bool{true, false} {
		sockets := make(chan Socket, 1)
		l := startSockets(t, Options{Transport: TCP, NoDelay: noDelay}, func(s Socket) { sockets <- s })
		c := dial(t, l)
		s := <-sockets
		defer newDriver(s).leave()
		want := map[string]int{"nodelay": 0, "keepalive": 1, "idle": 300, "interval": 60, "count": 3, "nonblock": 1, "cloexec": 1}
		if noDelay {
			want["nodelay"] = 1
		}
		got := map[string]int{}
		for name, o := range map[string][2]int{
			"nodelay": {syscall.IPPROTO_TCP, syscall.TCP_NODELAY}, "keepalive": {syscall.SOL_SOCKET, syscall.SO_KEEPALIVE},
			"idle": {syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE}, "interval": {syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL},
			"count": {syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT},
		} {
			v, err := syscall.GetsockoptInt(s.FD, o[0], o[1])
			if err != nil {
				t.Fatal(err)
			}
			got[name] = v
		}
		got["nonblock"] = min(fcntl(t, s.FD, syscall.F_GETFL)&syscall.O_NONBLOCK, 1)
		got["cloexec"] = fcntl(t, s.FD, syscall.F_GETFD) & syscall.FD_CLOEXEC
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("NoDelay %v: options %v, want %v", noDelay, got, want)
		}
		_ = c.Close()
	}
}

func fcntl(t *testing.T, fd, command int) int {
	t.Helper()
	v, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), uintptr(command), 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	return int(v)
}

func TestSocketOfADeniedAddressIsClosedUnread(t *testing.T) {
	l := startSockets(t, Options{Transport: TCP, Address: ":0", Deny: prefixes("127.0.0.1/32")}, unexpectedSocket(t))
	checkClosed(t, dialAddr(t, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: l.Addrs()[0].(*net.TCPAddr).Port}))
	eventually(t, "RefusedAddress", uintOf(&l.counts.RefusedAddress), 1)
}

func TestSocketsOverMaxConnectionsAreClosed(t *testing.T) {
	l := startSockets(t, Options{Transport: TCP, MaxConnections: 2}, echoSocket)
	first, second := dial(t, l), dial(t, l)
	checkEcho(t, first, "a")
	checkEcho(t, second, "b")
	checkClosed(t, dial(t, l))
	if got := l.counts.RefusedLimit.Load(); got != 1 {
		t.Errorf("RefusedLimit = %d, want 1", got)
	}
	_ = first.Close()
	eventually(t, "Open", l.counts.Open.Load, 1)
	checkEcho(t, dial(t, l), "c")
}

func TestSocketsAtTheLimitOfOpenFilesAreClosed(t *testing.T) {
	checkLimitOfOpenFiles(t, startSockets(t, Options{Transport: TCP}, echoSocket))
}

func TestCloseEndsServeSockets(t *testing.T) {
	for _, o := range []Options{{Transport: TCP, Address: "localhost:0"}, {Transport: Unix, Address: filepath.Join(t.TempDir(), "s")}} {
		l, err := Listen(o)
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- l.ServeSockets(echoSocket) }()
		checkEcho(t, dial(t, l), "a")
		if err := l.ServeSockets(echoSocket); err == nil {
			t.Error("served twice")
		}
		if err := errors.Join(l.Close(), <-served, l.Close()); err != nil {
			t.Errorf("%s: %v", o.Transport, err)
		}
		if _, err := net.Dial(l.Addrs()[0].Network(), l.Addrs()[0].String()); err == nil {
			t.Errorf("%s: accepts after Close", o.Transport)
		}
	}
}

func TestServeSocketsAfterCloseEndsAtOnce(t *testing.T) {
	l, err := Listen(Options{Transport: TCP, Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Close(), l.ServeSockets(unexpectedSocket(t))); err != nil {
		t.Error(err)
	}
}

func BenchmarkAcceptSocket(b *testing.B) {
	done := make(chan struct{}, 1)
	l := startSockets(b, Options{Transport: TCP, NoDelay: true}, func(s Socket) {
		_ = syscall.Close(s.FD)
		s.Done()
		done <- struct{}{}
	})
	benchmarkConnect(b, l, done)
}

func BenchmarkAcceptConn(b *testing.B) {
	l, err := Listen(Options{Transport: TCP, Address: "127.0.0.1:0", NoDelay: true})
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{}, 1)
	go func() {
		_ = l.Serve(func(c *Conn) {
			_ = c.Close()
			done <- struct{}{}
		})
	}()
	defer l.Close()
	benchmarkConnect(b, l, done)
}

// benchmarkConnect connects, waits until the server has closed, and closes.
func benchmarkConnect(b *testing.B, l *Listener, done <-chan struct{}) {
	b.ReportAllocs()
	addr := l.Addrs()[0].(*net.TCPAddr)
	to := &syscall.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())}
	for b.Loop() {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err == nil {
			err = syscall.Connect(fd, to)
		}
		if err != nil {
			b.Fatal(err)
		}
		<-done
		_ = syscall.Close(fd)
	}
}

// TestAFloodOfNewcomersLetsOthersRun: while there is always another newcomer, who waits
// for something else runs all the same before much more is accepted.
func TestAFloodOfNewcomersLetsOthersRun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const (
		newcomers = 64
		work      = 300 * time.Microsecond // that each causes
		most      = 12                     // the scheduler by itself looks after 10 ms, at the 33rd
	)
	l, err := Listen(Options{Transport: TCP, Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	for range newcomers { // the system takes them all before anybody accepts
		dialAddr(t, l.Addrs()[0])
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	var ran atomic.Bool
	waits := make(chan struct{})
	go func() {
		close(waits)
		_, _ = r.Read(make([]byte, 1))
		ran.Store(true)
	}()
	<-waits
	var accepted, ranAt int // of the accepting goroutine until all is closed
	all := make(chan struct{})
	served := make(chan error, 1)
	go func() {
		served <- l.ServeSockets(func(s Socket) {
			defer s.Done()
			_ = syscall.Close(s.FD)
			switch accepted++; {
			case accepted == 1:
				_, _ = w.Write([]byte("x"))
			case ran.Load() && ranAt == 0:
				ranAt = accepted
			}
			for began := time.Now(); time.Since(began) < work; {
			}
			if accepted == newcomers {
				close(all)
			}
		})
	}()
	<-all
	if err := errors.Join(l.Close(), <-served); err != nil {
		t.Fatal(err)
	}
	if ranAt == 0 || ranAt > most {
		t.Errorf("it ran before newcomer %d (0: after all), want %d at the latest", ranAt, most)
	}
}
