package attack_test

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"sallyport/packet"
)

// narrowly is for a peer that doesn't read: its socket takes little.
func (s *site) stalled(user string) *peer {
	s.t.Helper()
	p := s.as(packet.V5, user)
	if c, ok := p.nc.(interface{ SetReadBuffer(int) error }); ok {
		_ = c.SetReadBuffer(4096) // only makes the test quicker
	}
	return p
}

// stuff makes a writer to a peer that doesn't read stand still: it sends
// itself more than sockets hold.
func stuff(p *peer) {
	p.t.Helper()
	p.allowed(0, "self")
	big := strings.Repeat("x", 40<<10) // one more than the limit is not twice the limit
	for range 300 {
		p.send(pub(p.v, "self", big, 0, false, 0))
	}
}

// flood sends frames as fast as the broker takes them, at most total bytes,
// and gives up when the broker has stopped reading for a while.
func flood(p *peer, frame []byte, total int) (sent int) {
	block := bytes.Repeat(frame, max(1, 64<<10/len(frame)))
	for sent < total {
		_ = p.nc.SetWriteDeadline(time.Now().Add(1500 * time.Millisecond))
		n, err := p.nc.Write(block)
		sent += n
		if err != nil {
			break
		}
	}
	return sent
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestAPeerThatDoesNotReadCanNotPileUpAnswers(t *testing.T) {
	frames := map[string]func() []byte{
		"PINGREQ": func() []byte { return packet.AppendPing(nil, packet.PINGREQ) },
		"SUBSCRIBE": func() []byte {
			return packet.AppendSubscribe(nil, packet.V5, &packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: "a"}}})
		},
		"UNSUBSCRIBE": func() []byte {
			return packet.AppendUnsubscribe(nil, packet.V5, &packet.Unsubscribe{PacketID: 1, Filters: []string{"b"}})
		},
		"PUBLISH at QoS 1": func() []byte { return pub(packet.V5, "nobody", "", 1, false, 1) },
		"PUBREL":           func() []byte { return packet.AppendAck(nil, packet.V5, packet.PUBREL, &packet.Ack{PacketID: 9}) },
		"PUBREC":           func() []byte { return packet.AppendAck(nil, packet.V5, packet.PUBREC, &packet.Ack{PacketID: 9}) },
	}
	for claim, frame := range frames {
		t.Run(claim, func(t *testing.T) {
			t.Parallel()
			s := siege(t, plain("limits: {output_bytes: 64KiB}", ""), freely)
			p := s.stalled("mallory")
			stuff(p)
			const total = 24 << 20
			sent := flood(p, frame(), total)
			held := s.srv.Metrics().BufferedBytes.Load()
			if held > 2<<20 {
				t.Errorf("%d bytes of %s made the broker hold %d bytes for one connection, with output_bytes 64 KiB", sent, claim, held)
			}
			s.as(packet.V5, "alice").ping() // others are served
		})
	}
}

func TestResubscribingHoldsNothingMore(t *testing.T) {
	s := siege(t, plain("", ""), freely)
	writer := s.as(packet.V5, "alice")
	writer.publish("kept/1", "x", 1, true)
	writer.publish("kept/2", "x", 1, true)
	p := s.as(packet.V5, "mallory", func(c *packet.Connect) {
		c.Props.ReceiveMaximum = 1
		c.Props.Mark(packet.PropReceiveMaximum)
	})
	// One retained message is never acknowledged: each replay waits for it.
	p.allowed(1, "kept/#")
	p.unacked()
	before := heap()
	const times = 60_000
	frame := packet.AppendSubscribe(nil, packet.V5, &packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: "kept/#", QoS: 1}}})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; n < times; {
			h, _, err := p.read()
			if err != nil {
				return
			}
			if h.Type == packet.SUBACK {
				n++
			}
		}
	}()
	block := bytes.Repeat(frame, 500)
	for range times / 500 {
		p.send(block)
	}
	<-done
	if grown := heap() - before; grown > 4<<20 {
		t.Errorf("%d SUBSCRIBEs for one filter made the broker hold %d KiB more", times, grown>>10)
	}
}

func TestRetainedBytesAreBoundedWhenMessagesGrow(t *testing.T) {
	s := siege(t, plain("", "limits: {retained_bytes: 64KiB, retained_messages: 100}"), freely)
	p := s.as(packet.V5, "mallory")
	for n := range 100 {
		if code := p.publish(fmt.Sprint("r/", n), "x", 1, true); code != 0 {
			t.Fatalf("small message %d: 0x%02x", n, byte(code))
		}
	}
	if code := p.publish("r/more", "x", 1, true); code != packet.QuotaExceeded {
		t.Errorf("one message more: 0x%02x, want 0x97", byte(code))
	}
	big := strings.Repeat("x", 10<<10)
	granted := 0
	for n := range 100 {
		if p.publish(fmt.Sprint("r/", n), big, 1, true) == 0 {
			granted++
		}
	}
	if granted > 6 {
		t.Errorf("%d messages grew to 10 KiB within a bound of 64 KiB", granted)
	}
	for n := range 100 {
		if code := p.publish(fmt.Sprint("r/", n), "", 1, true); code != 0 {
			t.Fatalf("taking message %d away: 0x%02x", n, byte(code))
		}
	}
	if code := p.publish("r/0", big, 1, true); code != 0 {
		t.Errorf("there is room again: 0x%02x", byte(code))
	}
}

func TestBufferBytesBoundWhatIsInFlight(t *testing.T) {
	const bound = 2 << 20
	s := siege(t, plain("", "limits: {buffer_bytes: 2MiB, inflight: 1000, queue_messages: 1000}"), freely)
	var subs []*peer
	for n := range 4 {
		p := s.as(packet.V5, "mallory", id(fmt.Sprint("hoarder", n)))
		p.allowed(1, "hoard")
		subs = append(subs, p)
		go func() { // reads and acknowledges nothing
			for {
				if _, _, err := p.read(); err != nil {
					return
				}
			}
		}()
	}
	w := s.as(packet.V5, "alice")
	payload := strings.Repeat("x", 100<<10)
	for range 60 {
		w.publish("hoard", payload, 1, false)
	}
	if held := s.srv.Metrics().BufferedBytes.Load(); held > 2*bound {
		t.Errorf("4 receivers that acknowledge nothing hold %d KiB, with buffer_bytes of %d KiB", held>>10, bound>>10)
	}
	for _, p := range subs {
		_ = p.nc.Close()
	}
	eventually(t, "all of it is given back", func() bool { return s.srv.Metrics().BufferedBytes.Load() < 64<<10 })
}

func TestAnOfflineQueueIsBounded(t *testing.T) {
	s := siege(t, plain("limits: {queue_messages: 10, queue_bytes: 100KiB}", ""), freely)
	p := s.as(packet.V5, "mallory", lasting)
	p.allowed(1, "q/#", "$share/g/s/#")
	p.send(packet.AppendDisconnect(nil, packet.V5, &packet.Disconnect{}))
	p.ended()
	w := s.as(packet.V5, "alice")
	var full int
	for n := range 50 {
		if w.publish("q/x", fmt.Sprint(n), 1, false) == packet.QuotaExceeded {
			full++
		}
		w.publish("s/x", strings.Repeat("x", 20<<10), 1, false)
	}
	m := s.srv.Metrics()
	if m.Queued.Load() > 20 || m.BufferedBytes.Load() > 400<<10 || full != 40 {
		t.Errorf("%d messages of %d bytes are queued, %d refused", m.Queued.Load(), m.BufferedBytes.Load(), full)
	}
	if !strings.Contains(s.log.String(), "msg=messages_dropped") {
		t.Error("no log line says that messages were dropped")
	}
}

func TestAStalledReaderIsBoundedAndEnded(t *testing.T) {
	s := siege(t, plain("limits: {output_bytes: 64KiB, write_timeout: 1s}", ""), freely)
	p := s.stalled("mallory")
	p.allowed(1, "fan/#")
	watch := s.as(packet.V5, "bob")
	watch.allowed(1, "gone")
	writers := []*peer{s.as(packet.V5, "alice", id("w1")), s.as(packet.V311, "alice", id("w2"))}
	payload := strings.Repeat("x", 32<<10)
	var most int64
	for range 150 {
		for _, w := range writers {
			w.publish("fan/0", payload, 0, false)
			w.publish("fan/1", payload, 1, false)
		}
		most = max(most, s.srv.Metrics().BufferedBytes.Load())
	}
	// Queue and flights (8 MiB by default), output in the making and in the writer.
	if most > 16<<20 {
		t.Errorf("one stalled reader made the broker hold %d KiB", most>>10)
	}
	eventually(t, "write_timeout ends the stalled reader", func() bool { return strings.Contains(s.log.String(), "limit=write_timeout") })
	for _, w := range writers {
		w.ping()
	}
}

func TestQoS2WithoutReleaseIsBounded(t *testing.T) {
	s := siege(t, plain("", ""), freely)
	before := heap()
	p := s.as(packet.V311, "mallory")
	done := make(chan struct{})
	const n = 65535
	go func() {
		defer close(done)
		for range n {
			if h, _, err := p.read(); err != nil || h.Type != packet.PUBREC {
				return
			}
		}
	}()
	var batch []byte
	for i := 1; i <= n; i++ {
		batch = append(batch, pub(packet.V311, "t", "x", 2, false, uint16(i))...)
	}
	p.send(batch)
	<-done
	if grown := heap() - before; grown > 24<<20 {
		t.Errorf("a QoS 2 flood without PUBREL holds %d KiB", grown>>10)
	}
	p.ping()

	five := s.as(packet.V5, "mallory", id("five"))
	for i := uint16(1); i <= 101; i++ {
		five.send(pub(packet.V5, "t", "x", 2, false, i))
	}
	if code := five.ended(); code != packet.ReceiveMaximumExceeded {
		t.Errorf("101 QoS 2 messages without PUBREL in MQTT 5: DISCONNECT 0x%02x, want 0x93", byte(code))
	}
}
