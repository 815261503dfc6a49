package client

import (
	"context"
	"errors"
	"io"

	"sallyport/packet"
)

// limits bounds what a server's packets may hold beyond the packet size.
var limits = packet.Limits{UserProperties: 256}

// frameReader cuts a stream into packets. Its buffer grows with what arrived,
// never with what a header announces.
type frameReader struct {
	r    io.Reader
	max  int // bytes of a whole packet
	buf  []byte
	from int // buf[from:] has arrived and not been used
}

// readStep is the least free space a read is given.
const readStep = 4 << 10

// next returns the next packet; body is valid until the following call.
func (f *frameReader) next() (h packet.Header, body []byte, err error) {
	for {
		have := f.buf[f.from:]
		h, n, err := packet.ReadHeader(have)
		if err != nil {
			return h, nil, err
		}
		if n > 0 {
			total := n + h.Length
			if total > f.max {
				return h, nil, malformed(packet.PacketTooLarge, h.Type.String()+" above the maximum packet size")
			}
			if len(have) >= total {
				f.from += total
				return h, have[n:total], nil
			}
		}
		if err := f.fill(); err != nil {
			if errors.Is(err, io.EOF) && len(have) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return h, nil, err
		}
	}
}

// fill reads once.
func (f *frameReader) fill() error {
	if f.from > 0 {
		f.buf = f.buf[:copy(f.buf, f.buf[f.from:])]
		f.from = 0
	}
	if cap(f.buf)-len(f.buf) < readStep {
		grown := make([]byte, len(f.buf), max(2*cap(f.buf), 2*readStep))
		copy(grown, f.buf)
		f.buf = grown
	}
	n, err := f.r.Read(f.buf[len(f.buf):cap(f.buf)])
	f.buf = f.buf[:len(f.buf)+n]
	if n > 0 {
		return nil // an error comes again
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// read is the reader goroutine.
func (cn *conn) read() {
	defer close(cn.closed)
	for {
		h, body, err := cn.in.next()
		if err == nil {
			cn.heard.Store(true)
			cn.trace(false, h.Type, len(body))
			err = cn.handle(h, body)
		}
		switch {
		case errors.Is(err, ErrStop):
			// What follows is read and dropped, unacknowledged, until Disconnect:
			// a close with unread input would take our last packets with it.
			io.Copy(io.Discard, cn.nc)
			return
		case err != nil:
			cn.stop(err)
			return
		}
	}
}

// stop ends the connection after err, telling an MQTT 5 server what it did wrong.
func (cn *conn) stop(err error) {
	if pe, ok := errors.AsType[*packet.Error](err); ok && cn.c.version == packet.V5 {
		d := &packet.Disconnect{Code: pe.Code}
		if cn.out.last(func(b []byte) []byte { return packet.AppendDisconnect(b, packet.V5, d) }) == nil {
			ctx, cancel := context.WithTimeout(context.Background(), lingerTimeout)
			select {
			case <-cn.flushed:
			case <-ctx.Done():
			}
			cancel()
		}
	}
	if _, violation := errors.AsType[*packet.Error](err); !violation && cn.out.ending() {
		return // our own DISCONNECT is under way: that the server closes is no failure
	}
	cn.fail(err)
}

// handle takes one packet of an established connection.
func (cn *conn) handle(h packet.Header, body []byte) error {
	switch h.Type {
	case packet.PUBLISH:
		return cn.handlePublish(h, body)
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		return cn.handleAck(h, body)
	case packet.SUBACK, packet.UNSUBACK:
		return cn.handleSubAck(h, body)
	case packet.PINGRESP:
		return packet.DecodePing(h.Type, h.Flags, body)
	case packet.AUTH:
		return cn.handleAuth(h, body)
	case packet.DISCONNECT:
		return cn.handleDisconnect(h, body)
	}
	return malformed(packet.ProtocolError, "unexpected "+h.Type.String())
}

func (cn *conn) handleDisconnect(h packet.Header, body []byte) error {
	if cn.c.version != packet.V5 { // MQTT 3.1.1, 3.14: only a client sends it
		return malformed(packet.ProtocolError, "DISCONNECT from a server before MQTT 5.0")
	}
	d, err := packet.DecodeDisconnect(cn.c.version, h.Flags, body, limits)
	if err != nil {
		return err
	}
	return &ReasonError{Packet: packet.DISCONNECT, Version: packet.V5, Code: d.Code, Reason: d.Props.ReasonString}
}

// reply answers a SUBSCRIBE or UNSUBSCRIBE.
type reply struct {
	t   packet.Type
	ack *packet.SubAck
}

func (cn *conn) handleSubAck(h packet.Header, body []byte) error {
	ack, err := packet.DecodeSubAck(cn.c.version, h.Type, h.Flags, body, limits)
	if err != nil {
		return err
	}
	c := cn.c
	c.mu.Lock()
	answer, ok := c.requests[ack.PacketID]
	delete(c.requests, ack.PacketID)
	c.mu.Unlock()
	if !ok {
		return nil // given up by its caller
	}
	answer <- reply{h.Type, ack} // capacity 1, sent once
	return nil
}
