package authn

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/turns"
	"sallyport/security"
)

// speak leads an exchange in the background.
func speak(t *testing.T, s *Service, listener string, cr Credentials) <-chan answer {
	cr.Listener, cr.AuthMethod = listener, "TALK"
	out := make(chan answer, 1)
	go func() {
		p, err := converse(t, s, &cr, "hello")
		out <- answer{p, err}
	}()
	synctest.Wait()
	return out
}

func chainWith(t *testing.T, o ChainOptions, members ...Member) *Chain {
	t.Helper()
	o.Members = members
	c, err := NewChain(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// An exchange counts once, whatever it took to come to its end, and one that comes to
// none counts as nothing.
func TestAnExchangeCountsOnce(t *testing.T) {
	for name, test := range map[string]struct {
		member            Authenticator
		steps             []string
		accepted, refused uint64
		answers           uint64 // steps that it answered
	}{
		"accepted":               {&talker{fake: fake{name: "m", p: somebody("ann")}, rounds: 3}, []string{"hello", "challenge", "challenge"}, 1, 0, 3},
		"begun":                  {&talker{fake: fake{name: "m", p: somebody("ann")}, rounds: 3}, []string{"hello", "challenge"}, 0, 0, 2},
		"refused":                {&talker{fake: fake{name: "m", p: somebody("ann")}, rounds: 3}, []string{"hello", "else"}, 0, 1, 2},
		"told that it is wrong":  {&failing{fake{name: "m"}}, []string{"hello"}, 0, 1, 1},
		"told, and answered too": {&failing{fake{name: "m"}}, []string{"hello", "ok"}, 0, 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			lane := newLane(t, LaneOptions{Name: "m"})
			s := serving(t, ChainOptions{}, Member{Authenticator: test.member, Lane: lane})
			n, ok := s.Negotiate(&Credentials{Listener: "l", AuthMethod: "TALK"})
			if !ok {
				t.Fatal("no such method")
			}
			for _, data := range test.steps {
				said := make(chan error, 2)
				n.Step([]byte(data), func(_ []byte, _ *security.Principal, err error) { said <- err })
				<-said
			}
			st := lane.Stats()
			var took uint64
			for _, n := range st.Took {
				took += n
			}
			if st.Accepted != test.accepted || st.Refused != test.refused || took != test.answers || st.Failed != 0 || st.Busy != 0 {
				t.Errorf("%+v, want %d accepted, %d refused, %d answers", st, test.accepted, test.refused, test.answers)
			}
		})
	}
}

func TestWhomAConditionRefusesTheMemberDidNot(t *testing.T) {
	lane := newLane(t, LaneOptions{Name: "m"})
	s := serving(t, ChainOptions{ClientIDPrefixes: []string{"dev-"}}, Member{Authenticator: &talker{fake: fake{name: "m", p: somebody("ann")}, rounds: 1}, Lane: lane})
	_, err := converse(t, s, &Credentials{Listener: "l", AuthMethod: "TALK", ClientID: "else"}, "hello")
	if _, refused := errors.AsType[*Refused](err); !refused {
		t.Errorf("%v, want a refusal", err)
	}
	if st := lane.Stats(); st.Refused != 0 || st.Accepted != 0 {
		t.Errorf("%+v, want nothing counted", st)
	}
}

// Who is asked beside an exchange holds up only those who ask it: another client of the
// exchange's member is answered meanwhile, and that the other one is down is not its fault.
func TestWhoIsAskedBesideAnExchangeIsOnItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		talks := &talker{fake: fake{name: "talks", p: somebody("ann")}, rounds: 2}
		hung := &remote{name: "hung", answer: make(chan answer)}
		own := newLane(t, LaneOptions{Name: "talks", Workers: 1, Queue: 1, Timeout: 5 * time.Second, Failures: 1})
		other := newLane(t, LaneOptions{Name: "hung", Workers: 4, Queue: 16, Timeout: 2 * time.Second, Failures: 3})
		defer own.Close()
		defer other.Close()
		s := newService(t, ServiceOptions{Chains: map[string]*Chain{
			"both":  chainWith(t, ChainOptions{}, Member{Label: "both", All: []Member{{Authenticator: talks, Lane: own}, {Authenticator: hung, Lane: other}}}),
			"alone": chainWith(t, ChainOptions{}, Member{Authenticator: talks, Lane: own}),
		}})
		defer s.opts.Pool.Close()
		var waiting []<-chan answer
		for range 3 {
			waiting = append(waiting, speak(t, s, "both", Credentials{}))
		}
		if a := <-speak(t, s, "alone", Credentials{}); a.err != nil || a.p.Name != "ann" {
			t.Errorf("who does not ask the one that hangs: %v, %v", a.p, a.err)
		}
		for _, out := range waiting {
			u, ok := errors.AsType[*Unavailable]((<-out).err)
			if !ok || u.Member != "hung" {
				t.Errorf("%v, want that hung can't be asked", u)
			}
		}
		if st := own.Stats(); st.Down || st.Failed != 0 || st.Accepted != 4 {
			t.Errorf("the exchange's own member: %+v", st)
		}
		if st := other.Stats(); !st.Down || st.Late != 3 {
			t.Errorf("the one that hangs: %+v", st)
		}
		if a := <-speak(t, s, "both", Credentials{}); !errors.Is(a.err, ErrUnavailable) {
			t.Errorf("the next one: %v, want unavailable at once", a.err)
		}
	})
}

// A name server that takes its time holds neither the lane nor the turn of those who
// need none.
func TestNameServersHoldUpNoExchangeOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolver(map[string][]string{"pump-7.example.org.": {"192.0.2.7"}})
		r.release = make(chan struct{})
		hosts := NewHosts(HostsOptions{Lookup: r.lookup, Timeout: time.Minute})
		talks := &talker{fake: fake{name: "talks", p: somebody("ann")}, rounds: 2}
		lane := newLane(t, LaneOptions{Name: "talks", Workers: 1, Queue: 1, Turns: turns.New(1)})
		defer lane.Close()
		s := newService(t, ServiceOptions{Chains: map[string]*Chain{
			"dns":   chainWith(t, ChainOptions{Certificates: CertRules{Host: HostDNS, Hosts: hosts}}, Member{Authenticator: talks, Lane: lane}),
			"alone": chainWith(t, ChainOptions{}, Member{Authenticator: talks, Lane: lane}),
		}})
		defer s.opts.Pool.Close()
		shown := *showing(issued(t, nil), nil)
		slow := speak(t, s, "dns", shown)
		if a := <-speak(t, s, "alone", Credentials{}); a.err != nil {
			t.Error(a.err)
		}
		if len(slow) != 0 {
			t.Errorf("accepted before the name was looked up: %v", (<-slow).err)
		}
		close(r.release)
		if a := <-slow; a.err != nil {
			t.Error(a.err)
		}
		a := <-speak(t, s, "dns", *from(&shown, "192.0.2.8"))
		if _, refused := errors.AsType[*Refused](a.err); !refused {
			t.Errorf("from another address: %v, want a refusal", a.err)
		}
		if st := lane.Stats(); st.Accepted != 2 || st.Refused != 0 {
			t.Errorf("whom the member was not asked about counts as its: %+v", st)
		}
	})
}

// Who waits too long for a turn is told to come again, and is not computed for any more:
// it says nothing of the member, which answers the next one.
func TestAFleetThatWaitsForTurnsClosesNoLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deal := turns.New(1)
		m := &talker{fake: fake{name: "tokens", p: somebody("ann")}, rounds: 1}
		lane := newLane(t, LaneOptions{Name: "tokens", Workers: 30, Queue: 100, Timeout: time.Second, Turns: deal, Failures: 1})
		defer lane.Close()
		s := serving(t, ChainOptions{}, Member{Authenticator: m, Lane: lane})
		defer s.opts.Pool.Close()
		deal.Enter(netip.Prefix{})
		var waiting []<-chan answer
		for range 10 {
			out, _ := begin(s, login("alice", "wonder"))
			waiting = append(waiting, out, speak(t, s, "l", Credentials{}))
		}
		for _, out := range waiting {
			if a := <-out; !errors.Is(a.err, ErrBusy) {
				t.Errorf("who waited too long for a turn: %v, want to be told to come again", a.err)
			}
		}
		deal.Leave()
		synctest.Wait()
		if n := m.asked + len(m.begun); n != 0 {
			t.Errorf("%d were computed for, though nobody waited any more", n)
		}
		if a := <-first(begin(s, login("alice", "wonder"))); a.err != nil {
			t.Errorf("the next one: %v", a.err)
		}
		if st := lane.Stats(); st.Down || st.Failed != 0 || st.Busy != 20 || st.Accepted != 1 {
			t.Errorf("%+v", st)
		}
	})
}
