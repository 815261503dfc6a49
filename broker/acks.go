package broker

import (
	"encoding/binary"

	"sallyport/packet"
	"sallyport/session"
	"sallyport/store"
)

// ackSize is the size in bytes of an acknowledgement that says nothing but that
// all is well: nearly every one is of this form.
const ackSize = 4

// ackRun bounds the acknowledgements that are taken while a client is locked.
const ackRun = 256

// bareAck reports whether p begins with an acknowledgement of the form that says
// nothing but that all is well, and which.
func bareAck(p []byte) (typ packet.Type, id uint16, ok bool) {
	if len(p) < ackSize || p[1] != ackSize-2 {
		return 0, 0, false
	}
	switch p[0] {
	case byte(packet.PUBACK) << 4, byte(packet.PUBREC) << 4, byte(packet.PUBCOMP) << 4, byte(packet.PUBREL)<<4 | 2:
	default:
		return 0, 0, false
	}
	id = binary.BigEndian.Uint16(p[2:])
	return packet.Type(p[0] >> 4), id, id != 0
}

// takeAcks takes the bare acknowledgements at the start of p together: under one
// lock, and what they make room for is sent once. It returns how many bytes they
// have, 0 where there are none that it can take.
func (c *Conn) takeAcks(p []byte) (n int) {
	typ, _, ok := bareAck(p)
	if !ok {
		return 0
	}
	t := c.turn
	var err error
	if typ == packet.PUBREL {
		n, err = c.releaseRun(p)
	} else {
		var owed dues
		batch := c.scratchBatch()
		var list []flying
		n, list, owed, err = c.client.Load().advanceRun(c, p, batch)
		c.fly(batch, list)
		owed.pay(t)
	}
	if n > 0 {
		t.tally.packets += int64(n / ackSize)
		t.rest -= n / ackSize
		c.heard = true
	}
	if err != nil {
		c.fail(err)
	}
	return n
}

// advanceRun is advance for the bare acknowledgements at the start of p, of which
// there is one.
func (cl *client) advanceRun(c *Conn, p []byte, batch *store.Batch) (n int, list []flying, owed dues, err error) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.conn != c {
		return ackSize, nil, dues{}, errTaken
	}
	for n < ackRun*ackSize {
		typ, id, ok := bareAck(p[n:])
		if !ok || typ == packet.PUBREL {
			break
		}
		n += ackSize
		if err = cl.progress(batch, &list, typ, id, packet.Success); err != nil {
			cl.account()
			return n, list, dues{}, err
		}
	}
	return n, list, cl.advanced(c.turn), nil
}

// progress goes on with the exchange of one acknowledgement of cl's present
// connection, in whose turn it is. What has to wait until batch is kept is added to
// list. The caller holds cl.mu.
func (cl *client) progress(batch *store.Batch, list *[]flying, typ packet.Type, id uint16, code packet.Code) error {
	switch typ {
	case packet.PUBACK:
		return cl.acked(batch, id, 1, session.AwaitAck)
	case packet.PUBREC:
		return cl.received(batch, list, id, code)
	default:
		return cl.acked(batch, id, 2, session.AwaitComp)
	}
}

// advanced sends what acknowledgements have made room for. The caller holds cl.mu.
func (cl *client) advanced(t *turn) dues {
	cl.account()
	cl.pump(t)
	return cl.owed(cl.session.Room())
}

// releaseRun takes the bare PUBRELs at the start of p, as far as their exchanges
// are known, and unless nothing has to be stored but an earlier acknowledgement waits.
func (c *Conn) releaseRun(p []byte) (n int, err error) {
	batch := c.scratchBatch()
	released, n, err := c.releases(p, batch)
	if len(released) > 0 {
		ack := c.reserve(&pendingAck{typ: packet.PUBCOMP, ack: packet.Ack{PacketID: released[0]}, more: released[1:], counts: true})
		c.keep(batch, ack.complete)
	}
	return n, err
}

// releases is releaseRun under the client's lock. What is acknowledged when batch is
// kept is in released.
func (c *Conn) releases(p []byte, batch *store.Batch) (released []uint16, n int, err error) {
	cl, s := c.client.Load(), c.sender()
	cl.mu.Lock()
	defer cl.mu.Unlock()
	stored := false
	switch {
	case cl.conn != c:
		return nil, ackSize, errTaken
	case c.sendMax < ackSize:
		return nil, 0, nil
	case cl.stored():
		stored = true
	case c.behind:
		return nil, 0, nil
	}
	for n < ackRun*ackSize {
		typ, id, ok := bareAck(p[n:])
		if !ok || typ != packet.PUBREL || !cl.session.HasIncoming(id) || stored && !s.incoming.Has(id) {
			break
		}
		cl.session.Release(id)
		counts := s.incoming.Remove(id)
		n += ackSize
		if stored {
			batch.Add(store.Op{Kind: store.DeleteIncoming, Session: cl.session.Number, PacketID: id})
			released = append(released, id)
			continue
		}
		if counts {
			s.open--
		}
		c.gather(packet.PUBCOMP, id)
	}
	return released, n, nil
}

// gather puts a bare acknowledgement of c's present input beside the others,
// which leave together: before anything else that is to come after them, and at
// the end of the input at the latest. No earlier one may wait for a commit.
func (c *Conn) gather(typ packet.Type, id uint16) {
	c.turn.acks = packet.AppendBareAck(c.turn.acks, typ, id)
}

// appendGathered appends what was gathered to c's output. The caller holds c.mu,
// and is in c's own turn.
func (c *Conn) appendGathered() {
	t := c.turn
	if t == nil || len(t.acks) == 0 {
		return
	}
	if !c.ended.Load() {
		c.room(len(t.acks))
		c.outPackets += int32(len(t.acks)/ackSize) - 1
		c.out = append(c.out, t.acks...)
		c.account()
	}
	t.acks = t.acks[:0]
}

// letGo is appendGathered for who does not hold c.mu.
func (c *Conn) letGo() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.appendGathered()
}
