package packet

import (
	"fmt"
	"testing"
)

func TestAck(t *testing.T) {
	for first, typ := range map[byte]Type{0x40: PUBACK, 0x50: PUBREC, 0x62: PUBREL, 0x70: PUBCOMP} {
		code := NotAuthorized
		if typ == PUBREL || typ == PUBCOMP {
			code = PacketIDNotFound
		}
		c := string([]byte{byte(code)})
		t.Run(typ.String(), func(t *testing.T) {
			testGolden(t, ackDecoder(typ), ackEncoder(typ), []golden[Ack]{
				{name: "3.1", v: V31, frame: frame(first, "\x12\x34"), want: Ack{PacketID: 0x1234}},
				{name: "3.1.1", v: V311, frame: frame(first, "\x12\x34"), want: Ack{PacketID: 0x1234}},
				{name: "5, success in two bytes", v: V5, frame: frame(first, "\xFF\xFF"), want: Ack{PacketID: 0xFFFF}},
				{name: "5, success in three bytes", v: V5, oneWay: true, frame: frame(first, "\x00\x01\x00"), want: Ack{PacketID: 1}},
				{name: "5, success in four bytes", v: V5, oneWay: true, frame: frame(first, "\x00\x01\x00\x00"), want: Ack{PacketID: 1}},
				{name: "5, a code in three bytes", v: V5, frame: frame(first, "\x00\x01"+c), want: Ack{PacketID: 1, Code: code}},
				{name: "5, a code, reason string and user property", v: V5,
					frame: frame(first, "\x00\x01"+c+"\x0C\x1F\x00\x02no\x26\x00\x01k\x00\x01v"),
					want:  Ack{PacketID: 1, Code: code, Reason: "no", User: []UserProperty{{"k", "v"}}}},
				{name: "5, success with a reason string", v: V5,
					frame: frame(first, "\x00\x01\x00\x05\x1F\x00\x02ok"), want: Ack{PacketID: 1, Reason: "ok"}},
			})
			testRefusals(t, ackDecoder(typ), Limits{UserProperties: 1}, []refusal{
				{"the wrong flags in 3.1", V31, frame(first^1, "\x00\x01"), MalformedPacket},
				{"the wrong flags in 3.1.1 (MQTT-2.2.2-2)", V311, frame(first^2, "\x00\x01"), MalformedPacket},
				{"the wrong flags in 5 (MQTT-2.1.3-1)", V5, frame(first^8, "\x00\x01"), MalformedPacket},
				{"an empty body", V5, frame(first, ""), MalformedPacket},
				{"half a packet identifier", V311, frame(first, "\x01"), MalformedPacket},
				{"packet identifier 0 in 3.1.1", V311, frame(first, "\x00\x00"), ProtocolError},
				{"packet identifier 0 in 5 (MQTT-2.2.1-3)", V5, frame(first, "\x00\x00\x00"), ProtocolError},
				{"a reason code in 3.1.1", V311, frame(first, "\x00\x01\x00"), MalformedPacket},
				{"a code of other packets", V5, frame(first, "\x00\x01\x8B"), ProtocolError},
				{"an undefined code", V5, frame(first, "\x00\x01\xFF"), ProtocolError},
				{"a property length cut short", V5, frame(first, "\x00\x01\x00\x80"), MalformedPacket},
				{"properties cut short", V5, frame(first, "\x00\x01\x00\x02\x1F"), MalformedPacket},
				{"a trailing byte", V5, frame(first, "\x00\x01\x00\x00\x00"), MalformedPacket},
				{"the reason string twice", V5, frame(first, "\x00\x01\x00\x06\x1F\x00\x00\x1F\x00\x00"), ProtocolError},
				{"a reason string that is not UTF-8", V5, frame(first, "\x00\x01\x00\x04\x1F\x00\x01\xFF"), MalformedPacket},
				{"user properties above the limit", V5,
					frame(first, "\x00\x01\x00\x0A\x26\x00\x00\x00\x00\x26\x00\x00\x00\x00"), QuotaExceeded},
			})
		})
	}
}

func TestAckTypes(t *testing.T) {
	for _, typ := range []Type{0, CONNECT, PUBLISH, SUBSCRIBE, SUBACK, AUTH, 16} {
		_, err := DecodeAck(V5, typ, 0, []byte{0, 1}, Limits{})
		t.Run(typ.String(), func(t *testing.T) { wantError(t, err, MalformedPacket) })
	}
}

func TestDupIn31(t *testing.T) {
	// MQTT 3.1, 2.1: what is sent at QoS 1 carries DUP when it is sent again.
	if _, err := DecodeAck(V31, PUBREL, 0x0A, []byte{0, 1}, Limits{}); err != nil {
		t.Errorf("PUBREL with DUP in 3.1: %v", err)
	}
	if _, err := DecodeSubscribe(V31, 0x0A, []byte("\x00\x01\x00\x01a\x00"), Limits{}); err != nil {
		t.Errorf("SUBSCRIBE with DUP in 3.1: %v", err)
	}
	if _, err := DecodeUnsubscribe(V31, 0x0A, []byte("\x00\x01\x00\x01a"), Limits{}); err != nil {
		t.Errorf("UNSUBSCRIBE with DUP in 3.1: %v", err)
	}
	_, err := DecodeAck(V311, PUBREL, 0x0A, []byte{0, 1}, Limits{})
	wantError(t, err, MalformedPacket)
}

// TestReasonCodes holds each packet to the reason codes that table 2-6 of MQTT
// 5.0 gives it.
func TestReasonCodes(t *testing.T) {
	tests := map[Type]string{
		CONNACK: "\x00\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8A\x8C\x90\x95\x97\x99\x9A\x9B\x9C\x9D\x9F",
		PUBACK:  "\x00\x10\x80\x83\x87\x90\x91\x97\x99", PUBREC: "\x00\x10\x80\x83\x87\x90\x91\x97\x99",
		PUBREL: "\x00\x92", PUBCOMP: "\x00\x92",
		SUBACK:   "\x00\x01\x02\x80\x83\x87\x8F\x91\x97\x9E\xA1\xA2",
		UNSUBACK: "\x00\x11\x80\x83\x87\x8F\x91",
		DISCONNECT: "\x00\x04\x80\x81\x82\x83\x87\x89\x8B\x8D\x8E\x8F\x90\x93\x94\x95\x96\x97\x98\x99\x9A\x9B\x9C\x9D" +
			"\x9E\x9F\xA0\xA1\xA2",
		AUTH: "\x00\x18\x19",
	}
	for typ, codes := range tests {
		defined := [256]bool{}
		for i := range len(codes) {
			defined[codes[i]] = true
		}
		for c := range 256 {
			body := "\x00\x01" + string([]byte{byte(c)})
			switch typ {
			case CONNACK:
				body = "\x00" + body[2:] + "\x00"
			case SUBACK, UNSUBACK:
				body = body[:2] + "\x00" + body[2:]
			case DISCONNECT:
				body = body[2:]
			case AUTH:
				body = body[2:] + "\x04\x15\x00\x01m"
			}
			if err := decodeAny(V5, typ, reservedFlags(typ), []byte(body)); (err == nil) != defined[c] {
				t.Errorf("%v with code 0x%02x: %v, want defined %v", typ, c, err, defined[c])
			}
		}
	}
}

// reservedFlags are the flags that a packet of type t has.
func reservedFlags(t Type) byte {
	if t == PUBREL || t == SUBSCRIBE || t == UNSUBSCRIBE {
		return 2
	}
	return 0
}

// decodeAny decodes a body by its type.
func decodeAny(v Version, t Type, flags byte, body []byte) (err error) {
	switch t {
	case CONNECT:
		_, err = DecodeConnect(body, Limits{})
	case CONNACK:
		_, err = DecodeConnack(v, flags, body, Limits{})
	case PUBLISH:
		err = DecodePublish(v, flags, body, Limits{}, &Publish{})
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		_, err = DecodeAck(v, t, flags, body, Limits{})
	case SUBSCRIBE:
		_, err = DecodeSubscribe(v, flags, body, Limits{})
	case SUBACK, UNSUBACK:
		_, err = DecodeSubAck(v, t, flags, body, Limits{})
	case UNSUBSCRIBE:
		_, err = DecodeUnsubscribe(v, flags, body, Limits{})
	case PINGREQ, PINGRESP:
		err = DecodePing(t, flags, body)
	case DISCONNECT:
		_, err = DecodeDisconnect(v, flags, body, Limits{})
	case AUTH:
		_, err = DecodeAuth(v, flags, body, Limits{})
	default:
		err = fmt.Errorf("no decoder for %v", t)
	}
	return err
}

func FuzzDecodeAck(f *testing.F) {
	f.Add(byte(5), byte(PUBACK), byte(0), []byte("\x00\x01"))
	f.Add(byte(5), byte(PUBREL), byte(2), []byte("\x00\x01\x92\x0C\x1F\x00\x02no\x26\x00\x01k\x00\x01v"))
	f.Add(byte(4), byte(PUBCOMP), byte(0), []byte("\x12\x34"))
	f.Add(byte(3), byte(PUBREC), byte(8), []byte("\x00"))
	f.Fuzz(func(t *testing.T, version, typ, flags byte, body []byte) {
		// Types that aren't ours too: they must be refused.
		v, typ2 := Version(3+version%3), Type(typ&15)
		reencode(t, func(v Version, flags byte, b []byte, lim Limits) (*Ack, error) {
			a, err := DecodeAck(v, typ2, flags, b, lim)
			return &a, err
		}, ackEncoder(typ2), v, flags&15, body)
	})
}
