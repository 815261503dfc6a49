//go:build !race && !386 && !s390x

package broker

import (
	"net/netip"
	"syscall"
	"testing"
)

// DESIGN: an idle plain connection with its session, its socket and the driver's
// state included, takes less than 800 bytes of live heap.
func TestAnIdleSocketIsSmall(t *testing.T) {
	const few, many, ceiling = 500, 3500, 800
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < 2*many+100 {
		t.Skipf("%d open files are allowed: %v", files.Cur, err)
	}
	w := newCrowd(t, many, false)
	ls, err := w.b.NewLoops(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ls.Close(); err != nil {
			t.Error(err)
		}
	})
	peers := make([]int, 0, many)
	t.Cleanup(func() {
		for _, fd := range peers {
			_ = syscall.Close(fd) // the test is over
		}
	})
	done := func() {}
	enter := func(from, to int) {
		for i := from; i < to; i++ {
			pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.SetNonblock(pair[0], true); err != nil {
				t.Fatal(err)
			}
			peers = append(peers, pair[1])
			ls.Serve(pair[0], nil, Info{Listener: "test", Remote: netip.MustParseAddrPort("192.0.2.1:50000")}, done)
			if _, err := syscall.Write(pair[1], w.connect(i)); err != nil {
				t.Fatal(err)
			}
			var connack [4]byte
			if n, err := syscall.Read(pair[1], connack[:]); err != nil || n != 4 || connack[3] != 0 {
				t.Fatalf("client %d: CONNACK % x: %v", i, connack[:n], err)
			}
		}
	}
	enter(0, few)
	before := live()
	enter(few, many)
	got := float64(live()-before) / (many - few)
	t.Logf("%.0f bytes", got)
	if got >= ceiling {
		t.Errorf("an idle connection takes %.0f bytes, want less than %d", got, ceiling)
	}
}
