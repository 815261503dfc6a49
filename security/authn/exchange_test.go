package authn

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/security"
)

// talker is a member with an exchange of some rounds, each of which the client has to
// answer with what it was sent.
type talker struct {
	fake
	rounds int
	begun  []Credentials
}

func (*talker) Serves(method string) bool { return method == "TALK" }

func (m *talker) Start(c *Credentials) (Exchange, error) {
	m.begun = append(m.begun, *c)
	return &talk{m: m}, nil
}

// picky is a talker that talks to clients with TLS alone.
type picky struct{ talker }

func (*picky) Offers(c *Credentials) bool { return c.TLS != nil }

func TestAMethodThatIsNotOfferedIsNotServed(t *testing.T) {
	c := chainOf(t, ChainOptions{}, &picky{talker{fake: fake{name: "picky"}}}, &fake{})
	if n, _ := c.serving(&Credentials{AuthMethod: "TALK", TLS: &tls.ConnectionState{}}); n == nil || n.name != "picky" {
		t.Error("the method is not found with TLS")
	}
	if n, _ := c.serving(&Credentials{AuthMethod: "TALK"}); n != nil {
		t.Errorf("the method is found without TLS, at %s", n.name)
	}
	// Another member may have it all the same.
	c = chainOf(t, ChainOptions{}, &picky{talker{fake: fake{name: "picky"}}}, &talker{fake: fake{name: "open"}})
	if n, _ := c.serving(&Credentials{AuthMethod: "TALK"}); n == nil || n.name != "open" {
		t.Error("the other member is not found")
	}
}

type talk struct {
	m    *talker
	said int
}

func (x *talk) Next(_ context.Context, data []byte) ([]byte, *security.Principal, error) {
	if x.said > 0 && string(data) != "challenge" {
		return nil, nil, &Refused{Method: x.m.name, Reason: "wrong answer"}
	}
	if x.said++; x.said < x.m.rounds {
		return []byte("challenge"), nil, nil
	}
	return []byte("done"), x.m.p, x.m.err
}

// failing is an exchange that tells its client of the failure and waits for what it says.
type failing struct{ fake }

func (*failing) Serves(method string) bool { return method == "TALK" }

func (*failing) Start(*Credentials) (Exchange, error) { return &failed{}, nil }

type failed struct{ cause error }

func (x *failed) Next(context.Context, []byte) ([]byte, *security.Principal, error) {
	if x.cause != nil {
		return nil, nil, x.cause
	}
	x.cause = &Refused{Method: "failing", Reason: "wrong"}
	return []byte("wrong"), nil, nil
}

func (x *failed) Failed() error { return x.cause }

// Who is told of a failure and hangs up has failed all the same, and who answers has
// failed once.
func TestAFailureCountsWhenItIsTold(t *testing.T) {
	for _, answers := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := serving(t, ChainOptions{}, Member{Authenticator: &failing{fake{name: "failing"}}})
			defer s.opts.Pool.Close()
			cr := Credentials{Listener: "l", AuthMethod: "TALK", Addr: netip.MustParseAddrPort("192.0.2.1:1000")}
			for range 6 {
				n, ok := s.Negotiate(&cr)
				if !ok {
					t.Fatal("no such method")
				}
				said := make(chan error, 2)
				step := func() error {
					n.Step(nil, func(_ []byte, _ *security.Principal, err error) { said <- err })
					return <-said
				}
				if err := step(); err != nil {
					t.Fatal(err)
				}
				if answers && step() == nil {
					t.Fatal("accepted")
				}
			}
			if wait := s.delays.wait(cr.Addr.Addr()); wait != 250*time.Millisecond {
				t.Errorf("after six failures the next attempt waits %v, not 250ms; answers: %v", wait, answers)
			}
		})
	}
}

// A lane that a reload takes away during an exchange says nothing of the client.
func TestAnExchangeWhoseLaneIsClosedIsBusy(t *testing.T) {
	lane, err := NewLane(LaneOptions{Name: "failing", Workers: 1, Queue: 1})
	if err != nil {
		t.Fatal(err)
	}
	s := serving(t, ChainOptions{}, Member{Authenticator: &failing{fake{name: "failing"}}, Lane: lane})
	n, ok := s.Negotiate(&Credentials{Listener: "l", AuthMethod: "TALK"})
	if !ok {
		t.Fatal("no such method")
	}
	lane.Close()
	said := make(chan error, 1)
	n.Step(nil, func(_ []byte, _ *security.Principal, err error) { said <- err })
	if err := <-said; !errors.Is(err, ErrBusy) {
		t.Errorf("%v, want ErrBusy", err)
	}
}

// Whoever else has to be asked is asked on a lane of its own, as by a plain CONNECT.
func TestTheOthersOfAnExchangeAreAskedOnTheirLanes(t *testing.T) {
	own, err := NewLane(LaneOptions{Name: "second", Workers: 1, Queue: 1})
	if err != nil {
		t.Fatal(err)
	}
	first := &talker{fake: fake{name: "first", p: &security.Principal{Realm: "r", Name: "ann"}}, rounds: 2}
	second := &fake{name: "second", p: &security.Principal{Realm: "s", Name: "ann"}}
	s := serving(t, ChainOptions{}, Member{Label: "both", All: []Member{{Authenticator: first}, {Authenticator: second, Lane: own}}})
	cr := &Credentials{Listener: "l", AuthMethod: "TALK"}
	if p, err := converse(t, s, cr, "hello"); err != nil || p.Name != "ann" {
		t.Fatalf("%v, %v", p, err)
	}
	if got := own.Stats().Accepted; got != 1 {
		t.Errorf("%d answers on the second's lane, want 1", got)
	}
	own.Close()
	if _, err := converse(t, s, cr, "hello"); !errors.Is(err, ErrBusy) {
		t.Errorf("with the lane closed: %v, want ErrBusy", err)
	}
	if second.asked != 1 {
		t.Errorf("asked %d times, want 1", second.asked)
	}
}

// converse leads an exchange as a client that first says data, and then repeats what
// it is asked.
func converse(t testing.TB, s *Service, cr *Credentials, data string) (*security.Principal, error) {
	t.Helper()
	n, ok := s.Negotiate(cr)
	if !ok {
		return nil, errors.New("no such method")
	}
	type said struct {
		reply []byte
		answer
	}
	for range 10 {
		out := make(chan said, 2)
		n.Step([]byte(data), func(reply []byte, p *security.Principal, err error) { out <- said{reply, answer{p, err}} })
		a := <-out
		if a.p != nil || a.err != nil {
			return a.p, a.err
		}
		data = string(a.reply)
	}
	t.Fatal("the exchange does not end")
	return nil, nil
}

// What an all_of asks beside an exchange computes its hashes where all are computed, and
// no more of them at a time.
func TestHashesBesideAnExchangeAreBoundedAsAllAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hashes, err := NewPool(PoolOptions{Workers: 1, Memory: leastMemory, Queue: 16})
		if err != nil {
			t.Fatal(err)
		}
		defer hashes.Close()
		file := &remote{name: "file", answer: make(chan answer), asks: make(chan struct{}, 10)}
		exchanges := newLane(t, LaneOptions{Name: "talk", Workers: 3, Queue: 16})
		defer exchanges.Close()
		both := all(0, &silent{fake: fake{name: "talk", p: somebody("alice")}}, file)
		both.All[0].Lane, both.All[1].Lane = exchanges, newLane(t, LaneOptions{Name: "file", Pool: hashes})
		s := serving(t, ChainOptions{}, both)
		defer s.opts.Pool.Close()
		out := make(chan answer, 3)
		for range 3 {
			c := login("alice", "x")
			c.AuthMethod = "TALK"
			go func() {
				p, err := converse(t, s, c, "x")
				out <- answer{p, err}
			}()
		}
		for range 3 {
			synctest.Wait()
			if n := len(file.asks); n != 1 {
				t.Errorf("%d hashes are computed at once", n)
			}
			file.answer <- answer{p: somebody("alice")}
			if a := <-out; a.err != nil || a.p.Name != "alice" {
				t.Errorf("%v, %v", a.p, a.err)
			}
			<-file.asks
		}
		file.answer = nil
		file.fixed = answer{err: &Refused{Method: "file", Reason: "wrong password"}}
		c := login("alice", "y")
		c.AuthMethod = "TALK"
		var refused *Refused
		if p, err := converse(t, s, c, "x"); !errors.As(err, &refused) {
			t.Errorf("with a wrong password: %v, %v", p, err)
		}
	})
}

// silent is a talker that several talk to at once.
type silent struct{ fake }

func (*silent) Serves(method string) bool { return method == "TALK" }

func (m *silent) Start(*Credentials) (Exchange, error) {
	return &talk{m: &talker{fake: m.fake, rounds: 1}}, nil
}
