// Package client is a small MQTT client for 3.1, 3.1.1 and 5.0: for the
// command line, for bridges and for tests.
//
// A Client is one session seen from its client's side. Connect joins it to a
// server; when the connection ends, Done is closed, Err says why, and Connect
// may be called again: what was in flight is then sent again as the standard
// demands (MQTT 5.0, 4.4), if the server kept the session too. The client
// never reconnects by itself: how often and how long is the caller's affair.
//
// Each connection has two goroutines: the reader, which also calls OnMessage,
// and the writer, which also keeps the connection alive. Both end with it.
//
// Everything a server may send is bounded: the size of a packet, the number of
// QoS 2 exchanges, topic aliases and user properties.
package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"sallyport/packet"
)

// Errors that callers branch on.
var (
	// ErrNotConnected refuses a call that needs a connection.
	ErrNotConnected = errors.New("not connected")
	// ErrSessionLost ends what was in flight when the server no longer knew
	// the session: whether the message arrived is unknown at QoS 1 and 2.
	ErrSessionLost = errors.New("the server lost the session")
	// ErrClosed ends whatever waits when the client is closed.
	ErrClosed = errors.New("client closed")
	// ErrStop is what OnMessage returns to take no more messages, so that those
	// which follow stay with the server's session. Disconnect comes next.
	ErrStop = errors.New("no more messages wanted")
	// ErrKeepAlive ends a connection whose server went silent.
	ErrKeepAlive = errors.New("no answer to a ping within the keep alive")
)

// Defaults of Options.
const (
	DefaultMaxPacketSize = 1 << 20          // bytes
	DefaultMaxInflight   = 20               // messages, as mosquitto's tools
	DefaultWriteTimeout  = 30 * time.Second // without progress
)

// Options is what a Client is made of. Only Dial and Connect.Version are required.
type Options struct {
	// Dial opens a connection; see Target.Dial.
	Dial func(context.Context) (net.Conn, error)
	// Connect is sent as it stands. On a second connection of a client whose
	// session outlives the first, clean start is off and an identifier that
	// the server assigned is used.
	Connect packet.Connect
	// Authentication logs in by enhanced authentication (MQTT 5.0 only): Connect succeeds
	// when the server has proved what the method demands. It sets what Connect has of it.
	Authentication Authentication
	// OnMessage takes each message, in the order of arrival, on the reader's
	// goroutine. The message is acknowledged when it returns nil. With ErrStop it
	// is acknowledged and is the last one taken; with another error it is not
	// acknowledged and the connection ends with that error. It must not wait
	// for an answer of the same client: that answer is read after it. A nil
	// OnMessage discards messages.
	OnMessage func(*Message) error
	// MaxPacketSize is the largest packet accepted, in bytes; in MQTT 5 the
	// server is told, unless Connect.Props says something else.
	MaxPacketSize int
	// MaxInflight bounds the QoS 1 and 2 messages under way; the server's
	// receive maximum bounds them too.
	MaxInflight int
	// WriteTimeout ends a connection whose output makes no progress.
	WriteTimeout time.Duration
	// Trace, if set, is told of each packet sent and received, without content.
	Trace func(sent bool, t packet.Type, bytes int)
}

// Client is one MQTT session. Its methods may be called from any goroutine.
type Client struct {
	opts    Options
	version packet.Version

	connecting sync.Mutex // held by Connect: one at a time

	// mu guards the fields below. outbox.mu may be taken under it.
	mu       sync.Mutex
	conn     *conn  // nil before the first connection
	clientID string // as assigned, once it is
	closed   bool
	nextID   uint16
	inflight []*Pending            // in the order of Start; the resend order
	unsent   int                   // of inflight: not yet sent on this connection
	byID     map[uint16]*Pending   // the same as inflight
	received map[uint16]struct{}   // QoS 2 messages delivered, not yet released
	requests map[uint16]chan reply // SUBSCRIBE, UNSUBSCRIBE of this connection
	room     chan struct{}         // capacity 1: inflight has become shorter
}

// New returns a client that is not connected.
func New(o Options) *Client {
	if o.MaxPacketSize <= 0 {
		o.MaxPacketSize = DefaultMaxPacketSize
	}
	if o.MaxInflight <= 0 {
		o.MaxInflight = DefaultMaxInflight
	}
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = DefaultWriteTimeout
	}
	return &Client{
		opts:     o,
		version:  o.Connect.Version,
		clientID: o.Connect.ClientID,
		byID:     make(map[uint16]*Pending),
		received: make(map[uint16]struct{}),
		requests: make(map[uint16]chan reply),
		room:     make(chan struct{}, 1),
	}
}

// Connect opens a connection and returns the server's CONNACK. A refusal is a
// *ReasonError. ctx bounds the call, not the connection.
func (c *Client) Connect(ctx context.Context) (*packet.Connack, error) {
	c.connecting.Lock()
	defer c.connecting.Unlock()
	hello, err := c.hello()
	if err != nil {
		return nil, err
	}
	nc, err := c.opts.Dial(ctx)
	if err != nil {
		return nil, err
	}
	cn := newConn(c, nc)
	ack, err := cn.handshake(ctx, hello)
	if err != nil {
		nc.Close()
		return ack, err
	}
	if err := c.attach(cn, hello, ack); err != nil {
		nc.Close()
		return nil, err
	}
	go cn.read()
	go cn.write()
	return ack, nil
}

// hello returns the CONNECT for the next connection.
func (c *Client) hello() (*packet.Connect, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	hello := c.opts.Connect
	if hello.Version == packet.V5 && !hello.Props.Has(packet.PropMaximumPacketSize) {
		hello.Props.MaximumPacketSize = uint32(c.opts.MaxPacketSize)
		hello.Props.Mark(packet.PropMaximumPacketSize)
	}
	if c.conn == nil {
		return &hello, nil
	}
	select {
	case <-c.conn.done:
	default:
		return nil, errors.New("already connected")
	}
	hello.ClientID = c.clientID
	if hello.Version == packet.V5 && hello.Props.SessionExpiry > 0 {
		hello.CleanStart = false
	}
	return &hello, nil
}

// attach makes cn the client's connection and takes up the session on it.
func (c *Client) attach(cn *conn, hello *packet.Connect, ack *packet.Connack) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	if ack.SessionPresent && hello.CleanStart {
		// MQTT-3.2.2-4: there is nothing the server could have kept.
		return &ReasonError{Packet: packet.CONNACK, Version: c.version, Code: packet.ProtocolError,
			Reason: "session present after a clean start"}
	}
	c.conn = cn
	if ack.Props.Has(packet.PropAssignedClientID) {
		c.clientID = ack.Props.AssignedClientID
	}
	if !ack.SessionPresent { // MQTT-3.2.2-5
		clear(c.received)
		c.failInflightLocked(ErrSessionLost)
	}
	for _, p := range c.inflight {
		p.sent = false
	}
	c.unsent = len(c.inflight)
	c.pumpLocked()
	return nil
}

// ClientID returns the identifier in use; the server's, if it assigned one.
func (c *Client) ClientID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clientID
}

// Done is closed when the connection has ended. Before the first connection it
// is closed already.
func (c *Client) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		ended := make(chan struct{})
		close(ended)
		return ended
	}
	return c.conn.done
}

// Err says why the connection ended: nil after Disconnect and while connected,
// a *ReasonError after the server's DISCONNECT.
func (c *Client) Err() error {
	c.mu.Lock()
	cn := c.conn
	c.mu.Unlock()
	if cn == nil {
		return ErrNotConnected
	}
	return cn.failure()
}

// Disconnect sends DISCONNECT after everything queued, waits until it has been
// written and the server has closed, and closes the connection. nil is a
// normal disconnection. A session kept by the server can be taken up again
// with Connect.
func (c *Client) Disconnect(ctx context.Context, d *packet.Disconnect) error {
	cn, err := c.current()
	if err != nil {
		return err
	}
	if d == nil {
		d = &packet.Disconnect{}
	}
	return cn.disconnect(ctx, d)
}

// Close ends the connection without a DISCONNECT, so that the server publishes
// the will, and ends everything that waits.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	cn := c.conn
	c.failInflightLocked(ErrClosed)
	c.mu.Unlock()
	if cn != nil {
		cn.fail(ErrClosed)
	}
	return nil
}

// current returns the live connection.
func (c *Client) current() (*conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.liveLocked(); err != nil {
		return nil, err
	}
	return c.conn, nil
}

func (c *Client) liveLocked() error {
	if c.closed {
		return ErrClosed
	}
	if c.conn == nil {
		return ErrNotConnected
	}
	select {
	case <-c.conn.done:
		if err := c.conn.failure(); err != nil {
			return fmt.Errorf("%w: %w", ErrNotConnected, err)
		}
		return ErrNotConnected
	default:
		return nil
	}
}

// takeIDLocked returns a packet identifier that nothing uses: the number of
// messages and requests under way is far below 65,535.
func (c *Client) takeIDLocked() uint16 {
	for {
		c.nextID++
		if c.nextID == 0 { // MQTT-2.2.1-3
			continue
		}
		_, message := c.byID[c.nextID]
		_, request := c.requests[c.nextID]
		if !message && !request {
			return c.nextID
		}
	}
}
