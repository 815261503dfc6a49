package bench

import (
	"context"
	"sync/atomic"

	"sallyport/packet"
)

// receiver takes, verifies and acknowledges the messages of one subscriber.
type receiver struct {
	r        *run
	c        *rawConn
	base     uint32       // number of the first publisher
	pubs     []*publisher // that it hears, from base on; woken as messages arrive
	trackers []tracker    // one for each of pubs; read after the goroutine ended
	latency  *histogram   // shared by some receivers
	got      atomic.Uint64
	foreign  atomic.Uint64 // messages of no publisher of this run
	invalid  atomic.Uint64 // sent at one QoS, delivered at another, or cut
	touched  []bool        // of pubs: heard in this batch
	out      []byte
	now      int64
}

func (r *run) newReceiver(c *rawConn, base uint32, pubs []*publisher, h *histogram) *receiver {
	return &receiver{r: r, c: c, base: base, pubs: pubs, trackers: make([]tracker, len(pubs)),
		latency: h, touched: make([]bool, len(pubs))}
}

// subscribe subscribes to filters.
func (v *receiver) subscribe(ctx context.Context, filters ...string) error {
	return v.c.subscribe(ctx, v.r.QoS, filters, v.handle)
}

// receive reads until the connection ends.
func (v *receiver) receive() error {
	for {
		// First what came with the last answer: the next read could wait for ever.
		if err := v.batch(); err != nil {
			return err
		}
		if err := v.c.fill(); err != nil {
			return err
		}
	}
}

// batch handles every packet that has arrived, and answers with one write.
func (v *receiver) batch() error {
	v.now = v.r.now()
	v.out = v.out[:0]
	v.latency.mu.Lock()
	for {
		h, body, ok, err := v.c.next()
		if err == nil && ok {
			err = v.handle(h, body)
		}
		if err != nil {
			v.latency.mu.Unlock()
			return err
		}
		if !ok {
			break
		}
	}
	v.latency.mu.Unlock()
	for i, touched := range v.touched {
		if touched {
			v.touched[i] = false
			v.pubs[i].notify()
		}
	}
	if len(v.out) == 0 {
		return nil
	}
	_, err := v.c.Write(v.out)
	return err
}

func (v *receiver) handle(h packet.Header, body []byte) error {
	switch h.Type {
	case packet.PUBLISH:
		return v.handlePublish(h, body)
	case packet.PUBREL:
		a, err := packet.DecodeAck(v.c.version, h.Type, h.Flags, body, packet.Limits{})
		if err != nil {
			return err
		}
		v.acknowledge(packet.PUBCOMP, a.PacketID)
		return nil
	case packet.PINGRESP:
		return nil
	}
	return unexpected(v.c.version, h, body)
}

func (v *receiver) acknowledge(t packet.Type, id uint16) {
	v.out = packet.AppendAck(v.out, v.c.version, t, &packet.Ack{PacketID: id})
}

func (v *receiver) handlePublish(h packet.Header, body []byte) error {
	var p packet.Publish
	if err := packet.DecodePublish(v.c.version, h.Flags, body, packet.Limits{}, &p); err != nil {
		return err
	}
	switch p.QoS {
	case 1:
		v.acknowledge(packet.PUBACK, p.PacketID)
	case 2:
		v.acknowledge(packet.PUBREC, p.PacketID)
	}
	s, ok := readStamp(p.Payload)
	i := int(s.publisher) - int(v.base)
	if !ok || s.run != v.r.id || i < 0 || i >= len(v.trackers) {
		v.foreign.Add(1)
		return nil
	}
	if p.QoS != v.r.QoS || len(p.Payload) != v.r.Payload {
		v.invalid.Add(1)
	}
	if !v.trackers[i].see(s.sequence) {
		return nil // counted there; it stands for no message that is still to come
	}
	if s.at >= v.r.measureFrom.Load() {
		v.latency.record(v.now - s.at)
	}
	v.got.Add(1)
	v.pubs[i].delivered.Add(1)
	v.touched[i] = true
	return nil
}
