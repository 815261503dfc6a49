// Package broker is the engine: connections, sessions and takeover, routing,
// retained messages, wills, delivery.
//
// A connection is a state machine (Conn) that a driver feeds with bytes; it
// never blocks and knows neither sockets nor goroutines. Everything one Feed
// causes is one turn: packets are handled in order, output is appended to the
// buffers of its receivers, and when the turn ends each touched receiver is
// flushed once, by its own driver.
//
// A client is what a client identifier names: its session and, while it is
// online, its Conn. A Conn may touch the session only while the client says
// that it is the current one, so a taken-over connection can do no harm.
//
// Locks, in the order in which they may be nested:
//
//	group.mu    a shared subscription: members, waiting messages
//	client.mu   a session, its replays, its present connection
//	Conn.mu     a connection's output and pending acknowledgements (a leaf)
//
// What is decided is done under the lock or in the turn in which it was decided:
// so Enforce knows when nothing of earlier rules is under way any more.
//
// The registry's, the subscription tree's, the store's and the timer wheels'
// own locks are leaves as well. No lock is held across a system call, but for a
// line of the log; a receiver's rights are judged under client.mu, without I/O.
package broker

import (
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/audit"
	"sallyport/metrics"
	"sallyport/packet"
	"sallyport/security"
	"sallyport/security/authn"
	"sallyport/session"
	"sallyport/store"
	"sallyport/topic"
)

// Authenticator is the chain of one listener.
type Authenticator interface {
	// Begin finds out who c is. done is called exactly once, possibly before
	// Begin returns and from any goroutine. cancel gives the attempt up.
	Begin(c *authn.Credentials, done func(*security.Principal, error)) (cancel func())
	// Epoch is the present state of accounts and chain. What was decided under
	// another one is not valid any more.
	Epoch() authn.Epoch
	// Stands reports whether the account by which p was judged (Principal.Account) is
	// still as it was then. It may not wait for anything.
	Stands(p *security.Principal) bool
	// FailureFloor is how long a refusal takes at least.
	FailureFloor() time.Duration
}

// Enhanced begins exchanges of the authentication methods of MQTT 5.0, 4.12.
type Enhanced interface {
	// Exchange starts an exchange for the method; ok is false if the method is not offered.
	Exchange(method string, c *authn.Credentials) (x Exchange, ok bool)
}

// Exchange is one enhanced authentication.
type Exchange interface {
	// Step takes the client's data and answers with the server's; done is
	// called exactly once, possibly before Step returns. A principal ends the
	// exchange with success, an error with failure; neither asks for more.
	Step(data []byte, done func(reply []byte, p *security.Principal, err error))
}

// QueueFull says what happens to a message for a full queue.
type QueueFull uint8

// The choices.
const (
	DropNewest QueueFull = iota
	DropOldest
	Disconnect
)

// Limits bounds one listener's clients. Every limit is enforced; zero means none where the comment says so.
type Limits struct {
	ConnectTimeout        time.Duration // from accept until the client is authenticated
	WriteTimeout          time.Duration // output without progress
	KeepAliveMax          uint16        // seconds; 0: the client's choice
	PacketUnauthenticated int           // bytes, before CONNACK
	Packet                int           // bytes, after
	Topic                 topic.Limits
	ClientIDBytes         int
	UserProperties        int // per packet
	Subscriptions         int // per client
	FiltersPerPacket      int
	ReceiveMaximum        uint16 // unacknowledged QoS 1 and 2 messages of a client
	Inflight              int    // unacknowledged QoS 1 and 2 messages to a client
	QueueMessages         int
	QueueBytes            int
	OutputBytes           int    // waiting for the socket
	TopicAlias            uint16 // accepted from a client
	TopicAliasOut         uint16 // used towards a client
	MaxQoS                byte
	SessionExpiry         uint32 // seconds, at most granted
	MessageBytes          int    // larger payloads are acknowledged and dropped; 0: none
	QueueFull             QueueFull
}

// Listener is what the engine has to know of a door.
type Listener struct {
	Name               string
	Limits             Limits
	Auth               Authenticator // nil refuses everyone
	Enhanced           Enhanced      // nil offers no method
	AllowEmptyClientID bool
	GeneratedPrefix    string      // of generated client identifiers
	V3Refusal          packet.Code // return code of a refused CONNECT before MQTT 5
	DisconnectDenied   bool        // a denied PUBLISH ends the connection
	HideNames          bool        // tokens come as user names: a long one is not logged before it is judged
	// A connection ends so long after it last authenticated, and after its CONNECT, or
	// by chance up to a tenth of that and five minutes earlier; 0: it need not.
	MaxAuthAge, MaxConnectionLifetime time.Duration
}

// Options makes a Broker.
type Options struct {
	Listeners map[string]*Listener
	Gate      *security.Gate
	Store     store.Store
	Log       *slog.Logger
	Now       func() time.Time // nil: time.Now
	Wall      func() time.Time // the clock that credentials end by, which may be set; nil: Now
	Tick      <-chan time.Time // each value turns the timers to Now; nil: every 100 ms
	Jitter    func() float64   // chance, from 0 on and below 1, by which connections end earlier than they must; nil: math/rand

	NoRetain              bool // retained messages are refused
	NoShared              bool
	NoWildcards           bool
	NoSubscriptionIDs     bool
	QueueQoS0             bool // QoS 0 messages wait for offline sessions
	MergeOverlapping      bool // overlapping subscriptions get one message
	TellNoSubscribers     bool // reason code 0x10
	RedeliverOnDisconnect bool // shared QoS 1 messages move when a member disconnects
	OwnedByClientID       bool // any principal may use any session
	WillsOnShutdown       bool
	OnPolicyChange        PolicyChange
	KeepRetainedSource    bool                // retained messages are sent whatever their publisher may do by now
	DenyIDs               bool                // MQTT 5 clients are told an identifier of each refusal
	Decisions             *security.Decisions // where it is found again; nil: one of the broker's own, with DenyIDs
	ReasonStrings         bool                // MQTT 5 clients are told in words what was wrong with their packet
	ResponseInformation   string
	Sessions              int   // at most; 0: none
	SessionsPerPrincipal  int   // at most; 0: none
	BufferBytes           int64 // all queues and output buffers; 0: none
	RetainedMessages      int64 // at most; 0: none
	RetainedBytes         int64 // at most; 0: none
	SysInterval           time.Duration
	Version               string // as $SYS/broker/version tells it

	// Publisher is the present principal in the place of one who published a retained
	// message; nil: it stays. It must not block, and whoever changes what it answers
	// swaps the gate's rules.
	Publisher func(*security.Principal) *security.Principal
	// Gone reports whether who a session was kept for may not act any more: who was
	// taken away while no broker ran leaves no will. Nil: nobody is. It must not block.
	Gone func(*security.Principal) bool
}

// Broker is the engine.
type Broker struct {
	opt          Options
	gate         *security.Gate
	store        store.Store
	durable      bool          // store outlives the process: it has to be told of sessions' messages
	pages        bool          // store is a store.Pager
	bounded      store.Bounded // store, or nil
	reopening    atomic.Bool   // see Reopen
	log          *slog.Logger
	audit        audit.Log
	metrics      metrics.Broker
	lives        *wheel[Conn]
	absences     *wheel[absence]
	sessions     atomic.Uint64 // the last number of a session
	alarms       *wheel[alarm]
	started      time.Time
	tree         *topic.Tree[target, *session.Subscription]
	routes       routes
	reg          registry
	groups       groups
	turns        sync.Pool // *turn
	buffers      buffers
	fans         atomic.Int32 // that wait for a later turn
	readBuffers  sync.Pool    // *[readBuffer]byte
	sources      sources
	internal     *security.Principal // publishes what is under $SYS
	internalFrom *session.Origin

	// outside is held for reading while something is published outside of any turn:
	// a will, for one. Whoever holds it waits for nobody, and takes it once.
	outside   sync.RWMutex
	errands   errands    // what connections have left to be done
	enforcing sync.Mutex // one Enforce at a time

	closing atomic.Bool
	conns   connSet
	done    chan struct{}
	stop    sync.Once
	work    sync.WaitGroup // wheels and $SYS

	// mu guards listeners, which a reload replaces.
	mu        sync.RWMutex
	listeners map[string]*Listener
}

// target is where a subscription leads: a client, or a shared subscription.
type target struct {
	client *client
	group  *group
}

// New makes a broker and starts its timers. Close ends it.
func New(opt Options) *Broker {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Jitter == nil {
		opt.Jitter = rand.Float64
	}
	if opt.Gate == nil {
		opt.Gate = security.NewGate(nil)
	}
	if opt.Store == nil {
		opt.Store = store.NewMemory()
	}
	if opt.DenyIDs && opt.Decisions == nil {
		opt.Decisions = &security.Decisions{}
	}
	b := &Broker{
		opt: opt, gate: opt.Gate, store: opt.Store, log: opt.Log, audit: audit.New(opt.Log),
		started: opt.Now(), tree: topic.NewTree[target, *session.Subscription](),
		done: make(chan struct{}), listeners: opt.Listeners,
	}
	_, memory := opt.Store.(*store.Memory)
	b.durable = !memory // no other may be taken for it: a wrapper may well keep something
	_, b.pages = opt.Store.(store.Pager)
	b.bounded, _ = opt.Store.(store.Bounded)
	b.internal = &security.Principal{Realm: "sallyport", Name: "$SYS", Internal: true}
	b.internalFrom = originOf(b.internal)
	b.reg.init()
	b.groups.byFilter = make(map[string]*group)
	b.turns.New = func() any { return new(turn) }
	b.lives = newWheel(b.now(), func(c *Conn) *timer[Conn] { return &c.life })
	b.absences = newWheel(b.now(), func(a *absence) *timer[absence] { return &a.timer })
	b.alarms = newAlarms(b.now())
	b.restore()
	if opt.Gone != nil {
		b.Revoke(opt.Gone, "") // before a will that is due is published
	}
	b.work.Add(1)
	go b.turnWheels()
	b.work.Add(1)
	go b.housekeep()
	return b
}

// now is the time in nanoseconds since 1970 by the monotonic clock, so that a
// step of the wall clock expires nothing.
func (b *Broker) now() int64 { return b.started.UnixNano() + int64(b.opt.Now().Sub(b.started)) }

// ahead is how much the wall clock is ahead of now: it was set, or the machine slept.
func (b *Broker) ahead() int64 {
	if b.opt.Wall == nil {
		return 0 // now is what credentials end by, too
	}
	return b.opt.Wall().UnixNano() - b.now()
}

// Metrics is what the broker counts.
func (b *Broker) Metrics() *metrics.Broker { return &b.metrics }

// Gate is the gate that judges every request.
func (b *Broker) Gate() *security.Gate { return b.gate }

// SetListeners replaces the listeners' options; connections that exist keep theirs,
// but for MaxAuthAge and MaxConnectionLifetime, which hold for them from their own
// start on.
func (b *Broker) SetListeners(l map[string]*Listener) {
	b.mu.Lock()
	b.listeners = l
	b.mu.Unlock()
	for _, l := range l {
		if l.MaxAuthAge > 0 || l.MaxConnectionLifetime > 0 {
			for _, c := range b.conns.all() {
				c.hasten()
			}
			return
		}
	}
}

func (b *Broker) listener(name string) *Listener {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.listeners[name]
}

// Shutdown ends every connection in order (DISCONNECT 0x8B in MQTT 5), publishes
// wills as configured, keeps sessions, and returns when no connection is left or
// after timeout.
func (b *Broker) Shutdown(timeout time.Duration) {
	b.closing.Store(true)
	why := ending{code: packet.ServerShuttingDown, reason: "the server shuts down", notify: true, shutdown: true}
	for _, c := range b.conns.all() {
		c.end(why)
	}
	select {
	case <-b.conns.empty():
	case <-time.After(timeout):
	}
}

// Close stops timers and closes the store. Connections should have been ended by Shutdown.
func (b *Broker) Close() error {
	var err error
	b.stop.Do(func() {
		b.closing.Store(true)
		close(b.done)
		b.work.Wait()
		err = b.store.Close()
	})
	return err
}

// Revoke ends the connections of principals that must not act any more, and
// silences the wills they left. It returns the number of connections.
func (b *Broker) Revoke(revoked func(*security.Principal) bool, reason string) int {
	n := 0
	defer b.errands.silence(revoked)
	b.reg.each(func(cl *client) {
		cl.mu.Lock()
		c, who := cl.conn, cl.principal
		hit := who != nil && revoked(who)
		if hit {
			// Now, since the connection may be ending by itself at this moment.
			var batch store.Batch
			cl.dropWill(&batch)
			b.commit(&batch, func(error) {}) // a failure is logged; it is judged again before it is published
		}
		cl.mu.Unlock()
		if hit && c != nil {
			n++
			c.end(ending{code: packet.NotAuthorized, reason: reason, notify: true, silence: true})
		}
	})
	return n
}

// Redirect sends the MQTT 5 connections of principals to another server (MQTT
// 5.0, 4.13) and ends the others without a word; permanent says that it will not
// change back. It returns the number of connections.
func (b *Broker) Redirect(moved func(*security.Principal) bool, server string, permanent bool) int {
	why := ending{code: packet.UseAnotherServer, reason: "sent to another server", notify: true, server: server}
	if permanent {
		why.code = packet.ServerMoved
	}
	n := 0
	b.reg.each(func(cl *client) {
		cl.mu.Lock()
		c := cl.conn
		hit := c != nil && cl.principal != nil && moved(cl.principal)
		cl.mu.Unlock()
		if hit {
			n++
			c.end(why)
		}
	})
	return n
}

// commit gives batch to the store; an empty one is complete at once.
func (b *Broker) commit(batch *store.Batch, done func(error)) {
	if batch.Empty() {
		done(nil)
		return
	}
	b.store.Commit(batch, func(err error) {
		if err != nil {
			b.metrics.StoreFailures.Add(1)
			b.log.Error("store refused a batch", "error", err)
		}
		done(err)
	})
}
