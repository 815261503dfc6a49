//go:build !race

package listener

import (
	"net/netip"
	"testing"
)

// What isn't asked for costs nothing: a plain connection is judged and handed
// over without memory and without a read.
func TestAcceptAllocatesNothingWithoutAProxy(t *testing.T) {
	l, err := newListener(Options{Transport: TCP, Deny: prefixes("192.0.2.0/24"), MaxConnections: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	// No descriptor: whoever read from it or waited for it would fail.
	n := newcomer{fd: -1, from: netip.MustParseAddrPort("127.0.0.1:4711")}
	served := 0
	h := func(s Socket) {
		served++
		s.Done()
	}
	if got := testing.AllocsPerRun(1000, func() { l.admitSocket(n, h) }); got != 0 {
		t.Errorf("%v allocations for a connection, want none", got)
	}
	if served != 1001 || l.counts.Handshaking.Load() != 0 {
		t.Errorf("%d served", served)
	}
}

func BenchmarkAdmit(b *testing.B) {
	l, err := newListener(Options{Transport: TCP})
	if err != nil {
		b.Fatal(err)
	}
	n := newcomer{fd: -1, from: netip.MustParseAddrPort("127.0.0.1:4711")}
	h := func(s Socket) { s.Done() }
	b.ReportAllocs()
	for b.Loop() {
		l.admitSocket(n, h)
	}
}
