//go:build !386 && !s390x

package broker

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sallyport/internal/epoll"
	"sallyport/packet"
	"sallyport/security"
)

const hasLoops = true

// overLoops starts loops and returns what gives them a connection.
func (x *bed) overLoops(n int) func(nc net.Conn) {
	x.t.Helper()
	ls, err := x.b.NewLoops(n)
	x.loops = ls
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() {
		if err := ls.Close(); err != nil {
			x.t.Error(err)
		}
	})
	return func(nc net.Conn) { ls.Serve(descriptor(nc), nil, Info{Listener: "test"}, func() {}) }
}

// descriptor takes the descriptor out of a connection.
func descriptor(nc net.Conn) int {
	raw, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		panic(err)
	}
	fd := -1
	if e := raw.Control(func(of uintptr) { fd, err = syscall.Dup(int(of)) }); e != nil || err != nil {
		panic("the descriptor can't be had")
	}
	_ = nc.Close() // fd keeps the connection
	return fd
}

// busy is a broker over one loop that a message to the topic hold stops, until
// release is called.
type busy struct {
	x       *bed
	ls      *Loops
	entered chan struct{}
	held    chan struct{}
}

func overBusyLoop(t *testing.T, f func(*busy)) {
	y := &busy{entered: make(chan struct{}), held: make(chan struct{})}
	w := way{tcp: true, loops: true, one: true}
	w.run(t, func(s *setup) {
		s.policy = func(r *security.Request) security.Effect {
			if r.Action == security.Publish && r.Topic == "hold" {
				y.entered <- struct{}{}
				<-y.held
			}
			return security.Allow
		}
	}, func(x *bed) {
		y.x, y.ls = x, x.loops
		f(y)
	})
}

// whileHeld calls f while the loop handles a message.
func (y *busy) whileHeld(by *peer, f func()) {
	by.send(by.pub(packet.PublishOut{Topic: "hold"}))
	<-y.entered
	f()
	y.held <- struct{}{}
}

// Under load a loop reads each socket once and writes each socket once, however
// many messages came; one at a time each costs one call more than it must.
func TestSystemCallsPerMessage(t *testing.T) {
	for _, tt := range []struct {
		window  int
		ceiling float64
	}{
		{100, 0.08},
		{1, 2.2},
	} {
		overBusyLoop(t, func(y *busy) {
			const pairs = 50
			x := y.x
			var pubs, subs []*peer
			for i := range pairs {
				p, s := x.connect(packet.V311, fmt.Sprintf("p%d", i)), x.connect(packet.V311, fmt.Sprintf("s%d", i))
				s.subscribe(filter(fmt.Sprintf("t/%d", i), 0))
				pubs, subs = append(pubs, p), append(subs, s)
			}
			holder := x.connect(packet.V311, "holder")
			var before Calls
			y.whileHeld(holder, func() {
				before = y.ls.Calls()
				for i, p := range pubs {
					one := p.pub(packet.PublishOut{Topic: fmt.Sprintf("t/%d", i), Payload: make([]byte, 64)})
					p.send(bytes.Repeat(one, tt.window))
				}
			})
			for _, s := range subs {
				for range tt.window {
					s.message()
				}
			}
			after := y.ls.Calls()
			n := float64(after.Reads + after.Writes + after.Waits + after.Controls - before.Reads - before.Writes - before.Waits - before.Controls)
			if per := n / float64(pairs*tt.window); per > tt.ceiling {
				t.Errorf("window %d: %.3f system calls per message, want at most %.2f", tt.window, per, tt.ceiling)
			}
		})
	}
}

// slowStream has whoever waits behind it stay at the doorway for another round.
type slowStream struct{ plainStream }

func (s *slowStream) Receive(wire []byte) {
	time.Sleep(2 * yieldAfter)
	s.plainStream.Receive(wire)
}

// Who was refused is read from until he has gone, however many newcomers wait: his end
// would come only with the time that he is given to go.
func TestWhoWasRefusedIsHeardAtTheDoorway(t *testing.T) {
	const many = 3 * longQueue
	y := &busy{entered: make(chan struct{}), held: make(chan struct{})}
	way{tcp: true, loops: true, one: true}.run(t, func(s *setup) {
		s.policy = func(r *security.Request) security.Effect {
			switch {
			case r.Action == security.Publish && r.Topic == "hold":
				y.entered <- struct{}{}
				<-y.held
			case r.Action == security.Connect && r.Principal.ClientID == "refused":
				return security.Deny
			}
			return security.Allow
		}
	}, func(x *bed) {
		l := x.loops.loops[0]
		holder := x.connect(packet.V311, "holder")
		var refused []net.Conn
		for range many {
			ours, theirs := accepted(t, "tcp", "127.0.0.1:0")
			x.loops.Serve(descriptor(theirs), nil, Info{Listener: "test"}, func() {})
			send(t, ours, connectBytes("refused"))
			refused = append(refused, ours)
		}
		for _, nc := range refused {
			if _, err := io.ReadAll(nc); err != nil { // the answer, and that there is no more
				t.Fatal(err)
			}
		}
		slow, theirs := accepted(t, "tcp", "127.0.0.1:0")
		x.loops.Serve(descriptor(theirs), &slowStream{}, Info{Listener: "test"}, func() {})
		y.whileHeld(holder, func() {
			send(t, slow, connectBytes("slow"))
			for _, nc := range refused {
				send(t, nc, []byte{0})
			}
		})
		// A connection that came later was let in: all before it have had their turn.
		y.whileHeld(x.connect(packet.V311, "another"), func() {
			deaf := 0
			for _, s := range l.table.all() {
				if s.lingers && s.interest&epoll.In == 0 {
					deaf++
				}
			}
			if deaf > 0 {
				t.Errorf("%d of %d that were refused are not read from any more", deaf, many)
			}
		})
		for _, nc := range append(refused, slow) {
			_ = nc.Close() // the broker needn't wait for them
		}
	})
}

// Connections come and go while others publish to all of them from other loops:
// a descriptor that is used again gets nothing that was for the one before.
func TestADescriptorUsedAgainGetsNoForeignByte(t *testing.T) {
	way{tcp: true, loops: true}.run(t, nil, func(x *bed) {
		const seats, rounds = 8, 60
		var numbers [seats]atomic.Int64 // whom the publishers write to
		stop := make(chan struct{})
		var publishing, sitting sync.WaitGroup
		for n := range 3 {
			p := x.dial().(*net.TCPConn)
			send(t, p, connectBytes(fmt.Sprintf("p%d", n)))
			publishing.Go(func() {
				defer p.Close()
				answers := bufio.NewReader(p)
				var out []byte
				for {
					select {
					case <-stop:
						return
					default:
					}
					out = out[:0]
					for i := range numbers {
						topic := fmt.Sprintf("to/%d", numbers[i].Load())
						out = packet.AppendPublish(out, packet.V5, &packet.PublishOut{Topic: topic, Payload: []byte(topic), ExpiryAt: -1})
					}
					_, err := p.Write(packet.AppendPing(out, packet.PINGREQ))
					for h := (packet.Header{}); err == nil && h.Type != packet.PINGRESP; {
						h, _, err = readPacket(answers)
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		var next atomic.Int64
		for seat := range numbers {
			sitting.Go(func() {
				for range rounds {
					me := next.Add(1)
					if err := sit(x, &numbers[seat], me); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		sitting.Wait()
		close(stop)
		publishing.Wait()
	})
}

// sit is one connection that takes a few messages and goes in the middle of more.
func sit(x *bed, number *atomic.Int64, me int64) error {
	nc := x.dial().(*net.TCPConn)
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(x.wait)); err != nil {
		return err
	}
	mine := fmt.Sprintf("to/%d", me)
	hello := packet.AppendSubscribe(connectBytes(fmt.Sprint(me)), packet.V5, &packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{filter(mine, 0)}})
	if _, err := nc.Write(hello); err != nil {
		return err
	}
	number.Store(me)
	r := bufio.NewReader(nc)
	known := false
	for got := 0; got < 20; {
		h, body, err := readPacket(r)
		if err != nil {
			return err
		}
		if first := got == 0 && !known; first != (h.Type == packet.CONNACK) {
			return fmt.Errorf("%s: %v, the first is %t", mine, h.Type, first)
		}
		if known = true; h.Type == packet.CONNACK || h.Type == packet.SUBACK {
			continue
		}
		var p packet.Publish
		if err := packet.DecodePublish(packet.V5, h.Flags, body, packet.Limits{}, &p); err != nil || h.Type != packet.PUBLISH {
			return fmt.Errorf("%s: %v, %v", mine, h.Type, err)
		}
		if string(p.Topic) != mine || string(p.Payload) != mine {
			return fmt.Errorf("%s got what was for %q", mine, p.Topic)
		}
		got++
	}
	return nil
}

func readPacket(r *bufio.Reader) (packet.Header, []byte, error) {
	for n := 2; ; n++ {
		head, err := r.Peek(n)
		if err != nil {
			return packet.Header{}, nil, err
		}
		h, used, err := packet.ReadHeader(head)
		if err != nil {
			return h, nil, err
		}
		if used == 0 {
			continue
		}
		body := make([]byte, used+h.Length)
		_, err = io.ReadFull(r, body)
		return h, body[used:], err
	}
}

func send(t *testing.T, w io.Writer, p []byte) {
	t.Helper()
	if _, err := w.Write(p); err != nil {
		t.Fatal(err)
	}
}
