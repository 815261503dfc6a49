package broker

import (
	"sync"
	"testing"
	"time"

	"sallyport/packet"
	"sallyport/security"
)

func named(name string) func(*security.Principal) bool {
	return func(p *security.Principal) bool { return p.Name == name }
}

func TestSessionsAreEndedByName(t *testing.T) {
	for _, forget := range []bool{false, true} {
		everyWay(t, nil, func(x *bed) {
			w := x.connect(packet.V5, "watch")
			w.subscribe(filter("will", 0))
			five := x.connect(packet.V5, "five", user("u"), kept(100), willOf("will", "a", 0))
			three := x.connect(packet.V311, "three", user("u"), kept(1), willOf("will", "b", 0))
			five.subscribe(filter("t", 1))
			x.connect(packet.V5, "away", user("u"), kept(100), willOf("will", "c", 10)).drop()
			other := x.connect(packet.V5, "other", user("v"))
			x.until("the client is away", func() bool { _, online, _ := x.b.ClientPrincipal("away"); return !online })
			if connected, away := x.b.EndSessions(named("u"), forget); connected != 2 || away != 1 {
				t.Errorf("%d connected, %d away, want 2 and 1", connected, away)
			}
			five.leaves(packet.AdministrativeAction)
			three.closed()
			other.ping()
			if x.bubble {
				x.pass(time.Minute)
			}
			w.nothing() // no will
			for _, id := range []string{"five", "three", "away"} {
				if _, online, ok := x.b.ClientPrincipal(id); online || ok == forget {
					t.Errorf("%s: online %v, there %v", id, online, ok)
				}
			}
			_, ack := x.tryConnect(packet.V5, "five", user("u"), kept(100))
			if ack.Code != 0 || ack.SessionPresent == forget {
				t.Errorf("0x%02x, session present %v", byte(ack.Code), ack.SessionPresent)
			}
			if connected, away := x.b.EndSessions(named("nobody"), true); connected+away != 0 {
				t.Errorf("%d, %d of nobody", connected, away)
			}
		})
	}
}

// What is under way ends as well, and what is forgotten is forgotten for the store.
func TestAForgottenSessionDoesNotComeBackWithTheStore(t *testing.T) {
	way{bubble: true, store: diskStore}.run(t, nil, func(x *bed) {
		x.connect(packet.V5, "away", user("u"), kept(1000), willOf("will", "x", 100)).drop()
		x.connect(packet.V5, "online", user("u"), kept(1000))
		x.connect(packet.V5, "stays", user("v"), kept(1000)).drop()
		if connected, away := x.b.EndSessions(named("u"), true); connected != 1 || away != 1 {
			t.Errorf("%d, %d", connected, away)
		}
		x.restart()
		for id, want := range map[string]bool{"away": false, "online": false, "stays": true} {
			if _, _, ok := x.b.ClientPrincipal(id); ok != want {
				t.Errorf("%s: %v, want %v", id, ok, want)
			}
		}
	})
}

func TestEndSessionsBesideWhateverElse(t *testing.T) {
	for _, w := range drivers() {
		w.run(t, nil, func(x *bed) {
			stop := make(chan struct{})
			var ended sync.WaitGroup
			ended.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
						x.b.EndSessions(named("u"), n%2 == 0)
						x.b.Renew(regroup("u", "g"))
					}
				}
			})
			var all []*peer
			for range 50 {
				p := x.open(packet.V5)
				p.sendConnect("c", user("u"), kept(100), willOf("w", "w", 0))
				q := x.open(packet.V311)
				q.sendConnect("c", user("u"))
				all = append(all, p, q)
				p.send(p.pub(packet.PublishOut{Topic: "t"}))
			}
			close(stop)
			ended.Wait()
			for _, p := range all {
				p.next() // an answer, or the end: none of them comes later and takes the session over
			}
			x.connect(packet.V5, "c", user("u")).ping()
		})
	}
}
