package packet

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func TestPublish(t *testing.T) {
	tests := []struct {
		name  string
		v     Version
		frame string
		want  Publish
	}{
		{"3.1 at QoS 0", V31, "\x30\x07\x00\x03a/bhi",
			Publish{Topic: []byte("a/b"), Payload: []byte("hi")}},
		{"3.1.1 at QoS 1 with retain", V311, "\x33\x06\x00\x01t\x12\x34p",
			Publish{QoS: 1, Retain: true, Topic: []byte("t"), PacketID: 0x1234, Payload: []byte("p")}},
		{"3.1.1 at QoS 2 again, no payload", V311, "\x3C\x05\x00\x01t\xFF\xFF",
			Publish{QoS: 2, Dup: true, Topic: []byte("t"), PacketID: 0xFFFF, Payload: []byte{}}},
		{"5 without properties", V5, "\x30\x05\x00\x01t\x00p",
			Publish{Topic: []byte("t"), Payload: []byte("p"), Props: PublishProps{Raw: []byte{}}}},
		{"5 with an alias alone", V5, "\x32\x08\x00\x00\x00\x01\x03\x23\x00\x07",
			Publish{QoS: 1, Topic: []byte{}, PacketID: 1, Payload: []byte{},
				Props: PublishProps{Raw: []byte("\x23\x00\x07"), TopicAlias: 7}}},
		{"5 with every property", V5,
			"\x30\x2E\x00\x01t\x29\x26\x00\x01k\x00\x01v\x01\x01\x02\x00\x00\x01\x00\x03\x00\x01c\x08\x00\x01r" +
				"\x09\x00\x01d\x0B\x01\x0B\x80\x01\x23\xFF\xFF\x26\x00\x01k\x00\x01vp",
			Publish{Topic: []byte("t"), Payload: []byte("p"), Props: PublishProps{
				Raw: []byte("\x26\x00\x01k\x00\x01v\x01\x01\x02\x00\x00\x01\x00\x03\x00\x01c\x08\x00\x01r" +
					"\x09\x00\x01d\x0B\x01\x0B\x80\x01\x23\xFF\xFF\x26\x00\x01k\x00\x01v"),
				PayloadUTF8: true, HasExpiry: true, Expiry: 256, TopicAlias: 65_535,
				ContentType: []byte("c"), ResponseTopic: []byte("r"), CorrelationData: []byte("d"),
				UserCount: 2, SubIDs: []uint32{1, 128}}}},
		{"5, present but empty or 0 is present", V5,
			"\x30\x12\x00\x01t\x0D\x01\x00\x02\x00\x00\x00\x00\x03\x00\x00\x09\x00\x00p",
			Publish{Topic: []byte("t"), Payload: []byte("p"), Props: PublishProps{
				Raw:       []byte("\x01\x00\x02\x00\x00\x00\x00\x03\x00\x00\x09\x00\x00"),
				HasExpiry: true, ContentType: []byte{}, CorrelationData: []byte{}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, body := split(t, tt.frame)
			got := Publish{Dup: true, QoS: 2, PacketID: 9, Props: PublishProps{HasExpiry: true, UserCount: 3}}
			if err := DecodePublish(tt.v, h.Flags, body, Limits{}, &got); err != nil {
				t.Fatalf("DecodePublish(% x): %v", tt.frame, err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("DecodePublish(% x) =\n%+v, want\n%+v", tt.frame, got, tt.want)
			}
		})
	}
}

func TestPublishRefuses(t *testing.T) {
	v5 := func(props, rest string) string { return frame(0x30, "\x00\x01t"+frame(0, props)[1:]+rest) }
	testRefusals(t, decodePublish, Limits{}, []refusal{
		{"QoS 3 (MQTT-3.3.1-4)", V311, "\x36\x05\x00\x01t\x00\x01", MalformedPacket},
		{"DUP at QoS 0 (MQTT-3.3.1-2)", V311, "\x38\x03\x00\x01t", MalformedPacket},
		{"an empty body", V311, "\x30\x00", MalformedPacket},
		{"a topic length cut short", V311, "\x30\x01\x00", MalformedPacket},
		{"a topic cut short", V311, "\x30\x03\x00\x02t", MalformedPacket},
		{"a topic that is not UTF-8 (MQTT-3.3.2-1)", V311, "\x30\x03\x00\x01\xFF", MalformedPacket},
		{"a topic with NUL (MQTT-1.5.4-2)", V5, "\x30\x04\x00\x01\x00\x00", MalformedPacket},
		{"an empty topic in 3.1.1 (MQTT-4.7.3-1)", V311, "\x30\x02\x00\x00", ProtocolError},
		{"an empty topic without alias in 5", V5, "\x30\x03\x00\x00\x00", ProtocolError},
		{"packet identifier 0 (MQTT-2.2.1-3)", V311, "\x32\x05\x00\x01t\x00\x00", ProtocolError},
		{"a packet identifier cut short", V311, "\x32\x04\x00\x01t\x01", MalformedPacket},
		{"no packet identifier", V311, "\x34\x03\x00\x01t", MalformedPacket},
		{"no property length in 5", V5, "\x30\x03\x00\x01t", MalformedPacket},
		{"a property length beyond the end", V5, "\x30\x05\x00\x01t\x02\x01", MalformedPacket},
		{"a malformed property length", V5, "\x30\x05\x00\x01t\x80\x00", MalformedPacket},
		{"topic alias 0 (MQTT-3.3.2-8)", V5, v5("\x23\x00\x00", ""), TopicAliasInvalid},
		{"topic alias twice", V5, v5("\x23\x00\x01\x23\x00\x01", ""), ProtocolError},
		{"payload format indicator 2", V5, v5("\x01\x02", ""), ProtocolError},
		{"message expiry cut short", V5, v5("\x02\x00\x00\x00", "p"), MalformedPacket},
		{"subscription identifier 0", V5, v5("\x0B\x00", ""), ProtocolError},
		{"subscription identifier of five bytes", V5, v5("\x0B\x80\x80\x80\x80\x01", ""), MalformedPacket},
		{"a wildcard in the response topic (MQTT-3.3.2-14)", V5, v5("\x08\x00\x01+", ""), ProtocolError},
		{"an empty response topic", V5, v5("\x08\x00\x00", ""), ProtocolError},
		{"a content type that is not UTF-8", V5, v5("\x03\x00\x01\xFF", ""), MalformedPacket},
		{"a user property's name that is not UTF-8", V5, v5("\x26\x00\x01\xFF\x00\x01v", ""), MalformedPacket},
		{"a user property's value with NUL", V5, v5("\x26\x00\x01k\x00\x01\x00", ""), MalformedPacket},
		{"a user property without value", V5, v5("\x26\x00\x01k", "\x00\x00"), MalformedPacket},
		{"an unknown property", V5, v5("\x7E\x00", ""), MalformedPacket},
		{"a property identifier of two bytes", V5, v5("\x81\x00\x00", ""), MalformedPacket},
	})
	testRefusals(t, decodePublish, Limits{UserProperties: 1}, []refusal{
		{"user properties above the limit", V5, v5(strings.Repeat("\x26\x00\x01k\x00\x01v", 2), ""), QuotaExceeded},
	})
}

func TestPublishViewsCannotGrowIntoTheBuffer(t *testing.T) {
	buf := []byte("\x00\x01t\x07\x08\x00\x01r\x23\x00\x01payload\xC0\x00")
	body := buf[:len(buf)-2]
	var p Publish
	if err := DecodePublish(V5, 0, body, Limits{}, &p); err != nil {
		t.Fatal(err)
	}
	was := string(buf)
	for _, s := range [][]byte{p.Topic, p.Payload, p.Props.Raw, p.Props.ResponseTopic} {
		_ = append(s, '!') // the point is that it writes elsewhere
	}
	if string(buf) != was {
		t.Errorf("appending to views changed the buffer to %q, want %q", buf, was)
	}
}

func TestAppendForward(t *testing.T) {
	tests := []struct {
		name, props, want string
		expiryAt          int
	}{
		{"nothing", "", "", -1},
		{"all that travels, as it came", "\x26\x00\x01k\x00\x01v\x03\x00\x01c\x01\x01", "\x26\x00\x01k\x00\x01v\x03\x00\x01c\x01\x01", -1},
		{"the alias is left out", "\x01\x01\x23\x00\x01\x03\x00\x01c", "\x01\x01\x03\x00\x01c", -1},
		{"subscription identifiers are left out", "\x0B\x80\x01\x01\x01\x0B\x02", "\x01\x01", -1},
		{"the expiry is found at the front", "\x02\x00\x00\x00\x07\x01\x01", "\x02\x00\x00\x00\x07\x01\x01", 1},
		{"an empty string at the end travels", "\x23\x00\x01\x03\x00\x00", "\x03\x00\x00", -1},
		{"the expiry is found behind what was left out", "\x01\x00\x23\x00\x01\x02\x00\x00\x00\x07", "\x01\x00\x02\x00\x00\x00\x07", 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, body := split(t, frame(0x30, "\x00\x01t"+frame(0, tt.props)[1:]))
			var p Publish
			if err := DecodePublish(V5, 0, body, Limits{}, &p); err != nil {
				t.Fatal(err)
			}
			got, at := p.Props.AppendForward([]byte("before"))
			if string(got) != "before"+tt.want || at != tt.expiryAt {
				t.Errorf("AppendForward = % x, %d, want % x, %d", got, at, "before"+tt.want, tt.expiryAt)
			}
		})
	}
}

func TestAppendForwardSurvivesBytesThatNeverDecoded(t *testing.T) {
	for _, raw := range []string{"\x02\x00", "\x7E", "\x03\x00\x05a", "\x26\x00\x01k\x00", "\x0B\x80", "\x03", "\xFF\x00\x00"} {
		p := PublishProps{Raw: []byte("\x01\x01" + raw), HasExpiry: true}
		if got, at := p.AppendForward(nil); string(got) != "\x01\x01" || at != -1 {
			t.Errorf("AppendForward of % x = % x, %d, want the well-formed part", raw, got, at)
		}
		p.EachUser(func(k, v []byte) bool { t.Errorf("EachUser of % x gave %q, %q", raw, k, v); return true })
	}
}

func TestEachUser(t *testing.T) {
	p := PublishProps{Raw: []byte("\x26\x00\x01a\x00\x02bc\x01\x01\x26\x00\x00\x00\x00\x26\x00\x01z\x00\x00")}
	var got []string
	p.EachUser(func(k, v []byte) bool {
		got = append(got, string(k)+"="+string(v))
		return len(got) < 2
	})
	if want := []string{"a=bc", "="}; !reflect.DeepEqual(got, want) {
		t.Errorf("EachUser gave %q, want %q", got, want)
	}
}

func TestAppendPublish(t *testing.T) {
	full := PublishOut{Dup: true, QoS: 2, Retain: true, Topic: "t", Alias: 7, PacketID: 0x0102,
		Props: []byte("\x01\x01\x02\xEE\xEE\xEE\xEE"), ExpiryAt: 3, Expiry: 9, SubIDs: []uint32{1, 128}, Payload: []byte("p")}
	props := []byte("\x02\x00\x00\x00\x09")
	tests := []struct {
		name string
		v    Version
		p    PublishOut
		want string
	}{
		{"3.1.1 with all fields leaves out what it has not", V311, full, "\x3D\x06\x00\x01t\x01\x02p"},
		{"5 with all fields", V5, full,
			"\x3D\x16\x00\x01t\x01\x02\x0F\x23\x00\x07\x0B\x01\x0B\x80\x01\x01\x01\x02\x00\x00\x00\x09p"},
		{"QoS 0 has neither DUP nor packet identifier", V5, PublishOut{Dup: true, PacketID: 5, Topic: "t"}, "\x30\x04\x00\x01t\x00"},
		{"an alias may stand alone", V5, PublishOut{Alias: 1}, "\x30\x06\x00\x00\x03\x23\x00\x01"},
		{"the zero ExpiryAt is none", V5, PublishOut{Topic: "t", Props: props, Expiry: 1}, "\x30\x09\x00\x01t\x05\x02\x00\x00\x00\x09"},
		{"a negative ExpiryAt is none", V5, PublishOut{Topic: "t", Props: props, ExpiryAt: -1, Expiry: 1}, "\x30\x09\x00\x01t\x05\x02\x00\x00\x00\x09"},
		{"an ExpiryAt beyond the properties is none", V5, PublishOut{Topic: "t", Props: props, ExpiryAt: 2, Expiry: 1}, "\x30\x09\x00\x01t\x05\x02\x00\x00\x00\x09"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := AppendPublish([]byte("before"), tt.v, &tt.p)
			if string(got) != "before"+tt.want {
				t.Errorf("AppendPublish = % x, want % x", got, "before"+tt.want)
			}
			if n := PublishSize(tt.v, &tt.p); n != len(tt.want) {
				t.Errorf("PublishSize = %d, want %d", n, len(tt.want))
			}
		})
	}
	if string(full.Props) != "\x01\x01\x02\xEE\xEE\xEE\xEE" {
		t.Errorf("AppendPublish changed shared properties to % x", full.Props)
	}
}

func TestAppendPublishSizesTheLength(t *testing.T) {
	for _, n := range []int{0, 123, 124, 125, 16_379, 16_380, 2_097_147, 2_097_148} {
		p := PublishOut{Topic: "t", Payload: make([]byte, n)}
		b := AppendPublish(nil, V5, &p)
		h, k, err := ReadHeader(b)
		if err != nil || h.Length != len(b)-k || len(b) != PublishSize(V5, &p) {
			t.Errorf("payload of %d bytes: header %+v in %d, packet of %d, PublishSize %d, %v", n, h, k, len(b), PublishSize(V5, &p), err)
		}
	}
}

func TestNoLengthLies(t *testing.T) {
	long := strings.Repeat("x", maxString-1) + "é" // the last character would be split
	b := AppendPublish(nil, V311, &PublishOut{Topic: long, Payload: []byte("p")})
	h, k, err := ReadHeader(b)
	if err != nil || h.Length != len(b)-k {
		t.Fatalf("header %+v of %d bytes, %v", h, len(b), err)
	}
	var p Publish
	if err := DecodePublish(V311, 0, b[k:], Limits{}, &p); err != nil || string(p.Topic) != long[:maxString-1] || string(p.Payload) != "p" {
		t.Errorf("a long topic decodes with %d bytes, payload %q, %v", len(p.Topic), p.Payload, err)
	}
	binary := bytes.Repeat([]byte{0x80}, maxString+9) // no character begins here
	c, err := DecodeConnect(AppendConnect(nil, &Connect{Version: V5, HasPassword: true, Password: binary})[4:], Limits{})
	if err != nil || len(c.Password) != maxString {
		t.Errorf("a long password decodes with %d bytes, %v, want %d", len(c.Password), err, maxString)
	}
	huge := make([]byte, MaxRemainingLength)
	if got := AppendPublish([]byte("before"), V5, &PublishOut{Topic: "t", Payload: huge}); string(got) != "before" {
		t.Errorf("a packet that no header can announce gave %d bytes", len(got)-len("before"))
	}
	// Untouched pages cost nothing.
	if got := end(make([]byte, 6+2+MaxRemainingLength+1), 6); len(got) != 6 {
		t.Errorf("a control packet that no header can announce gave %d bytes", len(got)-6)
	}
}

func FuzzDecodePublish(f *testing.F) {
	f.Add(byte(5), byte(0), []byte("\x00\x01t\x00payload"))
	f.Add(byte(5), byte(3), []byte("\x00\x00\x00\x01\x03\x23\x00\x07"))
	f.Add(byte(5), byte(0xB), []byte("\x00\x01t\x00\x01\x29\x26\x00\x01k\x00\x01v\x01\x01\x02\x00\x00\x01\x00\x03\x00\x01c\x08\x00\x01r"+
		"\x09\x00\x01d\x0B\x01\x0B\x80\x01\x23\xFF\xFF\x26\x00\x01k\x00\x01vp"))
	f.Add(byte(4), byte(2), []byte("\x00\x03a/b\x00\x01hi"))
	f.Add(byte(3), byte(0), []byte("\xFF\xFF"))
	f.Fuzz(func(t *testing.T, version, flags byte, body []byte) {
		v, flags := Version(3+version%3), flags&15
		var p Publish
		if DecodePublish(v, flags, body, Limits{}, &p) != nil {
			return
		}
		forward, at := p.Props.AppendForward(nil)
		if (at >= 0) != p.Props.HasExpiry {
			t.Fatalf("AppendForward's offset is %d, HasExpiry %v", at, p.Props.HasExpiry)
		}
		out := PublishOut{Dup: p.Dup, QoS: p.QoS, Retain: p.Retain, Topic: string(p.Topic), Alias: p.Props.TopicAlias,
			PacketID: p.PacketID, Props: forward, ExpiryAt: at, Expiry: p.Props.Expiry, SubIDs: p.Props.SubIDs, Payload: p.Payload}
		b := AppendPublish(nil, v, &out)
		if len(b) != PublishSize(v, &out) {
			t.Errorf("AppendPublish gives %d bytes, PublishSize %d", len(b), PublishSize(v, &out))
		}
		h, again := split(t, string(b))
		var q Publish
		if err := DecodePublish(v, h.Flags, again, Limits{}, &q); err != nil {
			t.Fatalf("DecodePublish of our own % x, made from % x: %v", b, body, err)
		}
		users := 0
		q.Props.EachUser(func(_, _ []byte) bool { users++; return true })
		if users != p.Props.UserCount {
			t.Errorf("EachUser finds %d, UserCount is %d", users, p.Props.UserCount)
		}
		forwardAgain, _ := q.Props.AppendForward(nil)
		if !bytes.Equal(forward, forwardAgain) {
			t.Errorf("AppendForward = % x, after encoding % x", forward, forwardAgain)
		}
		p.Props.Raw, q.Props.Raw = nil, nil // alias and identifiers moved to the front
		if !reflect.DeepEqual(p, q) {
			t.Errorf("DecodePublish = %+v, after encoding %+v", p, q)
		}
	})
}
