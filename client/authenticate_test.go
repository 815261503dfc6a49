package client

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"sallyport/internal/scram"
	"sallyport/packet"
)

const method = "SCRAM-SHA-256"

// login is a client of alice's by SCRAM.
func login(t *testing.T, o SCRAMOptions) Options {
	t.Helper()
	if o.Method == "" {
		o.Method = method
	}
	o.Name, o.Password = "alice", "wonderland"
	s, err := NewSCRAM(o)
	if err != nil {
		t.Fatal(err)
	}
	return Options{Connect: connect(packet.V5), Authentication: s}
}

// knows is a server's side of an exchange, with alice's verifier.
func knows(t *testing.T, iterations int) *scram.Server {
	t.Helper()
	v, err := scram.NewVerifier(scram.SHA256, "wonderland", []byte("sixteen bytes 16"), iterations)
	if err != nil {
		t.Fatal(err)
	}
	s, err := scram.NewServer(scram.ServerOptions{
		Method: scram.Method{Hash: scram.SHA256}, Secret: []byte("the secret of a server, 32 bytes"),
		Lookup: func(name string) (*scram.Verifier, bool, error) { return v, name == "alice", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// feed gives the server's side a message and returns its answer.
func feed(t *testing.T, s *scram.Server, data []byte) []byte {
	t.Helper()
	reply, _, err := s.Next(data)
	if err != nil {
		t.Fatalf("the server refuses %q: %v", data, err)
	}
	return reply
}

func authOf(code packet.Code, method string, data []byte) []byte {
	a := packet.Auth{Code: code}
	a.Props.AuthMethod, a.Props.AuthData = method, data
	a.Props.Mark(packet.PropAuthMethod, packet.PropAuthData)
	return packet.AppendAuth(nil, &a)
}

func (s *peer) readAuth(code packet.Code) []byte {
	s.t.Helper()
	h, body := s.read(packet.AUTH)
	a, err := packet.DecodeAuth(packet.V5, h.Flags, body, packet.Limits{})
	if err != nil || a.Code != code || a.Props.AuthMethod != method {
		s.t.Fatalf("AUTH %+v, %v", a, err)
	}
	return a.Props.AuthData
}

func proof(data []byte) packet.Connack {
	var a packet.Connack
	a.Props.AuthMethod, a.Props.AuthData = method, data
	a.Props.Mark(packet.PropAuthMethod, packet.PropAuthData)
	return a
}

// welcome plays an honest server's part of a login.
func (s *peer) welcome(server *scram.Server) {
	s.t.Helper()
	hello := s.connect()
	if hello.Props.AuthMethod != method || hello.HasUsername || hello.HasPassword {
		s.t.Fatalf("CONNECT %+v", hello)
	}
	s.write(authOf(packet.ContinueAuthentication, method, feed(s.t, server, hello.Props.AuthData)))
	s.connack(proof(feed(s.t, server, s.readAuth(packet.ContinueAuthentication))))
}

// loggedIn is a client that has logged in, and its server.
func loggedIn(t *testing.T) (*Client, *peer) {
	t.Helper()
	o, ps := login(t, SCRAMOptions{}), newPeers(t, packet.V5)
	o.Dial = ps.dial
	c := New(o)
	t.Cleanup(func() { c.Close() })
	done := connecting(c)
	s := ps.next()
	s.welcome(knows(t, 4096))
	if err := wait(t, "Connect", done); err != nil {
		t.Fatal(err)
	}
	return c, s
}

func connecting(c *Client) <-chan error {
	done := make(chan error, 1)
	go func() { _, err := c.Connect(context.Background()); done <- err }()
	return done
}

func TestSCRAM(t *testing.T) {
	c, s := loggedIn(t)
	s.write(packet.AppendPing(nil, packet.PINGRESP)) // the connection is served
	go c.Disconnect(context.Background(), nil)
	s.read(packet.DISCONNECT)
}

func TestSCRAMRemembersItsKeys(t *testing.T) {
	o, ps := login(t, SCRAMOptions{}), newPeers(t, packet.V5)
	o.Dial = ps.dial
	c := New(o)
	defer c.Close()
	auth := o.Authentication.(*SCRAM)
	var first *scram.Salted
	for n := range 2 {
		done := connecting(c)
		s := ps.next()
		s.welcome(knows(t, 4096))
		if err := wait(t, "Connect", done); err != nil {
			t.Fatal(err)
		}
		if auth.salted == nil || n == 1 && auth.salted != first {
			t.Errorf("login %d: keys %v, before %v", n, auth.salted, first)
		}
		first = auth.salted
		s.nc.Close()
		wait(t, "the end", c.Done())
	}
}

func TestSCRAMServersThatAreNotBelieved(t *testing.T) {
	continued := packet.ContinueAuthentication
	for _, tt := range []struct {
		name   string
		client SCRAMOptions
		serve  func(*peer, *packet.Connect, *scram.Server)
		is     error
		text   string
	}{
		{"success at once", SCRAMOptions{}, func(s *peer, _ *packet.Connect, _ *scram.Server) {
			s.connack(packet.Connack{})
		}, ErrUnproved, ""},
		{"success without a proof", SCRAMOptions{}, func(s *peer, hello *packet.Connect, server *scram.Server) {
			s.write(authOf(continued, method, feed(s.t, server, hello.Props.AuthData)))
			s.readAuth(continued)
			s.connack(packet.Connack{})
		}, ErrUnproved, ""},
		{"a wrong signature", SCRAMOptions{}, func(s *peer, hello *packet.Connect, server *scram.Server) {
			s.write(authOf(continued, method, feed(s.t, server, hello.Props.AuthData)))
			right := feed(s.t, server, s.readAuth(continued))
			s.connack(proof([]byte("v=" + strings.Repeat("A", len(right)-len("v=")-1) + "=")))
		}, scram.ErrSignature, ""},
		{"an error in the place of the signature", SCRAMOptions{}, func(s *peer, hello *packet.Connect, server *scram.Server) {
			s.write(authOf(continued, method, feed(s.t, server, hello.Props.AuthData)))
			s.readAuth(continued)
			s.connack(proof([]byte("e=other-error")))
		}, ErrUnproved, ""},
		{"one iteration", SCRAMOptions{}, func(s *peer, hello *packet.Connect, server *scram.Server) {
			few := strings.Replace(string(feed(s.t, server, hello.Props.AuthData)), "i=4096", "i=1", 1)
			s.write(authOf(continued, method, []byte(few)))
		}, scram.ErrIterations, ""},
		{"fewer iterations than the client wants", SCRAMOptions{MinIterations: 4097}, func(s *peer, hello *packet.Connect, server *scram.Server) {
			s.write(authOf(continued, method, feed(s.t, server, hello.Props.AuthData)))
		}, scram.ErrIterations, ""},
		{"iterations without end", SCRAMOptions{}, func(s *peer, hello *packet.Connect, server *scram.Server) {
			many := strings.Replace(string(feed(s.t, server, hello.Props.AuthData)), "i=4096", "i=999999999", 1)
			s.write(authOf(continued, method, []byte(many)))
		}, scram.ErrIterations, ""},
		{"another nonce", SCRAMOptions{}, func(s *peer, hello *packet.Connect, server *scram.Server) {
			other := strings.Replace(string(feed(s.t, server, hello.Props.AuthData)), "r=", "r=x", 1)
			s.write(authOf(continued, method, []byte(other)))
		}, scram.ErrNonce, ""},
		{"the signature before the CONNACK", SCRAMOptions{}, func(s *peer, hello *packet.Connect, server *scram.Server) {
			s.write(authOf(continued, method, feed(s.t, server, hello.Props.AuthData)))
			s.write(authOf(continued, method, feed(s.t, server, s.readAuth(continued))))
		}, nil, "goes on with an exchange that is over"},
		{"an AUTH of another method", SCRAMOptions{}, func(s *peer, hello *packet.Connect, server *scram.Server) {
			s.write(authOf(continued, "PLAIN", feed(s.t, server, hello.Props.AuthData)))
		}, nil, "AUTH with another method"},
		{"an AUTH of success", SCRAMOptions{}, func(s *peer, hello *packet.Connect, server *scram.Server) {
			s.write(authOf(packet.Success, method, feed(s.t, server, hello.Props.AuthData)))
		}, nil, "AUTH with another code than continue"},
		{"a CONNACK of another method", SCRAMOptions{}, func(s *peer, hello *packet.Connect, server *scram.Server) {
			s.write(authOf(continued, method, feed(s.t, server, hello.Props.AuthData)))
			a := proof(feed(s.t, server, s.readAuth(continued)))
			a.Props.AuthMethod = "PLAIN"
			s.connack(a)
		}, nil, "CONNACK with another method"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, ps := login(t, tt.client), newPeers(t, packet.V5)
			o.Dial = ps.dial
			c := New(o)
			defer c.Close()
			done := connecting(c)
			s := ps.next()
			tt.serve(s, s.connect(), knows(t, 4096))
			err := wait(t, "Connect", done)
			if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("Connect: %v, want %v %s", err, tt.is, tt.text)
			}
			if tt.is != nil && o.Authentication.(*SCRAM).salted != nil {
				t.Error("keys are kept that the server did not prove to know")
			}
			s.gone()
		})
	}
}

func TestSCRAMIsRefused(t *testing.T) {
	o, ps := login(t, SCRAMOptions{}), newPeers(t, packet.V5)
	o.Dial = ps.dial
	c := New(o)
	defer c.Close()
	done := connecting(c)
	s := ps.next()
	s.connect()
	s.connack(packet.Connack{Code: packet.BadAuthenticationMethod})
	reason(t, wait(t, "Connect", done), packet.BadAuthenticationMethod)
}

// asking is a method whose exchange goes on as long as the server asks.
type asking struct{ Exchange }

func (asking) Method() string                     { return method }
func (a asking) Begin(net.Conn) (Exchange, error) { return a, nil }
func (asking) First() ([]byte, error)             { return []byte("first"), nil }
func (asking) Next([]byte) ([]byte, bool, error)  { return []byte("more"), false, nil }

func TestAServerThatAsksWithoutEnd(t *testing.T) {
	ps := newPeers(t, packet.V5)
	c := New(Options{Connect: connect(packet.V5), Dial: ps.dial, Authentication: asking{}})
	defer c.Close()
	done := connecting(c)
	s := ps.next()
	s.connect()
	for n := range maxRounds {
		s.write(authOf(packet.ContinueAuthentication, method, []byte("more?")))
		if n < maxRounds-1 {
			s.readAuth(packet.ContinueAuthentication)
		}
	}
	if err := wait(t, "Connect", done); err == nil || !strings.Contains(err.Error(), "has no end") {
		t.Error(err)
	}
}

func TestWhatCannotLogInBySCRAM(t *testing.T) {
	for name, o := range map[string]SCRAMOptions{
		"no such method":   {Method: "SCRAM-SHA-1", Name: "a", Password: "b"},
		"no name":          {Method: method, Password: "b"},
		"no password":      {Method: method, Name: "a"},
		"a control":        {Method: method, Name: "a\x07", Password: "b"},
		"few iterations":   {Method: method, Name: "a", Password: "b", MinIterations: 100},
		"bound, no method": {Method: "-PLUS", Name: "a", Password: "b"},
	} {
		if s, err := NewSCRAM(o); err == nil {
			t.Errorf("%s: %v", name, s.Method())
		}
	}
	for name, o := range map[string]Options{
		"before MQTT 5":     {Connect: connect(packet.V311), Authentication: login(t, SCRAMOptions{}).Authentication},
		"-PLUS without TLS": login(t, SCRAMOptions{Method: "SCRAM-SHA-256-PLUS"}),
	} {
		ps := newPeers(t, packet.V5)
		o.Dial = ps.dial
		c := New(o)
		if _, err := c.Connect(context.Background()); err == nil {
			t.Errorf("%s: connected", name)
		}
		ps.next().gone()
		c.Close()
	}
}

// renewing begins a re-authentication and reads what it begins with.
func renewing(c *Client, s *peer) (<-chan error, []byte) {
	done := make(chan error, 1)
	go func() { done <- c.Reauthenticate(context.Background()) }()
	return done, s.readAuth(packet.ReAuthenticate)
}

func TestReauthenticate(t *testing.T) {
	c, s := loggedIn(t)
	for range 2 {
		server := knows(t, 4096)
		done, first := renewing(c, s)
		if err := c.Reauthenticate(context.Background()); err == nil || !strings.Contains(err.Error(), "under way") {
			t.Errorf("a second one: %v", err)
		}
		s.write(authOf(packet.ContinueAuthentication, method, feed(t, server, first)))
		final := s.readAuth(packet.ContinueAuthentication)
		s.write(authOf(packet.Success, method, feed(t, server, final)))
		if err := wait(t, "Reauthenticate", done); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Err(); err != nil {
		t.Error(err)
	}
}

func TestReauthenticateFailures(t *testing.T) {
	for _, tt := range []struct {
		name  string
		serve func(*peer, []byte, *scram.Server)
		is    error
		leave packet.Code // the client's DISCONNECT; 0: it closes
	}{
		{"success at once", func(s *peer, _ []byte, _ *scram.Server) {
			s.write(authOf(packet.Success, method, nil))
		}, ErrUnproved, packet.NotAuthorized},
		{"a wrong signature", func(s *peer, first []byte, server *scram.Server) {
			s.write(authOf(packet.ContinueAuthentication, method, feed(s.t, server, first)))
			s.readAuth(packet.ContinueAuthentication)
			s.write(authOf(packet.Success, method, []byte("v=AAAA")))
		}, ErrUnproved, packet.NotAuthorized},
		{"one iteration", func(s *peer, first []byte, server *scram.Server) {
			few := strings.Replace(string(feed(s.t, server, first)), "i=4096", "i=1", 1)
			s.write(authOf(packet.ContinueAuthentication, method, []byte(few)))
		}, scram.ErrIterations, packet.NotAuthorized},
		{"another method", func(s *peer, _ []byte, _ *scram.Server) {
			s.write(authOf(packet.Success, "PLAIN", nil))
		}, ErrNotConnected, packet.ProtocolError},
		{"the server disconnects", func(s *peer, _ []byte, _ *scram.Server) {
			s.write(packet.AppendDisconnect(nil, packet.V5, &packet.Disconnect{Code: packet.NotAuthorized}))
		}, ErrNotConnected, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, s := loggedIn(t)
			done, first := renewing(c, s)
			tt.serve(s, first, knows(t, 4096))
			if tt.leave != 0 {
				h, body := s.read(packet.DISCONNECT)
				if d, err := packet.DecodeDisconnect(packet.V5, h.Flags, body, packet.Limits{}); err != nil || d.Code != tt.leave {
					t.Errorf("DISCONNECT %+v, %v, want 0x%02x", d, err, byte(tt.leave))
				}
			}
			if err := wait(t, "Reauthenticate", done); !errors.Is(err, tt.is) {
				t.Errorf("%v, want %v", err, tt.is)
			}
			wait(t, "the end", c.Done())
			if tt.leave == 0 {
				reason(t, c.Err(), packet.NotAuthorized)
			}
		})
	}
}

func TestReauthenticateThatIsGivenUpEndsTheConnection(t *testing.T) {
	c, s := loggedIn(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Reauthenticate(ctx) }()
	s.readAuth(packet.ReAuthenticate)
	cancel()
	if err := wait(t, "Reauthenticate", done); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	wait(t, "the end", c.Done())
}

func TestReauthenticateWithoutEnhancedAuthentication(t *testing.T) {
	c, s, _ := joined(t, Options{Connect: connect(packet.V5)})
	if err := c.Reauthenticate(context.Background()); !errors.Is(err, ErrNoAuthentication) {
		t.Error(err)
	}
	s.write(authOf(packet.ContinueAuthentication, method, nil))
	h, body := s.read(packet.DISCONNECT)
	if d, err := packet.DecodeDisconnect(packet.V5, h.Flags, body, packet.Limits{}); err != nil || d.Code != packet.ProtocolError {
		t.Errorf("DISCONNECT %+v, %v", d, err)
	}
	wait(t, "the end", c.Done())
	if err := c.Reauthenticate(context.Background()); !errors.Is(err, ErrNotConnected) {
		t.Error(err)
	}
}
