package websocket

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// decode feeds b in chunks and writes down what comes out, data joined.
func decode(d *Decoder, b []byte, size int) string {
	var out strings.Builder
	inData := false
	for b = bytes.Clone(b); len(b) > 0; {
		chunk := b[:min(size, len(b))]
		b = b[len(chunk):]
		for len(chunk) > 0 {
			ev, n, err := d.Next(chunk)
			chunk = chunk[n:]
			if ev.Kind != None && (ev.Kind != Data || !inData) {
				fmt.Fprintf(&out, "[%s]", [...]string{"", "data", "ping", "pong", "close"}[ev.Kind])
				inData = ev.Kind == Data
			}
			out.WriteString(hex.EncodeToString(ev.Payload))
			if ev.Kind == Close {
				fmt.Fprint(&out, " ", ev.Code)
			}
			if err != nil {
				fmt.Fprintf(&out, "[%v]", err)
				return out.String()
			}
		}
	}
	return out.String()
}

// frame is a client's frame with the given first byte.
func frame(first byte, payload string) []byte {
	key := [4]byte{1, 2, 3, 4}
	b := AppendMaskedHeader(nil, 0, len(payload), key)
	b[0] = first
	masked := []byte(payload)
	Mask(key, 0, masked)
	return append(b, masked...)
}

func join(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

func TestDecoder(t *testing.T) {
	long, longer := strings.Repeat("a", 300), strings.Repeat("b", 70000)
	for _, c := range []struct {
		name  string
		input []byte
		want  string
	}{
		{"a binary frame", frame(0x82, "\x10\x0c"), "[data]100c"},
		{"an empty frame", join(frame(0x82, ""), frame(0x82, "a")), "[data]61"},
		{"a 16-bit length", frame(0x82, long), "[data]" + hex.EncodeToString([]byte(long))},
		{"a 64-bit length", frame(0x82, longer), "[data]" + hex.EncodeToString([]byte(longer))},
		{"fragments are one stream", join(frame(0x02, "a"), frame(0x00, "b"), frame(0x80, "c"), frame(0x82, "d")), "[data]61626364"},
		{"a ping between fragments", join(frame(0x02, "a"), frame(0x89, "hi"), frame(0x80, "b")), "[data]61[ping]6869[data]62"},
		{"an empty ping", frame(0x89, ""), "[ping]"},
		{"a ping of 125 bytes", frame(0x89, strings.Repeat("a", 125)), "[ping]" + strings.Repeat("61", 125)},
		{"a pong", frame(0x8a, "x"), "[pong]78"},
		{"a close without a code", frame(0x88, ""), "[close] 1005"},
		{"a close with code and reason", frame(0x88, "\x03\xe8bye"), "[close]627965 1000"},
		{"a close of an application", frame(0x88, "\x0f\xa0"), "[close] 4000"},

		{"a text frame", frame(0x81, "a"), "[websocket: text frame]"},
		{"an unmasked frame", []byte{0x82, 0x01, 'a'}, "[websocket: unmasked frame from a client]"},
		{"RSV1, as compression sets it", frame(0xc2, "a"), "[websocket: reserved bits set without an extension]"},
		{"a reserved data opcode", frame(0x83, "a"), "[websocket: reserved opcode]"},
		{"a reserved control opcode", frame(0x8b, "a"), "[websocket: reserved opcode]"},
		{"a continuation of nothing", frame(0x80, "a"), "[websocket: continuation of no message]"},
		{"a continuation after the final fragment", join(frame(0x02, "a"), frame(0x80, "b"), frame(0x80, "c")), "[data]6162[websocket: continuation of no message]"},
		{"a new message inside another", join(frame(0x02, "a"), frame(0x82, "b")), "[data]61[websocket: new message inside a fragmented one]"},
		{"a fragmented ping", frame(0x09, "a"), "[websocket: fragmented control frame]"},
		{"a ping of 126 bytes", frame(0x89, strings.Repeat("a", 126)), "[websocket: control frame longer than 125 bytes]"},
		{"a close with half a code", frame(0x88, "\x03"), "[websocket: close frame with half a code]"},
		{"a close with 1005", frame(0x88, "\x03\xed"), "[websocket: close frame with a code that may not be sent]"},
		{"a close with 999", frame(0x88, "\x03\xe7"), "[websocket: close frame with a code that may not be sent]"},
		{"a close reason that isn't UTF-8", frame(0x88, "\x03\xe8\xff"), "[websocket: close reason is not UTF-8]"},
		{"data after the close", join(frame(0x88, ""), frame(0x82, "a")), "[close] 1005[websocket: data after the close frame]"},
		{"a 16-bit length for 125", []byte{0x82, 0xfe, 0, 125, 1, 2, 3, 4}, "[websocket: length not in its shortest form]"},
		{"a 64-bit length for 65535", []byte{0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4}, "[websocket: length not in its shortest form]"},
		{"a negative length", []byte{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, "[websocket: length not in its shortest form]"},
		{"a frame over the bound", frame(0x82, strings.Repeat("a", 100001)), "[websocket: frame too long]"},
	} {
		for _, size := range []int{1, 2, 3, 7, 100, len(c.input)} {
			if got := decode(&Decoder{MaxFrame: 100000}, c.input, size); got != c.want {
				t.Errorf("%s, chunks of %d: %.200s, want %.200s", c.name, size, got, c.want)
			}
		}
	}
}

func TestDecoderErrorsCarryTheirCloseCode(t *testing.T) {
	for _, c := range []struct {
		name  string
		input []byte
		want  uint16
	}{
		{"text", frame(0x81, "a"), CloseUnsupported},
		{"unmasked", []byte{0x82, 0x01}, CloseProtocol},
		{"too long", frame(0x82, "abc"), CloseTooBig},
		{"reason not UTF-8", frame(0x88, "\x03\xe8\xff"), CloseInvalidData},
	} {
		d := Decoder{MaxFrame: 2}
		var err error
		for rest := c.input; len(rest) > 0 && err == nil; {
			var n int
			_, n, err = d.Next(rest)
			rest = rest[n:]
		}
		var violation *ProtocolError
		if !errors.As(err, &violation) || violation.Code != c.want {
			t.Errorf("%s: %v, want code %d", c.name, err, c.want)
		}
		if _, n, again := d.Next([]byte{0x82}); n != 0 || again != err {
			t.Errorf("%s: afterwards %d, %v, want 0 and the same error", c.name, n, again)
		}
	}
}

func TestClientDecoder(t *testing.T) {
	server := append(AppendHeader(nil, OpBinary, 3), "abc"...)
	if got, want := decode(&Decoder{Client: true}, server, 2), "[data]616263"; got != want {
		t.Errorf("server's frame: %s, want %s", got, want)
	}
	if got, want := decode(&Decoder{Client: true}, frame(0x82, "abc"), 2), "[websocket: masked frame from a server]"; got != want {
		t.Errorf("masked frame: %s, want %s", got, want)
	}
	if got, want := decode(&Decoder{Client: true}, AppendClose(nil, CloseGoingAway), 9), "[close] 1001"; got != want {
		t.Errorf("close: %s, want %s", got, want)
	}
	if got, want := decode(&Decoder{Client: true}, AppendClose(nil, CloseNone), 9), "[close] 1005"; got != want {
		t.Errorf("close without a code: %s, want %s", got, want)
	}
	if got, want := decode(&Decoder{Client: true}, AppendPong(nil, []byte("x")), 9), "[pong]78"; got != want {
		t.Errorf("pong: %s, want %s", got, want)
	}
}

func TestDecoderHoldsNothingForAnAnnouncedLength(t *testing.T) {
	header := []byte{0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4} // a tebibyte
	allocated := testing.AllocsPerRun(10, func() {
		var d Decoder
		if _, n, err := d.Next(header); n != len(header) || err != nil {
			t.Fatalf("Next = %d, %v", n, err)
		}
	})
	if allocated != 0 {
		t.Errorf("%v allocations, want 0", allocated)
	}
}

func TestMaskContinuesAnywhere(t *testing.T) {
	key := [4]byte{0x11, 0x22, 0x33, 0x44}
	plain := []byte("the quick brown fox jumps over it")
	want := bytes.Clone(plain)
	for i := range want {
		want[i] ^= key[i%4]
	}
	for cut := range plain {
		got := bytes.Clone(plain)
		position := Mask(key, 0, got[:cut])
		Mask(key, position, got[cut:])
		if !bytes.Equal(got, want) {
			t.Errorf("cut at %d: %x, want %x", cut, got, want)
		}
	}
}

func FuzzDecoder(f *testing.F) {
	f.Add(join(frame(0x02, "a"), frame(0x89, "hi"), frame(0x80, "b"), frame(0x88, "\x03\xe8")), uint8(1))
	f.Add(frame(0x82, strings.Repeat("a", 300)), uint8(9))
	f.Add([]byte{0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4}, uint8(2))
	f.Add([]byte{0x81, 0x00}, uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, size uint8) {
		whole := decode(&Decoder{MaxFrame: 1 << 20}, b, len(b)+1)
		if got := decode(&Decoder{MaxFrame: 1 << 20}, b, int(size)+1); got != whole {
			t.Errorf("chunks of %d: %s; whole: %s", int(size)+1, got, whole)
		}
	})
}
