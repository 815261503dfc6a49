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
	unread   bool  // the broker has not read all that was sent to it
}

// look takes a picture. waits says what is still under way, "" if nothing is.
func (w *socketWorld) look() (now picture, waits string) {
	m := w.broker.Metrics()
	now = picture{
		received: m.BytesReceived.Load(), sent: m.BytesSent.Load(),
		read: w.read.Load(), conns: m.Connections.Load(),
	}
	all := now.received-w.readAt == w.sent
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
		case p.owed && !all:
			now.unread = true
			if unsent(p.socket) != 0 {
				waits = "bytes from " + p.addr + " are on their way"
			}
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

// ignored is how long bytes lie unread, with all at rest, until it is believed
// that the broker doesn't want them. Nothing tells a busy machine's delay apart
// from that otherwise.
const ignored = 100 * time.Millisecond

// Settle implements script.World.
//
// Twice in a row nothing may be under way and no goroutine have work, with the
// same counts, and then the kernel has no thread to run: what it held at the first
// look has woken somebody before the second, and would have changed a count. Where
// a connection doesn't read, since it waits for the broker, that takes a while.
func (w *socketWorld) Settle() {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	var last picture
	var since time.Time // of when on all is as in last
	for calm := 0; ; {
		if err := w.still.pass(); err != nil {
			w.t.Fatal(err)
		}
		now, waits := w.look()
		switch {
		case now != last:
			calm, last, since = 0, now, time.Now()
		case waits != "" || !w.still.parked():
			calm = 0
		default:
			calm++
		}
		patient := !now.unread || time.Since(since) >= ignored
		if calm > 1 && patient && w.still.threads.sleep() {
			break
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("no rest within %v: %s, %+v\n%s", patience, waits, now, w.still.seen)
		}
		if waits != "" || !patient {
			<-time.After(50 * time.Microsecond) // others need the processor
		}
	}
	if last.unread {
		return // what is owed may be read later
	}
	w.readAt, w.sent = last.received, 0
	for _, p := range w.peers {
		p.owed = false
	}
}
