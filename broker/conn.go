package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"sallyport/audit"
	"sallyport/internal/jwt"
	"sallyport/internal/suites"
	"sallyport/packet"
	"sallyport/security"
	"sallyport/security/authn"
	"sallyport/session"
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
	// grace, and to call Conn.Gone. With grace 0 the peer waits for nothing: what
	// can't be written at once need not be, and nobody is waited for.
	Close(grace time.Duration)
}

// closeGrace is how long a last packet may take to leave, and then to be read.
const closeGrace = time.Second

// Info is what the door knows of a connection.
type Info struct {
	Listener string
	Remote   netip.AddrPort    // unmapped, without zone; zero for a Unix socket
	Secure   bool              // TLS, or a local transport
	TLS      suites.Negotiated // for the log; zero without TLS
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
	say      string // what an MQTT 5 client is told in words, which judge nobody else; empty: nothing
	server   string // the server to use instead, with UseAnotherServer and ServerMoved
	silence  bool   // the principal may not act any more: no will
	bye      bool   // the client has said that it goes: it reads no more
}

// Conn is one network connection as a state machine. A driver calls Feed,
// Continue and Gone, never two at once; after each of the first two it flushes
// the connection's own output, as if Flush had been called.
type Conn struct {
	b    *Broker
	wire Wire
	lis  *Listener

	// Owned by the driver's calls: one goroutine at a time. Fields are in the order
	// in which they leave no gap: every idle connection has them all.
	turn        *turn   // nil between calls
	keeping     *turn   // that has something of this connection for the store; changed under mu
	held        []byte  // an incomplete packet, or, if deferred, input that waits while paused
	sending     *sender // nil until it publishes; see sender
	phase       phase
	version     packet.Version
	paused      bool
	problemInfo bool
	heard       bool   // a packet came in this turn
	behind      bool   // an acknowledgement may be waiting for its commit
	deferred    bool   // see held
	place       int32  // in the list of connections, counted from 1; guarded by connSet.mu
	early       uint16 // the share of chance in when it ends: see deadline; never changed once accepted

	// Written once or by the driver's calls, read by anybody.
	ended     atomic.Bool                        // changed under mu
	waiting   atomic.Bool                        // input waits for the broker, not for the client
	keepAlive atomic.Uint32                      // milliseconds allowed between packets, 0: any
	began     atomic.Uint32                      // when the CONNECT came, in ticks since the broker's start
	opening   atomic.Pointer[opening]            // nil once it is accepted
	principal atomic.Pointer[security.Principal] // who it is, from when it was found out
	client    atomic.Pointer[client]             // set when attached
	enhanced  atomic.Pointer[enhancedAuth]       // nil without enhanced authentication
	lastRead  atomic.Int64                       // time of the last packet
	writing   atomic.Int64                       // time since which a write makes no progress, 0: none is under way

	life timer[Conn] // connect timeout, then keep alive and write progress: see checkLife

	mu           sync.Mutex // guards the fields below
	out          []byte     // what the driver has not taken yet
	outPackets   int32      // in out
	outPublishes int32      // in out
	accounted    int32      // pages of out counted against the broker's bound
	written      int32      // the same of what the driver has taken and not yet written
	seldom       *seldom    // nil until some of it is needed
	sendMax      uint32     // client's maximum packet size
	returned     int32      // acknowledged QoS 1 and 2 messages that sender.open counts still
	aliasMax     uint16
	dirty        bool // in some turn's list
	inTurn       bool
	gone         bool // it is forgotten when the turn ends
	wantDrain    bool // somebody waits for output to be written
}

// seldom is what few connections need. Conn.mu guards it.
type seldom struct {
	over     chan struct{} // closed when the turn ends; nil: nobody waits for that
	next     func()        // what Continue is for; nil: nothing
	acks     []*pendingAck
	resume   func(func())      // input waits, and this ends it
	onAcks   bool              // resume is for when acknowledgements have left, else for when output has
	fan      *fan              // goes on in the next turn
	outAlias map[string]uint16 // topic aliases in use towards the client
}

// rare is the connection's seldom, made once: every connection needs it until its
// CONNACK, where it is a part of what is made for that. The caller holds c.mu.
func (c *Conn) rare() *seldom {
	if c.seldom != nil {
		return c.seldom
	}
	if o := c.opening.Load(); o != nil {
		c.seldom = &o.seldom
	} else {
		c.seldom = &seldom{}
	}
	return c.seldom
}

// relax gives seldom back where none of it is in use. The caller holds c.mu.
func (c *Conn) relax() {
	if s := c.seldom; s.over == nil && s.next == nil && len(s.acks) == 0 && s.resume == nil && s.fan == nil && s.outAlias == nil {
		c.seldom = nil
	}
}

// opening is what a connection needs only until its CONNACK.
type opening struct {
	info     Info
	deadline atomic.Int64                   // for the CONNECT and its authentication, 0: none
	connect  atomic.Pointer[packet.Connect] // nil until it has come; never changed
	assigned bool                           // the client identifier is ours
	epoch    authn.Epoch
	tries    int    // of an authentication during which the account changed
	judged   uint64 // the generation of the rules that admitted it; 0: for that moment only
	// judgedFor is the principal that was admitted: another may have taken its place.
	judgedFor *security.Principal

	// Guarded by Conn.mu:
	cancel   func() // gives up an authentication under way
	refuse   func() // a refusal that waits for its time
	refuseAt int64
	seldom   seldom
}

// accepted reports whether a CONNACK said yes.
func (c *Conn) accepted() bool { return c.opening.Load() == nil }

// sender is what a connection needs only when it publishes, or is refused something.
type sender struct {
	access  security.Access
	trails  []*trail        // of the topics that access remembers, by their places there
	origin  *session.Origin // made by from
	aliases []string
	refused refusals
	// incoming is the QoS 2 identifiers received on this connection, which its
	// receive window counts.
	incoming session.IDs
	// open is how many QoS 1 and 2 messages of this connection are not acknowledged,
	// with those that Conn.returned says are.
	open int32
}

// sender makes that part of the connection which publishes, once.
func (c *Conn) sender() *sender {
	if c.sending == nil {
		c.sending = &sender{access: security.NewAccess(c.b.gate, c.principal.Load())}
	}
	return c.sending
}

// current is sender for the principal of now: another may have taken its place since
// the last packet (Renew, re-authentication), and what was remembered is void then.
func (c *Conn) current() *sender {
	s := c.sender()
	if who := c.principal.Load(); s.access.Principal() != who {
		s.access, s.trails, s.origin = security.NewAccess(c.b.gate, who), nil, nil
	}
	return s
}

// identity is what the log calls a connection.
type identity struct{ client, user string }

// identity is what is known of the client: what it claims, until who it is was found out.
func (c *Conn) identity() identity {
	if p := c.principal.Load(); p != nil {
		return identity{client: shown(p.ClientID), user: shown(p.Name)}
	}
	if o := c.opening.Load(); o != nil {
		if p := o.connect.Load(); p != nil {
			return identity{client: claimed(p.ClientID, false), user: claimed(p.Username, c.lis.HideNames)}
		}
	}
	return identity{}
}

// claimed is shown for a name that nobody has judged yet: a token that came in its
// place is a secret. Where tokens are looked for in user names, whatever is too long for
// a person's name may be a broken one.
func claimed(name string, tokens bool) string {
	const longest = 64
	if jwt.Resembles(name) || tokens && len(name) > longest {
		return audit.Hidden
	}
	return shown(name)
}

// shown is a name as the log has it: short, and without what draws on a
// terminal. A name is logged before it is judged, and no format of a log can be
// relied on to escape all of that.
func shown(name string) string {
	const longest = 256
	cut := len(name) > longest
	if cut {
		name = strings.ToValidUTF8(name[:longest], "")
	}
	for _, r := range name {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			name = strconv.Quote(name)
			name = name[1 : len(name)-1]
			break
		}
	}
	if cut {
		name += "..."
	}
	return name
}

// Open makes the state machine of a new connection. The driver then calls Feed
// with what arrives, and Gone when it is over.
func (b *Broker) Open(w Wire, info Info) (*Conn, error) {
	lis := b.listener(info.Listener)
	if lis == nil {
		return nil, fmt.Errorf("no listener %q", info.Listener)
	}
	c := &Conn{b: b, wire: w, lis: lis, sendMax: maxPacketSize, problemInfo: true}
	o := &opening{info: info}
	c.opening.Store(o)
	now := b.now()
	if lis.Limits.ConnectTimeout > 0 {
		o.deadline.Store(now + int64(lis.Limits.ConnectTimeout))
	}
	c.lastRead.Store(now)
	b.conns.add(c)
	if b.closing.Load() {
		// Shutdown may have listed the connections before this one was there.
		b.conns.remove(c)
		return nil, errors.New("the broker is shutting down")
	}
	n := b.metrics.Connections.Add(1)
	for m := b.metrics.ConnectionsMax.Load(); n > m && !b.metrics.ConnectionsMax.CompareAndSwap(m, n); m = b.metrics.ConnectionsMax.Load() {
	}
	if at := o.deadline.Load(); at != 0 {
		c.arm(at)
	}
	return c, nil
}

// Feed handles what arrived. It keeps nothing of p. more is false when the
// driver has to wait: it calls Continue after Resume, and Feed only once that has returned true.
func (c *Conn) Feed(p []byte) (more bool) {
	t := c.b.takeTurn()
	defer c.b.endTurn(t)
	return c.feed(t, p)
}

// feed is Feed as a part of the turn t.
func (c *Conn) feed(t *turn, p []byte) (more bool) {
	if c.ended.Load() {
		return false // what was read before an end by others counts no more
	}
	c.begin(t)
	defer c.finish()
	t.tally.bytes += int64(len(p))
	c.consume(p)
	c.holdBack()
	return !c.paused && !c.ended.Load()
}

// Continue goes on after Resume; more is as with Feed.
func (c *Conn) Continue() (more bool) {
	t := c.b.takeTurn()
	defer c.b.endTurn(t)
	return c.carryOn(t)
}

// carryOn is Continue as a part of the turn t.
func (c *Conn) carryOn(t *turn) (more bool) {
	c.mu.Lock()
	var next func()
	if s := c.seldom; s != nil {
		next, s.next = s.next, nil
		c.relax()
	}
	c.mu.Unlock()
	if c.ended.Load() {
		return false
	}
	if next == nil {
		return !c.paused
	}
	c.begin(t)
	defer c.finish()
	c.paused = false
	c.lastRead.Store(t.now) // the client could not be heard meanwhile
	c.waiting.Store(false)
	next()
	if !c.paused && c.deferred && !c.ended.Load() {
		p := c.held
		c.held, c.deferred = nil, false
		c.consume(p)
		c.b.buffers.give(p)
	}
	c.holdBack()
	return !c.paused && !c.ended.Load()
}

// Gone tells that the connection is over; err is nil if the peer closed it.
func (c *Conn) Gone(err error) {
	why := ending{reason: "the client closed the connection"}
	if err != nil {
		why.reason = err.Error()
		// What the transport refused, below MQTT.
		_, why.violated = errors.AsType[interface {
			error
			Violation()
		}](err)
	}
	c.end(why)
	c.mu.Lock()
	c.b.metrics.BufferedBytes.Add(-int64(c.accounted+c.written) * page)
	c.out, c.accounted, c.written = nil, 0, 0
	c.gone = true
	inTurn := c.inTurn // which Enforce may have to wait for
	c.mu.Unlock()
	if !inTurn {
		c.forget()
	}
}

// forget takes the connection off the list.
func (c *Conn) forget() {
	// The count first: who waits for the last connection looks at it then.
	c.b.metrics.Connections.Add(-1)
	c.b.conns.remove(c)
}

// Remote is the peer's address for logs.
func (c *Conn) remote() string {
	var at netip.AddrPort
	if o := c.opening.Load(); o != nil {
		at = o.info.Remote
	} else {
		at = c.principal.Load().Addr
	}
	if at.IsValid() {
		return at.String()
	}
	return "local"
}

func (c *Conn) begin(t *turn) {
	c.turn = t
	c.heard = false
	c.mu.Lock()
	c.inTurn = true
	c.mu.Unlock()
}

// finish ends the connection's part of a turn. A panic ends this connection only.
func (c *Conn) finish() {
	if r := recover(); r != nil {
		c.b.metrics.Panics.Add(1)
		c.b.log.Error("panic in a connection", "addr", c.remote(), "client", c.identity().client, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		c.paused = true
		c.turn.router, c.turn.paced = nil, nil // they may have been in use
		c.letGo()
		c.end(ending{code: packet.ImplementationSpecificError, reason: "internal error", notify: true})
	}
	t := c.turn
	if c.heard {
		c.lastRead.Store(t.now)
	}
	t.forget()
	c.mu.Lock()
	c.appendGathered()
	c.turn = nil
	gone := c.gone
	c.inTurn = false
	over := c.closeOver()
	if len(c.out) > 0 {
		t.touch(c)
	}
	c.mu.Unlock()
	if over != nil {
		close(over)
	}
	if gone {
		c.forget()
	}
}

// leave is an error that ends the connection in another way than a violation.
type leave struct{ why ending }

func (l *leave) Error() string { return l.why.reason }

// fail turns an error into the end of the connection: the one place where
// errors become reason codes.
func (c *Conn) fail(err error) {
	c.letGo()
	var l *leave
	if errors.As(err, &l) {
		c.end(l.why)
		return
	}
	why := ending{code: packet.UnspecifiedError, reason: err.Error(), notify: true, violated: true}
	var pe *packet.Error
	if errors.As(err, &pe) {
		why.code, why.reason = pe.Code, pe.Text
		if pe.Limit != "" {
			c.limit(pe.Limit)
		}
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
	var cancel func()
	if o := c.opening.Load(); o != nil {
		cancel = o.cancel
		o.cancel, o.refuse = nil, nil
	}
	if s := c.seldom; s != nil {
		s.next, s.acks = nil, nil
	}
	cl := c.client.Load()
	serving := c.accepted()
	if why.notify && c.version == packet.V5 && serving {
		c.farewell(why)
	}
	c.mu.Unlock()
	c.abandon()
	if cancel != nil {
		cancel()
	}
	c.b.lives.disarm(c)
	c.record(why, serving)
	grace := closeGrace
	if why.bye {
		grace = 0
	}
	c.wire.Close(grace)
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
		why.say = why.reason
	}
	if why.say != "" {
		d.Props.ReasonString = why.say
		d.Props.Mark(packet.PropReasonString)
	}
	c.room(smallPacket)
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
		if !c.b.audit.Writes(audit.Disconnected) {
			return
		}
		c.b.audit.Record(audit.Disconnected, c.who(slog.String("reason", why.reason), slog.String("code", codeText(why.code)))...)
	} else if !why.violated {
		c.b.log.Debug("connection closed before CONNECT was accepted", "addr", c.remote(), "listener", c.lis.Name, "reason", why.reason)
	}
}

func codeText(code packet.Code) string {
	const digits = "0123456789abcdef"
	return string([]byte{'0', 'x', digits[code>>4], digits[code&15]})
}

// who is the client's identity as log attributes, with more appended.
func (c *Conn) who(more ...slog.Attr) []slog.Attr {
	id := c.identity()
	attrs := append(make([]slog.Attr, 0, 4+len(more)),
		slog.String("client", id.client), slog.String("user", id.user),
		slog.String("addr", c.remote()), slog.String("listener", c.lis.Name))
	return append(attrs, more...)
}

// limit counts that a limit was reached and says so.
func (c *Conn) limit(name string) {
	c.b.metrics.Limits.Reached(name)
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
		c.rare().next = next
		c.mu.Unlock()
		c.wire.Resume()
	}
}
