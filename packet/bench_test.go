package packet

import (
	"bytes"
	"runtime"
	"testing"
)

// The packets of the benchmarks: 64 bytes of payload under an ordinary topic.
const benchTopic = "plant/line7/robot12/temperature"

// benchOut are PUBLISH packets as they leave.
func benchOut() []struct {
	name string
	v    Version
	p    PublishOut
} {
	payload := bytes.Repeat([]byte("x"), 64)
	rich := []byte("\x01\x01\x02\x00\x00\x00\x3C\x03\x00\x04json\x26\x00\x01k\x00\x01v")
	return []struct {
		name string
		v    Version
		p    PublishOut
	}{
		{"v3/QoS0", V311, PublishOut{Topic: benchTopic, ExpiryAt: -1, Payload: payload}},
		{"v3/QoS1", V311, PublishOut{QoS: 1, PacketID: 7, Topic: benchTopic, ExpiryAt: -1, Payload: payload}},
		{"v5/QoS0", V5, PublishOut{Topic: benchTopic, ExpiryAt: -1, Payload: payload}},
		{"v5/QoS1/properties", V5, PublishOut{QoS: 1, PacketID: 7, Topic: benchTopic, Alias: 3, Props: rich,
			ExpiryAt: 3, Expiry: 59, Payload: payload}},
	}
}

func BenchmarkDecodePublish(b *testing.B) {
	for _, bb := range benchOut() {
		b.Run(bb.name, func(b *testing.B) {
			h, body := split(b, string(AppendPublish(nil, bb.v, &bb.p)))
			var p Publish
			b.ReportAllocs()
			for b.Loop() {
				if err := DecodePublish(bb.v, h.Flags, body, Limits{}, &p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendPublish(b *testing.B) {
	for _, bb := range benchOut() {
		b.Run(bb.name, func(b *testing.B) {
			dst := make([]byte, 0, 256)
			b.ReportAllocs()
			for b.Loop() {
				AppendPublish(dst, bb.v, &bb.p)
			}
		})
	}
}

func BenchmarkDecodeConnect(b *testing.B) {
	for _, tt := range []struct {
		name string
		c    Connect
	}{
		{"v3", Connect{Version: V311, ClientID: "robot12", HasUsername: true, Username: "robot12", HasPassword: true, Password: []byte("secret")}},
		{"v5/will", Connect{Version: V5, ClientID: "robot12", HasUsername: true, Username: "robot12", HasPassword: true, Password: []byte("secret"),
			Props: marked(Properties{SessionExpiry: 60, ReceiveMaximum: 20}, PropSessionExpiry, PropReceiveMaximum),
			Will:  &Will{Topic: benchTopic, Payload: []byte("gone"), Props: marked(Properties{WillDelay: 5}, PropWillDelay)}}},
	} {
		b.Run(tt.name, func(b *testing.B) {
			_, body := split(b, string(AppendConnect(nil, &tt.c)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := DecodeConnect(body, Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkReadHeader(b *testing.B) {
	frame := []byte("\x30\xFF\x7F")
	for b.Loop() {
		if _, _, err := ReadHeader(frame); err != nil {
			b.Fatal(err)
		}
	}
}

// TestTheHotPathAllocatesNothing holds what runs for each message to no allocation.
func TestTheHotPathAllocatesNothing(t *testing.T) {
	none := func(name string, f func()) {
		t.Helper()
		if got := testing.AllocsPerRun(100, f); got != 0 {
			t.Errorf("%s allocates %v times, want 0", name, got)
		}
	}
	dst := make([]byte, 0, 512)
	var p Publish
	for _, bb := range benchOut() {
		frame := AppendPublish(nil, bb.v, &bb.p)
		h, n, err := ReadHeader(frame)
		if err != nil {
			t.Fatal(err)
		}
		none("ReadHeader", func() { ReadHeader(frame) })
		none("DecodePublish "+bb.name, func() { DecodePublish(bb.v, h.Flags, frame[n:], Limits{UserProperties: 9}, &p) })
		none("AppendForward "+bb.name, func() { p.Props.AppendForward(dst) })
		none("AppendPublish "+bb.name, func() { AppendPublish(dst, bb.v, &bb.p) })
		none("PublishSize "+bb.name, func() { PublishSize(bb.v, &bb.p) })
	}
	body := []byte{0, 1}
	none("DecodeAck", func() { DecodeAck(V5, PUBACK, 0, body, Limits{}) })
	none("AppendAck", func() { AppendAck(dst, V5, PUBACK, &Ack{PacketID: 1, Code: NotAuthorized}) })
	none("DecodePing", func() { DecodePing(PINGREQ, 0, nil) })
	none("AppendPing", func() { AppendPing(dst, PINGRESP) })
}

// TestAnnouncedLengthsAllocateNothing holds decoders to what has arrived: a few
// bytes that announce much must not cost much.
func TestAnnouncedLengthsAllocateNothing(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range holders {
		decodeAny(V5, holders[i].t, reservedFlags(holders[i].t), []byte(holders[i].body("\xFF\xFF\xFF\x7F\x26\xFF\xFF")))
	}
	decodeAny(V311, CONNECT, 0, []byte("\x00\x04MQTT\x04\x06\x00\x00\xFF\xFF"))
	decodeAny(V311, SUBSCRIBE, 2, []byte("\x00\x01\xFF\xFFa"))
	runtime.ReadMemStats(&after)
	// Every one of them announces 64 KiB or more.
	if got := after.TotalAlloc - before.TotalAlloc; got > 48<<10 {
		t.Errorf("%d packets that announce much cost %d bytes, want under 48 KiB", len(holders)+2, got)
	}
}
