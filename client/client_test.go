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
		c.mu.Lock()
		reader := c.conn.closed
		c.mu.Unlock()
		<-reader
		if cap(c.conn.in.buf) > 4*4096+4*readStep {
			t.Errorf("a buffer of %d bytes for packets of 4096", cap(c.conn.in.buf))
		}
	})
}
