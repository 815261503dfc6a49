package packet

import "testing"

// disconnects are DISCONNECT packets in all versions.
var disconnects = []golden[Disconnect]{
	{name: "3.1", v: V31, frame: "\xE0\x00", want: Disconnect{}},
	{name: "3.1.1", v: V311, frame: "\xE0\x00", want: Disconnect{}},
	{name: "5, normal in no byte", v: V5, frame: "\xE0\x00", want: Disconnect{}},
	{name: "5, normal in one byte", v: V5, oneWay: true, frame: "\xE0\x01\x00", want: Disconnect{}},
	{name: "5, normal in two bytes", v: V5, oneWay: true, frame: "\xE0\x02\x00\x00", want: Disconnect{}},
	{name: "5, a code in one byte", v: V5, frame: "\xE0\x01\x04", want: Disconnect{Code: DisconnectWithWill}},
	{name: "5, normal with a property", v: V5, frame: "\xE0\x07\x00\x05\x11\x00\x00\x00\x00",
		want: Disconnect{Props: marked(Properties{}, PropSessionExpiry)}},
	{name: "5, every property", v: V5,
		frame: "\xE0\x16\x9C\x14\x11\x00\x00\x00\x01\x1C\x00\x01s\x1F\x00\x01r\x26\x00\x01k\x00\x01v",
		want: Disconnect{Code: UseAnotherServer, Props: marked(Properties{SessionExpiry: 1, ServerReference: "s",
			ReasonString: "r", User: []UserProperty{{"k", "v"}}},
			PropSessionExpiry, PropServerReference, PropReasonString, PropUser)}},
}

func TestDisconnect(t *testing.T) {
	testGolden(t, DecodeDisconnect, AppendDisconnect, disconnects)
	d := Disconnect{Code: ServerBusy, Props: marked(Properties{ReasonString: "r"}, PropReasonString)}
	if got := AppendDisconnect(nil, V311, &d); string(got) != "\xE0\x00" {
		t.Errorf("DISCONNECT in 3.1.1 = % x, want e0 00", got)
	}
	d.Props = Properties{User: []UserProperty{{"k", "v"}}} // needs no mark
	if got, want := string(AppendDisconnect(nil, V5, &d)), "\xE0\x09\x89\x07\x26\x00\x01k\x00\x01v"; got != want {
		t.Errorf("DISCONNECT with a user property = % x, want % x", got, want)
	}
}

func TestDisconnectRefuses(t *testing.T) {
	testRefusals(t, DecodeDisconnect, Limits{UserProperties: 1}, []refusal{
		{"flags in 3.1.1", V311, "\xE1\x00", MalformedPacket},
		{"flags in 5 (MQTT-3.14.1-1)", V5, "\xE8\x00", MalformedPacket},
		{"a body in 3.1.1", V311, "\xE0\x01\x00", MalformedPacket},
		{"an undefined code (MQTT-3.14.2-1)", V5, "\xE0\x01\x7F", ProtocolError},
		{"an undefined code before properties", V5, "\xE0\x02\x01\x00", ProtocolError},
		{"a property length beyond the end", V5, "\xE0\x02\x00\x01", MalformedPacket},
		{"session expiry cut short", V5, "\xE0\x05\x00\x03\x11\x00\x00", MalformedPacket},
		{"session expiry twice", V5, "\xE0\x0C\x00\x0A\x11\x00\x00\x00\x00\x11\x00\x00\x00\x00", ProtocolError},
		{"a trailing byte", V5, "\xE0\x03\x00\x00\x00", MalformedPacket},
		{"user properties above the limit", V5,
			"\xE0\x0C\x00\x0A\x26\x00\x00\x00\x00\x26\x00\x00\x00\x00", QuotaExceeded},
	})
}

func FuzzDecodeDisconnect(f *testing.F) {
	for _, tt := range disconnects {
		h, body := split(f, tt.frame)
		f.Add(byte(tt.v), h.Flags, body)
	}
	f.Fuzz(func(t *testing.T, version, flags byte, body []byte) {
		reencode(t, DecodeDisconnect, AppendDisconnect, Version(3+version%3), flags&15, body)
	})
}

// auths are AUTH packets.
var auths = []golden[Auth]{
	{name: "success in no byte", v: V5, frame: "\xF0\x00", want: Auth{}},
	{name: "success with a method", v: V5, frame: "\xF0\x06\x00\x04\x15\x00\x01m",
		want: Auth{Props: marked(Properties{AuthMethod: "m"}, PropAuthMethod)}},
	{name: "every property", v: V5,
		frame: "\xF0\x16\x18\x14\x15\x00\x01m\x16\x00\x02\x00\xFF\x1F\x00\x01r\x26\x00\x01k\x00\x01v",
		want: Auth{Code: ContinueAuthentication, Props: marked(Properties{AuthMethod: "m", AuthData: []byte{0, 0xFF},
			ReasonString: "r", User: []UserProperty{{"k", "v"}}}, PropAuthMethod, PropAuthData, PropReasonString, PropUser)}},
}

func TestAuth(t *testing.T) { testGolden(t, DecodeAuth, encodeAuth, auths) }

func TestAuthRefuses(t *testing.T) {
	testRefusals(t, DecodeAuth, Limits{UserProperties: 1}, []refusal{
		{"3.1", V31, "\xF0\x00", MalformedPacket},
		{"3.1.1", V311, "\xF0\x00", MalformedPacket},
		{"flags (MQTT-3.15.1-1)", V5, "\xF1\x00", MalformedPacket},
		{"an undefined code (MQTT-3.15.2-1)", V5, "\xF0\x06\x01\x04\x15\x00\x01m", ProtocolError},
		{"a code without property length", V5, "\xF0\x01\x18", MalformedPacket},
		{"a code without method", V5, "\xF0\x02\x18\x00", ProtocolError},
		{"data without method", V5, "\xF0\x05\x18\x03\x16\x00\x00", ProtocolError},
		{"the method twice", V5, "\xF0\x0A\x18\x08\x15\x00\x01m\x15\x00\x01m", ProtocolError},
		{"a method that is not UTF-8", V5, "\xF0\x06\x18\x04\x15\x00\x01\xFF", MalformedPacket},
		{"a trailing byte", V5, "\xF0\x07\x00\x04\x15\x00\x01m!", MalformedPacket},
		{"user properties above the limit", V5,
			"\xF0\x10\x18\x0E\x15\x00\x01m\x26\x00\x00\x00\x00\x26\x00\x00\x00\x00", QuotaExceeded},
	})
}

func FuzzDecodeAuth(f *testing.F) {
	for _, tt := range auths {
		h, body := split(f, tt.frame)
		f.Add(byte(tt.v), h.Flags, body)
	}
	f.Fuzz(func(t *testing.T, version, flags byte, body []byte) {
		reencode(t, DecodeAuth, encodeAuth, Version(3+version%3), flags&15, body)
	})
}

func TestPing(t *testing.T) {
	tests := []struct {
		name  string
		t     Type
		flags byte
		body  string
		code  Code
	}{
		{"PINGREQ", PINGREQ, 0, "", Success},
		{"PINGRESP", PINGRESP, 0, "", Success},
		{"flags are refused", PINGREQ, 1, "", MalformedPacket},
		{"a body is refused", PINGRESP, 0, "x", MalformedPacket},
		{"another type is refused", DISCONNECT, 0, "", MalformedPacket},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := DecodePing(tt.t, tt.flags, []byte(tt.body))
			if tt.code != Success {
				wantError(t, err, tt.code)
			} else if err != nil {
				t.Errorf("DecodePing: %v", err)
			}
		})
	}
	if got := AppendPing(AppendPing(nil, PINGREQ), PINGRESP); string(got) != "\xC0\x00\xD0\x00" {
		t.Errorf("AppendPing = % x, want c0 00 d0 00", got)
	}
}

func FuzzDecodePing(f *testing.F) {
	f.Add(byte(PINGREQ), byte(0), []byte(nil))
	f.Add(byte(PINGRESP), byte(2), []byte("x"))
	f.Fuzz(func(t *testing.T, typ, flags byte, body []byte) {
		if DecodePing(Type(typ), flags, body) != nil {
			return
		}
		if h, b := split(t, string(AppendPing(nil, Type(typ)))); h.Type != Type(typ) || h.Flags != flags || len(b) != len(body) {
			t.Errorf("DecodePing passes type %d, flags %d, % x, which encodes as %+v", typ, flags, body, h)
		}
	})
}
