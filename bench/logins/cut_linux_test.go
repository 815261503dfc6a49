package main

import (
	"errors"
	"io"
	"testing"

	"sallyport/packet"
)

// A cut tells of connections that were no more: else the memory that they hold would be
// that of others.
func TestACutFindsWhoWasDisconnected(t *testing.T) {
	d := open(t, func(string, int) (packet.Code, bool) { return packet.Success, false })
	f := fleetOf(d.Addr().String(), 4)
	f.prove = byPassword("secret")
	if a := f.come(t.Context()); a.Accepted != 4 {
		t.Fatalf("%+v", a)
	}
	d.closeAll()
	buffer := make([]byte, 1)
	for _, c := range f.conns[:2] { // the end has arrived; no read takes it away
		if _, err := c.Read(buffer); !errors.Is(err, io.EOF) {
			t.Fatalf("%v", err)
		}
	}
	if n := f.cut(); n < 2 {
		t.Errorf("%d were gone, want at least 2", n)
	}
}
