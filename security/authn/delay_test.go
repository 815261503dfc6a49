package authn

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func TestDelaysGrowAndFade(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	d := newDelays(DelayOptions{Now: func() time.Time { return now }})
	bad, neighbour, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("198.51.100.1")
	var got []time.Duration
	for range 12 {
		got = append(got, d.wait(bad))
		d.failed(bad)
	}
	want := "[0s 0s 0s 0s 0s 0s 250ms 500ms 1s 2s 4s 5s]"
	if fmt.Sprint(got) != want {
		t.Errorf("delays %v, want %s", got, want)
	}
	if w := d.wait(netip.MustParseAddr("::ffff:192.0.2.1")); w != 5*time.Second {
		t.Errorf("the mapped form of the address waits %v", w)
	}
	if d.wait(neighbour) != 0 || d.wait(other) != 0 {
		t.Error("others wait too")
	}
	now = now.Add(time.Minute) // 12 failures become 6
	if w := d.wait(bad); w != 250*time.Millisecond {
		t.Errorf("after a minute it waits %v", w)
	}
	now = now.Add(10 * time.Minute)
	if w := d.wait(bad); w != 0 {
		t.Errorf("after a long time it waits %v", w)
	}
	d.failed(other) // sweeps
	if len(d.sources) != 2 {
		t.Errorf("%d sources are remembered, want those of the last failure", len(d.sources))
	}
}

func TestDelaysSlowDownANetwork(t *testing.T) {
	d := newDelays(DelayOptions{})
	for i := range 50 {
		d.failed(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}))
	}
	if w := d.wait(netip.MustParseAddr("192.0.2.200")); w == 0 {
		t.Error("a fresh address of a network with 50 failures does not wait")
	}
	if w := d.wait(netip.MustParseAddr("192.0.3.200")); w != 0 {
		t.Errorf("another network waits %v", w)
	}
}

func TestDelaysAreBounded(t *testing.T) {
	d := newDelays(DelayOptions{Entries: 10})
	bad := netip.MustParseAddr("192.0.2.1")
	for i := range 100 {
		d.failed(netip.AddrFrom4([4]byte{10, 0, byte(i), 1}))
		for range 10 {
			d.failed(bad) // who keeps failing stays
		}
	}
	if len(d.sources) > 10 || d.order.Len() != len(d.sources) {
		t.Errorf("%d sources, %d in order", len(d.sources), d.order.Len())
	}
	if d.wait(bad) != 5*time.Second {
		t.Error("who keeps failing was forgotten")
	}
	d = newDelays(DelayOptions{Entries: -1})
	d.failed(bad)
	d.failed(netip.Addr{})
}
