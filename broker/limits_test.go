package broker

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"sallyport/packet"
	"sallyport/security"
)

func TestLimitsOfAConnect(t *testing.T) {
	big := strings.Repeat("x", 300)
	users := func(n int) with {
		return func(c *packet.Connect) {
			for range n {
				c.Props.User = append(c.Props.User, packet.UserProperty{Key: "k", Value: "v"})
			}
		}
	}
	for _, c := range []struct {
		name   string
		limit  string // that is counted
		change func(*setup)
		id     string
		opts   []with
		v5     packet.Code
		v3     packet.Code // 0xff: closed without an answer
	}{
		{"client identifier", "client_id_bytes", nil, big, nil, packet.ClientIDNotValid, packet.V3IdentifierRejected},
		{"empty client identifier", "", func(s *setup) { s.lis.AllowEmptyClientID = false }, "", nil, packet.ClientIDNotValid, packet.V3IdentifierRejected},
		{"packet before authentication", "packet_size_unauthenticated", func(s *setup) { s.lis.Limits.PacketUnauthenticated = 50 }, strings.Repeat("x", 60), nil, 0xff, 0xff},
		{"will topic levels", "topic_levels", func(s *setup) { s.lis.Limits.Topic.Levels = 2 }, "c", []with{willOf("a/b/c", "", 0)}, packet.TopicNameInvalid, 0xff},
		{"will topic length", "topic_bytes", nil, "c", []with{willOf(strings.Repeat("x", 2000), "", 0)}, packet.TopicNameInvalid, 0xff},
		{"will QoS", "qos", func(s *setup) { s.lis.Limits.MaxQoS = 0 }, "c", []with{willOf("a", "", 0)}, packet.QoSNotSupported, 0xff},
		{"user properties", "user_properties", nil, "c", []with{users(65)}, packet.QuotaExceeded, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, v := range []packet.Version{packet.V5, packet.V311} {
				overPipes(t, c.change, func(x *bed) {
					want := c.v5
					if v == packet.V311 {
						want = c.v3
					}
					p := x.open(v)
					p.sendConnect(c.id, c.opts...)
					defer func() {
						if want != 0 && c.limit != "" && x.b.metrics.Limits.Count(c.limit) != 1 {
							t.Errorf("version %d: %s was counted %d times, want once", v, c.limit, x.b.metrics.Limits.Count(c.limit))
						}
					}()
					if want == 0xff {
						p.closed()
						return
					}
					if ack := p.connack(); ack.Code != want {
						t.Errorf("version %d: 0x%02x, want 0x%02x", v, byte(ack.Code), byte(want))
					}
					if want != 0 {
						p.closed()
					}
				})
			}
		})
	}
}

func TestLimitsOfSessions(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*setup)
		again  packet.Code // for another client of another user
	}{
		{"in all", func(s *setup) { s.opt.Sessions = 2 }, packet.QuotaExceeded},
		{"per principal", func(s *setup) { s.opt.SessionsPerPrincipal = 2 }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			overPipes(t, c.change, func(x *bed) {
				x.connect(packet.V5, "a", user("u"), kept(100)).drop()
				b := x.connect(packet.V5, "b", user("u"))
				if _, ack := x.tryConnect(packet.V5, "c", user("u")); ack.Code != packet.QuotaExceeded {
					t.Errorf("the third: 0x%02x, want 0x97", byte(ack.Code))
				}
				if _, ack := x.tryConnect(packet.V311, "c", user("u")); ack.Code != packet.V3ServerUnavailable {
					t.Errorf("3.1.1: 0x%02x, want 3", byte(ack.Code))
				}
				p, ack := x.tryConnect(packet.V5, "d", user("v"))
				if ack.Code != c.again {
					t.Errorf("another user: 0x%02x, want 0x%02x", byte(ack.Code), byte(c.again))
				}
				_ = p.conn.Close()
				x.settle()
				x.connect(packet.V5, "a", user("u")) // what exists may come back
				b.drop()
				x.connect(packet.V5, "c", user("u")) // there is room again
			})
		})
	}
}

func TestLimitsOfAServedClient(t *testing.T) {
	for _, c := range []struct {
		name   string
		limit  string // that is counted
		change func(*Limits)
		do     func(*peer)
		code   packet.Code
	}{
		{"packet size", "packet_size", func(l *Limits) { l.Packet = 1000 }, func(p *peer) {
			p.send([]byte{0x30, 0xff, 0xff, 0xff, 0x7f})
		}, packet.PacketTooLarge},
		{"topic length", "topic_bytes", func(l *Limits) { l.Topic.Bytes = 5 }, func(p *peer) { p.send(p.pub(packet.PublishOut{Topic: "abcdef"})) }, packet.TopicNameInvalid},
		{"topic levels", "topic_levels", func(l *Limits) { l.Topic.Levels = 2 }, func(p *peer) { p.send(p.pub(packet.PublishOut{Topic: "a/b/c"})) }, packet.TopicNameInvalid},
		{"QoS", "qos", func(l *Limits) { l.MaxQoS = 1 }, func(p *peer) { p.send(p.pub(packet.PublishOut{Topic: "a", QoS: 2, PacketID: 1})) }, packet.QoSNotSupported},
		{"topic alias", "topic_alias", func(l *Limits) { l.TopicAlias = 0 }, func(p *peer) { p.send(p.pub(packet.PublishOut{Topic: "a", Alias: 1})) }, packet.TopicAliasInvalid},
		{"filters of a packet", "filters_per_subscribe", func(l *Limits) { l.FiltersPerPacket = 2 }, func(p *peer) {
			p.sendSubscribe(0, filter("a", 0), filter("b", 0), filter("c", 0))
		}, packet.QuotaExceeded},
		{"filters of an UNSUBSCRIBE", "filters_per_subscribe", func(l *Limits) { l.FiltersPerPacket = 1 }, func(p *peer) {
			p.send(packet.AppendUnsubscribe(nil, p.v, &packet.Unsubscribe{PacketID: 1, Filters: []string{"a", "b"}}))
		}, packet.QuotaExceeded},
		{"user properties", "user_properties", func(l *Limits) { l.UserProperties = 1 }, func(p *peer) {
			p.send(p.pub(packet.PublishOut{Topic: "a", Props: []byte{0x26, 0, 1, 'a', 0, 1, 'b', 0x26, 0, 1, 'a', 0, 1, 'b'}, ExpiryAt: -1}))
		}, packet.QuotaExceeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, v := range []packet.Version{packet.V5, packet.V311} {
				if v == packet.V311 && (c.name == "topic alias" || c.name == "user properties") {
					continue // nothing of the kind before MQTT 5
				}
				overPipes(t, func(s *setup) { c.change(&s.lis.Limits) }, func(x *bed) {
					p := x.connect(v, "c")
					c.do(p)
					p.leaves(c.code)
					if n := x.b.metrics.Limits.Count(c.limit); n != 1 {
						t.Errorf("version %d: %s was counted %d times, want once", v, c.limit, n)
					}
				})
			}
		})
	}
}

func TestSubscriptionsPerClientAreBounded(t *testing.T) {
	overPipes(t, func(s *setup) { s.lis.Limits.Subscriptions = 2 }, func(x *bed) {
		p := x.connect(packet.V5, "c")
		codes := p.subscribe(filter("a", 0), filter("$share/g/b", 0), filter("c", 0), filter("a", 1))
		if fmt.Sprint(codes) != fmt.Sprint([]packet.Code{0, 0, packet.QuotaExceeded, 1}) {
			t.Errorf("%v, want the third refused with 0x97", codes)
		}
		v3 := x.connect(packet.V311, "d")
		if codes := v3.subscribe(filter("a", 0), filter("b", 0), filter("c", 0)); codes[2] != packet.V3SubackFailure {
			t.Errorf("3.1.1: %v, want 0x80", codes)
		}
	})
}

func TestLargeMessagesAreAcknowledgedAndDropped(t *testing.T) {
	overPipes(t, func(s *setup) { s.lis.Limits.MessageBytes = 10 }, func(x *bed) {
		sub := x.connect(packet.V5, "sub")
		sub.subscribe(filter("#", 2))
		for v, want := range map[packet.Version]packet.Code{packet.V311: 0, packet.V5: packet.QuotaExceeded} {
			p := x.connect(v, "pub")
			for qos := range byte(3) {
				code := p.publishes("t", "more than ten", qos, true)
				if qos > 0 && code != want {
					t.Errorf("version %d QoS %d: 0x%02x, want 0x%02x", v, qos, byte(code), byte(want))
				}
			}
			p.ping()
		}
		sub.nothing()
		if n := x.b.metrics.PublishDropped.Load(); n != 6 {
			t.Errorf("%d dropped, want 6", n)
		}
	})
}

func TestTheConnackTellsTheLimits(t *testing.T) {
	overPipes(t, func(s *setup) {
		s.lis.Limits.ReceiveMaximum, s.lis.Limits.MaxQoS, s.lis.Limits.SessionExpiry = 7, 1, 50
		s.opt.NoRetain, s.opt.NoShared, s.opt.NoWildcards, s.opt.NoSubscriptionIDs = true, true, true, true
		s.opt.ResponseInformation = "resp/"
		s.lis.GeneratedPrefix = "auto-"
	}, func(x *bed) {
		_, ack := x.tryConnect(packet.V5, "", kept(100), func(c *packet.Connect) {
			c.Props.RequestResponseInfo = 1
			c.Props.Mark(packet.PropRequestResponseInfo)
		})
		p := &ack.Props
		if p.ReceiveMaximum != 7 || !p.Has(packet.PropMaximumQoS) || p.MaximumQoS != 1 || p.SessionExpiry != 50 || p.MaximumPacketSize != 1<<20 ||
			p.TopicAliasMaximum != 10 || p.ResponseInfo != "resp/" || !strings.HasPrefix(p.AssignedClientID, "auto-") || len(p.AssignedClientID) < 20 {
			t.Errorf("%+v", p)
		}
		for _, id := range []packet.PropertyID{packet.PropRetainAvailable, packet.PropSharedSubAvailable, packet.PropWildcardSubAvailable, packet.PropSubIDAvailable} {
			if !p.Has(id) {
				t.Errorf("property 0x%02x is missing", byte(id))
			}
		}
		if p.RetainAvailable+p.SharedSubAvailable+p.WildcardSubAvailable+p.SubIDAvailable != 0 {
			t.Error("something is available that isn't")
		}
	})
}

// heap is the live heap in bytes.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestAnnouncedBytesCostNothing(t *testing.T) {
	const conns = 200
	huge := []byte{0x10, 0xff, 0xff, 0xff, 0x5f} // 200 MB
	overPipes(t, func(s *setup) { s.lis.Limits.PacketUnauthenticated = 256 << 20 }, func(x *bed) {
		var pipes []*Pipe
		for range conns {
			p, err := x.b.Pipe(Info{Listener: "test"})
			if err != nil {
				t.Fatal(err)
			}
			pipes = append(pipes, p)
		}
		before := heap()
		for _, p := range pipes {
			if _, err := p.Write(huge); err != nil {
				t.Fatal(err)
			}
			for range 100 {
				if _, err := p.Write([]byte{0}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if grown := heap() - before; grown > conns*4096 {
			t.Errorf("%d bytes for %d connections that announced 200 MB and sent 105 bytes", grown, conns)
		}
		for _, p := range pipes {
			_ = p.Close()
		}
	})
}

func TestUnknownListenersAreRefused(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		if _, err := x.b.Pipe(Info{Listener: "other"}); err == nil {
			t.Error("a connection of an unknown listener is open")
		}
	})
}

func TestAListenerMayBeReplaced(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		old := x.connect(packet.V5, "old")
		lis := *x.b.listener("test")
		lis.Limits.MaxQoS = 0
		x.b.SetListeners(map[string]*Listener{"test": &lis})
		fresh := x.connect(packet.V5, "fresh")
		if code := old.publishes("t", "x", 1, false); code != 0 {
			t.Errorf("0x%02x, want success: an old connection keeps its limits", byte(code))
		}
		fresh.send(fresh.pub(packet.PublishOut{Topic: "t", QoS: 1, PacketID: 1}))
		fresh.leaves(packet.QoSNotSupported)
	})
}

func TestAPolicyThatPanicsHurtsItsConnectionOnly(t *testing.T) {
	everyWay(t, func(s *setup) {
		s.policy = func(r *security.Request) security.Effect {
			if r.Action == security.Receive && r.Topic == "boom" && r.Principal.ClientID == "odd" {
				panic("a policy's mistake")
			}
			return security.Allow
		}
	}, func(x *bed) {
		subs := []*peer{x.connect(packet.V5, "odd"), x.connect(packet.V5, "even"), x.connect(packet.V5, "third")}
		for _, sub := range subs {
			sub.subscribe(filter("#", 2))
		}
		for _, c := range []struct {
			qos   byte
			keeps bool
		}{{2, false}, {2, true}, {1, false}} {
			qos, opts := c.qos, []with(nil)
			if c.keeps {
				opts = append(opts, kept(100))
			}
			p := x.connect(packet.V5, "pub", opts...)
			p.send(p.pub(packet.PublishOut{Topic: "boom", QoS: qos, PacketID: 1, Payload: []byte("boom")}))
			p.leaves(packet.ImplementationSpecificError)
			x.connect(packet.V5, "pub2").publishes("t", "fine", 1, false)
			for _, sub := range subs {
				got, ids := sub.take()
				for i, id := range ids {
					if got[i] == "fine" || qos == 1 {
						sub.ack(packet.PUBACK, id)
						continue
					}
					sub.ack(packet.PUBREC, id)
					sub.ack(packet.PUBCOMP, id)
				}
				// Of a publisher that a store knows the copies of a QoS 2 message wait for all to be well.
				if len(got) == 0 || got[len(got)-1] != "fine" || len(got) > 2 || x.b.durable && c.keeps && len(got) > 1 {
					t.Errorf("%+v: %s got %q", c, sub.id, got)
				}
			}
		}
		x.b.metrics.Panics.Store(0)
	})
}
