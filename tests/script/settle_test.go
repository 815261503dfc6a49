package script_test

import (
	"fmt"
	"time"
)

// picture is what is known of a world at one moment.
type picture struct {
	received int64 // by the broker
	sent     int64 // by the broker
	read     int64 // by the peers
	conns    int64 // of the broker
	over     int   // of the peers
}

// look takes a picture. waits says what is still under way, "" if nothing is.
func (w *socketWorld) look() (now picture, waits string) {
	m := w.broker.Metrics()
	now = picture{
		received: m.BytesReceived.Load(), sent: m.BytesSent.Load(),
		read: w.read.Load(), conns: m.Connections.Load(),
	}
	unread := w.unheard || now.received-w.readAt != w.sent
	for _, p := range w.peers {
		over, ended := p.isOver(), w.ends.has(p.addr)
		switch {
		case over:
			now.over++
			if !ended {
				waits = "the broker has not seen the end of " + p.addr
			}
		case ended:
			waits = p.addr + " has not seen that the broker ended it"
		case unread && unsent(p.socket) != 0:
			waits = "bytes from " + p.addr + " are on their way"
		}
	}
	switch live := int64(len(w.peers) - now.over); {
	case waits != "":
	case now.conns != live:
		waits = fmt.Sprintf("the broker has %d connections, and %d peers are there", now.conns, live)
	case now.sent != now.read:
		waits = fmt.Sprintf("the broker sent %d bytes, and the peers got %d", now.sent, now.read)
	}
	return now, waits
}

// Settle implements script.World.
//
// Bytes that the broker doesn't read, since a connection waits, are only known to
// have arrived; that they cause nothing shows when nothing happens. So twice
// in a row nothing may be under way and no goroutine have work, with the same
// counts: what the kernel held at the first look has woken somebody before the
// second, and would have changed a count.
func (w *socketWorld) Settle() {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	var last picture
	for tries, calm := 0, 0; calm < 2; tries++ {
		if err := w.still.pass(); err != nil {
			w.t.Fatal(err)
		}
		now, waits := w.look()
		switch {
		case waits != "" || !w.still.parked():
			calm = 0
		case now != last:
			calm = 1
		default:
			calm++
		}
		last = now
		if time.Now().After(deadline) {
			w.t.Fatalf("no rest within %v: %s, %+v\n%s", patience, waits, now, w.still.seen)
		}
		if tries > 100 {
			<-time.After(100 * time.Microsecond) // others need the processor
		}
	}
	if last.received-w.readAt != w.sent {
		w.unheard = true
	}
	w.readAt, w.sent = last.received, 0
}
