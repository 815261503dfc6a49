package revocation

import (
	"net/netip"
	"testing"
)

func TestAddressesThatAreNotDialled(t *testing.T) {
	closed := newReach(nil)
	for _, a := range []string{
		"127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
		"169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.8", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1",
		"255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1",
		"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::7f00:1", "64:ff9b::7f00:1", "64:ff9b::a00:1",
		"64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "2002:7f00:1::", "2002:a00:1::1", "2001:0:7f00:1::", "2001:db8::1", "100::1", "::ffff:0:7f00:1",
		"2606:4700::1111%eth0",
	} {
		if closed.check(netip.MustParseAddr(a)) == nil {
			t.Errorf("%s is dialled", a)
		}
	}
	if closed.check(netip.Addr{}) == nil {
		t.Error("no address is dialled")
	}
	for _, a := range []string{"1.1.1.1", "8.8.8.8", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001::1", "64:ff9b::101:101", "::ffff:1.1.1.1"} {
		if err := closed.check(netip.MustParseAddr(a)); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
	open := newReach([]netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00:1::/32")})
	for a, want := range map[string]bool{
		"10.1.2.3": true, "10.2.0.1": false, "::ffff:10.1.2.3": true, "::ffff:10.2.0.1": false, "64:ff9b::a01:203": true,
		"64:ff9b::a02:1": false, "fd00:1::1": true, "fd00:2::1": false, "127.0.0.1": false,
	} {
		if err := open.check(netip.MustParseAddr(a)); (err == nil) != want {
			t.Errorf("%s: %v, want allowed %v", a, err, want)
		}
	}
}
