package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"sallyport/packet"
)

const (
	dialTimeout   = 2 * time.Second
	answerTimeout = 20 * time.Second // for CONNACK; and for output to make progress
	maxPacket     = 1 << 20
)

// conn is a connection to the broker, owned by one goroutine; others may only cut it.
type conn struct {
	nc  net.Conn
	v   packet.Version
	in  []byte
	out []byte
	buf []byte
}

func dial(addr string, v packet.Version) (*conn, error) {
	nc, err := net.DialTimeout("tcp", addr, dialTimeout)
	if err != nil {
		return nil, err
	}
	return &conn{nc: nc, v: v, buf: make([]byte, 32<<10)}, nil
}

// flush writes what stands in out.
func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	if err := c.nc.SetWriteDeadline(time.Now().Add(answerTimeout)); err != nil {
		return err
	}
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	return err
}

// fill reads once; at until it returns without anything.
func (c *conn) fill(until time.Time) error {
	if err := c.nc.SetReadDeadline(until); err != nil {
		return err
	}
	n, err := c.nc.Read(c.buf)
	c.in = append(c.in, c.buf[:n]...)
	if n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

// frame takes the next whole packet out of what has been read; the body is
// valid until the next fill.
func (c *conn) frame() (h packet.Header, body []byte, found bool, err error) {
	h, n, err := packet.ReadHeader(c.in)
	switch {
	case err != nil:
		return h, nil, false, err
	case n > 0 && h.Length > maxPacket:
		return h, nil, false, fmt.Errorf("a packet of %d bytes", h.Length)
	case n == 0 || len(c.in) < n+h.Length:
		return h, nil, false, nil
	}
	body = c.in[n : n+h.Length]
	c.in = c.in[n+h.Length:]
	return h, body, true, nil
}

// await reads packets until one of type want, and refuses others.
func (c *conn) await(want packet.Type) (packet.Header, []byte, error) {
	for end := time.Now().Add(answerTimeout); ; {
		h, body, found, err := c.frame()
		switch {
		case err != nil:
			return h, nil, err
		case found && h.Type != want:
			return h, nil, fmt.Errorf("%v instead of %v", h.Type, want)
		case found:
			return h, body, nil
		case time.Now().After(end):
			return h, nil, fmt.Errorf("no %v within %v", want, answerTimeout)
		}
		if err := c.fill(end); err != nil {
			return h, nil, err
		}
	}
}

// connect sends a CONNECT and reads its CONNACK.
func (c *conn) connect(p *packet.Connect) (*packet.Connack, error) {
	c.out = packet.AppendConnect(c.out, p)
	if err := c.flush(); err != nil {
		return nil, err
	}
	h, body, err := c.await(packet.CONNACK)
	if err != nil {
		return nil, err
	}
	return packet.DecodeConnack(c.v, h.Flags, body, packet.Limits{})
}

// goodbye sends DISCONNECT and waits until the broker has closed the connection;
// an error other than io.EOF says that it is not known whether it has read that.
func (c *conn) goodbye(code packet.Code) error {
	c.out = packet.AppendDisconnect(c.out, c.v, &packet.Disconnect{Code: code})
	if err := c.flush(); err != nil {
		return err
	}
	for {
		c.in = c.in[:0]
		if err := c.fill(time.Now().Add(answerTimeout)); err != nil {
			return err
		}
		if len(c.in) == 0 {
			return fmt.Errorf("not closed within %v of DISCONNECT", answerTimeout)
		}
	}
}

// cut ends a connection abruptly: half of them with RST.
func cut(nc net.Conn, reset bool) {
	if tcp, ok := nc.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0) // it may be closed already
	}
	_ = nc.Close()
}
