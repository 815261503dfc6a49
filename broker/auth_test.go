package broker

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"sallyport/packet"
	"sallyport/security"
	"sallyport/security/authn"
)

// rounds is an enhanced authentication of two rounds: the server asks "who",
// and knows who answers with a name; "bad" fails, "down" can't be asked about.
type rounds struct {
	async  bool
	again  bool            // "again" has it ask once more
	groups func() []string // of everyone; nil: none
}

func (r rounds) Exchange(method string, _ *authn.Credentials) (Exchange, bool) {
	return &exchange{rounds: r}, method == "ROUNDS"
}

type exchange struct {
	rounds
	n int
}

func (e *exchange) Step(data []byte, done func([]byte, *security.Principal, error)) {
	e.n++
	data = bytes.Clone(data)
	answer := func() {
		switch {
		case e.n == 1:
			done([]byte("who"), nil, nil)
		case e.again && string(data) == "again":
			done([]byte("who"), nil, nil)
		case string(data) == "down":
			done(nil, nil, fmt.Errorf("directory: %w", authn.ErrUnavailable))
		case string(data) == "bad":
			done(nil, nil, errors.New("unknown"))
		default:
			who := &security.Principal{Realm: "rounds", Name: string(data)}
			if e.groups != nil {
				who.Groups = e.groups()
			}
			done([]byte("welcome"), who, nil)
		}
	}
	if e.async {
		time.AfterFunc(10*time.Millisecond, answer)
		return
	}
	answer()
}

func method(name string) with {
	return func(c *packet.Connect) {
		c.Props.AuthMethod = name
		c.Props.Mark(packet.PropAuthMethod)
	}
}

func (p *peer) sendAuth(code packet.Code, method, data string) {
	a := packet.Auth{Code: code}
	a.Props.AuthMethod, a.Props.AuthData = method, []byte(data)
	a.Props.Mark(packet.PropAuthMethod, packet.PropAuthData)
	p.send(packet.AppendAuth(nil, &a))
}

func (p *peer) expectAuth(code packet.Code, data string) {
	p.t.Helper()
	e := p.expect(packet.AUTH)
	a, err := packet.DecodeAuth(p.v, e.h.Flags, e.body, packet.Limits{})
	if err != nil || a.Code != code || string(a.Props.AuthData) != data || a.Props.AuthMethod != "ROUNDS" {
		p.t.Fatalf("AUTH %+v %v, want 0x%02x %q", a, err, byte(code), data)
	}
}

func (p *peer) authenticates(name string) *packet.Connack {
	p.t.Helper()
	p.expectAuth(packet.ContinueAuthentication, "who")
	p.sendAuth(packet.ContinueAuthentication, "ROUNDS", name)
	return p.connack()
}

func enhanced(async bool) func(*setup) {
	return func(s *setup) { s.lis.Enhanced = rounds{async: async} }
}

func TestEnhancedAuthentication(t *testing.T) {
	for _, async := range []bool{false, true} {
		everyWay(t, enhanced(async), func(x *bed) {
			p := x.open(packet.V5)
			p.sendConnect("c", method("ROUNDS"))
			ack := p.authenticates("ann")
			if ack.Code != 0 || ack.Props.AuthMethod != "ROUNDS" || string(ack.Props.AuthData) != "welcome" {
				t.Fatalf("%+v", ack)
			}
			p.ping()
			// Again, on the served connection.
			p.sendAuth(packet.ReAuthenticate, "ROUNDS", "")
			p.expectAuth(packet.ContinueAuthentication, "who")
			p.ping() // the connection works meanwhile
			p.sendAuth(packet.ContinueAuthentication, "ROUNDS", "ann")
			p.expectAuth(packet.Success, "welcome")
			p.sendAuth(packet.ReAuthenticate, "ROUNDS", "")
			p.expectAuth(packet.ContinueAuthentication, "who")
			p.sendAuth(packet.ContinueAuthentication, "ROUNDS", "bob")
			p.leaves(packet.NotAuthorized)
		})
	}
}

func TestEnhancedAuthenticationRefusals(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*bed) *peer
		code packet.Code // of the CONNACK
		end  packet.Code // of the DISCONNECT
	}{
		{"a method that is not offered", func(x *bed) *peer {
			p := x.open(packet.V5)
			p.sendConnect("c", method("OTHER"))
			return p
		}, packet.BadAuthenticationMethod, 0},
		{"a failed exchange", func(x *bed) *peer {
			p := x.open(packet.V5)
			p.sendConnect("c", method("ROUNDS"))
			p.expectAuth(packet.ContinueAuthentication, "who")
			p.sendAuth(packet.ContinueAuthentication, "ROUNDS", "bad")
			return p
		}, packet.BadUserNameOrPassword, 0},
		{"another packet before CONNACK", func(x *bed) *peer {
			p := x.open(packet.V5)
			p.sendConnect("c", method("ROUNDS"))
			p.expectAuth(packet.ContinueAuthentication, "who")
			p.send(packet.AppendPing(nil, packet.PINGREQ))
			return p
		}, packet.ProtocolError, 0},
		{"another method within the exchange", func(x *bed) *peer {
			p := x.open(packet.V5)
			p.sendConnect("c", method("ROUNDS"))
			p.expectAuth(packet.ContinueAuthentication, "who")
			p.sendAuth(packet.ContinueAuthentication, "OTHER", "x")
			return p
		}, packet.ProtocolError, 0},
		{"re-authentication within the exchange", func(x *bed) *peer {
			p := x.open(packet.V5)
			p.sendConnect("c", method("ROUNDS"))
			p.expectAuth(packet.ContinueAuthentication, "who")
			p.sendAuth(packet.ReAuthenticate, "ROUNDS", "x")
			return p
		}, packet.ProtocolError, 0},
		{"AUTH where CONNECT named no method", func(x *bed) *peer {
			p := x.connect(packet.V5, "c")
			p.sendAuth(packet.ReAuthenticate, "ROUNDS", "x")
			return p
		}, 0, packet.ProtocolError},
		{"AUTH that continues nothing", func(x *bed) *peer {
			p := x.open(packet.V5)
			p.sendConnect("c", method("ROUNDS"))
			p.authenticates("ann")
			p.sendAuth(packet.ContinueAuthentication, "ROUNDS", "ann")
			return p
		}, 0, packet.ProtocolError},
		{"a failed re-authentication", func(x *bed) *peer {
			p := x.open(packet.V5)
			p.sendConnect("c", method("ROUNDS"))
			p.authenticates("ann")
			p.sendAuth(packet.ReAuthenticate, "ROUNDS", "x")
			p.expectAuth(packet.ContinueAuthentication, "who")
			p.sendAuth(packet.ContinueAuthentication, "ROUNDS", "bad")
			return p
		}, 0, packet.NotAuthorized},
	} {
		t.Run(c.name, func(t *testing.T) {
			overPipes(t, enhanced(false), func(x *bed) {
				p := c.do(x)
				if c.end != 0 {
					p.leaves(c.end)
					return
				}
				if ack := p.connack(); ack.Code != c.code {
					t.Errorf("0x%02x, want 0x%02x", byte(ack.Code), byte(c.code))
				}
				p.closed()
			})
		})
	}
}

func TestAuthIsUnknownBeforeMQTT5(t *testing.T) {
	overPipes(t, enhanced(false), func(x *bed) {
		p := x.connect(packet.V311, "c")
		p.send([]byte{0xF0, 0})
		p.closed()
	})
}

func TestAnExchangeThatStopsTimesOut(t *testing.T) {
	overPipes(t, enhanced(false), func(x *bed) {
		p := x.open(packet.V5)
		p.sendConnect("c", method("ROUNDS"))
		p.expectAuth(packet.ContinueAuthentication, "who")
		x.pass(10200 * time.Millisecond)
		p.closed()
	})
}

func TestRefusedCredentialsLookTheSame(t *testing.T) {
	for v, want := range map[packet.Version]packet.Code{packet.V31: 5, packet.V311: 5, packet.V5: packet.BadUserNameOrPassword} {
		everyWay(t, nil, func(x *bed) {
			p, ack := x.tryConnect(v, "c", user("u"), func(c *packet.Connect) { c.Password = []byte("wrong") })
			if ack.Code != want {
				t.Errorf("version %d: 0x%02x, want 0x%02x", v, byte(ack.Code), byte(want))
			}
			p.closed()
		})
	}
}

func TestABusyAuthenticatorAnswersServerBusy(t *testing.T) {
	for v, want := range map[packet.Version]packet.Code{packet.V311: packet.V3ServerUnavailable, packet.V5: packet.ServerBusy} {
		overPipes(t, func(s *setup) { s.door.busy = true }, func(x *bed) {
			if _, ack := x.tryConnect(v, "c"); ack.Code != want {
				t.Errorf("0x%02x, want 0x%02x", byte(ack.Code), byte(want))
			}
		})
	}
}

func TestNoAuthenticatorRefusesEveryone(t *testing.T) {
	overPipes(t, func(s *setup) { s.lis.Auth = noAuthenticator{} }, func(x *bed) {
		if _, ack := x.tryConnect(packet.V5, "c"); ack.Code != packet.BadUserNameOrPassword {
			t.Errorf("0x%02x, want 0x86", byte(ack.Code))
		}
	})
}

// noAuthenticator answers without a principal and without an error.
type noAuthenticator struct{}

func (noAuthenticator) Begin(_ *authn.Credentials, done func(*security.Principal, error)) func() {
	done(nil, nil)
	return nil
}
func (noAuthenticator) Stands(*security.Principal) bool { return true }
func (noAuthenticator) Epoch() authn.Epoch              { return authn.Epoch{} }
func (noAuthenticator) FailureFloor() time.Duration     { return 0 }

func TestAuthenticationHoldsBackWhatFollows(t *testing.T) {
	var hold chan struct{}
	overTCP(t, func(s *setup) { hold = make(chan struct{}); s.door.hold = hold }, func(x *bed) {
		p := x.open(packet.V5)
		p.sendConnect("c")
		p.send(packet.AppendPing(nil, packet.PINGREQ))
		select {
		case e := <-p.in:
			t.Fatalf("%v before the authentication is over", e.h.Type)
		default:
		}
		close(hold)
		p.connack()
		p.expect(packet.PINGRESP)
	})
}

func TestAnAbandonedAuthenticationIsCancelled(t *testing.T) {
	overPipes(t, func(s *setup) { s.door.hold = make(chan struct{}) }, func(x *bed) {
		p := x.open(packet.V5)
		p.sendConnect("c")
		x.settle()
		p.drop()
		if x.door.canceled != 1 {
			t.Errorf("cancelled %d times, want once", x.door.canceled)
		}
	})
}

func TestAccountsThatChangeMeanwhileRefuseTheConnect(t *testing.T) {
	var hold chan struct{}
	overTCP(t, func(s *setup) { hold = make(chan struct{}); s.door.hold = hold }, func(x *bed) {
		p := x.open(packet.V5)
		p.sendConnect("c")
		x.until("the authentication has begun", func() bool {
			for _, c := range x.b.conns.all() {
				if c.waiting.Load() {
					return true
				}
			}
			return false
		})
		x.door.reloaded(t)
		close(hold)
		if ack := p.connack(); ack.Code != packet.ServerBusy {
			t.Errorf("0x%02x, want 0x89", byte(ack.Code))
		}
	})
}

// reloaded gives the door the epoch of other accounts.
func (d *door) reloaded(t *testing.T) {
	pool, err := authn.NewPool(authn.PoolOptions{Workers: 1, Memory: 64 << 20, Queue: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	s, err := authn.NewService(authn.ServiceOptions{Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Replace(nil)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.epoch = s.Epoch("test")
}

// overtaken is an exchange that finds the accounts of before a reload that comes
// at this moment.
type overtaken struct {
	rounds
	reload func()
}

func (o overtaken) Exchange(method string, creds *authn.Credentials) (Exchange, bool) {
	o.reload()
	return o.rounds.Exchange(method, creds)
}

func TestAccountsThatChangeAsAnExchangeBeginsRefuseTheConnect(t *testing.T) {
	overPipes(t, func(s *setup) {
		d := s.door
		s.lis.Enhanced = overtaken{reload: func() { d.reloaded(t) }}
	}, func(x *bed) {
		p := x.open(packet.V5)
		p.sendConnect("c", method("ROUNDS"))
		if ack := p.authenticates("ann"); ack.Code != packet.ServerBusy {
			t.Errorf("0x%02x, want 0x89", byte(ack.Code))
		}
	})
}
