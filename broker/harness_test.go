package broker

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/packet"
	"sallyport/security"
	"sallyport/security/authn"
	"sallyport/store"
	"sallyport/store/storetest"
	"sallyport/topic"
)

// testLimits are small enough to be reached and large enough not to be in the way.
func testLimits() Limits {
	return Limits{
		ConnectTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		PacketUnauthenticated: 16 << 10, Packet: 1 << 20, Topic: topic.Limits{Bytes: 1024, Levels: 128},
		ClientIDBytes: 256, UserProperties: 64, Subscriptions: 1000, FiltersPerPacket: 100,
		ReceiveMaximum: 1000, Inflight: 1000, QueueMessages: 1000, QueueBytes: 1 << 20, OutputBytes: 1 << 20,
		TopicAlias: 10, TopicAliasOut: 10, MaxQoS: 2, SessionExpiry: 1 << 31,
	}
}

// door is an Authenticator for tests: anybody may be who he says he is, except
// with the password "wrong".
type door struct {
	mu       sync.Mutex
	floor    time.Duration
	epoch    authn.Epoch
	hold     chan struct{} // nil: answer at once; else after it is closed
	busy     bool
	canceled int
}

func (d *door) Begin(c *authn.Credentials, done func(*security.Principal, error)) func() {
	answer := func() {
		switch {
		case d.busy:
			done(nil, authn.ErrBusy)
		case string(c.Password) == "wrong":
			done(nil, errors.New("wrong password"))
		default:
			done(&security.Principal{Realm: "test", Name: c.Username, Username: c.Username, Method: "door",
				ClientID: c.ClientID, Listener: c.Listener, Addr: c.Addr}, nil)
		}
	}
	if d.hold == nil {
		answer()
		return nil
	}
	stop := make(chan struct{})
	go func() {
		select {
		case <-d.hold:
			answer()
		case <-stop:
			done(nil, authn.ErrCanceled)
		}
	}()
	var once sync.Once
	return func() {
		once.Do(func() {
			d.mu.Lock()
			d.canceled++
			d.mu.Unlock()
			close(stop)
		})
	}
}

func (d *door) Epoch() authn.Epoch {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.epoch
}

func (d *door) FailureFloor() time.Duration { return d.floor }

// policyFunc is a policy of one function.
type policyFunc func(*security.Request) security.Effect

func (f policyFunc) Decide(r *security.Request) security.Verdict {
	return security.Verdict{Effect: f(r), Policy: "test", Rule: "test rule"}
}

func allowAll(*security.Request) security.Effect { return security.Allow }

// setup is what a case changes of a broker for tests.
type setup struct {
	opt    Options
	lis    Listener
	door   *door
	policy policyFunc
	log    bool
}

// bed is a broker for one test, with the means to reach it.
type bed struct {
	t      testing.TB
	b      *Broker
	door   *door
	dial   func() io.ReadWriteCloser
	peers  []*peer
	bubble bool
	slow   bool          // commits take time
	wait   time.Duration // for one packet
}

type way struct {
	name   string
	bubble bool
	tcp    bool
	store  func() store.Store
}

func slowStore(fail func(int, *store.Batch) bool) func() store.Store {
	return func() store.Store {
		rnd := rand.New(rand.NewPCG(1, 2))
		return storetest.New(storetest.Options{
			Delay: func(int) time.Duration { return time.Duration(rnd.IntN(50_000)) * time.Microsecond },
			Fail:  fail,
		})
	}
}

func ways() []way {
	return []way{
		{name: "memory store over pipes", bubble: true},
		{name: "slow store over pipes", bubble: true, store: slowStore(nil)},
		{name: "memory store over TCP", tcp: true},
	}
}

// everyWay runs a case over each driver and store.
func everyWay(t *testing.T, change func(*setup), f func(*bed)) {
	t.Helper()
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) { w.run(t, change, f) })
	}
}

// overPipes runs a case in virtual time over the memory store.
func overPipes(t *testing.T, change func(*setup), f func(*bed)) {
	t.Helper()
	ways()[0].run(t, change, f)
}

func overTCP(t *testing.T, change func(*setup), f func(*bed)) {
	t.Helper()
	ways()[2].run(t, change, f)
}

func (w way) run(t *testing.T, change func(*setup), f func(*bed)) {
	t.Helper()
	if !w.bubble {
		w.play(t, change, f)
		return
	}
	synctest.Test(t, func(t *testing.T) { w.play(t, change, f) })
}

func (w way) play(t *testing.T, change func(*setup), f func(*bed)) {
	s := setup{lis: Listener{Name: "test", Limits: testLimits(), AllowEmptyClientID: true}, policy: allowAll, door: &door{}}
	if w.store != nil {
		s.opt.Store = w.store()
	}
	if change != nil {
		change(&s)
	}
	d := s.door
	if s.lis.Auth == nil {
		s.lis.Auth = d
	}
	if s.opt.Gate == nil {
		s.opt.Gate = security.NewGate(&security.Ruleset{ByListener: map[string][]security.Policy{"test": {s.policy}}})
	}
	if s.log {
		s.opt.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	s.opt.Listeners = map[string]*Listener{"test": &s.lis}
	x := &bed{t: t, b: New(s.opt), door: d, bubble: w.bubble, slow: w.store != nil, wait: 10 * time.Second}
	if w.bubble {
		x.wait = time.Minute
	}
	x.dial = x.dialPipe
	if w.tcp {
		x.listen()
	}
	defer x.finish()
	f(x)
}

func (x *bed) dialPipe() io.ReadWriteCloser {
	p, err := x.b.Pipe(Info{Listener: "test"})
	if err != nil {
		x.t.Fatal(err)
	}
	return p
}

func (x *bed) listen() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go x.b.Serve(nc, Info{Listener: "test"})
		}
	}()
	x.dial = func() io.ReadWriteCloser {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			x.t.Fatal(err)
		}
		return nc
	}
}

// settle waits until nothing moves any more, where that can be known, and else
// leaves it to what the caller does next.
func (x *bed) settle() {
	if x.bubble {
		if x.slow {
			time.Sleep(2 * time.Second) // virtual
		}
		synctest.Wait()
	}
}

// pass lets virtual time go by.
func (x *bed) pass(d time.Duration) {
	if !x.bubble {
		x.t.Fatal("time passes only in a bubble")
	}
	time.Sleep(d)
	synctest.Wait()
}

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

// finish ends everything and checks that nothing is left.
func (x *bed) finish() {
	x.t.Helper()
	for _, p := range x.peers {
		_ = p.conn.Close() // closed already, perhaps
		for range p.in {
			// what is left has no reader
		}
	}
	x.b.Shutdown(x.wait)
	x.settle()
	x.b.reg.each(func(cl *client) { cl.expireNow() })
	x.settle()
	if err := x.b.Close(); err != nil {
		x.t.Errorf("Close: %v", err)
	}
	m := &x.b.metrics
	for name, n := range map[string]int64{
		"Connections": m.Connections.Load(), "Sessions": m.Sessions.Load(), "Subscriptions": m.Subscriptions.Load(),
		"Shared": m.Shared.Load(), "BufferedBytes": m.BufferedBytes.Load(), "Queued": m.Queued.Load(), "Panics": m.Panics.Load(),
		"timers": int64(x.b.wheel.armed), "owners": int64(len(x.b.reg.owners)), "total": int64(x.b.reg.total),
		"groups": int64(len(x.b.groups.byFilter)), "routes": int64(x.b.tree.Len()), "conns": int64(len(x.b.conns.set)),
	} {
		if n != 0 {
			x.t.Errorf("%s is %d at the end, want 0", name, n)
		}
	}
	x.b.reg.each(func(cl *client) { x.t.Errorf("client %q is left at the end", cl.id) })
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
		p.pid++
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

// expireNow ends the session of an absent client at once.
func (cl *client) expireNow() {
	cl.mu.Lock()
	cl.expiresAt = 0
	if cl.session != nil {
		cl.session.Expiry = min(cl.session.Expiry, 1<<31)
	}
	cl.mu.Unlock()
	cl.expire()
}

// denyTopic denies everything about one topic or filter, and allows the rest.
func denyTopic(topic string) policyFunc {
	return func(r *security.Request) security.Effect {
		if r.Topic == topic {
			return security.Deny
		}
		return security.Allow
	}
}
