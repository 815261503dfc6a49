package packet

import "testing"

// connacks are CONNACK packets in all versions.
var connacks = []golden[Connack]{
	{name: "3.1", v: V31, frame: "\x20\x02\x00\x00", want: Connack{}},
	{name: "3.1, the first byte means nothing", v: V31, oneWay: true, frame: "\x20\x02\xFF\x00", want: Connack{}},
	{name: "3.1.1, session present", v: V311, frame: "\x20\x02\x01\x00", want: Connack{SessionPresent: true}},
	{name: "3.1.1, not authorized", v: V311, frame: "\x20\x02\x00\x05", want: Connack{Code: V3NotAuthorized}},
	{name: "5, the least", v: V5, frame: "\x20\x03\x00\x00\x00", want: Connack{}},
	{name: "5, refused with a reason", v: V5, frame: "\x20\x08\x00\x87\x05\x1F\x00\x02no",
		want: Connack{Code: NotAuthorized, Props: marked(Properties{ReasonString: "no"}, PropReasonString)}},
	{name: "5, every property", v: V5,
		frame: "\x20\x3F\x01\x00\x3C\x11\x00\x00\x00\x0A\x12\x00\x01i\x13\x00\x1E\x15\x00\x01m\x16\x00\x01d\x1A\x00\x01r\x1C\x00\x01s" +
			"\x1F\x00\x01y\x21\x00\x0A\x22\x00\x05\x24\x01\x25\x00\x27\x00\x00\x10\x00\x28\x00\x29\x01\x2A\x00" +
			"\x26\x00\x01k\x00\x01v",
		want: Connack{SessionPresent: true, Props: marked(Properties{SessionExpiry: 10, AssignedClientID: "i",
			ServerKeepAlive: 30, AuthMethod: "m", AuthData: []byte("d"), ResponseInfo: "r", ServerReference: "s",
			ReasonString: "y", ReceiveMaximum: 10, TopicAliasMaximum: 5, MaximumQoS: 1, MaximumPacketSize: 4096,
			SubIDAvailable: 1, User: []UserProperty{{"k", "v"}}},
			PropSessionExpiry, PropAssignedClientID, PropServerKeepAlive, PropAuthMethod, PropAuthData,
			PropResponseInfo, PropServerReference, PropReasonString, PropReceiveMaximum, PropTopicAliasMaximum,
			PropMaximumQoS, PropRetainAvailable, PropMaximumPacketSize, PropWildcardSubAvailable,
			PropSubIDAvailable, PropSharedSubAvailable, PropUser)}},
}

func TestConnack(t *testing.T) { testGolden(t, DecodeConnack, AppendConnack, connacks) }

func TestConnackRefuses(t *testing.T) {
	testRefusals(t, DecodeConnack, Limits{UserProperties: 1}, []refusal{
		{"flags", V311, "\x21\x02\x00\x00", MalformedPacket},
		{"an empty body", V311, "\x20\x00", MalformedPacket},
		{"no code", V311, "\x20\x01\x00", MalformedPacket},
		{"reserved acknowledge flags in 3.1.1", V311, "\x20\x02\x02\x00", MalformedPacket},
		{"reserved acknowledge flags in 5 (MQTT-3.2.2-1)", V5, "\x20\x03\x80\x00\x00", MalformedPacket},
		{"session present in a refusal (MQTT-3.2.2-6)", V5, "\x20\x03\x01\x87\x00", ProtocolError},
		{"return code 6", V311, "\x20\x02\x00\x06", ProtocolError},
		{"a code of other packets in 5", V5, "\x20\x03\x00\x04\x00", ProtocolError},
		{"properties in 3.1.1", V311, "\x20\x03\x00\x00\x00", MalformedPacket},
		{"no property length in 5", V5, "\x20\x02\x00\x00", MalformedPacket},
		{"a trailing byte", V5, "\x20\x04\x00\x00\x00\x00", MalformedPacket},
		{"receive maximum 0", V5, "\x20\x06\x00\x00\x03\x21\x00\x00", ProtocolError},
		{"maximum packet size 0", V5, "\x20\x08\x00\x00\x05\x27\x00\x00\x00\x00", ProtocolError},
		{"maximum QoS 2", V5, "\x20\x05\x00\x00\x02\x24\x02", ProtocolError},
		{"retain available 2", V5, "\x20\x05\x00\x00\x02\x25\x02", ProtocolError},
		{"authentication data without a method", V5, "\x20\x06\x00\x00\x03\x16\x00\x00", ProtocolError},
		{"user properties above the limit", V5,
			"\x20\x0D\x00\x00\x0A\x26\x00\x00\x00\x00\x26\x00\x00\x00\x00", QuotaExceeded},
	})
}

func TestAppendConnackKeepsToTheVersion(t *testing.T) {
	props := marked(Properties{ReasonString: "no"}, PropReasonString)
	tests := []struct {
		name string
		v    Version
		c    Connack
		want string
	}{
		{"3.1 has no session present", V31, Connack{SessionPresent: true}, "\x20\x02\x00\x00"},
		{"3.1.1 has no properties", V311, Connack{Props: props}, "\x20\x02\x00\x00"},
		{"3.1.1 has no session present in a refusal (MQTT-3.2.2-4)", V311, Connack{SessionPresent: true, Code: 5}, "\x20\x02\x00\x05"},
		{"5 has no session present in a refusal (MQTT-3.2.2-6)", V5, Connack{SessionPresent: true, Code: ServerBusy}, "\x20\x03\x00\x89\x00"},
		{"a code of 5 becomes a return code", V311, Connack{Code: NotAuthorized}, "\x20\x02\x00\x05"},
		{"a property of other packets is left out", V5,
			Connack{Props: marked(Properties{WillDelay: 1}, PropWillDelay, PropTopicAlias, PropUser)}, "\x20\x03\x00\x00\x00"},
		{"an unmarked property is left out", V5, Connack{Props: Properties{ReasonString: "no"}}, "\x20\x03\x00\x00\x00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := AppendConnack(nil, tt.v, &tt.c); string(got) != tt.want {
				t.Errorf("AppendConnack = % x, want % x", got, tt.want)
			}
		})
	}
}

func FuzzDecodeConnack(f *testing.F) {
	for _, tt := range connacks {
		h, body := split(f, tt.frame)
		f.Add(byte(tt.v), h.Flags, body)
	}
	f.Fuzz(func(t *testing.T, version, flags byte, body []byte) {
		reencode(t, DecodeConnack, AppendConnack, Version(3+version%3), flags&15, body)
	})
}
