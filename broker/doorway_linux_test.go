//go:build !386 && !s390x

package broker

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/packet"
	"sallyport/security"
)

// rush is a broker over one loop, before which newcomers come while it is busy
// with the first of them.
type rush struct {
	x       *bed
	entered atomic.Int64 // how often it was asked whether a newcomer's account stands
	before  atomic.Int64 // the same when somebody published to count
	comes   chan struct{}
	held    chan struct{}
	rushing atomic.Bool
}

func overRush(t *testing.T, f func(*rush)) {
	y := &rush{comes: make(chan struct{}), held: make(chan struct{})}
	y.before.Store(-1)
	way{tcp: true, loops: true, one: true}.run(t, func(s *setup) {
		s.door.stands = func(*security.Principal) bool {
			if !y.rushing.Load() {
				return true
			}
			if y.entered.Add(1) == 1 {
				close(y.comes)
				<-y.held
			}
			for end := time.Now().Add(200 * time.Microsecond); time.Now().Before(end); {
			}
			return true
		}
		s.policy = func(r *security.Request) security.Effect {
			if r.Action == security.Publish && r.Topic == "count" {
				y.before.Store(y.entered.Load())
			}
			return security.Allow
		}
	}, func(x *bed) {
		y.x = x
		f(y)
	})
}

// dial is a newcomer who does not wait for ever.
func (y *rush) dial() net.Conn {
	c := y.x.dial().(net.Conn)
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		y.x.t.Fatal(err)
	}
	return c
}

// gather brings n newcomers, each of which has sent its CONNECT and what comes
// behind it, while the loop is with the first.
func (y *rush) gather(n int, behind []byte) []net.Conn {
	y.rushing.Store(true)
	served := y.x.b.metrics.Connections.Load()
	all := make([]net.Conn, n)
	for i := range all {
		all[i] = y.dial()
		send(y.x.t.(*testing.T), all[i], append(connectBytes(fmt.Sprintf("n%d", i)), behind...))
		if i == 0 {
			<-y.comes
		}
	}
	y.x.until("all have been accepted", func() bool { return y.x.b.metrics.Connections.Load() == served+int64(n) })
	return all
}

// isServed reads the answers to CONNECT and PINGREQ.
func isServed(c net.Conn) error {
	r := bufio.NewReader(c)
	for _, want := range []packet.Type{packet.CONNACK, packet.PINGRESP} {
		h, body, err := readPacket(r)
		if err != nil || h.Type != want || want == packet.CONNACK && body[1] != 0 {
			return fmt.Errorf("%v % x, %v", h.Type, body, err)
		}
	}
	return nil
}

// However many come at once, who is served waits for few of them, and all get in.
func TestWhoIsServedComesBeforeNewcomers(t *testing.T) {
	overRush(t, func(y *rush) {
		const newcomers = 600 // more than the poller tells of at once
		s := y.x.connect(packet.V311, "served")
		all := y.gather(newcomers, []byte{0xC0, 0})
		s.send(s.pub(packet.PublishOut{Topic: "count"}))
		close(y.held)
		for i, c := range all {
			if err := isServed(c); err != nil {
				t.Fatalf("newcomer %d: %v", i, err)
			}
		}
		y.x.until("the message came", func() bool { return y.before.Load() >= 0 })
		// Each is asked for twice. Few have been, in the rounds in which the poller tells of all.
		if n := y.before.Load(); n > newcomers/2 {
			t.Errorf("%d questions about %d newcomers were before a client who is served", n, newcomers)
		}
		for _, c := range all {
			_ = c.Close()
		}
		y.x.until("all have gone", func() bool { return y.x.b.metrics.Connections.Load() == 1 })
	})
}

// Newcomers who go, or are given up, while they wait at the doorway leave nothing.
func TestNewcomersWhoGoWhileTheyWait(t *testing.T) {
	overRush(t, func(y *rush) {
		s := y.x.connect(packet.V311, "served")
		all := y.gather(600, nil)
		for i, c := range all {
			switch i % 4 {
			case 1:
				_ = c.Close()
			case 2:
				_ = c.(*net.TCPConn).SetLinger(0) // what follows is a reset
				_ = c.Close()
			case 3:
				send(t, c, []byte{0xE0, 0})
			}
		}
		close(y.held)
		y.x.until("those who stay are alone", func() bool { return y.x.b.metrics.Connections.Load() == 1+600/4 })
		for i, c := range all {
			if i%4 != 0 {
				continue
			}
			send(t, c, []byte{0xC0, 0})
			if err := isServed(c); err != nil {
				t.Fatalf("newcomer %d: %v", i, err)
			}
			_ = c.Close()
		}
		s.ping()
	})
}

// A CONNECT of which a part waits at the doorway, with so many others that the poller
// tells nothing of them, is read to its end when the rest comes.
func TestALongConnectAtTheDoorway(t *testing.T) {
	overRush(t, func(y *rush) {
		long := packet.AppendConnect(nil, &packet.Connect{Version: packet.V311, CleanStart: true, ClientID: "long", HasUsername: true, Username: "u", HasPassword: true, Password: make([]byte, 15<<10)})
		all := y.gather(300, nil)
		c := y.dial()
		send(t, c, long[:5000])
		y.x.until("it has been accepted", func() bool { return y.x.b.metrics.Connections.Load() == int64(len(all))+1 })
		close(y.held)
		sent := int64(5000)
		for i, o := range all {
			sent += int64(len(connectBytes(fmt.Sprintf("n%d", i))))
			if h, body, err := readPacket(bufio.NewReader(o)); err != nil || h.Type != packet.CONNACK || body[1] != 0 {
				t.Fatalf("%v % x, %v", h.Type, body, err)
			}
		}
		y.x.until("the part has come", func() bool { return y.x.b.metrics.BytesReceived.Load() == sent })
		for part := range slices.Chunk(append(long[5000:], 0xC0, 0), 5000) {
			send(t, c, part)
		}
		if err := isServed(c); err != nil {
			t.Error(err)
		}
		for _, o := range append(all, c) {
			_ = o.Close()
		}
	})
}
