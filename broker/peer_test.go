package broker

import (
	"fmt"
	"io"
	"testing"
	"time"

	"sallyport/packet"
)

// until waits for a condition.
func (x *bed) until(what string, ok func() bool) {
	x.t.Helper()
	deadline := time.Now().Add(x.wait)
	for !ok() {
		if time.Now().After(deadline) {
			x.t.Fatalf("%s did not become true", what)
		}
		<-time.After(time.Millisecond)
	}
}

// event is one packet from the broker.
type event struct {
	h    packet.Header
	body []byte
}

// peer is a client that does what it is told.
type peer struct {
	x    *bed
	t    testing.TB
	conn io.ReadWriteCloser
	v    packet.Version
	id   string
	pid  uint16
	in   chan event // closed when the broker has closed
	back []event    // passed over by until
}

// open dials without a CONNECT.
func (x *bed) open(v packet.Version) *peer {
	p := &peer{x: x, t: x.t, conn: x.dial(), v: v, in: make(chan event, 1<<18)}
	x.peers = append(x.peers, p)
	go p.read()
	return p
}

func (p *peer) read() {
	defer close(p.in)
	var buf []byte
	chunk := make([]byte, 64<<10)
	for {
		n, err := p.conn.Read(chunk)
		buf = append(buf, chunk[:n]...)
		for {
			h, k, herr := packet.ReadHeader(buf)
			if herr != nil {
				p.t.Errorf("the broker sent a malformed header: %v", herr)
				return
			}
			if k == 0 || len(buf) < k+h.Length {
				break
			}
			p.in <- event{h, append([]byte(nil), buf[k:k+h.Length]...)}
			buf = buf[k+h.Length:]
		}
		if err != nil {
			return
		}
	}
}

// with changes a CONNECT before it is sent.
type with func(*packet.Connect)

func kept(seconds uint32) with {
	return func(c *packet.Connect) {
		c.CleanStart = false
		if c.Version == packet.V5 {
			c.Props.SessionExpiry = seconds
			c.Props.Mark(packet.PropSessionExpiry)
		}
	}
}

func user(name string) with {
	return func(c *packet.Connect) {
		c.HasUsername, c.Username = true, name
		c.HasPassword, c.Password = true, []byte("right")
	}
}

func keepAlive(seconds uint16) with { return func(c *packet.Connect) { c.KeepAlive = seconds } }

func receiveMax(n uint16) with {
	return func(c *packet.Connect) {
		c.Props.ReceiveMaximum = n
		c.Props.Mark(packet.PropReceiveMaximum)
	}
}

func willOf(topic, payload string, delay uint32) with {
	return func(c *packet.Connect) {
		c.Will = &packet.Will{Topic: topic, Payload: []byte(payload), QoS: 1}
		if delay > 0 {
			c.Will.Props.WillDelay = delay
			c.Will.Props.Mark(packet.PropWillDelay)
		}
	}
}

func (p *peer) send(b []byte) {
	// A write after the broker has closed fails; what matters is read.
	_, _ = p.conn.Write(b)
}

func (p *peer) sendConnect(id string, opts ...with) {
	p.id = id
	c := packet.Connect{Version: p.v, CleanStart: true, ClientID: id}
	for _, o := range opts {
		o(&c)
	}
	p.send(packet.AppendConnect(nil, &c))
}

// connect connects and expects to be let in.
func (x *bed) connect(v packet.Version, id string, opts ...with) *peer {
	x.t.Helper()
	p, ack := x.tryConnect(v, id, opts...)
	if ack.Code != 0 {
		x.t.Fatalf("%s: CONNACK 0x%02x, want success", id, byte(ack.Code))
	}
	return p
}

func (x *bed) tryConnect(v packet.Version, id string, opts ...with) (*peer, *packet.Connack) {
	x.t.Helper()
	p := x.open(v)
	p.sendConnect(id, opts...)
	return p, p.connack()
}

func (p *peer) connack() *packet.Connack {
	p.t.Helper()
	e := p.expect(packet.CONNACK)
	ack, err := packet.DecodeConnack(p.v, e.h.Flags, e.body, packet.Limits{})
	if err != nil {
		p.t.Fatal(err)
	}
	return ack
}

// next is the next packet; ok is false when the broker has closed.
func (p *peer) next() (e event, ok bool) {
	p.t.Helper()
	if len(p.back) > 0 {
		e, p.back = p.back[0], p.back[1:]
		return e, true
	}
	return p.arrives()
}

func (p *peer) arrives() (e event, ok bool) {
	p.t.Helper()
	select {
	case e, ok = <-p.in:
		return e, ok
	case <-time.After(p.x.wait):
		p.t.Fatalf("%s: no packet in time", p.id)
		return event{}, false
	}
}

func (p *peer) expect(want packet.Type) event {
	p.t.Helper()
	e, ok := p.next()
	if !ok {
		p.t.Fatalf("%s: closed, want %v", p.id, want)
	}
	if e.h.Type != want {
		p.t.Fatalf("%s: %v %x, want %v", p.id, e.h.Type, e.body, want)
	}
	return e
}

func (p *peer) expectAck(want packet.Type, id uint16, code packet.Code) {
	p.t.Helper()
	e := p.expect(want)
	a, err := packet.DecodeAck(p.v, want, e.h.Flags, e.body, packet.Limits{})
	if err != nil {
		p.t.Fatal(err)
	}
	if a.PacketID != id || a.Code != code {
		p.t.Fatalf("%s: %v %d 0x%02x, want %d 0x%02x", p.id, want, a.PacketID, byte(a.Code), id, byte(code))
	}
}

// msg is a PUBLISH as it arrived.
type msg struct {
	topic, payload string
	qos            byte
	dup, retain    bool
	id, alias      uint16
	expiry         uint32
	subIDs         []uint32
	props          string
}

func (p *peer) decode(e event) msg {
	p.t.Helper()
	var d packet.Publish
	if err := packet.DecodePublish(p.v, e.h.Flags, e.body, packet.Limits{}, &d); err != nil {
		p.t.Fatalf("%s: the broker's PUBLISH: %v", p.id, err)
	}
	return msg{
		topic: string(d.Topic), payload: string(d.Payload), qos: d.QoS, dup: d.Dup, retain: d.Retain, id: d.PacketID,
		alias: d.Props.TopicAlias, expiry: d.Props.Expiry, subIDs: append([]uint32(nil), d.Props.SubIDs...), props: string(d.Props.Raw),
	}
}

func (p *peer) message() msg {
	p.t.Helper()
	return p.decode(p.expect(packet.PUBLISH))
}

// gets expects these payloads in this order and acknowledges them.
func (p *peer) gets(payloads ...string) {
	p.t.Helper()
	for _, want := range payloads {
		m := p.message()
		if m.payload != want {
			p.t.Fatalf("%s: got %q, want %q", p.id, m.payload, want)
		}
		p.finish(m)
	}
}

// finish acknowledges a message, as its quality of service demands.
func (p *peer) finish(m msg) {
	p.t.Helper()
	switch m.qos {
	case 1:
		p.ack(packet.PUBACK, m.id)
	case 2:
		p.ack(packet.PUBREC, m.id)
		p.until(packet.PUBREL)
		p.ack(packet.PUBCOMP, m.id)
	}
}

// until passes over what comes before a packet of this type; next yields it later.
func (p *peer) until(want packet.Type) {
	p.t.Helper()
	for {
		e, ok := p.arrives()
		switch {
		case !ok:
			p.t.Fatalf("%s: closed, want %v", p.id, want)
		case e.h.Type == want:
			return
		}
		p.back = append(p.back, e)
	}
}

func (p *peer) ack(typ packet.Type, id uint16) {
	p.send(packet.AppendAck(nil, p.v, typ, &packet.Ack{PacketID: id}))
}

// nothing expects that nothing has arrived.
func (p *peer) nothing() {
	p.t.Helper()
	p.x.settle()
	p.ping()
}

// ping is a round trip: it expects a PINGRESP next.
func (p *peer) ping() {
	p.t.Helper()
	p.send(packet.AppendPing(nil, packet.PINGREQ))
	p.expect(packet.PINGRESP)
}

// closed expects that the broker has closed without a word.
func (p *peer) closed() {
	p.t.Helper()
	if e, ok := p.next(); ok {
		p.t.Fatalf("%s: %v %x, want the end", p.id, e.h.Type, e.body)
	}
}

// leaves expects the end of the connection, in MQTT 5 with a DISCONNECT.
func (p *peer) leaves(code packet.Code) {
	p.t.Helper()
	if p.v == packet.V5 {
		e := p.expect(packet.DISCONNECT)
		d, err := packet.DecodeDisconnect(p.v, e.h.Flags, e.body, packet.Limits{})
		if err != nil {
			p.t.Fatal(err)
		}
		if d.Code != code {
			p.t.Fatalf("%s: DISCONNECT 0x%02x, want 0x%02x", p.id, byte(d.Code), byte(code))
		}
	}
	p.closed()
}

// filter makes one subscription of a SUBSCRIBE.
func filter(f string, qos byte) packet.Subscription { return packet.Subscription{Filter: f, QoS: qos} }

func (p *peer) subscribe(filters ...packet.Subscription) []packet.Code {
	p.t.Helper()
	return p.subscribeWith(0, filters...)
}

func (p *peer) subscribeWith(subID uint32, filters ...packet.Subscription) []packet.Code {
	p.t.Helper()
	id := p.sendSubscribe(subID, filters...)
	return p.suback(id)
}

func (p *peer) sendSubscribe(subID uint32, filters ...packet.Subscription) uint16 {
	p.pid++
	p.send(packet.AppendSubscribe(nil, p.v, &packet.Subscribe{PacketID: p.pid, SubID: subID, Filters: filters}))
	return p.pid
}

func (p *peer) suback(id uint16) []packet.Code {
	p.t.Helper()
	e := p.expect(packet.SUBACK)
	a, err := packet.DecodeSubAck(p.v, packet.SUBACK, e.h.Flags, e.body, packet.Limits{})
	if err != nil || a.PacketID != id {
		p.t.Fatalf("%s: SUBACK %+v %v, want id %d", p.id, a, err, id)
	}
	return a.Codes
}

func (p *peer) unsubscribe(filters ...string) {
	p.t.Helper()
	p.pid++
	p.send(packet.AppendUnsubscribe(nil, p.v, &packet.Unsubscribe{PacketID: p.pid, Filters: filters}))
	p.expect(packet.UNSUBACK)
}

// pub makes the bytes of a PUBLISH.
func (p *peer) pub(f packet.PublishOut) []byte {
	if len(f.Props) == 0 {
		f.ExpiryAt = -1
	}
	return packet.AppendPublish(nil, p.v, &f)
}

// publishes publishes and sees the exchange through; code is of the last acknowledgement that has one.
func (p *peer) publishes(topic, payload string, qos byte, retain bool) packet.Code {
	p.t.Helper()
	f := packet.PublishOut{Topic: topic, Payload: []byte(payload), QoS: qos, Retain: retain}
	if qos > 0 {
		if p.pid++; p.pid == 0 {
			p.pid++
		}
		f.PacketID = p.pid
	}
	p.send(p.pub(f))
	switch qos {
	case 1:
		return p.ackCode(packet.PUBACK)
	case 2:
		if code := p.ackCode(packet.PUBREC); code >= 0x80 {
			return code
		}
		p.ack(packet.PUBREL, f.PacketID)
		return p.ackCode(packet.PUBCOMP)
	}
	return 0
}

func (p *peer) ackCode(typ packet.Type) packet.Code {
	p.t.Helper()
	e := p.expect(typ)
	a, err := packet.DecodeAck(p.v, typ, e.h.Flags, e.body, packet.Limits{})
	if err != nil {
		p.t.Fatal(err)
	}
	return a.Code
}

func (p *peer) disconnect(code packet.Code) {
	p.send(packet.AppendDisconnect(nil, p.v, &packet.Disconnect{Code: code}))
	p.t.Helper()
	p.closed()
}

// drop ends the connection without a DISCONNECT, and waits until the broker knows.
func (p *peer) drop() {
	p.t.Helper()
	n := p.x.b.metrics.Connections.Load()
	_ = p.conn.Close() // that it is closed is what is wanted
	p.x.until("the broker notices that a client is gone", func() bool { return p.x.b.metrics.Connections.Load() < n })
	p.x.settle()
}

func numbered(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s%d", prefix, i+1)
	}
	return out
}
