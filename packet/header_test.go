package packet

import (
	"errors"
	"testing"
)

// wantError fails t unless err is an *Error with the code want.
func wantError(t *testing.T, err error, want Code) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error = %v, want one with code 0x%02x (%v)", err, byte(want), want)
	}
	if e.Code != want {
		t.Errorf("error = %v, want code 0x%02x (%v)", err, byte(want), want)
	}
}

func TestReadHeader(t *testing.T) {
	tests := []struct {
		name string
		b    string
		want Header
		n    int
	}{
		{"no byte needs more", "", Header{}, 0},
		{"one byte needs more", "\xC0", Header{}, 0},
		{"an unfinished length needs more", "\x30\xFF\xFF\xFF", Header{}, 0},
		{"PINGREQ", "\xC0\x00", Header{PINGREQ, 0, 0}, 2},
		{"the body is not touched", "\x3D\x7Fxyz", Header{PUBLISH, 13, 127}, 2},
		{"two bytes at least", "\x30\x80\x01", Header{PUBLISH, 0, 128}, 3},
		{"two bytes at most", "\x30\xFF\x7F", Header{PUBLISH, 0, 16_383}, 3},
		{"three bytes at least", "\x30\x80\x80\x01", Header{PUBLISH, 0, 16_384}, 4},
		{"three bytes at most", "\x30\xFF\xFF\x7F", Header{PUBLISH, 0, 2_097_151}, 4},
		{"four bytes at least", "\x30\x80\x80\x80\x01", Header{PUBLISH, 0, 2_097_152}, 5},
		{"four bytes at most", "\x30\xFF\xFF\xFF\x7F", Header{PUBLISH, 0, MaxRemainingLength}, 5},
		{"CONNECT without flags", "\x10\x0C", Header{CONNECT, 0, 12}, 2},
		{"a zero byte within a length is a digit", "\x30\x80\x80\x01", Header{PUBLISH, 0, 16_384}, 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, n, err := ReadHeader([]byte(tt.b))
			if err != nil || n != tt.n || n > 0 && h != tt.want {
				t.Errorf("ReadHeader(% x) = %+v, %d, %v, want %+v, %d", tt.b, h, n, err, tt.want, tt.n)
			}
		})
	}
}

func TestReadHeaderRefuses(t *testing.T) {
	tests := []struct{ name, b string }{
		{"type 0", "\x00"},
		{"CONNECT with flags, at its first byte", "\x11"},
		{"a length of five bytes", "\x30\xFF\xFF\xFF\xFF\x01"},
		{"a length of five bytes, at its fourth", "\x30\x80\x80\x80\x80"},
		{"0 in two bytes", "\x30\x80\x00"},
		{"127 in two bytes", "\x30\xFF\x00"},
		{"1 in four bytes", "\x30\x81\x80\x80\x00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, n, err := ReadHeader([]byte(tt.b))
			wantError(t, err, MalformedPacket)
			if n != 0 {
				t.Errorf("ReadHeader(% x) n = %d, want 0", tt.b, n)
			}
		})
	}
}

func FuzzReadHeader(f *testing.F) {
	for _, s := range []string{"", "\xC0\x00", "\x30\xFF\xFF\xFF\x7F", "\x30\x80\x00", "\x00", "\x11", "\x30\x80"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := ReadHeader(b)
		if err != nil || n == 0 {
			return
		}
		got := appendVarint([]byte{byte(h.Type)<<4 | h.Flags}, uint32(h.Length))
		if string(got) != string(b[:n]) {
			t.Errorf("ReadHeader(% x) = %+v, which encodes as % x", b[:n], h, got)
		}
		if varintSize(h.Length) != n-1 {
			t.Errorf("varintSize(%d) = %d, want %d", h.Length, varintSize(h.Length), n-1)
		}
	})
}
