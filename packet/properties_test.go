package packet

import (
	"strings"
	"testing"
)

// table24 is table 2-4 of MQTT 5.0, written down apart from the code: what each
// property looks like with a value in its range, and where it may stand.
var table24 = []struct {
	encoded string
	allowed string
}{
	{"\x01\x01", "PUBLISH WILL"},
	{"\x02\x00\x00\x00\x00", "PUBLISH WILL"},
	{"\x03\x00\x01c", "PUBLISH WILL"},
	{"\x08\x00\x01r", "PUBLISH WILL"},
	{"\x09\x00\x01\xFF", "PUBLISH WILL"},
	{"\x0B\x80\x01", "PUBLISH SUBSCRIBE"},
	{"\x11\xFF\xFF\xFF\xFF", "CONNECT CONNACK DISCONNECT"},
	{"\x12\x00\x01i", "CONNACK"},
	{"\x13\x00\x00", "CONNACK"},
	{"\x15\x00\x01m", "CONNECT CONNACK AUTH"},
	{"\x16\x00\x01\xFF", "CONNECT CONNACK AUTH"},
	{"\x17\x01", "CONNECT"},
	{"\x18\x00\x00\x00\x00", "WILL"},
	{"\x19\x01", "CONNECT"},
	{"\x1A\x00\x01i", "CONNACK"},
	{"\x1C\x00\x01s", "CONNACK DISCONNECT"},
	{"\x1F\x00\x01r", "CONNACK PUBACK PUBREC PUBREL PUBCOMP SUBACK UNSUBACK DISCONNECT AUTH"},
	{"\x21\x00\x01", "CONNECT CONNACK"},
	{"\x22\x00\x00", "CONNECT CONNACK"},
	{"\x23\x00\x01", "PUBLISH"},
	{"\x24\x00", "CONNACK"},
	{"\x25\x01", "CONNACK"},
	{"\x26\x00\x01k\x00\x01v", "CONNECT CONNACK PUBLISH WILL PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE SUBACK UNSUBSCRIBE UNSUBACK DISCONNECT AUTH"},
	{"\x27\x00\x00\x00\x01", "CONNECT CONNACK"},
	{"\x28\x00", "CONNACK"},
	{"\x29\x01", "CONNACK"},
	{"\x2A\x01", "CONNACK"},
}

// holders are packets of every kind, as functions of their encoded properties.
var holders = []struct {
	name string
	t    Type
	body func(props string) string
}{
	{"CONNECT", CONNECT, func(p string) string { return "\x00\x04MQTT\x05\x02\x00\x00" + p + "\x00\x00" }},
	{"WILL", CONNECT, func(p string) string { return "\x00\x04MQTT\x05\x06\x00\x00\x00\x00\x00" + p + "\x00\x01t\x00\x00" }},
	{"CONNACK", CONNACK, func(p string) string { return "\x00\x00" + p }},
	{"PUBLISH", PUBLISH, func(p string) string { return "\x00\x01t" + p + "payload" }},
	{"PUBACK", PUBACK, func(p string) string { return "\x00\x01\x00" + p }},
	{"PUBREC", PUBREC, func(p string) string { return "\x00\x01\x00" + p }},
	{"PUBREL", PUBREL, func(p string) string { return "\x00\x01\x00" + p }},
	{"PUBCOMP", PUBCOMP, func(p string) string { return "\x00\x01\x00" + p }},
	{"SUBSCRIBE", SUBSCRIBE, func(p string) string { return "\x00\x01" + p + "\x00\x01a\x00" }},
	{"SUBACK", SUBACK, func(p string) string { return "\x00\x01" + p + "\x00" }},
	{"UNSUBSCRIBE", UNSUBSCRIBE, func(p string) string { return "\x00\x01" + p + "\x00\x01a" }},
	{"UNSUBACK", UNSUBACK, func(p string) string { return "\x00\x01" + p + "\x00" }},
	{"DISCONNECT", DISCONNECT, func(p string) string { return "\x00" + p }},
	{"AUTH", AUTH, func(p string) string { return "\x00" + p }},
}

// withLength is props with their length in front.
func withLength(props string) string { return frame(0, props)[1:] }

// decodeHolder decodes the packet of kind i with the encoded properties. The
// method that some packets need is added unless props has one.
func decodeHolder(i int, props string) error {
	h := holders[i]
	if h.t == AUTH && !strings.Contains(props, "\x15\x00\x01m") ||
		(h.name == "CONNECT" || h.name == "CONNACK") && strings.Contains(props, "\x16\x00\x01\xFF") {
		props = "\x15\x00\x01m" + props
	}
	return decodeAny(V5, h.t, reservedFlags(h.t), []byte(h.body(withLength(props))))
}

func TestEveryPropertyInEveryPacket(t *testing.T) {
	for i, h := range holders {
		for _, p := range table24 {
			err := decodeHolder(i, p.encoded)
			if !strings.Contains(" "+p.allowed+" ", " "+h.name+" ") {
				wantError(t, err, MalformedPacket) // MQTT 5.0, 2.2.2.2
				continue
			}
			if err != nil {
				t.Errorf("%s with property % x: %v", h.name, p.encoded, err)
			}
			for n := 1; n < len(p.encoded); n++ {
				if decodeHolder(i, p.encoded[:n]) == nil {
					t.Errorf("%s with % x, cut short, decodes", h.name, p.encoded[:n])
				}
			}
			err = decodeHolder(i, p.encoded+p.encoded)
			repeats := p.encoded[0] == byte(PropUser) || p.encoded[0] == byte(PropSubscriptionID) && h.t == PUBLISH
			if repeats && err != nil {
				t.Errorf("%s with property % x twice: %v", h.name, p.encoded, err)
			} else if !repeats {
				wantError(t, err, ProtocolError)
			}
		}
	}
}

func TestUndefinedPropertiesAreRefused(t *testing.T) {
	defined := map[byte]bool{}
	for _, p := range table24 {
		defined[p.encoded[0]] = true
	}
	for i := range holders {
		for id := range 256 {
			if !defined[byte(id)] {
				wantError(t, decodeHolder(i, string([]byte{byte(id), 0, 0, 0, 0})), MalformedPacket)
			}
		}
	}
}

func TestBytePropertiesAreZeroOrOne(t *testing.T) {
	for i, h := range holders {
		for _, p := range table24 {
			if len(p.encoded) == 2 && strings.Contains(" "+p.allowed+" ", " "+h.name+" ") {
				for v, want := range map[byte]bool{0: true, 1: true, 2: false, 255: false} {
					if err := decodeHolder(i, string([]byte{p.encoded[0], v})); (err == nil) != want {
						t.Errorf("%s with property 0x%02x = %d: %v, want allowed %v", h.name, p.encoded[0], v, err, want)
					}
				}
			}
		}
	}
}

func TestHas(t *testing.T) {
	var p Properties
	if p.Has(PropSessionExpiry) || p.Has(PropertyID(200)) {
		t.Error("the zero Properties has a property")
	}
	p.Mark(PropSessionExpiry, PropSharedSubAvailable)
	if !p.Has(PropSessionExpiry) || !p.Has(PropSharedSubAvailable) || p.Has(PropUser) {
		t.Error("Mark does not record exactly what it is given")
	}
}

func TestEveryPropertyHasAField(t *testing.T) {
	var p Properties
	for i, row := range propertyTable {
		id := PropertyID(i)
		wantNil := row.kind == kindNone || id == PropTopicAlias || id == PropUser
		if got := p.field(id); (got == nil) != wantNil {
			t.Errorf("field(0x%02x) = %T, want nil %v", i, got, wantNil)
		}
	}
}
