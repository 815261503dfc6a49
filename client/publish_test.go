package client

import (
	"context"
	"errors"
	"testing"

	"sallyport/packet"
)

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
