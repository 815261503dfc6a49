package broker

import (
	"strings"

	"sallyport/packet"
)

// takes reports whether c's output is ready for a copy; if not, what becomes of
// it: full if there is no room, refused if the client takes no packet of its size,
// and taken for one that is lost without a word. The caller holds c.mu.
func (c *Conn) takes(cp *dispatch, now int64) (out outcome, ready bool) {
	b, lim := c.b, &c.lis.Limits
	switch {
	case c.ended.Load():
		if cp.qos > 0 {
			return full, false
		}
		return taken, false // lost with the connection, not for want of room
	case len(c.out) >= lim.OutputBytes:
		// Drained will tell when a message may go on that can wait.
		c.wantDrain = c.wantDrain || cp.qos > 0
		return full, false
	case cp.qos == 0 && b.opt.BufferBytes > 0 && b.metrics.BufferedBytes.Load() > b.opt.BufferBytes:
		return full, false
	case c.sendMax < maxPacketSize:
		if f := cp.frame(now); c.oversize(&f) {
			b.metrics.DroppedTooLarge.Add(1)
			if cp.qos == 0 {
				return taken, false // MQTT-3.1.2-25: as if it had been sent
			}
			return refused, false
		}
	}
	return taken, true
}

// tryWrite appends a PUBLISH that may be sent whatever the output's limit; false
// says that the client takes no packet of its size.
func (c *Conn) tryWrite(t *turn, f *packet.PublishOut) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.oversize(f) {
		return false
	}
	if !c.ended.Load() {
		c.write(t, f)
	}
	return true
}

// write appends a PUBLISH to c's output. The caller holds c.mu.
func (c *Conn) write(t *turn, f *packet.PublishOut) {
	if c.aliasMax > 0 {
		c.alias(f)
	}
	c.room(len(f.Payload) + len(f.Topic) + len(f.Props) + smallPacket)
	c.out = packet.AppendPublish(c.out, c.version, f)
	c.wrote(t)
}

// wrote counts a PUBLISH that was appended. The caller holds c.mu.
func (c *Conn) wrote(t *turn) {
	c.outPublishes++
	c.account()
	t.touch(c)
}

// maxPacketSize is the largest packet that the protocol knows, in bytes.
const maxPacketSize = 268435460

// alias replaces the topic by an alias that the client knows, or teaches it
// one while there are some left (MQTT 5.0, 3.3.2.3.4). The caller holds c.mu.
func (c *Conn) alias(f *packet.PublishOut) {
	s := c.rare()
	if a, ok := s.outAlias[f.Topic]; ok {
		topic := f.Topic
		f.Alias, f.Topic = a, ""
		if c.oversize(f) {
			f.Alias, f.Topic = 0, topic // the alias of a very short topic is longer than the topic
		}
		return
	}
	if len(s.outAlias) >= int(c.aliasMax) {
		return
	}
	f.Alias = uint16(len(s.outAlias) + 1)
	if c.oversize(f) {
		f.Alias = 0 // with the alias beside the topic it would be larger than the client accepts
		return
	}
	if s.outAlias == nil {
		s.outAlias = make(map[string]uint16)
	}
	s.outAlias[strings.Clone(f.Topic)] = f.Alias
}

// oversize reports whether the client has said that it takes no packet of this
// size. The caller holds c.mu.
func (c *Conn) oversize(f *packet.PublishOut) bool {
	return c.sendMax < maxPacketSize && packet.PublishSize(c.version, f) > int(c.sendMax)
}

// roomy reports whether output is below its limit; where it isn't, Drained will tell.
func (c *Conn) roomy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended.Load() {
		return false
	}
	if len(c.out) < c.lis.Limits.OutputBytes {
		return true
	}
	c.wantDrain = true
	return false
}

// sendTouch appends output outside the connection's own turn.
func (c *Conn) sendTouch(t *turn, f func(dst []byte) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended.Load() {
		return
	}
	c.room(smallPacket)
	c.out = f(c.out)
	c.account()
	t.touch(c)
}

// pendingAck is an acknowledgement that waits for its commit. Acknowledgements
// leave in the order of their requests.
type pendingAck struct {
	c      *Conn
	ready  bool
	failed bool
	typ    packet.Type
	ack    packet.Ack
	sub    *packet.SubAck
	counts bool     // it gives one of the receive maximum back
	more   []uint16 // identifiers to acknowledge in the same way, after that of ack
	after  func()   // runs when it has left
}

// ackBacklog is how many acknowledgements may wait before input does.
const ackBacklog = 256

// reserve takes the next place among the acknowledgements.
func (c *Conn) reserve(p *pendingAck) *pendingAck {
	p.c = c
	c.mu.Lock()
	c.appendGathered() // what came before it needs no commit
	c.behind = true
	s := c.rare()
	if !c.ended.Load() {
		s.acks = append(s.acks, p)
	}
	wait := len(s.acks) > ackBacklog
	c.mu.Unlock()
	if wait && !c.paused {
		resume := c.await()
		c.mu.Lock()
		s = c.rare() // another one, if all acknowledgements have left meanwhile
		s.resume, s.onAcks = resume, true
		c.mu.Unlock()
		c.settleAcks(c.turn)
	}
	return p
}

// complete is called with the result of the commit.
func (p *pendingAck) complete(t *turn, err error) {
	c := p.c
	c.mu.Lock()
	p.ready, p.failed = true, err != nil
	c.mu.Unlock()
	c.settleAcks(t)
}

// settleAcks sends the acknowledgements at the head that are ready. A failed
// one ends the connection: nothing after it may be acknowledged before it.
func (c *Conn) settleAcks(t *turn) {
	var after []func()
	failed := false
	c.mu.Lock()
	s := c.rare()
	for len(s.acks) > 0 && s.acks[0].ready && !c.ended.Load() {
		p := s.acks[0]
		if p.failed {
			failed = true
			break
		}
		s.acks[0] = nil
		s.acks = s.acks[1:]
		if !c.appendAck(p) {
			c.mu.Unlock()
			c.end(tooLargeToSend())
			return
		}
		if p.after != nil {
			after = append(after, p.after)
		}
	}
	if len(c.out) > 0 && !c.inTurn {
		t.touch(c)
	}
	var resume func(func())
	if s.onAcks && len(s.acks) <= ackBacklog/2 {
		resume, s.resume = s.resume, nil
	}
	c.relax()
	c.mu.Unlock()
	if failed {
		c.end(ending{code: packet.ImplementationSpecificError, reason: "the store failed", notify: true})
		return
	}
	for _, f := range after {
		f()
	}
	if resume != nil {
		resume(func() {})
	}
}

// appendAck writes one acknowledgement; false says that the client does not
// accept its size, and the connection has to end. The caller holds c.mu.
func (c *Conn) appendAck(p *pendingAck) (fits bool) {
	if p.sub != nil {
		fits = c.bounded(func(dst []byte, bare bool) []byte {
			s := *p.sub
			switch {
			case bare:
				s.Reason = ""
			case s.Reason == "" && c.version == packet.V5 && c.b.opt.ReasonStrings:
				s.Reason = firstReason(s.Codes)
			}
			return packet.AppendSubAck(dst, c.version, p.typ, &s)
		})
	} else {
		fits = c.bounded(func(dst []byte, bare bool) []byte {
			a := p.ack
			switch {
			case bare:
				a.Reason = ""
			case a.Reason == "" && c.version == packet.V5 && c.b.opt.ReasonStrings:
				a.Reason = reason(a.Code)
			}
			return packet.AppendAck(dst, c.version, p.typ, &a)
		})
	}
	if p.counts {
		c.returned++
	}
	for _, id := range p.more {
		c.room(ackSize)
		c.out = packet.AppendBareAck(c.out, p.typ, id)
		c.returned++
	}
	c.account()
	return fits
}

// bounded appends a packet, without its reason string where it would be larger
// than the client accepts (MQTT-3.4.2-2) or the client wants no problem information.
// What is too large even so is not sent (MQTT-3.1.2-24). The caller holds c.mu.
func (c *Conn) bounded(f func(dst []byte, bare bool) []byte) (fits bool) {
	n := len(c.out)
	for _, bare := range [2]bool{!c.problemInfo, true} {
		c.room(smallPacket)
		if c.out = f(c.out, bare); len(c.out)-n <= int(c.sendMax) {
			return true
		}
		c.out = c.out[:n]
		c.outPackets--
	}
	return false
}

// sendWithin is send for a packet that may be larger than the client accepts;
// false says that it was not sent for that (MQTT-3.1.2-24).
func (c *Conn) sendWithin(f func(dst []byte) []byte) (fits bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended.Load() {
		return true
	}
	fits = c.bounded(func(dst []byte, _ bool) []byte { return f(dst) })
	c.account()
	return fits
}

// tooLargeToSend ends a connection whose client waits for a packet that it
// would not accept.
func tooLargeToSend() ending {
	return ending{code: packet.PacketTooLarge, reason: "an answer is larger than the client's maximum packet size", notify: true}
}

// acknowledge sends an acknowledgement that needs no commit of its own; it
// still waits for those before it.
func (c *Conn) acknowledge(typ packet.Type, ack packet.Ack, counts bool) {
	if !c.behind && ack.Code == packet.Success && ack.Reason == "" && c.sendMax >= ackSize {
		if counts {
			c.sender().open--
		}
		c.gather(typ, ack.PacketID)
		return
	}
	if c.caughtUp() {
		c.acknowledgeNow(&pendingAck{typ: typ, ack: ack, counts: counts})
		return
	}
	c.reserve(&pendingAck{ready: true, typ: typ, ack: ack, counts: counts})
	c.settleAcks(c.turn) // those before it may have left since we looked
}

// caughtUp reports whether no acknowledgement waits for its commit.
func (c *Conn) caughtUp() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.behind = c.seldom != nil && len(c.seldom.acks) > 0
	return !c.behind
}

// acknowledgeNow sends an acknowledgement that nothing is to come before.
func (c *Conn) acknowledgeNow(p *pendingAck) {
	c.mu.Lock()
	c.appendGathered()
	fits := c.appendAck(p)
	c.mu.Unlock()
	if !fits {
		c.end(tooLargeToSend())
	}
}

// holdBack lets input wait while output is far above its limit: a peer that
// asks and does not read must not pile up answers. Messages stop at the limit
// by themselves, so that who only reads slowly is not held back. Between two
// looks one turn's input is answered, which bounds what is beyond.
func (c *Conn) holdBack() {
	resume := c.turn.paced // input waits for the next turn anyway
	c.turn.paced = nil
	if c.paused && resume == nil || c.ended.Load() {
		return
	}
	c.mu.Lock()
	c.appendGathered()
	if len(c.out)/2 >= c.lis.Limits.OutputBytes {
		if resume == nil {
			resume = c.await()
		}
		// In one go: once the output is taken, Drained is called and looks for this.
		s := c.rare()
		s.resume, s.onAcks = resume, false
		resume = nil
	}
	c.mu.Unlock()
	if resume != nil {
		resume(func() {})
	}
}

// comeBack makes Drained go on with what there is to send, when the turn ends.
func (c *Conn) comeBack(t *turn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wantDrain = true
	t.touch(c)
}

// Drained tells that all output was written.
func (c *Conn) Drained() {
	c.mu.Lock()
	want := c.wantDrain && !c.ended.Load() && len(c.out) == 0
	if want {
		c.wantDrain = false
	}
	var resume func(func())
	if s := c.seldom; s != nil && !s.onAcks && len(c.out) < c.lis.Limits.OutputBytes {
		resume, s.resume = s.resume, nil
	}
	c.mu.Unlock()
	if resume != nil {
		resume(func() {})
	}
	if cl := c.client.Load(); want && cl != nil {
		// On a writer's goroutine nobody else would recover.
		c.b.guarded(func() {
			t := turn{now: c.b.now()}
			defer t.flush()
			cl.refill(&t, c)
		})
	}
}

// TakeOutput gives the driver what is to be written, nil when there is
// nothing. written is what it took before and has written; it may be nil.
func (c *Conn) TakeOutput(written []byte) []byte {
	if cap(written) > 0 {
		c.b.buffers.give(written)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m := &c.b.metrics
	if c.written != 0 {
		m.BufferedBytes.Add(-int64(c.written) * page)
	}
	c.written, c.accounted = c.accounted, 0
	if len(c.out) == 0 {
		return nil
	}
	out := c.out
	c.out = nil
	m.BytesSent.Add(int64(len(out)))
	m.PacketsSent.Add(int64(c.outPackets))
	m.PublishSent.Add(int64(c.outPublishes))
	c.outPackets, c.outPublishes = 0, 0
	return out
}

// room makes sure that there is an output buffer with room for one packet of n
// bytes that will be appended, and counts it. The caller holds c.mu.
func (c *Conn) room(n int) {
	c.outPackets++
	if c.out == nil {
		c.out = c.b.buffers.take(n)
	} else {
		c.out = c.b.buffers.grow(c.out, n)
	}
}

// smallPacket is enough for most packets but PUBLISH, in bytes.
const smallPacket = 64

// send appends output that belongs to this connection's own turn.
func (c *Conn) send(f func(dst []byte) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended.Load() {
		return
	}
	c.room(smallPacket)
	c.out = f(c.out)
	c.account()
}

// page is in what output is counted, in bytes: what is less is not.
const page = 4096

// account counts output against the broker's bound. The caller holds c.mu.
func (c *Conn) account() {
	if n := int32(len(c.out) / page); n > c.accounted {
		c.b.metrics.BufferedBytes.Add(int64(n-c.accounted) * page)
		c.accounted = n
	}
}
