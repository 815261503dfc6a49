package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/audit"
	"sallyport/packet"
	"sallyport/security"
	"sallyport/security/authn"
	"sallyport/session"
	"sallyport/store"
)

// Wire is a driver's side of a connection. None of its methods blocks, and
// each may be called from any goroutine.
type Wire interface {
	// Flush asks for the connection's output to be written (Conn.TakeOutput).
	Flush()
	// Resume asks the driver to call Conn.Continue.
	Resume()
	// Close asks the driver to stop reading, to write the output that is left
	// for at most grace, to end its sending side, to close within another
	// grace, and to call Conn.Gone.
	Close(grace time.Duration)
}

// closeGrace is how long a last packet may take to leave, and then to be read.
const closeGrace = time.Second

// Info is what the door knows of a connection.
type Info struct {
	Listener string
	Remote   netip.AddrPort // unmapped, without zone; zero for a Unix socket
	Secure   bool           // TLS, or a local transport
	Creds    authn.Credentials
}

type phase uint8

const (
	awaitConnect phase = iota
	authenticating
	exchanging // enhanced authentication, before CONNACK
	serving
)

// ending says why a connection ends.
type ending struct {
	code     packet.Code
	reason   string // for the log
	notify   bool   // tell an MQTT 5 client with a DISCONNECT
	normal   bool   // the client said goodbye: no will
	shutdown bool
	taken    bool   // by another connection, which has detached the client
	violated bool   // the peer broke a rule
	server   string // the server to use instead, with UseAnotherServer and ServerMoved
	silence  bool   // the principal may not act any more: no will
}

// Conn is one network connection as a state machine. A driver calls Feed,
// Continue and Gone, never two at once; after each of the first two it flushes
// the connection's own output, as if Flush had been called.
type Conn struct {
	b    *Broker
	wire Wire
	info Info
	lis  *Listener

	// Owned by the driver's calls: one goroutine at a time.
	phase       phase
	version     packet.Version
	partial     []byte // an incomplete packet
	pending     []byte // input that waits while paused
	paused      bool
	maxPacket   int
	aliases     []string
	access      security.Access
	connect     *packet.Connect
	clientID    string
	assigned    bool // clientID is ours
	principal   *security.Principal
	exchange    Exchange
	method      string
	turn        turn
	tally       tally
	denied      int // publishes denied since the last log line
	deniedAt    int64
	publisher   *session.Origin
	problemInfo bool
	epoch       authn.Epoch
	receiveMax  int         // the client's receive maximum
	scratch     []byte      // properties of the PUBLISH at hand
	in          inbound     // the PUBLISH at hand
	batch       store.Batch // what has to be kept of the packet at hand
	// incomingHere is the QoS 2 identifiers received on this connection, which its receive window counts.
	incomingHere session.IDs

	// Written once or by the driver's calls, read by anybody.
	client    atomic.Pointer[client]   // set when attached
	identity  atomic.Pointer[identity] // for the log
	ended     atomic.Bool              // changed under mu
	accepted  atomic.Bool              // a CONNACK said yes
	lastRead  atomic.Int64             // time of the last packet
	writing   atomic.Int64             // time since which a write makes no progress, 0: none is under way
	keepAlive atomic.Int64             // nanoseconds allowed between packets, 0: any
	lifeAt    atomic.Int64             // when life fires, about
	waiting   atomic.Bool              // input waits for the broker, not for the client

	life  timer // connect timeout, then keep alive and write progress
	floor timer // a refusal that waits for its time

	mu sync.Mutex // guards the fields below
	// out is what the driver has not taken yet.
	out                      []byte
	outPackets, outPublishes int64 // appended and not yet taken
	accounted                int64 // bytes of out counted against the broker's bound
	written                  int64 // the same of what the driver has taken and not yet written
	dirty                    bool  // in some turn's list
	inTurn                   bool
	cancel                   func() // gives up an authentication under way
	wantDrain                bool   // somebody waits for output to be written
	next                     func()
	acks                     []*pendingAck
	ackWait                  func(func())
	outWait                  func(func())      // input waits for output to be written
	received                 int               // QoS 1 and 2 messages of this connection not yet acknowledged
	sendMax                  uint32            // client's maximum packet size
	outAlias                 map[string]uint16 // topic aliases in use towards the client
	aliasMax                 uint16
}

// identity is what the log calls a connection.
type identity struct{ client, user string }

// turn is what one call of a driver, timer or callback causes.
type turn struct {
	now     int64
	touched []*Conn
}

// touch notes that c has output. The caller holds c.mu.
func (t *turn) touch(c *Conn) {
	if !c.dirty && !c.ended.Load() {
		c.dirty = true
		t.touched = append(t.touched, c)
	}
}

// flush ends the turn: each touched connection is flushed once.
func (t *turn) flush() {
	for i, c := range t.touched {
		t.touched[i] = nil
		c.mu.Lock()
		c.dirty = false
		c.mu.Unlock()
		c.wire.Flush()
	}
	t.touched = t.touched[:0]
}

// tally counts locally what one turn does.
type tally struct{ packets, bytes, publishes int64 }

// Open makes the state machine of a new connection. The driver then calls Feed
// with what arrives, and Gone when it is over.
func (b *Broker) Open(w Wire, info Info) (*Conn, error) {
	lis := b.listener(info.Listener)
	if lis == nil {
		return nil, fmt.Errorf("no listener %q", info.Listener)
	}
	c := &Conn{b: b, wire: w, info: info, lis: lis, maxPacket: lis.Limits.PacketUnauthenticated, sendMax: maxPacketSize, receiveMax: 65535, problemInfo: true}
	c.life.fire = c.checkLife
	now := b.now()
	c.lastRead.Store(now)
	b.conns.add(c)
	if b.closing.Load() {
		// Shutdown may have listed the connections before this one was there.
		b.conns.remove(c)
		return nil, errors.New("the broker is shutting down")
	}
	if b.closing.Load() {
		// Shutdown may have missed it.
		b.conns.remove(c)
		return nil, errors.New("the broker is shutting down")
	}
	n := b.metrics.Connections.Add(1)
	for m := b.metrics.ConnectionsMax.Load(); n > m && !b.metrics.ConnectionsMax.CompareAndSwap(m, n); m = b.metrics.ConnectionsMax.Load() {
	}
	if lis.Limits.ConnectTimeout > 0 {
		c.armLife(now + int64(lis.Limits.ConnectTimeout))
	}
	return c, nil
}

// Feed handles what arrived. It keeps nothing of p. more is false when the
// driver has to wait: it calls Continue after Resume, and Feed only once that has returned true.
func (c *Conn) Feed(p []byte) (more bool) {
	c.begin()
	defer c.finish()
	c.tally.bytes += int64(len(p))
	c.consume(p)
	c.holdBack()
	return !c.paused && !c.ended.Load()
}

// Continue goes on after Resume; more is as with Feed.
func (c *Conn) Continue() (more bool) {
	c.mu.Lock()
	next := c.next
	c.next = nil
	c.mu.Unlock()
	if c.ended.Load() {
		return false
	}
	if next == nil {
		return !c.paused
	}
	c.begin()
	defer c.finish()
	c.paused = false
	c.lastRead.Store(c.turn.now) // the client could not be heard meanwhile
	c.waiting.Store(false)
	next()
	if !c.paused && len(c.pending) > 0 {
		p := c.pending
		c.pending = nil
		c.consume(p)
	}
	c.holdBack()
	return !c.paused && !c.ended.Load()
}

// holdBack lets input wait while output is far above its limit: a peer that
// asks and does not read must not pile up answers. Messages stop at the limit
// by themselves, so that who only reads slowly is not held back. Between two
// looks one turn's input is answered, which bounds what is beyond.
func (c *Conn) holdBack() {
	if c.paused || c.ended.Load() {
		return
	}
	c.mu.Lock()
	over := len(c.out)/2 >= c.lis.Limits.OutputBytes
	c.mu.Unlock()
	if !over {
		return
	}
	resume := c.await()
	// The driver flushes after this turn, so Drained is yet to be called.
	c.mu.Lock()
	c.outWait = resume
	c.mu.Unlock()
}

// Drained tells that all output was written.
func (c *Conn) Drained() {
	c.mu.Lock()
	want := c.wantDrain && !c.ended.Load() && len(c.out) == 0
	if want {
		c.wantDrain = false
	}
	var resume func(func())
	if len(c.out) < c.lis.Limits.OutputBytes {
		resume, c.outWait = c.outWait, nil
	}
	c.mu.Unlock()
	if resume != nil {
		resume(func() {})
	}
	if cl := c.client.Load(); want && cl != nil {
		t := turn{now: c.b.now()}
		cl.refill(&t, c)
		t.flush()
	}
}

// Gone tells that the connection is over; err is nil if the peer closed it.
func (c *Conn) Gone(err error) {
	why := ending{reason: "the client closed the connection"}
	if err != nil {
		why.reason = err.Error()
	}
	c.end(why)
	c.mu.Lock()
	c.b.metrics.BufferedBytes.Add(-c.accounted - c.written)
	c.out, c.accounted, c.written = nil, 0, 0
	c.mu.Unlock()
	c.b.conns.remove(c)
	c.b.metrics.Connections.Add(-1)
}

// TakeOutput gives the driver what is to be written, nil when there is
// nothing. written is what it took before and has written; it may be nil.
func (c *Conn) TakeOutput(written []byte) []byte {
	if cap(written) > 0 {
		c.b.giveBuffer(written)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m := &c.b.metrics
	if c.written != 0 {
		m.BufferedBytes.Add(-c.written)
	}
	c.written, c.accounted = c.accounted, 0
	if len(c.out) == 0 {
		return nil
	}
	out := c.out
	c.out = nil
	m.BytesSent.Add(int64(len(out)))
	m.PacketsSent.Add(c.outPackets)
	m.PublishSent.Add(c.outPublishes)
	c.outPackets, c.outPublishes = 0, 0
	return out
}

// room makes sure that there is an output buffer, and counts one packet that
// will be appended. The caller holds c.mu.
func (c *Conn) room() {
	c.outPackets++
	if c.out == nil {
		c.out = c.b.takeBuffer()
	} else {
		c.out = c.b.growBuffer(c.out)
	}
}

// WriteBegins and WriteEnds bracket each write of the driver, so that output
// without progress is noticed.
func (c *Conn) WriteBegins() {
	now := c.b.now()
	c.writing.Store(now)
	if wt := int64(c.lis.Limits.WriteTimeout); wt > 0 && c.client.Load() != nil {
		if at := c.lifeAt.Load(); (at == 0 || at > now+wt) && !c.ended.Load() {
			c.armLife(now + wt)
		}
	}
}

// WriteEnds: see WriteBegins.
func (c *Conn) WriteEnds() { c.writing.Store(0) }

// Remote is the peer's address for logs.
func (c *Conn) remote() string {
	if c.info.Remote.IsValid() {
		return c.info.Remote.String()
	}
	return "local"
}

func (c *Conn) begin() {
	c.turn.now = c.b.now()
	c.mu.Lock()
	c.inTurn = true
	c.mu.Unlock()
}

// finish ends the turn: what was counted is added up, what was touched is
// flushed, and a panic ends this connection only.
func (c *Conn) finish() {
	if r := recover(); r != nil {
		c.b.metrics.Panics.Add(1)
		c.b.log.Error("panic in a connection", "addr", c.remote(), "client", c.clientID, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		c.paused = true
		c.end(ending{code: packet.ImplementationSpecificError, reason: "internal error", notify: true})
	}
	m := &c.b.metrics
	if c.tally.packets > 0 {
		c.lastRead.Store(c.turn.now)
		m.PacketsReceived.Add(c.tally.packets)
	}
	if c.tally.publishes > 0 {
		m.PublishReceived.Add(c.tally.publishes)
	}
	m.BytesReceived.Add(c.tally.bytes)
	c.tally = tally{}
	c.mu.Lock()
	c.inTurn = false
	c.mu.Unlock()
	c.turn.flush()
	if cap(c.turn.touched) > 256 {
		c.turn.touched = nil
	}
}

// consume handles every complete packet of p and keeps the rest.
func (c *Conn) consume(p []byte) {
	for len(c.partial) > 0 && len(p) > 0 && !c.paused {
		need, ok := c.missing()
		if !ok {
			return
		}
		k := min(need, len(p))
		c.partial = append(c.partial, p[:k]...)
		p = p[k:]
		if need, ok = c.missing(); !ok {
			return
		} else if need > 0 {
			continue
		}
		whole := c.partial
		c.partial = nil
		h, n, _ := packet.ReadHeader(whole)
		c.handle(h, whole[n:])
		if c.ended.Load() {
			return
		}
	}
	for len(p) > 0 && !c.paused {
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
	}
	if len(p) == 0 {
		return
	}
	if c.paused {
		c.pending = append(c.pending, p...)
		return
	}
	c.partial = append(c.partial, p...)
}

// missing is how many bytes the packet in partial lacks before more can be
// said; ok is false if the connection has to end.
func (c *Conn) missing() (need int, ok bool) {
	h, n, err := packet.ReadHeader(c.partial)
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
	return n + h.Length - len(c.partial), true
}

// expects is how many bytes have to come at least before the next packet is
// whole: the rest of the one that has begun, or the least that a packet has.
func (c *Conn) expects() int {
	const least = 2
	if len(c.partial) == 0 {
		return least
	}
	h, n, err := packet.ReadHeader(c.partial)
	if err != nil || n == 0 {
		return 1
	}
	return n + h.Length - len(c.partial)
}

// fits refuses a packet by its announced length, before anything is kept for it.
func (c *Conn) fits(h packet.Header, n int) bool {
	if c.phase == awaitConnect && h.Type != packet.CONNECT {
		// MQTT-3.1.0-1: the first packet is a CONNECT.
		c.fail(&packet.Error{Code: packet.ProtocolError, Text: "first packet is not a CONNECT"})
		return false
	}
	if n+h.Length <= c.maxPacket {
		return true
	}
	c.limit("packet_size")
	c.fail(&packet.Error{Code: packet.PacketTooLarge, Text: fmt.Sprintf("packet of %d bytes", n+h.Length)})
	return false
}

// handle gives one packet to its handler.
func (c *Conn) handle(h packet.Header, body []byte) {
	c.tally.packets++
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

// leave is an error that ends the connection in another way than a violation.
type leave struct{ why ending }

func (l *leave) Error() string { return l.why.reason }

// fail turns an error into the end of the connection: the one place where
// errors become reason codes.
func (c *Conn) fail(err error) {
	var l *leave
	if errors.As(err, &l) {
		c.end(l.why)
		return
	}
	why := ending{code: packet.UnspecifiedError, reason: err.Error(), notify: true, violated: true}
	var pe *packet.Error
	if errors.As(err, &pe) {
		why.code, why.reason = pe.Code, pe.Text
	}
	if c.phase == awaitConnect || c.phase == exchanging {
		// MQTT-3.1.4-1: what is no CONNECT is closed without a CONNACK.
		c.refuseConnect(why.code, why.reason)
		return
	}
	c.end(why)
}

// end ends the connection, once.
func (c *Conn) end(why ending) {
	c.mu.Lock()
	if c.ended.Load() {
		c.mu.Unlock()
		return
	}
	c.ended.Store(true)
	c.next = nil
	cancel := c.cancel
	c.cancel = nil
	c.acks = nil
	cl := c.client.Load()
	serving := c.accepted.Load()
	if why.notify && c.version == packet.V5 && serving {
		c.farewell(why)
	}
	c.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	c.b.wheel.disarm(&c.life)
	c.b.wheel.disarm(&c.floor)
	c.record(why, serving)
	c.wire.Close(closeGrace)
	if cl != nil && !why.taken {
		cl.detach(c, why)
	}
}

// farewell appends the DISCONNECT. A reason string is for the peer's own
// mistakes only: it never says what a policy or another client did. The caller holds c.mu.
func (c *Conn) farewell(why ending) {
	d := packet.Disconnect{Code: why.code}
	if why.server != "" {
		d.Props.ServerReference = why.server
		d.Props.Mark(packet.PropServerReference)
	}
	bare := d
	if why.violated && c.b.opt.ReasonStrings {
		d.Props.ReasonString = why.reason
		d.Props.Mark(packet.PropReasonString)
	}
	c.room()
	n := len(c.out)
	if c.out = packet.AppendDisconnect(c.out, packet.V5, &d); len(c.out)-n > int(c.sendMax) {
		// MQTT-3.14.2-3: no reason string above the client's maximum packet size.
		c.out = packet.AppendDisconnect(c.out[:n], packet.V5, &bare)
	}
}

func (c *Conn) record(why ending, serving bool) {
	if why.violated {
		c.b.audit.Record(audit.ProtocolViolation, c.who(slog.String("reason", why.reason), slog.String("code", codeText(why.code)))...)
	}
	if serving {
		c.b.audit.Record(audit.Disconnected, c.who(slog.String("reason", why.reason), slog.String("code", codeText(why.code)))...)
	} else if !why.violated {
		c.b.log.Debug("connection closed before CONNECT was accepted", "addr", c.remote(), "listener", c.lis.Name, "reason", why.reason)
	}
}

func codeText(code packet.Code) string { return fmt.Sprintf("0x%02x", byte(code)) }

// who is the client's identity as log attributes, with more appended.
func (c *Conn) who(more ...slog.Attr) []slog.Attr {
	var id identity
	if p := c.identity.Load(); p != nil {
		id = *p
	}
	return append([]slog.Attr{
		slog.String("client", id.client), slog.String("user", id.user),
		slog.String("addr", c.remote()), slog.String("listener", c.lis.Name),
	}, more...)
}

// limit counts that a limit was reached and says so.
func (c *Conn) limit(name string) {
	c.b.metrics.LimitsReached.Add(1)
	c.b.audit.Record(audit.LimitReached, c.who(slog.String("limit", name))...)
}

// await pauses input until resume is called, once, with what to do then.
// resume may be called before await's caller has returned, from any goroutine.
func (c *Conn) await() (resume func(next func())) {
	c.paused = true
	c.waiting.Store(true)
	return func(next func()) {
		c.mu.Lock()
		if c.ended.Load() {
			c.mu.Unlock()
			return
		}
		c.next = next
		c.mu.Unlock()
		c.wire.Resume()
	}
}

// send appends output that belongs to this connection's own turn.
func (c *Conn) send(f func(dst []byte) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended.Load() {
		return
	}
	c.room()
	c.out = f(c.out)
	c.account()
}

// account counts output against the broker's bound, in steps. The caller holds c.mu.
func (c *Conn) account() {
	const step = 4096
	if n := int64(len(c.out)); n > c.accounted+step {
		c.b.metrics.BufferedBytes.Add(n - c.accounted)
		c.accounted = n
	}
}

// armLife makes checkLife run at a time.
func (c *Conn) armLife(at int64) {
	c.lifeAt.Store(at)
	c.arm(&c.life, at)
}

// arm arms a timer of the connection, unless that has ended, which disarms them.
func (c *Conn) arm(t *timer, at int64) {
	c.b.wheel.arm(t, at)
	if c.ended.Load() {
		c.b.wheel.disarm(t)
	}
}

// checkLife is the connection's timer: connect timeout, keep alive, and output
// without progress.
func (c *Conn) checkLife() {
	c.lifeAt.Store(0)
	if c.ended.Load() {
		return
	}
	now := c.b.now()
	if c.client.Load() == nil {
		c.limit("connect_timeout")
		c.end(ending{code: packet.KeepAliveTimeout, reason: "no CONNECT in time"})
		return
	}
	since, wt := c.writing.Load(), int64(c.lis.Limits.WriteTimeout)
	if wt > 0 && since != 0 && now-since >= wt {
		c.limit("write_timeout")
		c.end(ending{code: packet.ServerBusy, reason: "output makes no progress"})
		return
	}
	at := int64(0)
	if ka := c.keepAlive.Load(); ka > 0 {
		last := c.lastRead.Load()
		// While output is stuck input isn't read: the write timeout decides then. Nor
		// is it read while the connection waits for the broker.
		if since == 0 && !c.waiting.Load() && now-last >= ka {
			// MQTT-3.1.2-22: one and a half times the keep alive without a packet.
			c.end(ending{code: packet.KeepAliveTimeout, reason: "keep alive ran out", notify: true})
			return
		}
		at = max(last+ka, now+int64(tick))
	}
	if since != 0 && wt > 0 && (at == 0 || since+wt < at) {
		at = since + wt
	}
	if at != 0 {
		c.armLife(at)
	}
	if s := c.writing.Load(); s != since && s != 0 && wt > 0 && (at == 0 || s+wt < at) {
		// A write has begun meanwhile, and may have armed what was armed over.
		c.armLife(s + wt)
	}
}
