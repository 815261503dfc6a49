package client

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"sallyport/packet"
)

// peer is a server that the test plays by hand.
type peer struct {
	t  *testing.T
	v  packet.Version
	nc net.Conn
	r  *bufio.Reader
}

// peers hands out a fresh pipe for each dial.
type peers struct {
	t     *testing.T
	v     packet.Version
	dials chan net.Conn
}

func newPeers(t *testing.T, v packet.Version) *peers {
	return &peers{t: t, v: v, dials: make(chan net.Conn, 1)}
}

func (p *peers) dial(context.Context) (net.Conn, error) {
	mine, theirs := net.Pipe()
	p.dials <- theirs
	return mine, nil
}

// next is the server's side of the next connection.
func (p *peers) next() *peer {
	nc := <-p.dials
	p.t.Cleanup(func() { nc.Close() })
	return &peer{t: p.t, v: p.v, nc: nc, r: bufio.NewReader(nc)}
}

// read returns the next packet, which must be of type want.
func (s *peer) read(want packet.Type) (packet.Header, []byte) {
	s.t.Helper()
	h, body, err := s.packet()
	if err != nil {
		s.t.Fatalf("waiting for %s: %v", want, err)
	}
	if h.Type != want {
		s.t.Fatalf("client sent %s, want %s", h.Type, want)
	}
	return h, body
}

func (s *peer) packet() (packet.Header, []byte, error) {
	s.nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	var head []byte
	for {
		c, err := s.r.ReadByte()
		if err != nil {
			return packet.Header{}, nil, err
		}
		head = append(head, c)
		h, n, err := packet.ReadHeader(head)
		if err != nil {
			return h, nil, err
		}
		if n > 0 {
			body := make([]byte, h.Length)
			_, err := io.ReadFull(s.r, body)
			return h, body, err
		}
	}
}

// gone checks that the client has closed.
func (s *peer) gone() {
	s.t.Helper()
	if h, _, err := s.packet(); err == nil {
		s.t.Fatalf("client sent %s, want the end of the connection", h.Type)
	}
}

func (s *peer) write(b []byte) {
	s.t.Helper()
	s.nc.SetWriteDeadline(time.Now().Add(10 * time.Second))
	if _, err := s.nc.Write(b); err != nil {
		s.t.Fatalf("peer writes: %v", err)
	}
}

func (s *peer) connect() *packet.Connect {
	s.t.Helper()
	_, body := s.read(packet.CONNECT)
	c, err := packet.DecodeConnect(body, packet.Limits{})
	if err != nil {
		s.t.Fatalf("CONNECT: %v", err)
	}
	return c
}

func (s *peer) connack(a packet.Connack) { s.write(packet.AppendConnack(nil, s.v, &a)) }

// accept reads CONNECT and answers with success.
func (s *peer) accept(present bool) *packet.Connect {
	c := s.connect()
	s.connack(packet.Connack{SessionPresent: present})
	return c
}

func (s *peer) ack(t packet.Type, id uint16, code packet.Code) {
	s.write(packet.AppendAck(nil, s.v, t, &packet.Ack{PacketID: id, Code: code}))
}

func (s *peer) readAck(t packet.Type) packet.Ack {
	s.t.Helper()
	h, body := s.read(t)
	a, err := packet.DecodeAck(s.v, t, h.Flags, body, packet.Limits{})
	if err != nil {
		s.t.Fatalf("%s: %v", t, err)
	}
	return a
}

func (s *peer) readPublish() packet.Publish {
	s.t.Helper()
	h, body := s.read(packet.PUBLISH)
	var p packet.Publish
	if err := packet.DecodePublish(s.v, h.Flags, body, packet.Limits{}, &p); err != nil {
		s.t.Fatalf("PUBLISH: %v", err)
	}
	return p
}

func (s *peer) publish(p packet.PublishOut) {
	p.ExpiryAt = -1
	s.write(packet.AppendPublish(nil, s.v, &p))
}

// joined is a client with an established connection and its server.
func joined(t *testing.T, o Options) (*Client, *peer, *peers) {
	t.Helper()
	ps := newPeers(t, o.Connect.Version)
	o.Dial = ps.dial
	c := New(o)
	t.Cleanup(func() { c.Close() })
	return c, rejoin(t, c, ps, false), ps
}

// rejoin connects c to a new server side.
func rejoin(t *testing.T, c *Client, ps *peers, present bool) *peer {
	t.Helper()
	done := make(chan error, 1)
	go func() { _, err := c.Connect(context.Background()); done <- err }()
	s := ps.next()
	s.accept(present)
	if err := <-done; err != nil {
		t.Fatalf("Connect: %v", err)
	}
	return s
}

func connect(v packet.Version) packet.Connect {
	return packet.Connect{Version: v, CleanStart: true, ClientID: "c"}
}

// wait fails the test when ch isn't closed or filled soon.
func wait[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: nothing in 10 s", what)
		panic("unreachable")
	}
}

func reason(t *testing.T, err error, code packet.Code) {
	t.Helper()
	re, ok := errors.AsType[*ReasonError](err)
	if !ok || re.Code != code {
		t.Errorf("error = %v, want reason code 0x%02x", err, byte(code))
	}
}
