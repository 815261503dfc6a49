//go:build 386 || s390x

package listener

import (
	"net/netip"
	"syscall"
	"testing"
)

func TestSourceOfASocketIsUnmappedAndWithoutZone(t *testing.T) {
	for _, c := range []struct {
		sa   syscall.Sockaddr
		want string
	}{
		{&syscall.SockaddrInet4{Port: 7, Addr: [4]byte{192, 0, 2, 1}}, "192.0.2.1:7"},
		{&syscall.SockaddrInet6{Port: 7, Addr: netip.MustParseAddr("::ffff:192.0.2.1").As16()}, "192.0.2.1:7"},
		{&syscall.SockaddrInet6{Port: 7, ZoneId: 2, Addr: netip.MustParseAddr("fe80::1").As16()}, "[fe80::1]:7"},
		{&syscall.SockaddrUnix{Name: "x"}, "invalid AddrPort"},
		{nil, "invalid AddrPort"},
	} {
		if got := sourceOf(c.sa); got.String() != c.want {
			t.Errorf("sourceOf(%v) = %s, want %s", c.sa, got, c.want)
		}
	}
}
