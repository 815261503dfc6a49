package packet

import "testing"

// subacks are SUBACK packets in all versions.
var subacks = []golden[SubAck]{
	{name: "3.1", v: V31, frame: "\x90\x04\x00\x01\x00\x02", want: SubAck{PacketID: 1, Codes: []Code{0, 2}}},
	{name: "3.1.1, with a failure", v: V311, frame: "\x90\x05\x00\x0A\x00\x02\x80",
		want: SubAck{PacketID: 10, Codes: []Code{0, 2, V3SubackFailure}}},
	{name: "5, the least", v: V5, frame: "\x90\x04\x00\x01\x00\x01", want: SubAck{PacketID: 1, Codes: []Code{GrantedQoS1}}},
	{name: "5, with all fields", v: V5, frame: "\x90\x11\x00\x01\x0C\x1F\x00\x02no\x26\x00\x01k\x00\x01v\x87\x02",
		want: SubAck{PacketID: 1, Reason: "no", User: []UserProperty{{"k", "v"}}, Codes: []Code{NotAuthorized, GrantedQoS2}}},
}

// unsubacks are UNSUBACK packets in all versions.
var unsubacks = []golden[SubAck]{
	{name: "3.1", v: V31, frame: "\xB0\x02\x00\x01", want: SubAck{PacketID: 1}},
	{name: "3.1.1", v: V311, frame: "\xB0\x02\x12\x34", want: SubAck{PacketID: 0x1234}},
	{name: "5, the least", v: V5, frame: "\xB0\x04\x00\x01\x00\x11", want: SubAck{PacketID: 1, Codes: []Code{NoSubscriptionExisted}}},
	{name: "5, with a reason", v: V5, frame: "\xB0\x09\x00\x01\x05\x1F\x00\x02no\x87",
		want: SubAck{PacketID: 1, Reason: "no", Codes: []Code{NotAuthorized}}},
}

func TestSubAck(t *testing.T) {
	testGolden(t, subAckDecoder(SUBACK), subAckEncoder(SUBACK), subacks)
	testGolden(t, subAckDecoder(UNSUBACK), subAckEncoder(UNSUBACK), unsubacks)
}

func TestSubAckRefuses(t *testing.T) {
	testRefusals(t, subAckDecoder(SUBACK), Limits{UserProperties: 1}, []refusal{
		{"flags", V311, "\x92\x03\x00\x01\x00", MalformedPacket},
		{"an empty body", V311, "\x90\x00", MalformedPacket},
		{"packet identifier 0", V311, "\x90\x03\x00\x00\x00", ProtocolError},
		{"no code", V311, "\x90\x02\x00\x01", ProtocolError},
		{"no code in 5", V5, "\x90\x03\x00\x01\x00", ProtocolError},
		{"code 3 (3.1.1: MQTT-3.9.3-2)", V311, "\x90\x03\x00\x01\x03", ProtocolError},
		{"a code of 5 in 3.1.1", V311, "\x90\x03\x00\x01\x87", ProtocolError},
		{"a code of UNSUBACK", V5, "\x90\x05\x00\x01\x00\x00\x11", ProtocolError},
		{"no property length in 5", V5, "\x90\x02\x00\x01", MalformedPacket},
		{"user properties above the limit", V5,
			"\x90\x0E\x00\x01\x0A\x26\x00\x00\x00\x00\x26\x00\x00\x00\x00\x00", QuotaExceeded},
	})
	testRefusals(t, subAckDecoder(UNSUBACK), Limits{}, []refusal{
		{"codes in 3.1.1", V311, "\xB0\x03\x00\x01\x00", MalformedPacket},
		{"a missing packet identifier", V311, "\xB0\x01\x00", MalformedPacket},
		{"a code of SUBACK", V5, "\xB0\x04\x00\x01\x00\x01", ProtocolError},
		{"no code in 5", V5, "\xB0\x03\x00\x01\x00", ProtocolError},
	})
	testRefusals(t, subAckDecoder(PUBACK), Limits{}, []refusal{
		{"another type", V311, "\x40\x02\x00\x01", MalformedPacket},
	})
}

func TestBefore5EveryRefusalIsOne(t *testing.T) {
	s := SubAck{PacketID: 1, Codes: []Code{GrantedQoS2, NotAuthorized, QuotaExceeded}, Reason: "no"}
	if got, want := string(AppendSubAck(nil, V311, SUBACK, &s)), "\x90\x05\x00\x01\x02\x80\x80"; got != want {
		t.Errorf("SUBACK = % x, want % x", got, want)
	}
	if got, want := string(AppendSubAck(nil, V311, UNSUBACK, &s)), "\xB0\x02\x00\x01"; got != want {
		t.Errorf("UNSUBACK = % x, want % x", got, want)
	}
}

func FuzzDecodeSubAck(f *testing.F) {
	for _, tt := range append(subacks, unsubacks...) {
		h, body := split(f, tt.frame)
		f.Add(byte(tt.v), h.Type == UNSUBACK, h.Flags, body)
	}
	f.Fuzz(func(t *testing.T, version byte, unsub bool, flags byte, body []byte) {
		typ := SUBACK
		if unsub {
			typ = UNSUBACK
		}
		reencode(t, subAckDecoder(typ), subAckEncoder(typ), Version(3+version%3), flags&15, body)
	})
}
