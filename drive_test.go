package sallyport

import (
	"net/netip"
	"testing"

	"sallyport/listener"
)

func TestOnlyTheWayToTheClientMakesAConnectionSecure(t *testing.T) {
	client := netip.MustParseAddrPort("203.0.113.7:4711")
	for _, c := range []struct {
		name string
		info listener.Info
		want bool
	}{
		{"TCP is not", listener.Info{Transport: listener.TCP, Remote: client}, false},
		{"TLS is", listener.Info{Transport: listener.TLS, Remote: client}, true},
		{"a process of this machine is", listener.Info{Transport: listener.Unix}, true},
		{"a client behind a proxy's Unix socket is not", listener.Info{Transport: listener.Unix, Remote: client, Proxy: &listener.Proxy{}}, false},
		{"a health check over a Unix socket is", listener.Info{Transport: listener.Unix, Proxy: &listener.Proxy{}}, true},
	} {
		if got := new(Server).engineInfo(&c.info); got.Secure != c.want || got.Remote != c.info.Remote {
			t.Errorf("%s: %+v, want secure %v", c.name, got, c.want)
		}
	}
}
