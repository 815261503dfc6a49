package packet

import "testing"

// subscribes are SUBSCRIBE packets in all versions.
var subscribes = []golden[Subscribe]{
	{name: "3.1", v: V31, frame: "\x82\x06\x00\x01\x00\x01a\x02",
		want: Subscribe{PacketID: 1, Filters: []Subscription{{Filter: "a", QoS: 2}}}},
	{name: "3.1, unused bits of the QoS are ignored", v: V31, oneWay: true, frame: "\x82\x06\x00\x01\x00\x01a\xFD",
		want: Subscribe{PacketID: 1, Filters: []Subscription{{Filter: "a", QoS: 1}}}},
	{name: "3.1.1, the standard's example", v: V311, frame: "\x82\x0E\x00\x0A\x00\x03a/b\x01\x00\x03c/d\x02",
		want: Subscribe{PacketID: 10, Filters: []Subscription{{Filter: "a/b", QoS: 1}, {Filter: "c/d", QoS: 2}}}},
	{name: "5, the least", v: V5, frame: "\x82\x07\x00\x01\x00\x00\x01#\x00",
		want: Subscribe{PacketID: 1, Filters: []Subscription{{Filter: "#"}}}},
	{name: "5, every option and property", v: V5,
		frame: "\x82\x1B\x00\x01\x0C\x0B\xFF\xFF\xFF\x7F\x26\x00\x01k\x00\x01v\x00\x01a\x2E\x00\x01b\x11\x00\x01c\x04",
		want: Subscribe{PacketID: 1, SubID: 268_435_455, User: []UserProperty{{"k", "v"}}, Filters: []Subscription{
			{Filter: "a", QoS: 2, NoLocal: true, RetainAsPublished: true, RetainHandling: 2},
			{Filter: "b", QoS: 1, RetainHandling: 1},
			{Filter: "c", NoLocal: true}}}},
}

func TestSubscribe(t *testing.T) {
	testGolden(t, DecodeSubscribe, AppendSubscribe, subscribes)
}

func TestSubscribeRefuses(t *testing.T) {
	testRefusals(t, DecodeSubscribe, Limits{Filters: 2, UserProperties: 1}, []refusal{
		{"flags 0 in 3.1", V31, "\x80\x06\x00\x01\x00\x01a\x00", MalformedPacket},
		{"flags 0 in 3.1.1 (MQTT-3.8.1-1)", V311, "\x80\x06\x00\x01\x00\x01a\x00", MalformedPacket},
		{"DUP in 3.1.1 (MQTT-3.8.1-1)", V311, "\x8A\x06\x00\x01\x00\x01a\x00", MalformedPacket},
		{"flags 3 in 5 (MQTT-3.8.1-1)", V5, "\x83\x07\x00\x01\x00\x00\x01a\x00", MalformedPacket},
		{"an empty body", V311, "\x82\x00", MalformedPacket},
		{"packet identifier 0 (MQTT-2.2.1-3)", V311, "\x82\x06\x00\x00\x00\x01a\x00", ProtocolError},
		{"no filter in 3.1.1 (MQTT-3.8.3-3)", V311, "\x82\x02\x00\x01", ProtocolError},
		{"no filter in 5 (MQTT-3.8.3-2)", V5, "\x82\x03\x00\x01\x00", ProtocolError},
		{"no property length in 5", V5, "\x82\x02\x00\x01", MalformedPacket},
		{"a filter without options", V311, "\x82\x05\x00\x01\x00\x01a", MalformedPacket},
		{"a filter cut short", V311, "\x82\x05\x00\x01\x00\x09a", MalformedPacket},
		{"half a filter length", V311, "\x82\x07\x00\x01\x00\x01a\x00\x00", MalformedPacket},
		{"a filter that is not UTF-8 (MQTT-3.8.3-1)", V311, "\x82\x06\x00\x01\x00\x01\xFF\x00", MalformedPacket},
		{"a filter with NUL (MQTT-1.5.4-2)", V5, "\x82\x07\x00\x01\x00\x00\x01\x00\x00", MalformedPacket},
		{"QoS 3 in 3.1", V31, "\x82\x06\x00\x01\x00\x01a\x03", ProtocolError},
		{"QoS 3 in 3.1.1 (MQTT-3-8.3-4)", V311, "\x82\x06\x00\x01\x00\x01a\x03", ProtocolError},
		{"QoS 3 in 5", V5, "\x82\x07\x00\x01\x00\x00\x01a\x03", ProtocolError},
		{"reserved bits in 3.1.1 (MQTT-3-8.3-4)", V311, "\x82\x06\x00\x01\x00\x01a\x04", MalformedPacket},
		{"reserved bit 6 in 5 (MQTT-3.8.3-5)", V5, "\x82\x07\x00\x01\x00\x00\x01a\x40", MalformedPacket},
		{"reserved bit 7 in 5 (MQTT-3.8.3-5)", V5, "\x82\x07\x00\x01\x00\x00\x01a\x80", MalformedPacket},
		{"retain handling 3", V5, "\x82\x07\x00\x01\x00\x00\x01a\x30", ProtocolError},
		{"subscription identifier 0", V5, "\x82\x09\x00\x01\x02\x0B\x00\x00\x01a\x00", ProtocolError},
		{"subscription identifier twice", V5, "\x82\x0B\x00\x01\x04\x0B\x01\x0B\x02\x00\x01a\x00", ProtocolError},
		{"filters above the limit", V311, "\x82\x0E\x00\x01\x00\x01a\x00\x00\x01b\x00\x00\x01c\x00", QuotaExceeded},
		{"user properties above the limit", V5,
			"\x82\x11\x00\x01\x0A\x26\x00\x00\x00\x00\x26\x00\x00\x00\x00\x00\x01a\x00", QuotaExceeded},
	})
	_, body := split(t, "\x82\x0A\x00\x01\x00\x01a\x00\x00\x01b\x00")
	if _, err := DecodeSubscribe(V311, 2, body, Limits{Filters: 2}); err != nil {
		t.Errorf("DecodeSubscribe at its limit: %v", err)
	}
}

func TestBefore5NoOptionsAreWritten(t *testing.T) {
	s := Subscribe{PacketID: 1, SubID: 9, User: []UserProperty{{"k", "v"}},
		Filters: []Subscription{{Filter: "a", QoS: 1, NoLocal: true, RetainAsPublished: true, RetainHandling: 2}}}
	if got, want := string(AppendSubscribe(nil, V311, &s)), "\x82\x06\x00\x01\x00\x01a\x01"; got != want {
		t.Errorf("AppendSubscribe = % x, want % x", got, want)
	}
}

// unsubscribes are UNSUBSCRIBE packets in all versions.
var unsubscribes = []golden[Unsubscribe]{
	{name: "3.1", v: V31, frame: "\xA2\x05\x00\x01\x00\x01a", want: Unsubscribe{PacketID: 1, Filters: []string{"a"}}},
	{name: "3.1.1, the standard's example", v: V311, frame: "\xA2\x0C\x00\x0A\x00\x03a/b\x00\x03c/d",
		want: Unsubscribe{PacketID: 10, Filters: []string{"a/b", "c/d"}}},
	{name: "5, the least", v: V5, frame: "\xA2\x06\x00\x01\x00\x00\x01+", want: Unsubscribe{PacketID: 1, Filters: []string{"+"}}},
	{name: "5, with a user property", v: V5, frame: "\xA2\x0D\x00\x01\x07\x26\x00\x01k\x00\x01v\x00\x01a",
		want: Unsubscribe{PacketID: 1, Filters: []string{"a"}, User: []UserProperty{{"k", "v"}}}},
}

func TestUnsubscribe(t *testing.T) {
	testGolden(t, DecodeUnsubscribe, AppendUnsubscribe, unsubscribes)
}

func TestUnsubscribeRefuses(t *testing.T) {
	testRefusals(t, DecodeUnsubscribe, Limits{Filters: 2, UserProperties: 1}, []refusal{
		{"flags 0 (MQTT-3.10.1-1)", V311, "\xA0\x05\x00\x01\x00\x01a", MalformedPacket},
		{"flags 6 in 3.1", V31, "\xA6\x05\x00\x01\x00\x01a", MalformedPacket},
		{"an empty body", V5, "\xA2\x00", MalformedPacket},
		{"packet identifier 0 (MQTT-2.2.1-3)", V311, "\xA2\x05\x00\x00\x00\x01a", ProtocolError},
		{"no filter in 3.1.1 (MQTT-3.10.3-2)", V311, "\xA2\x02\x00\x01", ProtocolError},
		{"no filter in 5 (MQTT-3.10.3-2)", V5, "\xA2\x03\x00\x01\x00", ProtocolError},
		{"a filter that is not UTF-8 (MQTT-3.10.3-1)", V311, "\xA2\x05\x00\x01\x00\x01\xFF", MalformedPacket},
		{"a filter cut short", V311, "\xA2\x05\x00\x01\x00\x02a", MalformedPacket},
		{"a trailing byte", V311, "\xA2\x06\x00\x01\x00\x01a\x00", MalformedPacket},
		{"filters above the limit", V311, "\xA2\x0B\x00\x01\x00\x01a\x00\x01b\x00\x01c", QuotaExceeded},
		{"user properties above the limit", V5,
			"\xA2\x10\x00\x01\x0A\x26\x00\x00\x00\x00\x26\x00\x00\x00\x00\x00\x01a", QuotaExceeded},
	})
}

func FuzzDecodeSubscribe(f *testing.F) {
	for _, tt := range subscribes {
		h, body := split(f, tt.frame)
		f.Add(byte(tt.v), h.Flags, body)
	}
	f.Fuzz(func(t *testing.T, version, flags byte, body []byte) {
		reencode(t, DecodeSubscribe, AppendSubscribe, Version(3+version%3), flags&15, body)
	})
}

func FuzzDecodeUnsubscribe(f *testing.F) {
	for _, tt := range unsubscribes {
		h, body := split(f, tt.frame)
		f.Add(byte(tt.v), h.Flags, body)
	}
	f.Fuzz(func(t *testing.T, version, flags byte, body []byte) {
		reencode(t, DecodeUnsubscribe, AppendUnsubscribe, Version(3+version%3), flags&15, body)
	})
}
