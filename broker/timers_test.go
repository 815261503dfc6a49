package broker

import (
	"testing"
	"time"

	"sallyport/packet"
)

func TestKeepAliveEndsAfterOneAndAHalfTimes(t *testing.T) {
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		overPipes(t, nil, func(x *bed) {
			p := x.connect(v, "c", keepAlive(10))
			for range 3 {
				x.pass(14900 * time.Millisecond)
				p.ping()
			}
			x.pass(14900 * time.Millisecond)
			if n := x.b.metrics.Connections.Load(); n != 1 {
				t.Fatalf("%d connections before the time is over, want 1", n)
			}
			x.pass(300 * time.Millisecond)
			p.leaves(packet.KeepAliveTimeout)
		})
	}
}

func TestKeepAliveZeroNeverEnds(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		p := x.connect(packet.V5, "c")
		x.pass(20 * time.Hour)
		p.ping()
	})
}

func TestBytesWithoutAPacketDoNotKeepAlive(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		p := x.connect(packet.V5, "c", keepAlive(10))
		p.send([]byte{0x30, 0x7f})
		for range 15 {
			x.pass(time.Second)
			p.send([]byte{0})
		}
		x.pass(time.Second)
		p.leaves(packet.KeepAliveTimeout)
	})
}

func TestServerKeepAliveIsInForce(t *testing.T) {
	overPipes(t, func(s *setup) { s.lis.Limits.KeepAliveMax = 20 }, func(x *bed) {
		for _, asked := range []uint16{0, 100} {
			p, ack := x.tryConnect(packet.V5, "c", keepAlive(asked))
			if ack.Props.ServerKeepAlive != 20 {
				t.Fatalf("asked %d: server keep alive %d, want 20", asked, ack.Props.ServerKeepAlive)
			}
			x.pass(30200 * time.Millisecond)
			p.leaves(packet.KeepAliveTimeout)
		}
		if p, ack := x.tryConnect(packet.V311, "c", keepAlive(100)); ack.Code != packet.V3IdentifierRejected {
			t.Fatalf("3.1.1 above the maximum: %d, want 2", ack.Code)
		} else {
			p.closed()
		}
	})
}

func TestConnectTimeoutEndsWhoSaysNothing(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		silent, slow := x.open(packet.V5), x.open(packet.V5)
		whole := packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "slow"})
		for _, b := range whole[:9] {
			slow.send([]byte{b})
			x.pass(time.Second)
		}
		if n := x.b.metrics.Connections.Load(); n != 2 {
			t.Fatalf("%d connections before the timeout, want 2", n)
		}
		x.pass(1200 * time.Millisecond)
		silent.closed()
		slow.closed()
		if n := x.b.metrics.Limits.Count("connect_timeout"); n != 2 {
			t.Errorf("%d limits reached, want 2", n)
		}
	})
}

func TestWillDelay(t *testing.T) {
	watch := func(x *bed) *peer {
		w := x.connect(packet.V5, "watch")
		w.subscribe(filter("will", 1))
		return w
	}
	t.Run("is never over early", func(t *testing.T) {
		overPipes(t, nil, func(x *bed) {
			w := watch(x)
			x.connect(packet.V5, "c", kept(1000), willOf("will", "gone", 10)).drop()
			x.pass(9900 * time.Millisecond)
			w.nothing()
			x.pass(300 * time.Millisecond)
			w.gets("gone")
		})
	})
	t.Run("is cut by the end of the session", func(t *testing.T) {
		overPipes(t, nil, func(x *bed) {
			w := watch(x)
			x.connect(packet.V5, "c", kept(5), willOf("will", "gone", 100)).drop()
			x.pass(4900 * time.Millisecond)
			w.nothing()
			x.pass(300 * time.Millisecond)
			w.gets("gone")
			w.nothing()
		})
	})
	t.Run("has no effect where the session ends with the connection", func(t *testing.T) {
		overPipes(t, nil, func(x *bed) {
			w := watch(x)
			x.connect(packet.V5, "c", willOf("will", "gone", 100)).drop()
			w.gets("gone")
		})
	})
	t.Run("is cancelled by reconnection", func(t *testing.T) {
		overPipes(t, nil, func(x *bed) {
			w := watch(x)
			x.connect(packet.V5, "c", kept(1000), willOf("will", "gone", 10)).drop()
			x.pass(5 * time.Second)
			again := x.connect(packet.V5, "c", kept(1000))
			x.pass(20 * time.Second)
			w.nothing()
			again.drop()
			x.pass(20 * time.Second)
			w.nothing()
		})
	})
	t.Run("ends when a clean start ends the session", func(t *testing.T) {
		overPipes(t, nil, func(x *bed) {
			w := watch(x)
			x.connect(packet.V5, "c", kept(1000), willOf("will", "gone", 10)).drop()
			x.connect(packet.V5, "c")
			w.gets("gone")
		})
	})
	t.Run("is cancelled by a takeover, and a will without delay is not", func(t *testing.T) {
		overPipes(t, nil, func(x *bed) {
			w := watch(x)
			old := x.connect(packet.V5, "c", kept(1000), willOf("will", "delayed", 10))
			old2 := x.connect(packet.V5, "c", kept(1000), willOf("will", "at once", 0))
			old.leaves(packet.SessionTakenOver)
			x.connect(packet.V5, "c", kept(1000))
			old2.leaves(packet.SessionTakenOver)
			w.gets("at once")
			x.pass(time.Minute)
			w.nothing()
		})
	})
	t.Run("begins anew with each connection", func(t *testing.T) {
		overPipes(t, nil, func(x *bed) {
			w := watch(x)
			for range 20 {
				x.connect(packet.V5, "c", kept(1000), willOf("will", "gone", 10)).drop()
				x.pass(9900 * time.Millisecond)
			}
			w.nothing()
			x.pass(300 * time.Millisecond)
			w.gets("gone")
		})
	})
}

func TestWillIsDiscardedOrSentByTheWayOfTheEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*bed, *peer)
		sent bool
	}{
		{"a normal DISCONNECT discards it", func(_ *bed, p *peer) { p.disconnect(0) }, false},
		{"DISCONNECT 0x04 sends it", func(_ *bed, p *peer) { p.disconnect(packet.DisconnectWithWill) }, true},
		{"a lost connection sends it", func(_ *bed, p *peer) { p.drop() }, true},
		{"a protocol error sends it", func(_ *bed, p *peer) { p.send([]byte{0xF0, 0}); p.x.settle() }, true},
		{"keep alive sends it", func(x *bed, _ *peer) { x.pass(20 * time.Second) }, true},
		{"a takeover sends it", func(x *bed, _ *peer) { x.connect(packet.V5, "c") }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			overPipes(t, nil, func(x *bed) {
				w := x.connect(packet.V5, "watch")
				w.subscribe(filter("will", 1))
				p := x.connect(packet.V5, "c", keepAlive(10), willOf("will", "gone", 0))
				c.end(x, p)
				if c.sent {
					w.gets("gone")
				}
				w.nothing()
			})
		})
	}
}

func TestSessionExpiry(t *testing.T) {
	present := func(x *bed) bool {
		x.t.Helper()
		p, ack := x.tryConnect(packet.V5, "c", kept(10))
		p.drop()
		return ack.SessionPresent
	}
	overPipes(t, nil, func(x *bed) {
		if present(x) {
			t.Error("a first connection finds a session")
		}
		x.pass(9900 * time.Millisecond)
		if !present(x) {
			t.Error("the session ended early")
		}
		x.pass(10200 * time.Millisecond)
		if n := x.b.metrics.Sessions.Load(); n != 0 {
			t.Errorf("%d sessions after expiry, want 0", n)
		}
		if present(x) {
			t.Error("the session outlived its expiry")
		}
		if n := x.b.metrics.SessionsExpired.Load(); n != 1 {
			t.Errorf("%d sessions expired, want 1", n)
		}
	})
}

func TestSessionExpiryCanBeChangedByDisconnect(t *testing.T) {
	with := func(seconds uint32) []byte {
		d := packet.Disconnect{}
		d.Props.SessionExpiry = seconds
		d.Props.Mark(packet.PropSessionExpiry)
		return packet.AppendDisconnect(nil, packet.V5, &d)
	}
	overPipes(t, nil, func(x *bed) {
		p := x.connect(packet.V5, "c", kept(1000))
		p.send(with(0))
		p.closed()
		if n := x.b.metrics.Sessions.Load(); n != 0 {
			t.Errorf("%d sessions, want 0", n)
		}
		p = x.connect(packet.V5, "c", kept(10))
		p.send(with(100))
		p.closed()
		x.pass(50 * time.Second)
		if n := x.b.metrics.Sessions.Load(); n != 1 {
			t.Errorf("%d sessions, want 1", n)
		}
		p = x.connect(packet.V5, "other")
		p.send(with(100))
		p.leaves(packet.ProtocolError) // MQTT-3.14.2-2
	})
}

func TestMessageExpiryIsCountedDown(t *testing.T) {
	expiring := func(p *peer, topic, payload string, seconds byte, retain bool) {
		p.pid++
		p.send(p.pub(packet.PublishOut{Topic: topic, Payload: []byte(payload), QoS: 1, PacketID: p.pid, Retain: retain,
			Props: []byte{0x02, 0, 0, 0, seconds}, ExpiryAt: 1, Expiry: uint32(seconds)}))
		p.expectAck(packet.PUBACK, p.pid, 0)
	}
	overPipes(t, nil, func(x *bed) {
		pub := x.connect(packet.V5, "pub")
		x.connect(packet.V5, "sub", kept(1000)).drop()
		sub := x.connect(packet.V5, "sub", kept(1000))
		sub.subscribe(filter("t", 1))
		expiring(pub, "t", "live", 100, false)
		if m := sub.message(); m.expiry != 100 {
			t.Errorf("live: expiry %d, want 100", m.expiry)
		}
		sub.ack(packet.PUBACK, 1)
		sub.drop()
		expiring(pub, "t", "short", 10, false)
		expiring(pub, "t", "long", 100, false)
		expiring(pub, "r", "short", 10, true)
		expiring(pub, "r2", "long", 100, true)
		x.pass(30 * time.Second)
		sub = x.connect(packet.V5, "sub", kept(1000))
		if m := sub.message(); m.payload != "long" || m.expiry != 70 {
			t.Errorf("queued: %q with expiry %d, want long with 70", m.payload, m.expiry)
		}
		sub.ack(packet.PUBACK, 2)
		sub.nothing()
		if n := x.b.metrics.DroppedExpired.Load(); n != 1 {
			t.Errorf("%d dropped for expiry, want 1", n)
		}
		sub.subscribe(filter("+", 1))
		if m := sub.message(); m.payload != "long" || m.topic != "r2" || m.expiry != 70 {
			t.Errorf("retained: %+v, want r2 with expiry 70", m)
		}
		sub.nothing()
		x.pass(2 * time.Minute)
		if n, _ := x.b.store.RetainedCount(); n != 0 {
			t.Errorf("%d retained messages after the sweep, want 0", n)
		}
	})
}

func TestWriteTimeoutEndsWhoDoesNotRead(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		watch := x.connect(packet.V5, "watch")
		watch.subscribe(filter("will", 1))
		sub := x.connect(packet.V5, "sub", willOf("will", "gone", 0))
		sub.subscribe(filter("t", 0))
		pub := x.connect(packet.V5, "pub")
		pipe := sub.conn.(*Pipe)
		pipe.Stall(true)
		pub.publishes("t", "x", 1, false)
		x.pass(20 * time.Second)
		pipe.Stall(false)
		sub.gets("x")
		pipe.Stall(true)
		pub.publishes("t", "y", 1, false)
		x.pass(29900 * time.Millisecond)
		watch.nothing()
		x.pass(300 * time.Millisecond)
		watch.gets("gone")
	})
}

func TestEveryRefusalTakesTheFloorOfTime(t *testing.T) {
	overPipes(t, func(s *setup) { s.door.floor = 500 * time.Millisecond }, func(x *bed) {
		p := x.open(packet.V5)
		p.sendConnect("c", user("u"), func(c *packet.Connect) { c.Password = []byte("wrong") })
		x.pass(450 * time.Millisecond)
		select {
		case <-p.in:
			t.Fatal("refused before the floor of time")
		default:
		}
		x.pass(150 * time.Millisecond)
		if ack := p.connack(); ack.Code != packet.BadUserNameOrPassword || ack.Props.Has(packet.PropReasonString) {
			t.Errorf("%+v, want 0x86 without a reason", ack)
		}
		p.closed()
	})
}
