package bench

import (
	"context"
	"fmt"
	"sync/atomic"

	"sallyport/packet"
)

// flushSize is the number of bytes after which a batch is written.
const flushSize = 128 << 10

// publisher sends numbered messages on one connection.
type publisher struct {
	r      *run
	c      *rawConn
	number uint32
	t      template
	topics uint64 // numbered topics; 0: one for each message
	fresh  uint64 // percent of the messages that go to a topic beyond topics
	limit  uint64 // messages to send
	window uint64 // messages under way
	fan    uint64 // receivers of each message that the window waits for; 0: none
	pings  bool   // a PINGREQ follows the last message
	stop   <-chan struct{}
	out    []byte // owned by who publishes

	answers []byte // owned by who reads the connection: what it is to be written
	last    byte   // first byte of the acknowledgement that ends an exchange; 0 at QoS 0

	sent      atomic.Uint64
	acked     atomic.Uint64
	refused   atomic.Uint64 // acknowledged with a code of failure
	delivered atomic.Uint64 // by all receivers together
	due       atomic.Uint64 // messages that may be sent by now; the pacer raises it
	ponged    atomic.Bool   // a PINGRESP came
	stirred   atomic.Bool   // in the mail of its loop
	wake      chan struct{} // capacity 1: one of the above has grown
	dueAt     func(n uint64) int64

	acks   *histogram // of how long acknowledgements take, which come in order; shared; nil: nobody asks
	sentAt []int64    // with acks: when the messages under way were sent
}

// newPublisher makes one; its fields may be changed until it runs.
func (r *run) newPublisher(c *rawConn, number uint32, topic string, numbered bool, retain bool) *publisher {
	p := &publisher{
		r: r, c: c, number: number,
		t:      newTemplate(r.Version, topic, numbered, r.QoS, retain, r.Payload),
		limit:  1<<64 - 1,
		window: uint64(r.Window),
		wake:   make(chan struct{}, 1),
	}
	if r.QoS > 0 && c.ack.Props.Has(packet.PropReceiveMaximum) { // MQTT-3.3.4-7
		p.window = min(p.window, uint64(c.ack.Props.ReceiveMaximum))
	}
	p.due.Store(1<<64 - 1)
	switch r.QoS {
	case 1:
		p.last = byte(packet.PUBACK) << 4
	case 2:
		p.last = byte(packet.PUBCOMP) << 4
	}
	return p
}

// notify wakes the publisher.
func (p *publisher) notify() {
	select {
	case p.wake <- struct{}{}:
	default: // it will wake anyway
	}
}

// underway is how many messages the window holds.
func (p *publisher) underway() uint64 {
	sent, n := p.sent.Load(), uint64(0)
	if p.t.idAt >= 0 {
		n = sent - p.acked.Load()
	}
	if p.fan > 0 {
		n = max(n, sent-min(sent, p.delivered.Load()/p.fan))
	}
	return n
}

// may is how many messages may be sent now.
func (p *publisher) may() uint64 {
	sent, most := p.sent.Load(), min(p.limit, p.due.Load())
	return min(most-min(sent, most), p.window-min(p.window, p.underway()))
}

// publish sends until the limit, the stop channel or the end of ctx.
func (p *publisher) publish(ctx context.Context) error {
	for p.sent.Load() < p.limit {
		select {
		case <-p.stop:
			return nil
		default:
		}
		if p.out = p.fill(p.out[:0]); len(p.out) > 0 {
			if _, err := p.c.Write(p.out); err != nil {
				return err
			}
			continue
		}
		select {
		case <-p.wake:
		case <-p.stop:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// fill appends the messages that may be sent now to out, until it is a batch,
// and counts them as sent: before the write, so that no receiver is ahead of the
// count. The clock is read once, just before the write.
func (p *publisher) fill(out []byte) []byte {
	n := p.may()
	if n == 0 {
		return out
	}
	number := p.sent.Load()
	s := stamp{run: p.r.id, publisher: p.number, at: p.r.now()}
	for end := number + n; number < end && len(out) < flushSize; number++ {
		if p.dueAt != nil {
			s.at = p.dueAt(number)
		}
		if p.acks != nil {
			p.sentAt[number%uint64(len(p.sentAt))] = s.at
		}
		s.sequence = number
		out = p.t.append(out, &s, uint16(number%0xffff+1), p.topic(number))
	}
	p.sent.Store(number)
	if p.pings && number == p.limit {
		out = packet.AppendPing(out, packet.PINGREQ)
	}
	return out
}

// topic is the number of the topic of message n: of every hundred, fresh go to
// topics that were never used before, the rest to topics in rotation.
func (p *publisher) topic(n uint64) uint64 {
	if p.topics == 0 || p.t.digitsAt < 0 { // the latter has no number
		return n
	}
	if p.fresh == 0 {
		return n % p.topics
	}
	before := n * p.fresh / 100
	if (n+1)*p.fresh/100 > before {
		return p.topics + before
	}
	return (n - before) % p.topics
}

// acknowledge reads what the broker answers.
func (p *publisher) acknowledge() error {
	for {
		if err := p.c.fill(); err != nil {
			return err
		}
		used, err := p.take(p.c.unread())
		if err != nil {
			return err
		}
		p.c.from += used
		if len(p.answers) > 0 {
			_, err = p.c.Write(p.answers)
			p.answers = p.answers[:0]
			if err != nil {
				return err
			}
		}
		p.notify()
	}
}

// take handles every whole packet at the start of data and says how much of it
// they were.
func (p *publisher) take(data []byte) (used int, err error) {
	const bare = 4 // bytes of an acknowledgement without a reason
	var acked uint64
	for {
		b := data[used:]
		if len(b) >= bare && b[1] == bare-2 && b[0] == p.last && (b[2]|b[3]) != 0 {
			acked++
			used += bare
			continue
		}
		h, n, err := packet.ReadHeader(b)
		if err == nil && n > 0 && n+h.Length > p.c.limit {
			err = fmt.Errorf("%s of %d bytes, which nobody sent", h.Type, n+h.Length)
		}
		if err != nil {
			return used, err
		}
		if n == 0 || len(b) < n+h.Length {
			break
		}
		done, err := p.answer(h, b[n:n+h.Length])
		if err != nil {
			return used, err
		}
		if done {
			acked++
		}
		used += n + h.Length
	}
	if acked > 0 {
		if p.acks != nil {
			p.timeAcks(acked)
		}
		p.acked.Add(acked)
	}
	return used, nil
}

// timeAcks records how long the next n acknowledgements took.
func (p *publisher) timeAcks(n uint64) {
	first, now, from := p.acked.Load(), p.r.now(), p.r.measureFrom.Load()
	if first+n > p.sent.Load() { // who publishes has written sentAt before
		return // of what nobody sent
	}
	p.acks.mu.Lock()
	defer p.acks.mu.Unlock()
	for i := first; i < first+n; i++ {
		if at := p.sentAt[i%uint64(len(p.sentAt))]; at >= from {
			p.acks.record(now - at)
		}
	}
}

// answer takes one packet and appends what it calls for to answers; done is
// true at the end of a message's exchange.
func (p *publisher) answer(h packet.Header, body []byte) (done bool, err error) {
	switch h.Type {
	case packet.PUBACK, packet.PUBREC, packet.PUBCOMP:
	case packet.PINGRESP:
		p.ponged.Store(true)
		return false, nil
	default:
		return false, unexpected(p.c.version, h, body)
	}
	a, err := packet.DecodeAck(p.c.version, h.Type, h.Flags, body, packet.Limits{})
	if err != nil {
		return false, err
	}
	if a.Code >= 0x80 {
		p.refused.Add(1)
		return true, nil
	}
	if h.Type == packet.PUBREC {
		p.answers = packet.AppendAck(p.answers, p.c.version, packet.PUBREL, &packet.Ack{PacketID: a.PacketID})
		return false, nil
	}
	return true, nil
}

// unexpected is the error for a packet that a run doesn't ask for.
func unexpected(v packet.Version, h packet.Header, body []byte) error {
	if h.Type == packet.DISCONNECT {
		if d, err := packet.DecodeDisconnect(v, h.Flags, body, packet.Limits{}); err == nil {
			return fmt.Errorf("the broker disconnects with 0x%02x %s", byte(d.Code), d.Props.ReasonString)
		}
	}
	return fmt.Errorf("unexpected %s from the broker", h.Type)
}
