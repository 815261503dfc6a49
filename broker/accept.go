package broker

import (
	"errors"
	"log/slog"

	"sallyport/audit"
	"sallyport/packet"
	"sallyport/security"
	"sallyport/session"
	"sallyport/store"
)

// admitWith asks the gate whether the principal may connect, with its will,
// and attaches. authData goes with the CONNACK.
func (c *Conn) admitWith(who *security.Principal, authData []byte) {
	o := c.opening.Load()
	p, info := o.connect.Load(), &o.info
	if who.ClientID != p.ClientID || who.Listener != c.lis.Name || who.Addr != info.Remote || who.Secure != info.Secure {
		named := *who
		named.ClientID, named.Listener, named.Addr, named.Secure = p.ClientID, c.lis.Name, info.Remote, info.Secure
		who = &named
	}
	c.principal.Store(who)
	if c.judge() {
		c.attach(authData)
	}
}

// judge asks the gate about the principal and its will; a refusal ends the connection.
func (c *Conn) judge() (allowed bool) {
	o, who := c.opening.Load(), c.principal.Load()
	generation := c.b.gate.Generation() // first: newer rules than these judge again
	v := c.b.gate.Admit(who)
	if !v.Allowed() {
		r := c.refusal(security.Request{Action: security.Connect}, v)
		c.refuseConnect(packet.NotAuthorized, v.Why(), r)
		return false
	}
	o.judged, o.judgedFor = generation, who
	if v.Until != 0 || v.Volatile {
		o.judged = 0
	}
	if w := o.connect.Load().Will; w != nil {
		in := inbound{topic: w.Topic, qos: w.QoS, retain: w.Retain, will: true, payload: w.Payload}
		q := in.request(who)
		_, v := c.b.gate.Publish(q)
		if !v.Allowed() {
			q.Action = security.Publish
			r := c.refusal(q, v)
			c.b.audit.Record(audit.WillDenied, c.who(r.attrs(v, slog.String("topic", w.Topic))...)...)
			c.refuseConnect(packet.NotAuthorized, "will not allowed", r)
			return false
		}
		if v.Until != 0 || v.Volatile {
			o.judged = 0
		}
	}
	return true
}

// attach makes this connection the client's present one, and answers.
func (c *Conn) attach(authData []byte) {
	a, err := c.b.attach(c)
	if c.ended.Load() {
		// The end came before the client was known to it.
		if cl := c.client.Load(); cl != nil {
			if a != nil { // what it has begun and ended is so
				c.b.commit(&a.batch, func(error) {})
			}
			cl.detach(c, ending{reason: "the connection ended while the client connected"})
		}
		return
	}
	if err != nil {
		var d *packet.Error
		if errors.As(err, &d) {
			c.refuseConnect(d.Code, d.Text)
		} else {
			c.refuseConnect(packet.UnspecifiedError, err.Error())
		}
		return
	}
	a.authData = authData
	c.phase = authenticating
	resume := c.await()
	accept := func(_ *turn, err error) { resume(func() { c.accept(a, err) }) }
	if a.handing == nil {
		c.keep(&a.batch, accept)
		return
	}
	// What this turn leaves goes first as well. It is kept though the connection may
	// end meanwhile: an earlier session may end with it.
	own := c.turnOver()
	go func() {
		<-a.handing
		if own != nil {
			<-own
		}
		c.b.commit(&a.batch, func(err error) { accept(nil, err) })
	}()
}

// accept sends the CONNACK and lets the session flow.
func (c *Conn) accept(a *attached, failed error) {
	if failed != nil {
		c.refuseConnect(packet.ServerUnavailable, "the session could not be stored")
		return
	}
	o := c.opening.Load()
	if auth := c.lis.Auth; auth != nil && (auth.Epoch() != o.epoch || !auth.Stands(c.principal.Load())) {
		// Accounts changed while this CONNECT was under way: it has to come again.
		c.refuseConnect(packet.ServerBusy, "accounts changed while the client connected")
		return
	}
	if c.principal.Load() != o.judgedFor {
		// Another has taken its place while the session was stored, with the former as its owner.
		o.judged = 0
		cl := c.client.Load()
		var batch store.Batch
		if !cl.keepOwnerOf(c, &batch) {
			return // taken over, and ended for that
		}
		c.keep(&batch, nil)
	}
	if o.judged != c.b.gate.Generation() && !c.judge() {
		return // the rules changed while the session was stored
	}
	p := o.connect.Load()
	ack := packet.Connack{SessionPresent: a.present}
	if p.Version == packet.V5 {
		c.describe(&ack, o, a)
	}
	c.configure(p)
	if !c.sendWithin(func(dst []byte) []byte { return packet.AppendConnack(dst, p.Version, &ack) }) {
		c.refuseConnect(packet.ImplementationSpecificError, "the client accepts no packet as large as its CONNACK")
		return
	}
	c.b.metrics.ConnectsAccepted.Add(1)
	if c.b.audit.Writes(audit.Connected) {
		more := []slog.Attr{slog.String("method", c.principal.Load().Method), slog.Int("version", int(p.Version))}
		if text := o.info.TLS.String(); text != "" {
			more = append(more, slog.String("tls", text))
		}
		c.b.audit.Record(audit.Connected, c.who(more...)...)
	}
	c.phase = serving
	c.opening.Store(nil)
	c.client.Load().goLive(c.turn, c, receiveMaximum(p))
}

// configure takes over what the CONNECT said of the connection.
func (c *Conn) configure(p *packet.Connect) {
	lim := &c.lis.Limits
	ka := p.KeepAlive
	if lim.KeepAliveMax > 0 && (ka == 0 || ka > lim.KeepAliveMax) {
		ka = lim.KeepAliveMax
	}
	c.keepAlive.Store(uint32(ka) * 1500)
	c.b.lives.disarm(c)
	at, _, _ := c.deadline()
	if ka > 0 {
		at = sooner(at, c.turn.now+c.mayRest())
	}
	if at != 0 {
		c.arm(at)
	}
	if p.Version != packet.V5 {
		return
	}
	if p.Props.Has(packet.PropRequestProblemInfo) {
		c.problemInfo = p.Props.RequestProblemInfo == 1
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.Props.Has(packet.PropTopicAliasMaximum) {
		c.aliasMax = min(p.Props.TopicAliasMaximum, lim.TopicAliasOut)
	}
}

// receiveMaximum is the client's own (MQTT-3.3.4-9): 65,535 where it says nothing.
func receiveMaximum(p *packet.Connect) int {
	if p.Version == packet.V5 && p.Props.Has(packet.PropReceiveMaximum) {
		return int(p.Props.ReceiveMaximum)
	}
	return 65535
}

// from is whom the connection's messages come from, made when there is a first one.
func (c *Conn) from() *session.Origin {
	s := c.sender()
	if s.origin == nil {
		s.origin = originOf(c.principal.Load())
	}
	return s.origin
}

// describe fills the properties of an MQTT 5 CONNACK (3.2.2.3).
func (c *Conn) describe(ack *packet.Connack, o *opening, a *attached) {
	p, lim, pr := o.connect.Load(), &c.lis.Limits, &ack.Props
	if o.assigned {
		// MQTT-3.1.3-7
		pr.AssignedClientID = p.ClientID
		pr.Mark(packet.PropAssignedClientID)
	}
	if asked := sessionExpiryAsked(p); asked != a.expiry {
		pr.SessionExpiry = a.expiry
		pr.Mark(packet.PropSessionExpiry)
	}
	if lim.KeepAliveMax > 0 && (p.KeepAlive == 0 || p.KeepAlive > lim.KeepAliveMax) {
		pr.ServerKeepAlive = lim.KeepAliveMax
		pr.Mark(packet.PropServerKeepAlive)
	}
	if lim.ReceiveMaximum < 65535 {
		pr.ReceiveMaximum = lim.ReceiveMaximum
		pr.Mark(packet.PropReceiveMaximum)
	}
	if lim.MaxQoS < 2 {
		pr.MaximumQoS = lim.MaxQoS
		pr.Mark(packet.PropMaximumQoS)
	}
	if c.b.opt.NoRetain {
		pr.Mark(packet.PropRetainAvailable)
	}
	if lim.Packet < maxPacketSize {
		pr.MaximumPacketSize = uint32(lim.Packet)
		pr.Mark(packet.PropMaximumPacketSize)
	}
	if lim.TopicAlias > 0 {
		pr.TopicAliasMaximum = lim.TopicAlias
		pr.Mark(packet.PropTopicAliasMaximum)
	}
	if c.b.opt.NoWildcards {
		pr.Mark(packet.PropWildcardSubAvailable)
	}
	if c.b.opt.NoSubscriptionIDs {
		pr.Mark(packet.PropSubIDAvailable)
	}
	if c.b.opt.NoShared {
		pr.Mark(packet.PropSharedSubAvailable)
	}
	if p.Props.RequestResponseInfo == 1 && c.b.opt.ResponseInformation != "" {
		pr.ResponseInfo = c.b.opt.ResponseInformation
		pr.Mark(packet.PropResponseInfo)
	}
	if x := c.enhanced.Load(); x != nil {
		// MQTT-4.12.0-5
		pr.AuthMethod = x.method
		pr.Mark(packet.PropAuthMethod)
		if len(a.authData) > 0 {
			pr.AuthData = a.authData
			pr.Mark(packet.PropAuthData)
		}
	}
}

// sessionExpiryAsked is the session expiry interval of a CONNECT; 3.1.1 knows
// only "ends with the connection" and "never".
func sessionExpiryAsked(p *packet.Connect) uint32 {
	if p.Version == packet.V5 {
		return p.Props.SessionExpiry
	}
	if p.CleanStart {
		return 0
	}
	return session.NeverExpires
}

// attached is the result of taking a client over.
type attached struct {
	present  bool
	expiry   uint32
	authData []byte
	batch    store.Batch
	handing  <-chan struct{} // the batch may be kept when it is closed; nil: at once
}

func verdictAttrs(v security.Verdict, more ...slog.Attr) []slog.Attr {
	return append(more, slog.String("policy", v.Policy), slog.String("file", v.File), slog.Int("line", v.Line), slog.String("rule", v.Rule))
}
