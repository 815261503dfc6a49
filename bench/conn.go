package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"sallyport/client"
	"sallyport/packet"
)

const (
	handshakeTimeout = 30 * time.Second
	readBuffer       = 32 << 10
)

// rawConn is one MQTT connection of a run.
type rawConn struct {
	net.Conn
	version packet.Version
	ack     *packet.Connack
	buf     []byte
	from    int // buf[from:] has arrived and not been used
	limit   int // bytes of the largest packet taken
}

// unread is what has arrived and was not used.
func (c *rawConn) unread() []byte { return c.buf[c.from:] }

// user is the name of client number n.
func (r *run) user(n int) string {
	if r.Users > 0 {
		n %= r.Users
	}
	return strings.Replace(r.Username, "%d", strconv.Itoa(n), 1)
}

// hello is a CONNECT of client number n, named by a letter for what it does and
// its number there.
func (r *run) hello(n int, kind string, i int, cleanStart bool) *packet.Connect {
	c := &packet.Connect{Version: r.Version, CleanStart: cleanStart, ClientID: fmt.Sprintf("b%08x-%s%d", uint32(r.id), kind, i)}
	if r.Username != "" {
		c.HasUsername, c.Username = true, r.user(n)
	}
	if r.Password != nil {
		c.HasPassword, c.Password = true, r.Password
	}
	if r.Version == packet.V5 && !cleanStart {
		c.Props.SessionExpiry = 3600
		c.Props.Mark(packet.PropSessionExpiry)
	}
	return c
}

// open dials and connects. The connection is closed with the run.
func (r *run) open(ctx context.Context, hello *packet.Connect) (*rawConn, error) {
	nc, err := r.Dial(ctx)
	if err != nil {
		return nil, err
	}
	c := &rawConn{Conn: nc, version: hello.Version, limit: r.Payload + 64<<10}
	if err := c.handshake(ctx, hello); err != nil {
		nc.Close()
		return nil, err
	}
	r.secured.see(c)
	r.keep(c)
	return c, nil
}

func (c *rawConn) handshake(ctx context.Context, hello *packet.Connect) error {
	stop := c.interrupt(ctx)
	defer stop()
	if _, err := c.Write(packet.AppendConnect(nil, hello)); err != nil {
		return err
	}
	h, body, err := c.read()
	if err != nil {
		return fmt.Errorf("no CONNACK: %w", err)
	}
	c.ack, err = welcome(c.version, h, body)
	return err
}

// welcome decodes a CONNACK; one that refuses is an error.
func welcome(v packet.Version, h packet.Header, body []byte) (*packet.Connack, error) {
	if h.Type != packet.CONNACK {
		return nil, fmt.Errorf("%s in place of CONNACK", h.Type)
	}
	ack, err := packet.DecodeConnack(v, h.Flags, body, packet.Limits{})
	if err != nil {
		return nil, err
	}
	if ack.Code != packet.Success {
		return nil, &client.ReasonError{Packet: packet.CONNACK, Version: v, Code: ack.Code, Reason: ack.Props.ReasonString}
	}
	return ack, nil
}

// interrupt bounds reads and writes until the returned function is called.
func (c *rawConn) interrupt(ctx context.Context) (stop func()) {
	c.SetDeadline(time.Now().Add(handshakeTimeout))
	cancel := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	return func() {
		if cancel() {
			c.SetDeadline(time.Time{})
		}
	}
}

// subscribe subscribes to filters in one packet and waits for the SUBACK; what
// else arrives meanwhile goes to other.
func (c *rawConn) subscribe(ctx context.Context, qos byte, filters []string, other func(packet.Header, []byte) error) error {
	stop := c.interrupt(ctx)
	defer stop()
	s := packet.Subscribe{PacketID: 1}
	for _, f := range filters {
		s.Filters = append(s.Filters, packet.Subscription{Filter: f, QoS: qos})
	}
	if _, err := c.Write(packet.AppendSubscribe(nil, c.version, &s)); err != nil {
		return err
	}
	for {
		h, body, err := c.read()
		if err != nil {
			return fmt.Errorf("no SUBACK: %w", err)
		}
		if h.Type != packet.SUBACK {
			if err := other(h, body); err != nil {
				return err
			}
			continue
		}
		ack, err := packet.DecodeSubAck(c.version, h.Type, h.Flags, body, packet.Limits{})
		if err != nil {
			return err
		}
		for i, code := range ack.Codes {
			if code != packet.Code(qos) {
				return fmt.Errorf("subscription to %s answered with 0x%02x, wanted QoS %d", filters[min(i, len(filters)-1)], byte(code), qos)
			}
		}
		return nil
	}
}

// read returns the next packet, reading as needed; body is valid until the next
// read or fill.
func (c *rawConn) read() (packet.Header, []byte, error) {
	for {
		h, body, ok, err := c.next()
		if err != nil || ok {
			return h, body, err
		}
		if err := c.fill(); err != nil {
			return h, nil, err
		}
	}
}

// next returns the next packet that has arrived whole.
func (c *rawConn) next() (h packet.Header, body []byte, ok bool, err error) {
	have := c.buf[c.from:]
	h, n, err := packet.ReadHeader(have)
	if err != nil || n == 0 {
		return h, nil, false, err
	}
	total := n + h.Length
	if total > c.limit {
		return h, nil, false, fmt.Errorf("%s of %d bytes, which nobody sent", h.Type, total)
	}
	if len(have) < total {
		return h, nil, false, nil
	}
	c.from += total
	return h, have[n:total], true, nil
}

// fill reads once, into the space behind what is there.
func (c *rawConn) fill() error {
	rest := copy(c.buf, c.buf[c.from:])
	c.buf, c.from = c.buf[:rest], 0
	if cap(c.buf)-rest < readBuffer/4 {
		grown := make([]byte, rest, max(readBuffer, 2*cap(c.buf)))
		copy(grown, c.buf)
		c.buf = grown
	}
	n, err := c.Read(c.buf[rest:cap(c.buf)])
	c.buf = c.buf[:rest+n]
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// release frees the buffer of a connection that nothing is expected on.
func (c *rawConn) release() { c.buf, c.from = nil, 0 }

// bye disconnects in order.
func (c *rawConn) bye() {
	c.SetWriteDeadline(time.Now().Add(time.Second))
	c.Write(packet.AppendDisconnect(nil, c.version, &packet.Disconnect{})) // the close says the same
	c.Close()
}

// awaitBye disconnects and waits a moment for the broker to close, so that it
// knows of it.
func (c *rawConn) awaitBye() {
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write(packet.AppendDisconnect(nil, c.version, &packet.Disconnect{})); err != nil {
		return
	}
	for c.fill() == nil {
		c.release()
	}
}
