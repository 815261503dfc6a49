package client

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/packet"
)

var versions = []packet.Version{packet.V31, packet.V311, packet.V5}

func TestRefusedConnectIsAReasonError(t *testing.T) {
	tests := []struct {
		name string
		v    packet.Version
		code packet.Code
		want string
	}{
		{"3.1.1 not authorized", packet.V311, packet.V3NotAuthorized, "CONNACK with code 0x05, not authorized"},
		{"3.1 identifier rejected", packet.V31, packet.V3IdentifierRejected, "CONNACK with code 0x02, identifier rejected"},
		{"5.0 banned", packet.V5, packet.Banned, "CONNACK with code 0x8a, " + packet.Banned.String()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ps := newPeers(t, tt.v)
			c := New(Options{Dial: ps.dial, Connect: connect(tt.v)})
			done := make(chan error, 1)
			go func() { _, err := c.Connect(context.Background()); done <- err }()
			s := ps.next()
			s.connect()
			s.connack(packet.Connack{Code: tt.code})
			err := <-done
			reason(t, err, tt.code)
			if err.Error() != tt.want {
				t.Errorf("error = %q, want %q", err, tt.want)
			}
		})
	}
}

func TestConnectEndsWithItsContext(t *testing.T) {
	ps := newPeers(t, packet.V311)
	c := New(Options{Dial: ps.dial, Connect: connect(packet.V311)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { _, err := c.Connect(ctx); done <- err }()
	ps.next().connect() // and no answer
	cancel()
	if err := wait(t, "Connect", done); !errors.Is(err, context.Canceled) {
		t.Errorf("Connect = %v, want context.Canceled", err)
	}
}

func TestConnectRefusesAServerThatBreaksTheProtocol(t *testing.T) {
	publish := packet.AppendPublish(nil, packet.V311, &packet.PublishOut{Topic: "a", ExpiryAt: -1})
	tests := []struct {
		name   string
		answer []byte
	}{
		{"PUBLISH before CONNACK", publish},
		{"session present after a clean start", packet.AppendConnack(nil, packet.V311, &packet.Connack{SessionPresent: true})},
		{"reserved type", []byte{0x00, 0x00}},
		{"the end", nil},
		{"half a packet", []byte{0x20, 0x02, 0x00}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ps := newPeers(t, packet.V311)
			c := New(Options{Dial: ps.dial, Connect: connect(packet.V311)})
			done := make(chan error, 1)
			go func() { _, err := c.Connect(context.Background()); done <- err }()
			s := ps.next()
			s.connect()
			if len(tt.answer) > 0 {
				s.write(tt.answer)
			}
			s.nc.Close()
			if err := wait(t, "Connect", done); err == nil {
				t.Error("Connect succeeded")
			}
		})
	}
}

func TestPublishWaitsForItsAcknowledgement(t *testing.T) {
	for _, v := range versions {
		for qos := byte(0); qos <= 2; qos++ {
			t.Run(map[packet.Version]string{3: "3.1", 4: "3.1.1", 5: "5.0"}[v]+" QoS "+string('0'+rune(qos)), func(t *testing.T) {
				c, s, _ := joined(t, Options{Connect: connect(v)})
				done := make(chan error, 1)
				go func() {
					_, err := c.Publish(context.Background(), Message{Topic: "a/b", Payload: []byte("x"), QoS: qos, Retain: true})
					done <- err
				}()
				p := s.readPublish()
				if string(p.Topic) != "a/b" || string(p.Payload) != "x" || p.QoS != qos || !p.Retain || p.Dup {
					t.Errorf("PUBLISH = %+v", p)
				}
				switch qos {
				case 1:
					s.ack(packet.PUBACK, p.PacketID, 0)
				case 2:
					s.ack(packet.PUBREC, p.PacketID, 0)
					if a := s.readAck(packet.PUBREL); a.PacketID != p.PacketID {
						t.Errorf("PUBREL for %d, want %d", a.PacketID, p.PacketID)
					}
					s.ack(packet.PUBCOMP, p.PacketID, 0)
				}
				if err := wait(t, "Publish", done); err != nil {
					t.Errorf("Publish = %v", err)
				}
			})
		}
	}
}

func TestRefusedPublishIsAReasonError(t *testing.T) {
	for qos, ack := range map[byte]packet.Type{1: packet.PUBACK, 2: packet.PUBREC} {
		c, s, _ := joined(t, Options{Connect: connect(packet.V5)})
		done := make(chan error, 1)
		go func() {
			_, err := c.Publish(context.Background(), Message{Topic: "a", QoS: qos})
			done <- err
		}()
		s.ack(ack, s.readPublish().PacketID, packet.NotAuthorized)
		reason(t, wait(t, "Publish", done), packet.NotAuthorized)
	}
}

func TestPropertiesTravelBothWays(t *testing.T) {
	got := make(chan *Message, 1)
	c, s, _ := joined(t, Options{Connect: connect(packet.V5), OnMessage: func(m *Message) error { got <- m; return nil }})
	sent := Message{Topic: "a", Payload: []byte("p"), PayloadUTF8: true, HasExpiry: true, Expiry: 7, ContentType: "t/x",
		ResponseTopic: "r", CorrelationData: []byte{0, 1}, User: []packet.UserProperty{{Key: "k", Value: "v"}, {Key: "k", Value: "w"}}}
	if _, err := c.Publish(context.Background(), sent); err != nil {
		t.Fatal(err)
	}
	h, body := s.read(packet.PUBLISH)
	frame := append([]byte{byte(h.Type)<<4 | h.Flags, byte(len(body))}, body...)
	s.write(frame) // echoed
	m := wait(t, "message", got)
	if m.Topic != "a" || string(m.Payload) != "p" || !m.PayloadUTF8 || !m.HasExpiry || m.Expiry != 7 || m.ContentType != "t/x" ||
		m.ResponseTopic != "r" || string(m.CorrelationData) != "\x00\x01" || len(m.User) != 2 || m.User[1].Value != "w" {
		t.Errorf("came back as %+v", m)
	}
}

func TestInflightIsSentAgainOnAResumedSession(t *testing.T) {
	o := Options{Connect: connect(packet.V311)}
	o.Connect.CleanStart = false
	c, s, ps := joined(t, o)
	ctx := context.Background()
	var pending []*Pending
	for _, topic := range []string{"one", "two", "three"} {
		p, err := c.Start(ctx, Message{Topic: topic, QoS: 2})
		if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, p)
	}
	first := s.readPublish()
	s.readPublish()
	s.readPublish()
	s.ack(packet.PUBREC, first.PacketID, 0)
	s.readAck(packet.PUBREL)
	s.nc.Close()
	wait(t, "loss", c.Done())

	s = rejoin(t, c, ps, true)
	if a := s.readAck(packet.PUBREL); a.PacketID != first.PacketID {
		t.Errorf("PUBREL for %d, want %d", a.PacketID, first.PacketID)
	}
	var again []uint16
	for _, topic := range []string{"two", "three"} {
		p := s.readPublish()
		if string(p.Topic) != topic || !p.Dup {
			t.Errorf("sent again: %s DUP %v, want %s with DUP", p.Topic, p.Dup, topic)
		}
		again = append(again, p.PacketID)
	}
	for _, id := range again {
		s.ack(packet.PUBREC, id, 0)
		s.readAck(packet.PUBREL)
		s.ack(packet.PUBCOMP, id, 0)
	}
	s.ack(packet.PUBCOMP, first.PacketID, 0)
	for _, p := range pending {
		wait(t, "Pending", p.Done())
		if _, err := p.Wait(ctx); err != nil {
			t.Errorf("Wait = %v", err)
		}
	}
}

func TestInflightFailsWhenTheServerLostTheSession(t *testing.T) {
	c, s, ps := joined(t, Options{Connect: connect(packet.V311)})
	p, err := c.Start(context.Background(), Message{Topic: "a", QoS: 1})
	if err != nil {
		t.Fatal(err)
	}
	s.readPublish()
	s.nc.Close()
	wait(t, "loss", c.Done())
	rejoin(t, c, ps, false)
	if _, err := p.Wait(context.Background()); !errors.Is(err, ErrSessionLost) {
		t.Errorf("Wait = %v, want ErrSessionLost", err)
	}
}

func TestReceiveMaximumOfTheServerIsHonoured(t *testing.T) {
	a := packet.Connack{}
	a.Props.ReceiveMaximum = 2
	a.Props.Mark(packet.PropReceiveMaximum)
	c, s := joinedWith(t, a)
	started := make(chan struct{}, 3)
	go func() {
		for range 3 {
			if _, err := c.Start(context.Background(), Message{Topic: "a", QoS: 1}); err != nil {
				t.Error(err)
			}
			started <- struct{}{}
		}
	}()
	first := s.readPublish()
	s.readPublish()
	wait(t, "first", started)
	wait(t, "second", started)
	select {
	case <-started:
		t.Fatal("a third message was sent into a window of two")
	default:
	}
	s.ack(packet.PUBACK, first.PacketID, 0)
	s.readPublish()
	wait(t, "third", started)
}

// joinedWith is joined for MQTT 5 with a CONNACK of the test's.
func joinedWith(t *testing.T, a packet.Connack) (*Client, *peer) {
	t.Helper()
	ps := newPeers(t, packet.V5)
	c := New(Options{Dial: ps.dial, Connect: connect(packet.V5)})
	t.Cleanup(func() { c.Close() })
	done := make(chan error, 1)
	go func() { _, err := c.Connect(context.Background()); done <- err }()
	s := ps.next()
	s.connect()
	s.connack(a)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return c, s
}

func TestWhatTheServerCannotTakeIsNotSent(t *testing.T) {
	a := packet.Connack{}
	a.Props.MaximumPacketSize = 40
	a.Props.MaximumQoS = 1
	a.Props.RetainAvailable = 0
	a.Props.Mark(packet.PropMaximumPacketSize, packet.PropMaximumQoS, packet.PropRetainAvailable)
	c, _ := joinedWith(t, a)
	tests := []struct {
		name string
		m    Message
		code packet.Code
		want error
	}{
		{"QoS above the maximum", Message{Topic: "a", QoS: 2}, packet.QoSNotSupported, nil},
		{"retained", Message{Topic: "a", Retain: true}, packet.RetainNotSupported, nil},
		{"topic alias above the maximum", Message{Topic: "a", Alias: 1}, packet.TopicAliasInvalid, nil},
		{"too large", Message{Topic: "a", Payload: make([]byte, 40)}, 0, ErrTooLarge},
		{"QoS 3", Message{Topic: "a", QoS: 3}, 0, ErrQoS},
		{"topic beyond 65,535 bytes", Message{Topic: string(make([]byte, 65536))}, 0, ErrStringTooLong},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := c.Publish(context.Background(), tt.m)
			if tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("Publish = %v, want %v", err, tt.want)
			}
			if tt.want == nil {
				reason(t, err, tt.code)
			}
		})
	}
}

func TestReceivedMessagesAreAcknowledgedOnce(t *testing.T) {
	var got []string
	c, s, ps := joined(t, Options{Connect: packet.Connect{Version: packet.V311, ClientID: "c"}, OnMessage: func(m *Message) error {
		got = append(got, string(m.Payload))
		return nil
	}})
	s.publish(packet.PublishOut{Topic: "a", Payload: []byte("0")})
	s.publish(packet.PublishOut{Topic: "a", QoS: 1, PacketID: 5, Payload: []byte("1")})
	if a := s.readAck(packet.PUBACK); a.PacketID != 5 {
		t.Errorf("PUBACK for %d, want 5", a.PacketID)
	}
	s.publish(packet.PublishOut{Topic: "a", QoS: 2, PacketID: 6, Payload: []byte("2")})
	s.readAck(packet.PUBREC)
	s.nc.Close()
	wait(t, "loss", c.Done())

	s = rejoin(t, c, ps, true)
	s.publish(packet.PublishOut{Topic: "a", QoS: 2, Dup: true, PacketID: 6, Payload: []byte("2")})
	s.readAck(packet.PUBREC)
	s.ack(packet.PUBREL, 6, 0)
	s.readAck(packet.PUBCOMP)
	s.publish(packet.PublishOut{Topic: "a", QoS: 2, PacketID: 6, Payload: []byte("3")})
	s.readAck(packet.PUBREC)
	if want := []string{"0", "1", "2", "3"}; len(got) != 4 || got[2] != want[2] || got[3] != want[3] {
		t.Errorf("messages = %q, want %q", got, want)
	}
}

func TestErrStopAcknowledgesAndTakesNoMore(t *testing.T) {
	taken := 0
	c, s, _ := joined(t, Options{Connect: connect(packet.V311), OnMessage: func(*Message) error { taken++; return ErrStop }})
	s.publish(packet.PublishOut{Topic: "a", QoS: 1, PacketID: 1})
	s.readAck(packet.PUBACK)
	s.publish(packet.PublishOut{Topic: "a", QoS: 1, PacketID: 2})
	done := make(chan error, 1)
	go func() { done <- c.Disconnect(context.Background(), nil) }()
	s.read(packet.DISCONNECT) // and no PUBACK for the second
	s.nc.Close()
	if err := wait(t, "Disconnect", done); err != nil || taken != 1 {
		t.Errorf("Disconnect = %v after %d messages, want nil after 1", err, taken)
	}
}

func TestAMessageThatWasNotTakenIsNotAcknowledged(t *testing.T) {
	full := errors.New("disk full")
	for qos := byte(1); qos <= 2; qos++ {
		c, s, _ := joined(t, Options{Connect: connect(packet.V311), OnMessage: func(*Message) error { return full }})
		s.publish(packet.PublishOut{Topic: "a", QoS: qos, PacketID: 1})
		s.gone()
		if !errors.Is(c.Err(), full) {
			t.Errorf("Err = %v, want %v", c.Err(), full)
		}
	}
}

func TestServerViolationsEndTheConnection(t *testing.T) {
	o := func(p packet.PublishOut) []byte { p.ExpiryAt = -1; return packet.AppendPublish(nil, packet.V5, &p) }
	tests := []struct {
		name  string
		bytes []byte
		code  packet.Code
	}{
		{"packet above the maximum size", o(packet.PublishOut{Topic: "a", Payload: make([]byte, 2000)}), packet.PacketTooLarge},
		{"topic alias that was not offered", o(packet.PublishOut{Topic: "a", Alias: 1}), packet.TopicAliasInvalid},
		{"second CONNACK", packet.AppendConnack(nil, packet.V5, &packet.Connack{}), packet.ProtocolError},
		{"QoS 2 beyond the receive maximum", append(o(packet.PublishOut{Topic: "a", QoS: 2, PacketID: 1}), o(packet.PublishOut{Topic: "a", QoS: 2, PacketID: 2})...), packet.ReceiveMaximumExceeded},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hello := connect(packet.V5)
			hello.Props.ReceiveMaximum = 1
			hello.Props.Mark(packet.PropReceiveMaximum)
			c, s, _ := joined(t, Options{Connect: hello, MaxPacketSize: 1000})
			go s.nc.Write(tt.bytes) // the client may close in the midst of it
			for {
				h, body, err := s.packet()
				if err != nil {
					t.Fatalf("no DISCONNECT: %v", err)
				}
				if h.Type != packet.DISCONNECT {
					continue
				}
				d, err := packet.DecodeDisconnect(packet.V5, h.Flags, body, packet.Limits{})
				if err != nil || d.Code != tt.code {
					t.Errorf("DISCONNECT = %+v, %v, want 0x%02x", d, err, byte(tt.code))
				}
				break
			}
			wait(t, "end", c.Done())
			if _, ok := errors.AsType[*packet.Error](c.Err()); !ok {
				t.Errorf("Err = %v, want a *packet.Error", c.Err())
			}
		})
	}
}

func TestServerDisconnectIsTheReason(t *testing.T) {
	c, s, _ := joined(t, Options{Connect: connect(packet.V5)})
	s.write(packet.AppendDisconnect(nil, packet.V5, &packet.Disconnect{Code: packet.SessionTakenOver}))
	wait(t, "end", c.Done())
	reason(t, c.Err(), packet.SessionTakenOver)
	if _, err := c.Publish(context.Background(), Message{Topic: "a"}); !errors.Is(err, ErrNotConnected) {
		t.Errorf("Publish = %v, want ErrNotConnected", err)
	}
}

func TestSubscribeReturnsTheCodes(t *testing.T) {
	c, s, _ := joined(t, Options{Connect: connect(packet.V5)})
	done := make(chan *packet.SubAck, 1)
	go func() {
		ack, err := c.Subscribe(context.Background(), packet.Subscribe{Filters: []packet.Subscription{{Filter: "a"}, {Filter: "b", QoS: 1}}})
		if err != nil {
			t.Error(err)
		}
		done <- ack
	}()
	h, body := s.read(packet.SUBSCRIBE)
	sub, err := packet.DecodeSubscribe(packet.V5, h.Flags, body, packet.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	s.write(packet.AppendSubAck(nil, packet.V5, packet.SUBACK, &packet.SubAck{PacketID: sub.PacketID, Codes: []packet.Code{0, packet.NotAuthorized}}))
	if ack := wait(t, "SUBACK", done); len(ack.Codes) != 2 || ack.Codes[1] != packet.NotAuthorized {
		t.Errorf("codes = %v", ack.Codes)
	}
}

func TestSubAckOfTheWrongLengthIsAViolation(t *testing.T) {
	c, s, _ := joined(t, Options{Connect: connect(packet.V311)})
	done := make(chan error, 1)
	go func() {
		_, err := c.Subscribe(context.Background(), packet.Subscribe{Filters: []packet.Subscription{{Filter: "a"}, {Filter: "b"}}})
		done <- err
	}()
	s.read(packet.SUBSCRIBE)
	s.write(packet.AppendSubAck(nil, packet.V311, packet.SUBACK, &packet.SubAck{PacketID: 1, Codes: []packet.Code{0}}))
	if err := wait(t, "Subscribe", done); err == nil {
		t.Error("Subscribe succeeded")
	}
}

func TestDisconnectFlushesWhatWasQueued(t *testing.T) {
	c, s, _ := joined(t, Options{Connect: connect(packet.V311)})
	for range 3 {
		if _, err := c.Publish(context.Background(), Message{Topic: "a"}); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error, 1)
	go func() { done <- c.Disconnect(context.Background(), nil) }()
	for range 3 {
		s.readPublish()
	}
	s.read(packet.DISCONNECT)
	s.nc.Close()
	if err := wait(t, "Disconnect", done); err != nil || c.Err() != nil {
		t.Errorf("Disconnect = %v, Err = %v, want nil", err, c.Err())
	}
}

func TestCloseEndsWhatWaits(t *testing.T) {
	c, s, _ := joined(t, Options{Connect: connect(packet.V311)})
	done := make(chan error, 1)
	go func() { _, err := c.Publish(context.Background(), Message{Topic: "a", QoS: 1}); done <- err }()
	s.readPublish()
	c.Close()
	if err := wait(t, "Publish", done); !errors.Is(err, ErrClosed) {
		t.Errorf("Publish = %v, want ErrClosed", err)
	}
	if _, err := c.Connect(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("Connect = %v, want ErrClosed", err)
	}
}

func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hello := connect(packet.V311)
		hello.KeepAlive = 10
		mine, theirs := net.Pipe()
		c := New(Options{Dial: func(context.Context) (net.Conn, error) { return mine, nil }, Connect: hello})
		defer c.Close()
		s := &peer{t: t, v: packet.V311, nc: theirs}
		started := time.Now()
		go c.Connect(context.Background())
		read := func() byte {
			var b [64]byte
			n, err := s.nc.Read(b[:])
			if err != nil {
				return 0
			}
			_ = n
			return b[0] >> 4
		}
		if got := read(); got != byte(packet.CONNECT) {
			t.Fatalf("got packet %d, want CONNECT", got)
		}
		theirs.Write(packet.AppendConnack(nil, packet.V311, &packet.Connack{}))
		if got := read(); got != byte(packet.PINGREQ) || time.Since(started) > 10*time.Second {
			t.Fatalf("got packet %d after %v, want PINGREQ within 10 s", got, time.Since(started))
		}
		theirs.Write(packet.AppendPing(nil, packet.PINGRESP))
		if got := read(); got != byte(packet.PINGREQ) {
			t.Fatalf("got packet %d, want the second PINGREQ", got)
		}
		silent := time.Now() // no answer
		if got := read(); got != 0 {
			t.Fatalf("got packet %d, want the end", got)
		}
		if d := time.Since(silent); !errors.Is(c.Err(), ErrKeepAlive) || d > 15*time.Second {
			t.Errorf("Err = %v after %v, want ErrKeepAlive within 15 s", c.Err(), d)
		}
	})
}

// FuzzRead feeds the reader whatever a server might send.
func FuzzRead(f *testing.F) {
	f.Add(byte(5), packet.AppendPublish(nil, packet.V5, &packet.PublishOut{Topic: "a", QoS: 2, PacketID: 1, ExpiryAt: -1}))
	f.Add(byte(4), packet.AppendSubAck(nil, packet.V311, packet.SUBACK, &packet.SubAck{PacketID: 1, Codes: []packet.Code{0}}))
	f.Add(byte(5), packet.AppendAck(nil, packet.V5, packet.PUBREC, &packet.Ack{PacketID: 9, Code: 0x91}))
	f.Add(byte(5), packet.AppendDisconnect(nil, packet.V5, &packet.Disconnect{Code: 0x8b}))
	f.Fuzz(func(t *testing.T, v byte, input []byte) {
		version := versions[int(v)%len(versions)]
		mine, theirs := net.Pipe()
		c := New(Options{Dial: func(context.Context) (net.Conn, error) { return mine, nil }, Connect: connect(version), MaxPacketSize: 4096})
		go func() {
			theirs.Read(make([]byte, 256))
			theirs.Write(packet.AppendConnack(nil, version, &packet.Connack{}))
			go io.Copy(io.Discard, theirs)
			theirs.Write(input)
			theirs.Close()
		}()
		if _, err := c.Connect(context.Background()); err != nil {
			t.Fatal(err)
		}
		<-c.Done()
		c.mu.Lock()
		defer c.mu.Unlock()
		if cap(c.conn.in.buf) > 4*4096+4*readStep {
			t.Errorf("a buffer of %d bytes for packets of 4096", cap(c.conn.in.buf))
		}
	})
}
