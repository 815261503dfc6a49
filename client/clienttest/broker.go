// Package clienttest has a broker for tests of clients, small enough to be seen
// through: it speaks 3.1, 3.1.1 and 5.0 at every QoS, retains messages and keeps
// sessions with what is queued for them. It checks little, refuses nobody but
// as the test says, and loses or doubles messages on demand. It is for trusted
// input on the loopback interface only.
package clienttest

import (
	"bufio"
	"io"
	"net"
	"sync"
	"testing"

	"sallyport/packet"
	"sallyport/topic"
)

// Broker serves until the test ends. Its fields must be set before the first
// connection.
type Broker struct {
	// Addr is the host:port it listens on.
	Addr string
	// Connack answers a CONNECT; nil accepts everybody.
	Connack func(*packet.Connect) packet.Connack
	// Suback answers for one filter; nil grants what is asked for.
	Suback func(packet.Subscription) packet.Code
	// Deliver is called for each delivery, numbered from 0, under the broker's
	// lock, and decides how often and when send is called; nil calls it once.
	Deliver func(n uint64, send func())

	ln net.Listener

	// mu guards the fields below and everything reachable from them.
	mu         sync.Mutex
	sessions   map[string]*session
	retained   map[string]packet.PublishOut
	deliveries uint64
	conns      map[net.Conn]struct{}
}

type session struct {
	conn   *conn // nil while the client is away
	kept   bool
	subs   map[string]byte // QoS by filter
	queue  []packet.PublishOut
	nextID uint16
}

type conn struct {
	b   *Broker
	nc  net.Conn
	v   packet.Version
	s   *session
	out sync.Mutex // held for one write
}

// Start listens on an ephemeral port of 127.0.0.1.
func Start(t testing.TB) *Broker {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	return Serve(t, ln)
}

// Serve serves the connections that ln accepts, until the test ends.
func Serve(t testing.TB, ln net.Listener) *Broker {
	b := &Broker{Addr: ln.Addr().String(), ln: ln, sessions: make(map[string]*session),
		retained: make(map[string]packet.PublishOut), conns: make(map[net.Conn]struct{})}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.conns[nc] = struct{}{}
			b.mu.Unlock()
			wait.Go(func() { b.serve(nc) })
		}
	})
	t.Cleanup(func() { ln.Close(); b.DropAll(); wait.Wait() })
	return b
}

// DropAll closes every connection, without a word.
func (b *Broker) DropAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for nc := range b.conns {
		nc.Close()
	}
}

// Retained is the number of retained messages.
func (b *Broker) Retained() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.retained)
}

// Sessions is the number of sessions, of absent clients too.
func (b *Broker) Sessions() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.sessions)
}

func (b *Broker) serve(nc net.Conn) {
	c := &conn{b: b, nc: nc}
	id := ""
	r := bufio.NewReader(nc)
	for {
		h, body, err := readPacket(r)
		if err != nil {
			break
		}
		if h.Type == packet.CONNECT {
			hello, err := packet.DecodeConnect(body, packet.Limits{})
			if err != nil || !c.join(hello) {
				break
			}
			id = hello.ClientID
			continue
		}
		if c.s == nil || h.Type == packet.DISCONNECT || !c.handle(h, body) {
			break
		}
	}
	// Who sees the close may count on the session's being without a connection.
	defer nc.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.conns, nc)
	if c.s != nil && c.s.conn == c {
		c.s.conn = nil
		if !c.s.kept {
			delete(b.sessions, id)
		}
	}
}

func readPacket(r *bufio.Reader) (packet.Header, []byte, error) {
	var head []byte
	for {
		b, err := r.ReadByte()
		if err != nil {
			return packet.Header{}, nil, err
		}
		head = append(head, b)
		h, n, err := packet.ReadHeader(head)
		if err != nil {
			return h, nil, err
		}
		if n > 0 {
			body := make([]byte, h.Length)
			_, err = io.ReadFull(r, body)
			return h, body, err
		}
	}
}

// join answers a CONNECT and takes up the session.
func (c *conn) join(hello *packet.Connect) bool {
	c.v = hello.Version
	ack := packet.Connack{}
	if c.b.Connack != nil {
		ack = c.b.Connack(hello)
	}
	if ack.Code != 0 {
		c.write(packet.AppendConnack(nil, c.v, &ack))
		return false
	}
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	s := c.b.sessions[hello.ClientID]
	ack.SessionPresent = s != nil && !hello.CleanStart
	if !ack.SessionPresent {
		s = &session{subs: make(map[string]byte)}
		c.b.sessions[hello.ClientID] = s
	}
	s.kept = !hello.CleanStart && (c.v != packet.V5 || hello.Props.SessionExpiry > 0)
	s.conn, c.s = c, s
	c.write(packet.AppendConnack(nil, c.v, &ack))
	queue := s.queue
	s.queue = nil
	for _, p := range queue {
		c.b.deliver(s, p)
	}
	return true
}

func (c *conn) handle(h packet.Header, body []byte) bool {
	none := packet.Limits{}
	switch h.Type {
	case packet.PUBLISH:
		return c.publish(h, body)
	case packet.PUBREC, packet.PUBREL:
		a, err := packet.DecodeAck(c.v, h.Type, h.Flags, body, none)
		if err != nil {
			return false
		}
		c.ack(h.Type+1, a.PacketID) // PUBREL answers PUBREC, PUBCOMP answers PUBREL
	case packet.SUBSCRIBE:
		s, err := packet.DecodeSubscribe(c.v, h.Flags, body, none)
		if err != nil {
			return false
		}
		c.subscribe(s)
	case packet.UNSUBSCRIBE:
		u, err := packet.DecodeUnsubscribe(c.v, h.Flags, body, none)
		if err != nil {
			return false
		}
		c.b.mu.Lock()
		for _, f := range u.Filters {
			delete(c.s.subs, f)
		}
		c.b.mu.Unlock()
		c.write(packet.AppendSubAck(nil, c.v, packet.UNSUBACK, &packet.SubAck{PacketID: u.PacketID, Codes: make([]packet.Code, len(u.Filters))}))
	case packet.PINGREQ:
		c.write(packet.AppendPing(nil, packet.PINGRESP))
	}
	return true
}

func (c *conn) publish(h packet.Header, body []byte) bool {
	var p packet.Publish
	if packet.DecodePublish(c.v, h.Flags, body, packet.Limits{}, &p) != nil {
		return false
	}
	out := packet.PublishOut{QoS: p.QoS, Topic: string(p.Topic), Payload: p.Payload, ExpiryAt: -1}
	out.Props, out.ExpiryAt = p.Props.AppendForward(nil)
	out.Expiry = p.Props.Expiry
	c.b.mu.Lock()
	if p.Retain {
		if kept := out; len(p.Payload) > 0 {
			kept.Retain = true
			c.b.retained[out.Topic] = kept
		} else {
			delete(c.b.retained, out.Topic)
		}
	}
	for _, s := range c.b.sessions {
		for filter, qos := range s.subs {
			if topic.Match(filter, out.Topic) {
				copied := out
				copied.QoS = min(qos, out.QoS)
				c.b.deliver(s, copied)
				break
			}
		}
	}
	c.b.mu.Unlock()
	switch p.QoS {
	case 1:
		c.ack(packet.PUBACK, p.PacketID)
	case 2:
		c.ack(packet.PUBREC, p.PacketID)
	}
	return true
}

func (c *conn) subscribe(s *packet.Subscribe) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	ack := packet.SubAck{PacketID: s.PacketID}
	for _, f := range s.Filters {
		code := packet.Code(f.QoS)
		if c.b.Suback != nil {
			code = c.b.Suback(f)
		}
		ack.Codes = append(ack.Codes, code)
		if code < 0x80 {
			c.s.subs[f.Filter] = byte(code)
		}
	}
	c.write(packet.AppendSubAck(nil, c.v, packet.SUBACK, &ack))
	for i, f := range s.Filters {
		for name, p := range c.b.retained {
			if ack.Codes[i] < 0x80 && topic.Match(f.Filter, name) {
				p.QoS = min(p.QoS, byte(ack.Codes[i]))
				c.b.deliver(c.s, p)
			}
		}
	}
}

// deliver sends p to s, or queues it. Called with mu held.
func (b *Broker) deliver(s *session, p packet.PublishOut) {
	if s.conn == nil {
		if p.QoS > 0 {
			s.queue = append(s.queue, p)
		}
		return
	}
	send := func() {
		if p.QoS > 0 {
			if s.nextID++; s.nextID == 0 {
				s.nextID++
			}
			p.PacketID = s.nextID
		}
		if s.conn != nil {
			s.conn.write(packet.AppendPublish(nil, s.conn.v, &p))
		}
	}
	n := b.deliveries
	b.deliveries++
	if b.Deliver != nil {
		b.Deliver(n, send)
		return
	}
	send()
}

func (c *conn) ack(t packet.Type, id uint16) {
	c.write(packet.AppendAck(nil, c.v, t, &packet.Ack{PacketID: id}))
}

// write fails when the client is gone, which the reader notices.
func (c *conn) write(b []byte) {
	c.out.Lock()
	defer c.out.Unlock()
	c.nc.Write(b)
}
