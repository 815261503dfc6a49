package broker

import (
	"errors"
	"fmt"

	"sallyport/packet"
)

// consume handles every complete packet of p and keeps the rest.
func (c *Conn) consume(p []byte) {
	for len(c.held) > 0 && len(p) > 0 && !c.paused {
		need, ok := c.missing()
		if !ok {
			return
		}
		k := min(need, len(p))
		c.held = c.b.buffers.keep(c.held, p[:k])
		p = p[k:]
		if need, ok = c.missing(); !ok {
			return
		} else if need > 0 {
			continue
		}
		whole := c.held
		c.held = nil
		h, n, _ := packet.ReadHeader(whole)
		c.handle(h, whole[n:])
		c.b.buffers.give(whole)
		if c.ended.Load() {
			return
		}
		c.pace(len(p))
	}
	for len(p) > 0 && !c.paused {
		if c.phase == serving {
			if n := c.takeAcks(p); n > 0 {
				p = p[n:]
				if c.ended.Load() {
					return
				}
				c.pace(len(p))
				continue
			}
		}
		h, n, err := packet.ReadHeader(p)
		if err != nil {
			c.fail(err)
			return
		}
		if n == 0 {
			break
		}
		if !c.fits(h, n) {
			return
		}
		if len(p)-n < h.Length {
			break
		}
		c.handle(h, p[n:n+h.Length])
		p = p[n+h.Length:]
		if c.ended.Load() {
			return
		}
		c.pace(len(p))
	}
	if len(p) == 0 {
		return
	}
	c.held, c.deferred = c.b.buffers.keep(c.held, p), c.paused
}

// pace lets the rest of the input, of which there are left bytes, wait for the
// next turn when it has caused enough in this one: whoever publishes to many
// must not hold up the others.
func (c *Conn) pace(left int) {
	if c.turn.rest > 0 || left == 0 || c.paused {
		return
	}
	c.turn.paced = c.await() // holdBack goes on from here
}

// missing is how many bytes the packet in held lacks before more can be
// said; ok is false if the connection has to end.
func (c *Conn) missing() (need int, ok bool) {
	h, n, err := packet.ReadHeader(c.held)
	if err != nil {
		c.fail(err)
		return 0, false
	}
	if n == 0 {
		return 1, true
	}
	if !c.fits(h, n) {
		return 0, false
	}
	return n + h.Length - len(c.held), true
}

// expects is how many bytes have to come at least before the next packet is
// whole: the rest of the one that has begun, or the least that a packet has.
func (c *Conn) expects() int {
	const least = 2
	if len(c.held) == 0 || c.deferred {
		return least
	}
	h, n, err := packet.ReadHeader(c.held)
	if err != nil || n == 0 {
		return 1
	}
	return n + h.Length - len(c.held)
}

// fits refuses a packet by its announced length, before anything is kept for it.
func (c *Conn) fits(h packet.Header, n int) bool {
	if c.phase == awaitConnect && h.Type != packet.CONNECT {
		// MQTT-3.1.0-1: the first packet is a CONNECT.
		c.fail(&packet.Error{Code: packet.ProtocolError, Text: "first packet is not a CONNECT"})
		return false
	}
	name, most := "packet_size", c.lis.Limits.Packet
	if c.phase != serving {
		name, most = "packet_size_unauthenticated", c.lis.Limits.PacketUnauthenticated
	}
	if n+h.Length <= most {
		return true
	}
	c.limit(name)
	c.fail(&packet.Error{Code: packet.PacketTooLarge, Text: fmt.Sprintf("packet of %d bytes", n+h.Length)})
	return false
}

// handle gives one packet to its handler.
func (c *Conn) handle(h packet.Header, body []byte) {
	c.turn.tally.packets++
	c.turn.rest-- // its answer may be much larger
	c.heard = true
	var err error
	switch c.phase {
	case awaitConnect:
		err = c.handleConnect(h, body)
	case exchanging:
		err = c.handleExchange(h, body)
	case serving:
		err = c.serve(h, body)
	default:
		err = errors.New("packet while a connection waits")
	}
	if err != nil {
		c.fail(err)
	}
}

func (c *Conn) serve(h packet.Header, body []byte) error {
	switch h.Type {
	case packet.PUBLISH:
		return c.handlePublish(h, body)
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		return c.handleAck(h, body)
	case packet.SUBSCRIBE:
		return c.handleSubscribe(h, body)
	case packet.UNSUBSCRIBE:
		return c.handleUnsubscribe(h, body)
	case packet.PINGREQ:
		return c.handlePing(h, body)
	case packet.DISCONNECT:
		return c.handleDisconnect(h, body)
	case packet.AUTH:
		return c.handleAuth(h, body)
	case packet.CONNECT:
		// MQTT-3.1.0-2: a second CONNECT is a protocol error.
		return &packet.Error{Code: packet.ProtocolError, Text: "second CONNECT"}
	}
	return &packet.Error{Code: packet.ProtocolError, Text: h.Type.String() + " is not for a server"}
}
