package packet

import (
	"reflect"
	"strings"
	"testing"
)

// connects are CONNECT packets in all versions.
var connects = []golden[Connect]{
	{name: "3.1, the least", v: V31,
		frame: "\x10\x0F\x00\x06MQIsdp\x03\x02\x00\x0A\x00\x01a",
		want:  Connect{Version: V31, CleanStart: true, KeepAlive: 10, ClientID: "a"}},
	{name: "3.1, every field", v: V31,
		frame: "\x10\x1E\x00\x06MQIsdp\x03\xEE\x00\x00\x00\x01a\x00\x01t\x00\x02w\xFF\x00\x01u\x00\x03p\x00w",
		want: Connect{Version: V31, CleanStart: true, ClientID: "a",
			Will:        &Will{QoS: 1, Retain: true, Topic: "t", Payload: []byte("w\xFF"), ExpiryAt: -1},
			HasUsername: true, Username: "u", HasPassword: true, Password: []byte("p\x00w")}},
	{name: "3.1, unused bits are ignored", v: V31, oneWay: true,
		frame: "\x10\x0F\x00\x06MQIsdp\x03\x3B\x00\x0A\x00\x01a",
		want:  Connect{Version: V31, CleanStart: true, KeepAlive: 10, ClientID: "a"}},
	{name: "3.1, missing user name and password count as not sent", v: V31, oneWay: true,
		frame: "\x10\x0F\x00\x06MQIsdp\x03\xC2\x00\x0A\x00\x01a",
		want:  Connect{Version: V31, CleanStart: true, KeepAlive: 10, ClientID: "a"}},
	{name: "3.1, a missing password counts as not sent", v: V31, oneWay: true,
		frame: "\x10\x12\x00\x06MQIsdp\x03\xC2\x00\x0A\x00\x01a\x00\x01u",
		want:  Connect{Version: V31, CleanStart: true, KeepAlive: 10, ClientID: "a", HasUsername: true, Username: "u"}},
	{name: "3.1.1, empty client id with clean session", v: V311,
		frame: "\x10\x0C\x00\x04MQTT\x04\x02\xFF\xFF\x00\x00",
		want:  Connect{Version: V311, CleanStart: true, KeepAlive: 65_535}},
	{name: "3.1.1, will at QoS 2 and user name without password", v: V311,
		frame: "\x10\x18\x00\x04MQTT\x04\x94\x00\x3C\x00\x02id\x00\x03w/t\x00\x00\x00\x01u",
		want: Connect{Version: V311, KeepAlive: 60, ClientID: "id",
			Will:        &Will{QoS: 2, Topic: "w/t", Payload: []byte{}, ExpiryAt: -1},
			HasUsername: true, Username: "u"}},
	{name: "3.1.1, empty user name and password are there", v: V311,
		frame: "\x10\x11\x00\x04MQTT\x04\xC2\x00\x00\x00\x01a\x00\x00\x00\x00",
		want: Connect{Version: V311, CleanStart: true, ClientID: "a",
			HasUsername: true, HasPassword: true, Password: []byte{}}},
	{name: "5, the least", v: V5,
		frame: "\x10\x0D\x00\x04MQTT\x05\x00\x00\x00\x00\x00\x00",
		want:  Connect{Version: V5}},
	{name: "5, password without user name", v: V5,
		frame: "\x10\x10\x00\x04MQTT\x05\x42\x00\x00\x00\x00\x00\x00\x01p",
		want:  Connect{Version: V5, CleanStart: true, HasPassword: true, Password: []byte("p")}},
	{name: "5, every property", v: V5,
		frame: "\x10\x34\x00\x04MQTT\x05\x02\x00\x1E\x24" +
			"\x11\x00\x00\x0E\x10\x15\x00\x01m\x16\x00\x02\x00\xFF\x17\x00\x19\x01\x21\x00\x14" +
			"\x22\x00\x0A\x27\x00\x01\x00\x00\x26\x00\x01k\x00\x01v" + "\x00\x03cid",
		want: Connect{Version: V5, CleanStart: true, KeepAlive: 30, ClientID: "cid",
			Props: marked(Properties{SessionExpiry: 3600, AuthMethod: "m", AuthData: []byte{0, 0xFF},
				RequestResponseInfo: 1, ReceiveMaximum: 20, TopicAliasMaximum: 10,
				MaximumPacketSize: 65_536, User: []UserProperty{{"k", "v"}}},
				PropSessionExpiry, PropAuthMethod, PropAuthData, PropRequestProblemInfo,
				PropRequestResponseInfo, PropReceiveMaximum, PropTopicAliasMaximum,
				PropMaximumPacketSize, PropUser)}},
	{name: "5, every will property", v: V5,
		frame: "\x10\x41\x00\x04MQTT\x05\x2E\x00\x00\x00\x00\x01c" +
			"\x2A\x01\x01\x02\x00\x00\x00\x3C\x03\x00\x02ct\x08\x00\x03r/t\x09\x00\x02\x01\x02" +
			"\x18\x00\x00\x00\x05\x26\x00\x01k\x00\x01v\x26\x00\x01k\x00\x01w" + "\x00\x03w/t\x00\x01p",
		want: Connect{Version: V5, CleanStart: true, ClientID: "c",
			Will: &Will{QoS: 1, Retain: true, Topic: "w/t", Payload: []byte("p"),
				Props: marked(Properties{PayloadFormat: 1, MessageExpiry: 60, ContentType: "ct",
					ResponseTopic: "r/t", CorrelationData: []byte{1, 2}, WillDelay: 5,
					User: []UserProperty{{"k", "v"}, {"k", "w"}}},
					PropPayloadFormat, PropMessageExpiry, PropContentType, PropResponseTopic,
					PropCorrelationData, PropWillDelay, PropUser),
				Forward: []byte("\x01\x01\x02\x00\x00\x00\x3C\x03\x00\x02ct\x08\x00\x03r/t\x09\x00\x02\x01\x02" +
					"\x26\x00\x01k\x00\x01v\x26\x00\x01k\x00\x01w"),
				ExpiryAt: 3}}},
	{name: "5, a will's properties are forwarded in their order", v: V5, oneWay: true,
		frame: "\x10\x25\x00\x04MQTT\x05\x06\x00\x00\x00\x00\x01c" +
			"\x10\x03\x00\x01c\x18\x00\x00\x00\x05\x02\x00\x00\x00\x09\x01\x00" + "\x00\x01t\x00\x01p",
		want: Connect{Version: V5, CleanStart: true, ClientID: "c",
			Will: &Will{Topic: "t", Payload: []byte("p"),
				Props: marked(Properties{MessageExpiry: 9, ContentType: "c", WillDelay: 5},
					PropPayloadFormat, PropMessageExpiry, PropContentType, PropWillDelay),
				Forward: []byte("\x03\x00\x01c\x02\x00\x00\x00\x09\x01\x00"), ExpiryAt: 5}}},
}

func TestConnect(t *testing.T) { testGolden(t, decodeConnect, encodeConnect, connects) }

// connectFrame is a CONNECT with the flags and what follows the keep alive.
func connectFrame(v Version, flags byte, rest string) string {
	name := "\x00\x04MQTT"
	if v == V31 {
		name = "\x00\x06MQIsdp"
	}
	return frame(0x10, name+string([]byte{byte(v), flags, 0, 0})+rest)
}

func TestConnectRefuses(t *testing.T) {
	testRefusals(t, decodeConnect, Limits{}, []refusal{
		{"an empty body", 0, "\x10\x00", MalformedPacket},
		{"a body cut in the protocol name", 0, "\x10\x05\x00\x04MQT", MalformedPacket},
		{"a body cut before the level", 0, "\x10\x06\x00\x04MQTT", MalformedPacket},
		{"a protocol name that is not UTF-8", 0, "\x10\x07\x00\x04MQT\xFF\x04", MalformedPacket},
		{"an unknown protocol name", 0, "\x10\x07\x00\x04mqtt\x04", UnsupportedProtocolVersion},
		{"an empty protocol name", 0, "\x10\x03\x00\x00\x04", UnsupportedProtocolVersion},
		{"level 0", 0, "\x10\x07\x00\x04MQTT\x00", UnsupportedProtocolVersion},
		{"level 6", 0, "\x10\x07\x00\x04MQTT\x06", UnsupportedProtocolVersion},
		{"level 0x84", 0, "\x10\x07\x00\x04MQTT\x84", UnsupportedProtocolVersion},
		{"level 3 under the new name", 0, "\x10\x07\x00\x04MQTT\x03", UnsupportedProtocolVersion},
		{"level 4 under the old name", 0, "\x10\x09\x00\x06MQIsdp\x04", UnsupportedProtocolVersion},
		{"level 5 under the old name", 0, "\x10\x09\x00\x06MQIsdp\x05", UnsupportedProtocolVersion},
		{"the reserved flag in 3.1.1 (MQTT-3.1.2-3)", V311, connectFrame(V311, 0x03, "\x00\x00"), MalformedPacket},
		{"the reserved flag in 5 (MQTT-3.1.2-3)", V5, connectFrame(V5, 0x03, "\x00\x00\x00"), MalformedPacket},
		{"will QoS without will in 3.1.1 (MQTT-3.1.2-13)", V311, connectFrame(V311, 0x0A, "\x00\x00"), MalformedPacket},
		{"will QoS without will in 5 (MQTT-3.1.2-11)", V5, connectFrame(V5, 0x0A, "\x00\x00\x00"), MalformedPacket},
		{"will retain without will in 3.1.1 (MQTT-3.1.2-15)", V311, connectFrame(V311, 0x22, "\x00\x00"), MalformedPacket},
		{"will retain without will in 5 (MQTT-3.1.2-13)", V5, connectFrame(V5, 0x22, "\x00\x00\x00"), MalformedPacket},
		{"will QoS 3 in 3.1", V31, connectFrame(V31, 0x1E, "\x00\x01a\x00\x01t\x00\x00"), MalformedPacket},
		{"will QoS 3 in 3.1.1 (MQTT-3.1.2-14)", V311, connectFrame(V311, 0x1E, "\x00\x00\x00\x01t\x00\x00"), MalformedPacket},
		{"will QoS 3 in 5 (MQTT-3.1.2-12)", V5, connectFrame(V5, 0x1E, "\x00\x00\x00\x00\x00\x01t\x00\x00"), MalformedPacket},
		{"password without user name in 3.1", V31, connectFrame(V31, 0x42, "\x00\x01a\x00\x01p"), MalformedPacket},
		{"password without user name in 3.1.1 (MQTT-3.1.2-22)", V311, connectFrame(V311, 0x42, "\x00\x00\x00\x01p"), MalformedPacket},
		{"empty client id without clean session in 3.1", V31, connectFrame(V31, 0, "\x00\x00"), ClientIDNotValid},
		{"empty client id without clean session in 3.1.1 (MQTT-3.1.3-8)", V311, connectFrame(V311, 0, "\x00\x00"), ClientIDNotValid},
		{"a client id that is not UTF-8 (MQTT-3.1.3-4)", V311, connectFrame(V311, 2, "\x00\x02\xC0\x80"), MalformedPacket},
		{"a client id with NUL (MQTT-1.5.4-2)", V5, connectFrame(V5, 2, "\x00\x00\x01\x00"), MalformedPacket},
		{"a client id with a surrogate (MQTT-1.5.4-1)", V5, connectFrame(V5, 2, "\x00\x00\x03\xED\xA0\x80"), MalformedPacket},
		{"a will topic that is not UTF-8 (MQTT-3.1.3-11)", V5, connectFrame(V5, 6, "\x00\x00\x00\x00\x00\x01\xFF\x00\x00"), MalformedPacket},
		{"a user name that is not UTF-8 (MQTT-3.1.3-12)", V5, connectFrame(V5, 0x82, "\x00\x00\x00\x00\x01\xFF"), MalformedPacket},
		{"a missing client id", V311, connectFrame(V311, 2, ""), MalformedPacket},
		{"a missing will payload", V311, connectFrame(V311, 6, "\x00\x00\x00\x01t"), MalformedPacket},
		{"a missing user name in 3.1.1", V311, connectFrame(V311, 0x82, "\x00\x00"), MalformedPacket},
		{"a missing password in 5", V5, connectFrame(V5, 0xC2, "\x00\x00\x00\x00\x01u"), MalformedPacket},
		{"half a user name in 3.1", V31, connectFrame(V31, 0x82, "\x00\x01a\x00\x02u"), MalformedPacket},
		{"one byte of a user name's length in 3.1", V31, connectFrame(V31, 0x82, "\x00\x01a\x00"), MalformedPacket},
		{"a user name without its flag in 3.1", V31, connectFrame(V31, 2, "\x00\x01a\x00\x01u"), MalformedPacket},
		{"a trailing byte in 3.1.1", V311, connectFrame(V311, 2, "\x00\x01a!"), MalformedPacket},
		{"a trailing byte in 5", V5, connectFrame(V5, 2, "\x00\x00\x01a!"), MalformedPacket},
		{"an announced client id that never came", V311, connectFrame(V311, 2, "\xFF\xFFa"), MalformedPacket},
		{"a property length beyond the end", V5, connectFrame(V5, 2, "\x05\x21\x00\x01"), MalformedPacket},
		{"a property length of five bytes", V5, connectFrame(V5, 2, "\xFF\xFF\xFF\xFF\x01\x00\x00"), MalformedPacket},
		{"a property length in more bytes than it needs", V5, connectFrame(V5, 2, "\x80\x00\x00\x00"), MalformedPacket},
		{"no property length", V5, connectFrame(V5, 2, ""), MalformedPacket},
		{"authentication data without a method", V5, connectFrame(V5, 2, "\x04\x16\x00\x01d\x00\x00"), ProtocolError},
		{"receive maximum 0", V5, connectFrame(V5, 2, "\x03\x21\x00\x00\x00\x00"), ProtocolError},
		{"maximum packet size 0", V5, connectFrame(V5, 2, "\x05\x27\x00\x00\x00\x00\x00\x00"), ProtocolError},
		{"request problem information 2", V5, connectFrame(V5, 2, "\x02\x17\x02\x00\x00"), ProtocolError},
		{"request response information 2", V5, connectFrame(V5, 2, "\x02\x19\x02\x00\x00"), ProtocolError},
		{"payload format indicator 2 in the will", V5, connectFrame(V5, 6, "\x00\x00\x00\x02\x01\x02\x00\x01t\x00\x00"), ProtocolError},
		{"a wildcard in the will's response topic", V5, connectFrame(V5, 6, "\x00\x00\x00\x06\x08\x00\x03a/#\x00\x01t\x00\x00"), ProtocolError},
		{"an empty response topic in the will", V5, connectFrame(V5, 6, "\x00\x00\x00\x03\x08\x00\x00\x00\x01t\x00\x00"), ProtocolError},
		{"a property cut by the property length", V5, connectFrame(V5, 2, "\x02\x21\x00\x01\x00\x00"), MalformedPacket},
	})
}

func TestConnectLimits(t *testing.T) {
	user := "\x26\x00\x01k\x00\x01v"
	testRefusals(t, decodeConnect, Limits{ClientID: 3, UserProperties: 2}, []refusal{
		{"a client id above the limit", V311, connectFrame(V311, 2, "\x00\x04abcd"), ClientIDNotValid},
		{"user properties above the limit", V5,
			connectFrame(V5, 2, "\x15"+user+user+user+"\x00\x00"), QuotaExceeded},
		{"user properties above the limit together with the will's", V5,
			connectFrame(V5, 6, "\x07"+user+"\x00\x00\x0E"+user+user+"\x00\x01t\x00\x00"), QuotaExceeded},
	})
	at := connectFrame(V5, 6, "\x07"+user+"\x00\x03abc\x07"+user+"\x00\x01t\x00\x00")
	_, body := split(t, at)
	if _, err := DecodeConnect(body, Limits{ClientID: 3, UserProperties: 2}); err != nil {
		t.Errorf("DecodeConnect at its limits: %v", err)
	}
}

func TestConnectRefusedKeepsOnlyTheVersion(t *testing.T) {
	tests := []struct {
		name, frame string
		want        Version
	}{
		{"no version was read", "\x10\x00", 0},
		{"an unknown name hides the level", "\x10\x07\x00\x04mqtt\x05", 0},
		{"an unserved level is told", "\x10\x07\x00\x04MQTT\x06", 6},
		{"3.1 with a trailing byte", connectFrame(V31, 2, "\x00\x01a!"), V31},
		{"5 with a password and a trailing byte", connectFrame(V5, 0x42, "\x00\x00\x01a\x00\x01p!"), V5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, body := split(t, tt.frame)
			got, err := DecodeConnect(body, Limits{})
			if err == nil {
				t.Fatal("DecodeConnect gave no error")
			}
			if !reflect.DeepEqual(got, &Connect{Version: tt.want}) {
				t.Errorf("DecodeConnect = %+v, want version %d alone", got, tt.want)
			}
		})
	}
}

func TestConnectRefusesEveryPrefix(t *testing.T) {
	for _, tt := range connects {
		if tt.oneWay || tt.v == V31 { // 3.1 allows some: see connects
			continue
		}
		_, body := split(t, tt.frame)
		for n := range body {
			if _, err := DecodeConnect(body[:n:n], Limits{}); err == nil {
				t.Errorf("%s: the first %d of %d bytes decode", tt.name, n, len(body))
			}
		}
	}
}

func TestErrorsHoldNothingOfThePeer(t *testing.T) {
	const secret = "hunter2"
	for _, rest := range []string{
		"\x00\x00\x07" + secret + "\x00\x07" + secret + "!",
		"\x0B\x16\x00\x07" + secret + "\x00\x00\x00\x00",
		"\x00\x00\x00\x00\x07" + secret + "\xFF",
	} {
		_, body := split(t, connectFrame(V5, 0xC2, rest))
		if _, err := DecodeConnect(body, Limits{}); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("DecodeConnect error = %v, want one without the password", err)
		}
	}
}

func FuzzDecodeConnect(f *testing.F) {
	for _, tt := range connects {
		_, body := split(f, tt.frame)
		f.Add(body)
	}
	f.Add([]byte("\x00\x04MQTT\x06"))
	f.Add([]byte("\x00\x04MQTT\x05\x02\x00\x00\xFF\xFF\xFF\x7F"))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := DecodeConnect(body, Limits{})
		if c == nil {
			t.Fatal("DecodeConnect gave a nil Connect")
		}
		if err != nil {
			return
		}
		if w := c.Will; w != nil && w.ExpiryAt >= 0 && w.Forward[w.ExpiryAt-1] != byte(PropMessageExpiry) {
			t.Errorf("will's ExpiryAt %d is not behind an expiry in % x", w.ExpiryAt, w.Forward)
		}
		// Our encoder orders properties by identifier, Forward keeps the peer's order.
		reencode(t, func(v Version, flags byte, b []byte, lim Limits) (*Connect, error) {
			c, err := DecodeConnect(b, lim)
			if c.Will != nil {
				c.Will.Forward, c.Will.ExpiryAt = nil, 0
			}
			return c, err
		}, encodeConnect, c.Version, 0, body)
	})
}
