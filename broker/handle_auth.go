package broker

import (
	"bytes"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"sallyport/audit"
	"sallyport/packet"
	"sallyport/security"
	"sallyport/security/authn"
)

const (
	// exchangeTime bounds an exchange, from its CONNECT or AUTH on; a shorter connect
	// timeout counts before the CONNACK.
	exchangeTime = 30 * time.Second
	// exchangeRounds bounds the packets in which a client sends data within an exchange.
	exchangeRounds = 10
	// reauthBurst is how often a connection may authenticate again at once, and
	// reauthEvery how long it is until it may once more.
	reauthBurst = 3
	reauthEvery = 10 * time.Second
)

// enhancedAuth is what a connection with enhanced authentication needs beside others.
type enhancedAuth struct {
	// Owned by the driver's calls.
	method   string
	exchange Exchange          // nil between two
	creds    authn.Credentials // what the transport presents, the CONNECT's left out
	rounds   int               // of the exchange
	epoch    authn.Epoch       // of before it began
	began    int64             // when its last step did
	starts   int64             // the time at which all of the burst is left again

	proved atomic.Uint32          // when the last exchange succeeded, in ticks since the broker's start
	until  atomic.Int64           // by when a re-authentication has to be over, 0: none is under way
	failed atomic.Pointer[ending] // what it ends with then, nil: it took too long
}

// beginExchange starts enhanced authentication for a CONNECT that names a method (MQTT 5.0, 4.12).
func (c *Conn) beginExchange(creds *authn.Credentials) error {
	if c.lis.Enhanced == nil {
		return &packet.Error{Code: packet.BadAuthenticationMethod, Text: "no enhanced authentication here, and the method " + claimed(creds.AuthMethod, true) + " was asked for"}
	}
	o := c.opening.Load()
	if c.lis.Auth != nil {
		// First: the exchange may keep the chain and the accounts that it finds.
		o.epoch = c.lis.Auth.Epoch()
	}
	creds.AuthData = bytes.Clone(creds.AuthData)
	x, ok := c.lis.Enhanced.Exchange(creds.AuthMethod, creds)
	if !ok {
		return &packet.Error{Code: packet.BadAuthenticationMethod, Text: "unknown authentication method " + claimed(creds.AuthMethod, true)}
	}
	a := &enhancedAuth{method: creds.AuthMethod, exchange: x, creds: *creds, epoch: o.epoch}
	a.proved.Store(c.began.Load())
	again := &a.creds
	again.HasUsername, again.Username, again.HasPassword, again.Password, again.AuthData = false, "", false, nil, nil
	c.enhanced.Store(a)
	if at := c.turn.now + int64(exchangeTime); o.deadline.Load() == 0 || at < o.deadline.Load() {
		o.deadline.Store(at)
		c.arm(at)
	}
	c.step(creds.AuthData)
	return nil
}

// step gives data to the exchange and waits for its answer: the client's next packet
// is not read meanwhile, so that what follows an AUTH is judged after it. What is for
// the client flows on.
func (c *Conn) step(data []byte) {
	a, again := c.enhanced.Load(), c.phase == serving
	if !again {
		c.phase = authenticating
	}
	a.began = c.turn.now
	if a.rounds++; a.rounds > exchangeRounds {
		c.stepped(again, nil, nil, errRounds)
		return
	}
	resume := c.await()
	// A copy: who reads the connection reads on for others while the step is worked on.
	a.exchange.Step(bytes.Clone(data), func(reply []byte, who *security.Principal, err error) {
		resume(func() { c.stepped(again, reply, who, err) })
	})
}

var errRounds = errors.New("the exchange has too many rounds")

func (c *Conn) stepped(again bool, reply []byte, who *security.Principal, err error) {
	a := c.enhanced.Load()
	if who != nil || err != nil {
		a.exchange = nil
	}
	switch {
	case err != nil && again:
		c.refuseAgain(err)
	case err != nil:
		c.unidentified(err, a.began)
	case who != nil && again:
		c.reauthenticated(who, reply)
	case who != nil:
		c.admitWith(who, reply)
	default:
		c.sendAuth(packet.ContinueAuthentication, reply)
		if !again {
			c.phase = exchanging
		}
	}
}

// refuseAgain ends a connection whose re-authentication failed (MQTT-4.12.1-2), not
// sooner than the common floor of time. DISCONNECT has no server unavailable (MQTT
// 5.0, 3.14.2.1): it is server busy, and the session waits.
func (c *Conn) refuseAgain(cause error) {
	code := packet.NotAuthorized
	if errors.Is(cause, authn.ErrBusy) || errors.Is(cause, authn.ErrUnavailable) {
		code = packet.ServerBusy
	}
	why := ending{code: code, reason: "re-authentication failed: " + cause.Error(), notify: true}
	if c.lis.Auth == nil {
		c.failAgain(why)
		return
	}
	a := c.enhanced.Load()
	at := a.began + int64(c.lis.Auth.FailureFloor())
	if c.b.now() >= at {
		c.failAgain(why)
		return
	}
	c.await() // for the end
	a.failed.Store(&why)
	a.until.Store(at)
	c.arm(at)
}

// failAgain records a failed re-authentication and ends the connection.
func (c *Conn) failAgain(why ending) {
	if c.ended.Load() {
		return
	}
	c.b.metrics.ReauthenticationsRefused.Add(1)
	c.b.audit.Record(audit.ReauthenticationFailed, c.who(slog.String("method", c.enhanced.Load().method),
		slog.String("reason", why.reason), slog.String("code", codeText(why.code)))...)
	c.end(why)
}

// exchangeLapses is by when a re-authentication under way has to be over; 0: none is.
func (c *Conn) exchangeLapses() int64 {
	if a := c.enhanced.Load(); a != nil {
		return a.until.Load()
	}
	return 0
}

// exchangeLapsed is the timer's end of a re-authentication: it has failed, or took too long.
func (c *Conn) exchangeLapsed() {
	if why := c.enhanced.Load().failed.Load(); why != nil {
		c.failAgain(*why)
		return
	}
	c.failAgain(ending{code: packet.NotAuthorized, reason: "re-authentication was not over in time", notify: true})
}

// reauthenticated renews the principal of a connection; another one can't take
// its place (MQTT 5.0, 4.12.1 with the owner of the session).
func (c *Conn) reauthenticated(who *security.Principal, reply []byte) {
	a, old := c.enhanced.Load(), c.principal.Load()
	if !who.Same(old) {
		c.failAgain(ending{code: packet.NotAuthorized, reason: "re-authentication as another principal", notify: true})
		return
	}
	named := inPlaceOf(old, who)
	if v := c.b.gate.Admit(named); !v.Allowed() {
		c.failAgain(ending{code: packet.NotAuthorized, reason: "may not connect any more: " + v.Why(), notify: true, silence: true})
		return
	}
	var after aftermath
	cl := c.client.Load()
	if !cl.renew(c, named, &after) {
		c.fail(errTaken)
		return
	}
	// After the change: an account that changes from now on finds named here (Renew).
	if auth := c.lis.Auth; auth != nil && (auth.Epoch() != a.epoch || !auth.Stands(named)) {
		cl.settle(c.turn, &after)
		c.failAgain(ending{code: packet.ServerBusy, reason: "accounts changed while the client authenticated again", notify: true})
		return
	}
	a.until.Store(0)
	a.proved.Store(c.b.tickOf(c.turn.now))
	c.hasten()
	c.b.metrics.Reauthenticated.Add(1)
	attrs := []slog.Attr{slog.String("method", a.method)}
	if named.Expires != 0 {
		attrs = append(attrs, slog.Time("expires", time.Unix(int64(named.Expires), 0).UTC()))
	}
	c.b.audit.Record(audit.Reauthenticated, c.who(attrs...)...)
	c.sendAuth(packet.Success, reply)
	cl.settle(c.turn, &after)
}

// renew puts who in the place of the connection's principal, and judges what
// stands by its rights; false if c is not the present connection.
func (cl *client) renew(c *Conn, who *security.Principal, after *aftermath) bool {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.conn != c {
		return false
	}
	cl.assume(who)
	cl.keepOwner(&after.batch)
	cl.restand(after)
	return true
}

func (c *Conn) sendAuth(code packet.Code, data []byte) {
	a := packet.Auth{Code: code}
	a.Props.AuthMethod = c.enhanced.Load().method
	a.Props.Mark(packet.PropAuthMethod)
	if len(data) > 0 {
		a.Props.AuthData = data
		a.Props.Mark(packet.PropAuthData)
	}
	if !c.sendWithin(func(dst []byte) []byte { return packet.AppendAuth(dst, &a) }) {
		c.end(tooLargeToSend())
	}
}

// handleExchange takes the client's next AUTH before CONNACK.
func (c *Conn) handleExchange(h packet.Header, body []byte) error {
	if h.Type == packet.DISCONNECT {
		c.end(ending{reason: "the client disconnected while it authenticated"})
		return nil
	}
	if h.Type != packet.AUTH {
		// MQTT-3.1.2-30: only AUTH or DISCONNECT before CONNACK.
		return &packet.Error{Code: packet.ProtocolError, Text: "only AUTH or DISCONNECT may come before CONNACK"}
	}
	a, err := c.decodeAuth(h, body)
	if err != nil {
		return err
	}
	if a.Code != packet.ContinueAuthentication {
		return &packet.Error{Code: packet.ProtocolError, Text: "AUTH with another code than continue"}
	}
	c.step(a.Props.AuthData)
	return nil
}

// handleAuth takes an AUTH of a served connection: re-authentication.
func (c *Conn) handleAuth(h packet.Header, body []byte) error {
	p, err := c.decodeAuth(h, body)
	if err != nil {
		return err
	}
	a := c.enhanced.Load()
	switch {
	case a == nil:
		return &packet.Error{Code: packet.ProtocolError, Text: "AUTH without enhanced authentication"}
	case p.Code == packet.ReAuthenticate:
		if err := c.beginAgain(a, p.Props.AuthData); err != nil {
			return err
		}
	case p.Code != packet.ContinueAuthentication || a.exchange == nil:
		return &packet.Error{Code: packet.ProtocolError, Text: "AUTH that continues nothing"}
	}
	c.step(p.Props.AuthData)
	return nil
}

// beginAgain begins a re-authentication, with what the transport presented and the
// method of the CONNECT (MQTT-4.12.1-1).
func (c *Conn) beginAgain(a *enhancedAuth, data []byte) error {
	if a.exchange != nil {
		return &packet.Error{Code: packet.ProtocolError, Text: "re-authentication within another"}
	}
	// The burst is used up where what it takes to have it back is further off than the rest of it.
	if a.starts = max(a.starts, c.turn.now) + int64(reauthEvery); a.starts > c.turn.now+reauthBurst*int64(reauthEvery) {
		return &packet.Error{Code: packet.QuotaExceeded, Text: "re-authentication too often", Limit: "reauthentication"}
	}
	if c.lis.Auth != nil {
		a.epoch = c.lis.Auth.Epoch() // first: see beginExchange
	}
	creds, who := a.creds, c.principal.Load()
	creds.ClientID, creds.Listener, creds.Addr, creds.Secure = who.ClientID, c.lis.Name, who.Addr, who.Secure
	creds.AuthMethod, creds.AuthData = a.method, bytes.Clone(data)
	x, ok := c.lis.Enhanced.Exchange(a.method, &creds)
	if !ok {
		// A DISCONNECT knows no bad authentication method (MQTT 5.0, 3.14.2.1).
		return &leave{ending{code: packet.NotAuthorized, reason: "the authentication method is not offered any more", notify: true}}
	}
	a.exchange, a.rounds = x, 0
	at := c.turn.now + int64(exchangeTime)
	a.failed.Store(nil)
	a.until.Store(at)
	if sooner(c.b.lives.when(c), at) == at {
		c.arm(at)
	}
	return nil
}

func (c *Conn) decodeAuth(h packet.Header, body []byte) (*packet.Auth, error) {
	if c.version != packet.V5 {
		return nil, &packet.Error{Code: packet.ProtocolError, Text: "AUTH before MQTT 5"}
	}
	a, err := packet.DecodeAuth(c.version, h.Flags, body, packet.Limits{UserProperties: c.lis.Limits.UserProperties})
	if err != nil {
		return nil, err
	}
	method := ""
	if x := c.enhanced.Load(); x != nil {
		method = x.method
	}
	if a.Props.AuthMethod != method {
		// MQTT-4.12.0-5, MQTT-4.12.1-1
		return nil, &packet.Error{Code: packet.ProtocolError, Text: "AUTH with another method than CONNECT"}
	}
	return a, nil
}
