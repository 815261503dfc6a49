package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/packet"
)

// lingerTimeout is how long a disconnect waits for the server to close.
const lingerTimeout = time.Second

// conn is one network connection of a client.
type conn struct {
	c   *Client
	nc  net.Conn
	in  frameReader
	out *outbox

	keepAlive time.Duration // as agreed; 0 is off
	window    int           // QoS 1 and 2 messages the server takes at a time
	aliases   map[uint16]string
	aliasMax  uint16 // of the server's topic aliases
	// receiveMax bounds the server's QoS 2 messages under way; those of QoS 1
	// are acknowledged before the next packet is read.
	receiveMax int

	// what the server said it can take
	sendAliasMax uint16
	maxQoS       byte
	retain       bool
	maxSend      int // bytes of a packet; 0 is any

	reauth chan *packet.Auth // a re-authentication's; guarded by Client.mu

	heard   atomic.Bool // a packet arrived since the last keep-alive tick
	written atomic.Bool // a packet left since then

	once    sync.Once
	err     error         // why; set before done is closed
	done    chan struct{} // closed by fail
	flushed chan struct{} // closed by the writer when it ends
	closed  chan struct{} // closed by the reader when it ends
}

func newConn(c *Client, nc net.Conn) *conn {
	return &conn{
		c:       c,
		nc:      nc,
		in:      frameReader{r: nc, max: c.opts.MaxPacketSize},
		out:     newOutbox(),
		done:    make(chan struct{}),
		flushed: make(chan struct{}),
		closed:  make(chan struct{}),
	}
}

// handshake sends CONNECT and reads CONNACK; ctx ends both.
func (cn *conn) handshake(ctx context.Context, hello *packet.Connect) (*packet.Connack, error) {
	stop := context.AfterFunc(ctx, func() { cn.nc.SetDeadline(time.Unix(1, 0)) })
	ack, err := cn.exchange(hello)
	if !stop() {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return ack, err
	}
	cn.agree(hello, ack)
	return ack, nil
}

// agree takes over what CONNECT and CONNACK settle for the connection.
func (cn *conn) agree(hello *packet.Connect, ack *packet.Connack) {
	cn.keepAlive = time.Duration(hello.KeepAlive) * time.Second
	cn.window = cn.c.opts.MaxInflight
	cn.maxQoS, cn.retain, cn.receiveMax = 2, true, math.MaxUint16
	if hello.Props.Has(packet.PropTopicAliasMaximum) {
		cn.aliasMax = hello.Props.TopicAliasMaximum
		cn.aliases = make(map[uint16]string)
	}
	if hello.Props.Has(packet.PropReceiveMaximum) {
		cn.receiveMax = int(hello.Props.ReceiveMaximum)
	}
	p := &ack.Props
	if p.Has(packet.PropServerKeepAlive) { // MQTT-3.1.2-21
		cn.keepAlive = time.Duration(p.ServerKeepAlive) * time.Second
	}
	if p.Has(packet.PropReceiveMaximum) { // MQTT-3.3.4-7
		cn.window = min(cn.window, int(p.ReceiveMaximum))
	}
	if p.Has(packet.PropMaximumQoS) {
		cn.maxQoS = p.MaximumQoS
	}
	if p.Has(packet.PropRetainAvailable) {
		cn.retain = p.RetainAvailable == 1
	}
	if p.Has(packet.PropMaximumPacketSize) {
		cn.maxSend = int(p.MaximumPacketSize)
	}
	if p.Has(packet.PropTopicAliasMaximum) {
		cn.sendAliasMax = p.TopicAliasMaximum
	}
}

func (cn *conn) exchange(hello *packet.Connect) (*packet.Connack, error) {
	x, err := cn.authentication(hello)
	if err != nil {
		return nil, err
	}
	t, out := packet.CONNECT, packet.AppendConnect(nil, hello)
	for range maxRounds {
		cn.trace(true, t, len(out))
		if _, err := cn.nc.Write(out); err != nil {
			return nil, err
		}
		h, body, err := cn.in.next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil, errors.New("the server closed the connection without a CONNACK")
			}
			return nil, err
		}
		cn.trace(false, h.Type, len(body))
		switch {
		case h.Type == packet.CONNACK:
			return cn.takeConnack(hello.Version, h, body, x)
		case h.Type == packet.AUTH && x == nil:
			return nil, errors.New("the server asks for enhanced authentication, which this client does not have")
		case h.Type != packet.AUTH:
			return nil, malformed(packet.ProtocolError, h.Type.String()+" before CONNACK")
		}
		a, err := cn.decodeAuth(h, body)
		if err != nil {
			return nil, err
		}
		t = packet.AUTH
		if out, err = cn.answer(x, a); err != nil {
			return nil, err
		}
	}
	return nil, malformed(packet.ProtocolError, "the authentication has no end")
}

// takeConnack judges the server's answer, and its proof where x demands one.
func (cn *conn) takeConnack(v packet.Version, h packet.Header, body []byte, x Exchange) (*packet.Connack, error) {
	ack, err := packet.DecodeConnack(v, h.Flags, body, limits)
	if err != nil {
		return nil, err
	}
	if ack.Code != packet.Success {
		return ack, &ReasonError{Packet: packet.CONNACK, Version: v, Code: ack.Code, Reason: ack.Props.ReasonString}
	}
	if x == nil {
		return ack, nil
	}
	if ack.Props.Has(packet.PropAuthMethod) && ack.Props.AuthMethod != cn.c.opts.Authentication.Method() { // MQTT-4.12.0-5
		return nil, malformed(packet.ProtocolError, "CONNACK with another method than CONNECT")
	}
	ack.Props.AuthData = bytes.Clone(ack.Props.AuthData) // the caller's, after the buffer's end
	if err := proved(x, ack.Props.AuthData); err != nil {
		return nil, err
	}
	return ack, nil
}

// write is the writer goroutine: it sends what the outbox holds and pings.
func (cn *conn) write() {
	defer close(cn.flushed)
	tick, stop := cn.ticker()
	defer stop()
	pinged := false
	for {
		select {
		case <-cn.done:
			return
		case <-cn.out.wake:
			out, last := cn.out.take()
			cn.nc.SetWriteDeadline(time.Now().Add(cn.c.opts.WriteTimeout))
			if _, err := cn.nc.Write(out); err != nil {
				cn.fail(err)
				return
			}
			cn.written.Store(true)
			if last {
				return
			}
		case <-tick:
			heard, written := cn.heard.Swap(false), cn.written.Swap(false)
			if pinged && !heard {
				cn.fail(ErrKeepAlive)
				return
			}
			pinged = !heard || !written
			if pinged {
				cn.send(packet.PINGREQ, func(b []byte) []byte { return packet.AppendPing(b, packet.PINGREQ) })
			}
		}
	}
}

// ticker ticks often enough that a ping leaves within the keep alive
// (MQTT-3.1.2-20) and its missing answer is noticed within 1.5 of it.
func (cn *conn) ticker() (<-chan time.Time, func()) {
	if cn.keepAlive <= 0 {
		return nil, func() {}
	}
	t := time.NewTicker(cn.keepAlive * 3 / 4)
	return t.C, t.Stop
}

// send queues one packet. An error means that the connection is ending, which
// whoever waits for an answer learns from done.
func (cn *conn) send(t packet.Type, encode func([]byte) []byte) error {
	return cn.out.append(func(b []byte) []byte {
		before := len(b)
		b = encode(b)
		cn.trace(true, t, len(b)-before)
		return b
	})
}

func (cn *conn) trace(sent bool, t packet.Type, n int) {
	if cn.c.opts.Trace != nil {
		cn.c.opts.Trace(sent, t, n)
	}
}

// fail ends the connection; the first reason stays.
func (cn *conn) fail(err error) {
	cn.once.Do(func() {
		cn.err = err
		close(cn.done)
		cn.nc.Close()
	})
}

func (cn *conn) failure() error {
	select {
	case <-cn.done:
		return cn.err
	default:
		return nil
	}
}

// disconnect ends the connection in order: the DISCONNECT is written, the
// sending side shut, and the server's close awaited for a moment, since closing
// with unread input would make the kernel discard what is still under way.
func (cn *conn) disconnect(ctx context.Context, d *packet.Disconnect) error {
	err := cn.out.last(func(b []byte) []byte { return packet.AppendDisconnect(b, cn.c.version, d) })
	if err != nil {
		return ErrNotConnected
	}
	cn.trace(true, packet.DISCONNECT, 0)
	select {
	case <-cn.flushed:
	case <-ctx.Done():
		cn.fail(ctx.Err())
		return ctx.Err()
	}
	if err := cn.failure(); err != nil {
		return err
	}
	if half, ok := cn.nc.(interface{ CloseWrite() error }); ok {
		half.CloseWrite() // the close below follows in any case
	}
	linger := time.NewTimer(lingerTimeout)
	defer linger.Stop()
	select {
	case <-cn.closed:
	case <-linger.C:
	case <-ctx.Done():
	}
	cn.fail(nil)
	return nil
}
