package packet

import (
	"bytes"
	"reflect"
	"testing"
)

// decoder is a decoder of control packets of type T, encoder its inverse.
type (
	decoder[T any] func(v Version, flags byte, body []byte, lim Limits) (*T, error)
	encoder[T any] func(dst []byte, v Version, p *T) []byte
)

// golden is a whole packet, made by hand from the standard, and its value.
type golden[T any] struct {
	name   string
	v      Version
	frame  string
	want   T
	oneWay bool // frame is not the form in which we write want
}

// refusal is a whole packet that a decoder must refuse with code.
type refusal struct {
	name  string
	v     Version
	frame string
	code  Code
}

// split returns the header and the body of a whole packet.
func split(t testing.TB, frame string) (Header, []byte) {
	t.Helper()
	h, n, err := ReadHeader([]byte(frame))
	if err != nil || n == 0 || h.Length != len(frame)-n {
		t.Fatalf("the test's frame % x is not one packet: header %+v in %d bytes, %v", frame, h, n, err)
	}
	return h, []byte(frame[n:])
}

// testGolden holds decode and encode to the packets in tests, both ways.
func testGolden[T any](t *testing.T, decode decoder[T], encode encoder[T], tests []golden[T]) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, body := split(t, tt.frame)
			got, err := decode(tt.v, h.Flags, body, Limits{})
			if err != nil {
				t.Fatalf("decode % x: %v", tt.frame, err)
			}
			// A copy must survive the buffer.
			for i := range body {
				body[i] = 0xAA
			}
			if !reflect.DeepEqual(*got, tt.want) {
				t.Errorf("decode % x = %+v, want %+v", tt.frame, *got, tt.want)
			}
			if tt.oneWay {
				return
			}
			frame := encode([]byte("before"), tt.v, &tt.want)
			if want := "before" + tt.frame; string(frame) != want {
				t.Errorf("encode %+v =\n% x, want\n% x", tt.want, frame, want)
			}
		})
	}
}

// testRefusals holds decode to its refusals.
func testRefusals[T any](t *testing.T, decode decoder[T], lim Limits, tests []refusal) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, body := split(t, tt.frame)
			_, err := decode(tt.v, h.Flags, body, lim)
			wantError(t, err, tt.code)
		})
	}
}

// reencode fails t unless what decodes encodes to something that decodes equal,
// and from then on to the same bytes.
func reencode[T any](t *testing.T, decode decoder[T], encode encoder[T], v Version, flags byte, body []byte) {
	t.Helper()
	first, err := decode(v, flags, body, Limits{})
	if err != nil {
		return
	}
	frame := encode(nil, v, first)
	h, b := split(t, string(frame))
	second, err := decode(v, h.Flags, b, Limits{})
	if err != nil {
		t.Fatalf("decode of our own % x, made from % x: %v", frame, body, err)
	}
	if !reflect.DeepEqual(first, second) {
		t.Errorf("decode % x = %+v, after encoding %+v", body, first, second)
	}
	if again := encode(nil, v, second); !bytes.Equal(frame, again) {
		t.Errorf("encoding twice gives % x, then % x", frame, again)
	}
}

// marked is p with the presence of ids recorded.
func marked(p Properties, ids ...PropertyID) Properties {
	p.Mark(ids...)
	return p
}

// decodeConnect is DecodeConnect as a decoder.
func decodeConnect(_ Version, _ byte, body []byte, lim Limits) (*Connect, error) {
	return DecodeConnect(body, lim)
}

// encodeConnect is AppendConnect as an encoder.
func encodeConnect(dst []byte, _ Version, c *Connect) []byte { return AppendConnect(dst, c) }

// ackDecoder is DecodeAck for type as a decoder.
func ackDecoder(typ Type) decoder[Ack] {
	return func(v Version, flags byte, body []byte, lim Limits) (*Ack, error) {
		a, err := DecodeAck(v, typ, flags, body, lim)
		return &a, err
	}
}

// ackEncoder is AppendAck for type as an encoder.
func ackEncoder(typ Type) encoder[Ack] {
	return func(dst []byte, v Version, a *Ack) []byte { return AppendAck(dst, v, typ, a) }
}

// subAckDecoder is DecodeSubAck for type as a decoder.
func subAckDecoder(typ Type) decoder[SubAck] {
	return func(v Version, flags byte, body []byte, lim Limits) (*SubAck, error) {
		return DecodeSubAck(v, typ, flags, body, lim)
	}
}

// subAckEncoder is AppendSubAck for type as an encoder.
func subAckEncoder(typ Type) encoder[SubAck] {
	return func(dst []byte, v Version, s *SubAck) []byte { return AppendSubAck(dst, v, typ, s) }
}

// encodeAuth is AppendAuth as an encoder.
func encodeAuth(dst []byte, _ Version, a *Auth) []byte { return AppendAuth(dst, a) }

// decodePublish is DecodePublish as a decoder.
func decodePublish(v Version, flags byte, body []byte, lim Limits) (*Publish, error) {
	p := &Publish{}
	return p, DecodePublish(v, flags, body, lim, p)
}

// frame is a whole packet of the first byte and the body.
func frame(first byte, body string) string {
	return string(appendVarint([]byte{first}, uint32(len(body)))) + body
}
