package broker

import (
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/packet"
	"sallyport/security"
	"sallyport/session"
	"sallyport/store"
)

func TestDeniedPublish(t *testing.T) {
	for _, end := range []bool{false, true} {
		for _, v := range []packet.Version{packet.V311, packet.V5} {
			for qos := range byte(3) {
				t.Run(fmt.Sprintf("version %d QoS %d disconnect %v", v, qos, end), func(t *testing.T) {
					change := func(s *setup) { s.policy, s.lis.DisconnectDenied = denyTopic("secret"), end }
					overPipes(t, change, func(x *bed) {
						sub := x.connect(packet.V5, "sub")
						sub.subscribe(filter("#", 2))
						p := x.connect(v, "pub")
						p.send(p.pub(packet.PublishOut{Topic: "secret", QoS: qos, PacketID: min(1, uint16(qos)), Payload: []byte("x"), Retain: true}))
						want := packet.Code(0)
						if v == packet.V5 {
							want = packet.NotAuthorized
						}
						switch {
						case end:
							p.leaves(packet.NotAuthorized)
						case qos == 1:
							p.expectAck(packet.PUBACK, 1, want)
						case qos == 2:
							p.expectAck(packet.PUBREC, 1, want)
							if v == packet.V311 {
								p.ack(packet.PUBREL, 1)
								p.expectAck(packet.PUBCOMP, 1, 0)
							}
						}
						if !end {
							p.ping()
						}
						sub.nothing()
						if n, _ := x.b.store.RetainedCount(); n != 0 {
							t.Error("a denied message was retained")
						}
						if n := x.b.metrics.PublishDenied.Load(); n != 1 {
							t.Errorf("%d counted, want 1", n)
						}
					})
				})
			}
		}
	}
}

func TestADeniedWillRefusesTheConnect(t *testing.T) {
	overPipes(t, func(s *setup) { s.policy = denyTopic("secret") }, func(x *bed) {
		for v, want := range map[packet.Version]packet.Code{packet.V311: packet.V3NotAuthorized, packet.V5: packet.NotAuthorized} {
			p, ack := x.tryConnect(v, "c", willOf("secret", "x", 0))
			if ack.Code != want {
				t.Errorf("version %d: 0x%02x, want 0x%02x", v, byte(ack.Code), byte(want))
			}
			p.closed()
		}
	})
}

func TestAWillIsJudgedAgainWhenItIsPublished(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		w := x.connect(packet.V5, "watch")
		w.subscribe(filter("will", 0))
		p := x.connect(packet.V5, "c", willOf("will", "x", 0))
		x.swap(denyPublish("will"))
		p.drop()
		w.nothing()
	})
}

func TestARevokedPrincipalLeavesNoWill(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		w := x.connect(packet.V5, "watch")
		w.subscribe(filter("will", 0))
		online := x.connect(packet.V5, "online", user("evil"), willOf("will", "x", 0))
		away := x.connect(packet.V5, "away", user("evil"), kept(100), willOf("will", "y", 10))
		away.drop()
		good := x.connect(packet.V5, "good", user("good"))
		n := x.b.Revoke(func(p *security.Principal) bool { return p.Name == "evil" }, "revoked")
		if n != 1 {
			t.Errorf("%d connections ended, want 1", n)
		}
		online.leaves(packet.NotAuthorized)
		good.ping()
		x.pass(time.Minute)
		w.nothing()
	})
}

func TestNobodyPublishesAsTheBroker(t *testing.T) {
	overPipes(t, func(s *setup) { s.opt.SysInterval, s.opt.Version = 10*time.Second, "1.2.3" }, func(x *bed) {
		p := x.connect(packet.V5, "c")
		if code := p.publishes("$SYS/broker/version", "evil", 1, true); code != packet.NotAuthorized {
			t.Errorf("0x%02x, want 0x87", byte(code))
		}
		p.subscribe(filter("#", 0))
		p.nothing() // $SYS is out of reach of a wildcard at the first level
		p.subscribe(filter("$SYS/broker/version", 0), filter("$SYS/broker/clients/connected", 0))
		for range 2 {
			if m := p.message(); !m.retain || m.topic == "$SYS/broker/version" && m.payload != "1.2.3" {
				t.Errorf("%+v", m)
			}
		}
		x.connect(packet.V5, "d")
		x.pass(11 * time.Second)
		if m := p.message(); m.topic != "$SYS/broker/clients/connected" || m.payload != "2" {
			t.Errorf("%+v, want two clients", m)
		}
	})
}

func TestTheReceiversRightIsCheckedWhenAMessageLeaves(t *testing.T) {
	everyWay(t, nil, func(x *bed) {
		sub := x.connect(packet.V5, "sub", kept(100), receiveMax(1))
		sub.subscribe(filter("#", 1))
		pub := x.connect(packet.V5, "pub")
		for _, topic := range []string{"a", "b", "c", "b"} {
			pub.publishes(topic, topic, 1, false)
		}
		x.swap(denyTopic("b"))
		sub.gets("a", "c")
		sub.nothing()
		pub.publishes("b", "b", 1, false)
		sub.nothing()
	})
}

func TestTheZeroPermitPublishesNothing(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		sub := x.connect(packet.V5, "sub")
		sub.subscribe(filter("#", 0))
		tn := turn{now: x.b.now()}
		var batch store.Batch
		in := inbound{topic: "t", expiryAt: -1, origin: &session.Origin{}, retain: true, payload: []byte("x")}
		if res := x.b.publish(&tn, security.Permit{}, &in, &batch); res.code != packet.NotAuthorized {
			t.Errorf("0x%02x, want 0x87", byte(res.code))
		}
		tn.flush()
		sub.nothing()
		if n, _ := x.b.store.RetainedCount(); n != 0 || !batch.Empty() {
			t.Error("something was kept")
		}
	})
}

func TestTheZeroDeliveryDeliversNothing(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		sub := x.connect(packet.V5, "sub")
		tn := turn{now: x.b.now()}
		cl := x.b.reg.find("sub")
		cl.mu.Lock()
		out, _ := x.b.deliver(security.Delivery{}, &tn, cl, dispatch{in: &inbound{topic: "t", expiryAt: -1}}, nil)
		cl.mu.Unlock()
		if out != refused {
			t.Errorf("outcome %d, want refused", out)
		}
		tn.flush()
		sub.nothing()
	})
}

func TestAPermitOfOldRulesIsJudgedAgain(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		sub := x.connect(packet.V5, "sub")
		sub.subscribe(filter("t", 0))
		who := &security.Principal{Realm: "test", Listener: "test"}
		permit, _ := x.b.gate.Publish(security.Request{Principal: who, Topic: "t"})
		send := func() packet.Code {
			tn := turn{now: x.b.now()}
			var batch store.Batch
			res := x.b.publish(&tn, permit, &inbound{topic: "t", expiryAt: -1, payload: []byte("x")}, &batch)
			tn.flush()
			return res.code
		}
		x.swap(denyPublish("t"))
		if code := send(); code != packet.NotAuthorized {
			t.Errorf("0x%02x, want 0x87", byte(code))
		}
		sub.nothing()
		x.swap(allowAll)
		if code := send(); code != 0 {
			t.Errorf("0x%02x, want success", byte(code))
		}
		sub.gets("x")
	})
}

// swap puts another policy in force.
func (x *bed) swap(p policyFunc) {
	x.b.gate.Swap(&security.Ruleset{ByListener: map[string][]security.Policy{"test": {p}}})
}

func denyPublish(topic string) policyFunc {
	return func(r *security.Request) security.Effect {
		if r.Action == security.Publish && r.Topic == topic {
			return security.Deny
		}
		return security.Allow
	}
}

// Rules change between allow and deny while clients publish without end: what is
// sent after a deny is in force is not delivered, nor is anything else of that
// topic, and of another topic, which is always allowed, nothing is lost.
func TestNothingIsDeliveredAfterADenyIsInForce(t *testing.T) {
	swaps := 10_000
	if testing.Short() {
		swaps = 1000
	}
	overTCP(t, nil, func(x *bed) {
		sub, pub, steady := x.connect(packet.V5, "sub"), x.connect(packet.V5, "pub"), x.connect(packet.V5, "steady")
		sub.subscribe(filter("t", 0), filter("always", 1))
		// state is even while the topic is allowed. A message says the state in
		// which it was sent: one sent under a deny, that was in force before
		// and after, must not arrive.
		var state, acked, underDeny, late atomic.Int64
		var bad sync.Map
		stop := make(chan struct{})
		var wg, reader sync.WaitGroup
		wg.Go(func() {
			for i := 1; !over(stop); i++ {
				before := state.Load()
				payload := strconv.Itoa(i)
				pub.send(pub.pub(packet.PublishOut{Topic: "t", QoS: 1, PacketID: uint16(i%100 + 1), Payload: []byte(payload)}))
				pub.await(packet.PUBACK)
				if before%2 == 1 && state.Load() == before {
					bad.Store(payload, true)
					underDeny.Add(1)
				}
				acked.Add(1)
			}
		})
		sent := 0
		wg.Go(func() {
			for !over(stop) {
				sent++
				if code := steady.publishes("always", strconv.Itoa(sent), 1, false); code != 0 {
					t.Errorf("0x%02x for what is always allowed", byte(code))
					return
				}
			}
		})
		got := 0
		var arrived []string // of the topic
		reader.Go(func() {
			for {
				m := sub.message()
				switch {
				case m.payload == "end":
					return
				case m.topic == "always":
					if got++; m.payload != strconv.Itoa(got) {
						t.Errorf("%s after %d: lost, or out of order", m.payload, got-1)
						return
					}
				}
				if m.topic == "t" {
					arrived = append(arrived, m.payload)
				}
				sub.finish(m)
			}
		})
		deny := policyFunc(func(r *security.Request) security.Effect {
			if r.Action == security.Receive && r.Topic == "t" && state.Load()%2 == 1 {
				late.Add(1) // each change of rules has this asked anew
			}
			return denyPublish("t")(r)
		})
		for i := range swaps / 2 {
			x.enforce(deny)
			state.Add(1)
			// Now and then the deny lasts for whole exchanges, else it comes between.
			for n := acked.Load(); i%16 == 0 && acked.Load() < n+2; {
				runtime.Gosched()
			}
			state.Add(1) // the deny ends: what is sent from now on may arrive
			x.enforce(allowAll)
		}
		close(stop)
		wg.Wait()
		pub.publishes("always", "end", 1, false)
		reader.Wait()
		for _, payload := range arrived {
			if _, is := bad.Load(payload); is {
				t.Errorf("%s was sent and acknowledged under a deny, and arrived", payload)
			}
		}
		if got != sent {
			t.Errorf("%d of %d arrived of what is always allowed", got, sent)
		}
		if n := late.Load(); n != 0 {
			t.Errorf("%d deliveries were judged after a deny was in force", n)
		}
		if n := underDeny.Load(); n < int64(swaps/64) {
			t.Errorf("only %d messages were sent under a deny", n)
		}
	})
}

func over(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}

func TestTheCacheOfAnswersIsBounded(t *testing.T) {
	asked := 0
	policy := func(r *security.Request) security.Effect { asked++; return security.Allow }
	a := security.NewAccess(security.NewGate(&security.Ruleset{ByListener: map[string][]security.Policy{"": {policyFunc(policy)}}}), &security.Principal{})
	for range 3 {
		for i := range 64 {
			a.Publish(strconv.Itoa(i), nil, 0, false, nil)
		}
	}
	if asked != 64 {
		t.Errorf("the policy was asked %d times for 64 topics, want 64", asked)
	}
	asked = 0
	const many = 10_000
	for range 3 {
		for i := range many {
			a.Publish(strconv.Itoa(i), nil, 0, false, nil)
		}
	}
	if asked < 2*many {
		t.Errorf("the policy was asked %d times for %d topics three times over: all are remembered", asked, many)
	}
}

// The rules change while the session of a CONNECT is being stored: what counts
// is what is in force when the CONNACK leaves.
func TestACommitDoesNotCarryAConnectPastNewRules(t *testing.T) {
	for _, denied := range []security.Action{security.Connect, security.Publish} {
		s := func() store.Store { return failing(nil) }
		way{bubble: true, store: s}.run(t, nil, func(x *bed) {
			watch := x.connect(packet.V5, "watch")
			watch.subscribe(filter("will", 0))
			p := x.open(packet.V5)
			p.sendConnect("c", kept(100), willOf("will", "x", 0))
			x.swap(func(r *security.Request) security.Effect {
				if r.Action == denied {
					return security.Deny
				}
				return security.Allow
			})
			if ack := p.connack(); ack.Code != packet.NotAuthorized {
				t.Errorf("%v: 0x%02x, want 0x87", denied, byte(ack.Code))
			}
			p.closed()
			x.swap(allowAll)
			watch.nothing()
		})
	}
}

func TestARevokedPrincipalLeavesNoWillThoughItGoesAtTheSameMoment(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		w := x.connect(packet.V5, "watch")
		w.subscribe(filter("will", 0))
		evil := x.connect(packet.V5, "evil", user("evil"), willOf("will", "x", 0))
		c := x.b.reg.find("evil").conn
		x.b.Revoke(func(p *security.Principal) bool {
			if p.Name != "evil" {
				return false
			}
			go func() { _ = evil.conn.Close() }() // fails if it is closed already
			for !c.ended.Load() {
				runtime.Gosched()
			}
			return true
		}, "revoked")
		x.settle()
		w.nothing()
	})
}
