package broker

import (
	"sallyport/packet"
	"sallyport/security"
	"sallyport/security/authn"
)

// enhancedAuth is what a connection with enhanced authentication needs beside others.
type enhancedAuth struct {
	method   string
	exchange Exchange          // nil between two
	creds    authn.Credentials // what the transport presents, the CONNECT's left out
}

// beginExchange starts enhanced authentication for a CONNECT that names a method (MQTT 5.0, 4.12).
func (c *Conn) beginExchange(creds *authn.Credentials) error {
	if c.lis.Enhanced == nil {
		return &packet.Error{Code: packet.BadAuthenticationMethod, Text: "no enhanced authentication here"}
	}
	if c.lis.Auth != nil {
		// First: the exchange may keep the chain and the accounts that it finds.
		c.opening.Load().epoch = c.lis.Auth.Epoch()
	}
	x, ok := c.lis.Enhanced.Exchange(creds.AuthMethod, creds)
	if !ok {
		return &packet.Error{Code: packet.BadAuthenticationMethod, Text: "unknown authentication method"}
	}
	c.auth = &enhancedAuth{method: creds.AuthMethod, exchange: x, creds: *creds}
	again := &c.auth.creds
	again.HasUsername, again.Username, again.HasPassword, again.Password, again.AuthData = false, "", false, nil, nil
	c.step(creds.AuthData, c.turn.now)
	return nil
}

// step gives data to the exchange and waits for its answer.
func (c *Conn) step(data []byte, began int64) {
	again := c.phase == serving
	if !again {
		c.phase = authenticating
	}
	resume := c.await()
	c.auth.exchange.Step(data, func(reply []byte, who *security.Principal, err error) {
		resume(func() { c.stepped(again, reply, who, err, began) })
	})
}

func (c *Conn) stepped(again bool, reply []byte, who *security.Principal, err error, began int64) {
	if who != nil || err != nil {
		c.auth.exchange = nil
	}
	switch {
	case err != nil && again:
		// MQTT-4.12.1-2: a failed re-authentication ends the connection.
		c.end(ending{code: packet.NotAuthorized, reason: "re-authentication failed: " + err.Error(), notify: true})
	case err != nil:
		c.refuseIdentity(err, began)
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

// reauthenticated renews the principal of a connection; another one can't take
// its place (MQTT 5.0, 4.12.1 with the owner of the session).
func (c *Conn) reauthenticated(who *security.Principal, reply []byte) {
	old := c.principal.Load()
	if !who.Same(old) {
		c.end(ending{code: packet.NotAuthorized, reason: "re-authentication as another principal", notify: true})
		return
	}
	named := inPlaceOf(old, who)
	if v := c.b.gate.Admit(named); !v.Allowed() {
		c.end(ending{code: packet.NotAuthorized, reason: "may not connect any more: " + v.Why(), notify: true, silence: true})
		return
	}
	var after aftermath
	cl := c.client.Load()
	if !cl.renew(c, named, &after) {
		c.fail(errTaken)
		return
	}
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
	a.Props.AuthMethod = c.auth.method
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
	c.step(a.Props.AuthData, c.turn.now)
	return nil
}

// handleAuth takes an AUTH of a served connection: re-authentication.
func (c *Conn) handleAuth(h packet.Header, body []byte) error {
	a, err := c.decodeAuth(h, body)
	if err != nil {
		return err
	}
	if c.auth == nil {
		return &packet.Error{Code: packet.ProtocolError, Text: "AUTH without enhanced authentication"}
	}
	if a.Code == packet.ReAuthenticate {
		creds, who := c.auth.creds, c.principal.Load()
		creds.ClientID, creds.Listener, creds.Addr, creds.Secure = who.ClientID, c.lis.Name, who.Addr, who.Secure
		creds.AuthMethod, creds.AuthData = c.auth.method, a.Props.AuthData
		x, ok := c.lis.Enhanced.Exchange(c.auth.method, &creds)
		if !ok {
			return &packet.Error{Code: packet.BadAuthenticationMethod, Text: "method not offered any more"}
		}
		c.auth.exchange = x
	} else if a.Code != packet.ContinueAuthentication || c.auth.exchange == nil {
		return &packet.Error{Code: packet.ProtocolError, Text: "AUTH that continues nothing"}
	}
	c.step(a.Props.AuthData, c.turn.now)
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
	if c.auth != nil {
		method = c.auth.method
	}
	if a.Props.AuthMethod != method {
		// MQTT-4.12.0-5, MQTT-4.12.1-1
		return nil, &packet.Error{Code: packet.ProtocolError, Text: "AUTH with another method than CONNECT"}
	}
	return a, nil
}
