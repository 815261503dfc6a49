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
	stop   <-chan struct{}
	out    []byte

	sent      atomic.Uint64
	acked     atomic.Uint64
	refused   atomic.Uint64 // acknowledged with a code of failure
	delivered atomic.Uint64 // by all receivers together
	due       atomic.Uint64 // messages that may be sent by now; the pacer raises it
	ponged    atomic.Bool   // a PINGRESP came
	wake      chan struct{} // capacity 1: one of the above has grown
	dueAt     func(n uint64) int64
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

// publish sends until the limit, the stop channel or the end of ctx.
func (p *publisher) publish(ctx context.Context) error {
	for p.sent.Load() < p.limit {
		select {
		case <-p.stop:
			return nil
		default:
		}
		sent := p.sent.Load()
		n := min(p.limit, p.due.Load()) - min(sent, p.due.Load())
		n = min(n, p.window-min(p.window, p.underway()))
		if n == 0 {
			select {
			case <-p.wake:
			case <-p.stop:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			continue
		}
		if err := p.send(sent, n); err != nil {
			return err
		}
	}
	return nil
}

// send writes up to n messages, starting with the number first.
func (p *publisher) send(first, n uint64) error {
	p.out = p.out[:0]
	at := p.r.now()
	number := first
	for ; number < first+n && len(p.out) < flushSize; number++ {
		if p.dueAt != nil {
			at = p.dueAt(number)
		}
		s := stamp{run: p.r.id, publisher: p.number, sequence: number, at: at}
		p.out = p.t.append(p.out, s, uint16(number%0xffff+1), p.topic(number))
	}
	// Before the write: a receiver must not be ahead of the count.
	p.sent.Store(number)
	_, err := p.c.Write(p.out)
	return err
}

// topic is the number of the topic of message n: of every hundred, fresh go to
// topics that were never used before, the rest to topics in rotation.
func (p *publisher) topic(n uint64) uint64 {
	if p.topics == 0 {
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
	var out []byte
	for {
		if err := p.c.fill(); err != nil {
			return err
		}
		out = out[:0]
		var acked uint64
		for {
			h, body, ok, err := p.c.next()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			var done bool
			if out, done, err = p.answer(out, h, body); err != nil {
				return err
			}
			if done {
				acked++
			}
		}
		if len(out) > 0 {
			if _, err := p.c.Write(out); err != nil {
				return err
			}
		}
		if acked > 0 {
			p.acked.Add(acked)
			p.notify()
		}
	}
}

// answer takes one packet and appends what it calls for; done is true at the
// end of a message's exchange.
func (p *publisher) answer(out []byte, h packet.Header, body []byte) (_ []byte, done bool, err error) {
	switch h.Type {
	case packet.PUBACK, packet.PUBREC, packet.PUBCOMP:
	case packet.PINGRESP:
		p.ponged.Store(true)
		return out, false, nil
	default:
		return out, false, unexpected(p.c.version, h, body)
	}
	a, err := packet.DecodeAck(p.c.version, h.Type, h.Flags, body, packet.Limits{})
	if err != nil {
		return out, false, err
	}
	if a.Code >= 0x80 {
		p.refused.Add(1)
		return out, true, nil
	}
	if h.Type == packet.PUBREC {
		return packet.AppendAck(out, p.c.version, packet.PUBREL, &packet.Ack{PacketID: a.PacketID}), false, nil
	}
	return out, true, nil
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
