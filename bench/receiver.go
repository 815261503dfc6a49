package bench

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"

	"sallyport/packet"
)

// receiver takes, verifies and acknowledges the messages of one subscriber.
// What has no atomic type is owned by whoever reads the connection.
type receiver struct {
	r        *run
	c        *rawConn
	base     uint32       // number of the first publisher
	pubs     []*publisher // that it hears, from base on; woken as messages arrive
	trackers []tracker    // one for each of pubs; read after the connection was given up
	latency  *histogram   // shared by some receivers
	got      atomic.Uint64
	foreign  atomic.Uint64 // messages of no publisher of this run
	invalid  atomic.Uint64 // sent at one QoS, delivered at another, cut, changed or under another topic
	out      []byte        // acknowledgements to be written
	known    shape

	// The batch under way: what one read brought.
	now, measureFrom int64
	came             uint64
	heard            []uint64 // messages of each of pubs
	touched          []int    // indexes of pubs heard
}

// shape is how a message that was decoded lay in its frame. A frame that begins
// with the same bytes lies the same way and needs no decoding.
type shape struct {
	head    []byte // up to the end of the topic's constant part
	topicAt int
	idAt    int // of the packet identifier; at QoS 0 of what follows the topic
	propsAt int // of the length of the properties, which is 0; -1 before MQTT 5
	stampAt int // of the payload
	total   int // length of the frame; 0: no message was decoded yet
}

// fits reports whether b begins with a frame of the shape in which decoding
// would find no fault.
func (s *shape) fits(b []byte) bool {
	if s.total == 0 || len(b) < s.total || string(b[:len(s.head)]) != string(s.head) || s.propsAt >= 0 && b[s.propsAt] != 0 {
		return false
	}
	if s.head[0]&6 != 0 && b[s.idAt]|b[s.idAt+1] == 0 {
		return false
	}
	for _, c := range b[len(s.head):s.idAt] { // the topic's number
		if c-'0' > 9 {
			return false
		}
	}
	return true
}

func (r *run) newReceiver(c *rawConn, base uint32, pubs []*publisher, h *histogram) *receiver {
	return &receiver{r: r, c: c, base: base, pubs: pubs, trackers: make([]tracker, len(pubs)),
		latency: h, heard: make([]uint64, len(pubs)), touched: make([]int, 0, len(pubs))}
}

// subscribe subscribes to filters.
func (v *receiver) subscribe(ctx context.Context, filters ...string) error {
	v.begin()
	err := v.c.subscribe(ctx, v.r.QoS, filters, v.handle)
	v.commit(func(*publisher) {})
	return err
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
	v.begin()
	v.latency.mu.Lock()
	used, err := v.take(v.c.unread())
	v.latency.mu.Unlock()
	v.c.from += used
	if err != nil {
		return err
	}
	v.commit((*publisher).notify)
	if len(v.out) == 0 {
		return nil
	}
	_, err = v.c.Write(v.out)
	v.out = v.out[:0]
	return err
}

// begin starts a batch: the clock is read once for all that a read brought.
func (v *receiver) begin() {
	v.now, v.measureFrom = v.r.now(), v.r.measureFrom.Load()
}

// commit makes the batch known, and calls heard for each publisher in it.
func (v *receiver) commit(heard func(*publisher)) {
	if v.came == 0 {
		return
	}
	v.got.Add(v.came)
	v.came = 0
	for _, i := range v.touched {
		v.pubs[i].delivered.Add(v.heard[i])
		v.heard[i] = 0
		heard(v.pubs[i])
	}
	v.touched = v.touched[:0]
}

// take handles every whole packet at the start of data and says how much of it
// they were.
func (v *receiver) take(data []byte) (used int, err error) {
	for {
		b := data[used:]
		if v.known.fits(b) {
			v.takeKnown(b[:v.known.total])
			used += v.known.total
			continue
		}
		h, n, err := packet.ReadHeader(b)
		if err != nil || n == 0 {
			return used, err
		}
		total := n + h.Length
		if total > v.c.limit {
			return used, fmt.Errorf("%s of %d bytes, which nobody sent", h.Type, total)
		}
		if len(b) < total {
			return used, nil
		}
		if err := v.handle(h, b[n:total]); err != nil {
			return used, err
		}
		if h.Type == packet.PUBLISH {
			v.learn(b[:total], n, h)
		}
		used += total
	}
}

// takeKnown takes a message of the known shape.
func (v *receiver) takeKnown(frame []byte) {
	s := &v.known
	qos := frame[0] >> 1 & 3
	var id uint16
	if qos > 0 {
		id = uint16(frame[s.idAt])<<8 | uint16(frame[s.idAt+1])
	}
	v.message(qos, id, frame[s.topicAt:s.idAt], frame[s.stampAt:])
}

// learn remembers the shape of a message that was decoded and is as expected.
func (v *receiver) learn(frame []byte, bodyAt int, h packet.Header) {
	payload := headerSize + len(v.r.rest)
	if h.Flags&^1 != v.r.QoS<<1 || len(v.pubs) == 0 || len(frame) <= payload {
		return
	}
	topic := v.pubs[0].t.topic // all of them have the same
	s := shape{topicAt: bodyAt + 2, propsAt: -1, stampAt: len(frame) - payload, total: len(frame)}
	at := s.topicAt + int(frame[bodyAt])<<8 + int(frame[bodyAt+1])
	s.idAt = at
	if v.r.QoS > 0 {
		at += 2
	}
	if v.r.Version == packet.V5 {
		s.propsAt = at
		at++
	}
	if at != s.stampAt || s.propsAt >= 0 && frame[s.propsAt] != 0 {
		return // it has properties, or the payload isn't ours
	}
	if !bytes.HasPrefix(frame[s.topicAt:s.idAt], []byte(topic)) {
		return
	}
	s.head = append(v.known.head[:0], frame[:s.topicAt+len(topic)]...)
	v.known = s
}

func (v *receiver) handle(h packet.Header, body []byte) error {
	switch h.Type {
	case packet.PUBLISH:
		var p packet.Publish
		if err := packet.DecodePublish(v.c.version, h.Flags, body, packet.Limits{}, &p); err != nil {
			return err
		}
		v.message(p.QoS, p.PacketID, p.Topic, p.Payload)
		return nil
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

// acknowledge appends the shortest form, which is the same in every version.
func (v *receiver) acknowledge(t packet.Type, id uint16) {
	v.out = append(v.out, byte(t)<<4, 2, byte(id>>8), byte(id))
}

// message verifies one message.
func (v *receiver) message(qos byte, id uint16, topic, payload []byte) {
	switch qos {
	case 1:
		v.acknowledge(packet.PUBACK, id)
	case 2:
		v.acknowledge(packet.PUBREC, id)
	}
	s, ok := readStamp(payload)
	i := int(s.publisher) - int(v.base)
	if !ok || s.run != v.r.id || i < 0 || i >= len(v.trackers) {
		v.foreign.Add(1)
		return
	}
	p := v.pubs[i]
	if qos != v.r.QoS || !bytes.Equal(payload[headerSize:], v.r.rest) || !p.t.names(topic, p.topic(s.sequence)) {
		v.invalid.Add(1)
	}
	if !v.trackers[i].see(s.sequence) {
		return // counted there; it stands for no message that is still to come
	}
	if s.at >= v.measureFrom {
		v.latency.record(v.now - s.at)
	}
	v.came++
	if v.heard[i] == 0 {
		v.touched = append(v.touched, i)
	}
	v.heard[i]++
}
