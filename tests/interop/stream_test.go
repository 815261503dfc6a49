package interop

import (
	"bytes"
	"io"
	"testing"
	"time"
)

// connect311 is a CONNECT of MQTT 3.1.1 with an empty client id and the fixture's user.
func connect311() []byte {
	body := append([]byte{0, 4}, "MQTT\x04\xc2\x00\x3c\x00\x00"...)
	for _, s := range []string{userName, passWord} {
		body = append(body, 0, byte(len(s)))
		body = append(body, s...)
	}
	return append([]byte{0x10, byte(len(body))}, body...)
}

// TestStreamInPieces shows that the broker answers as soon as a packet is
// complete, however it was cut: a last byte that comes alone in a TLS record is
// a packet's end as well.
func TestStreamInPieces(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	for _, name := range []string{"tcp", "tls", "unix"} {
		for _, size := range []int{1, 7, len(connect311()) - 1} {
			conn, err := dialPlace(b.places[name])
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for piece := range bytesIn(connect311(), size) {
				if _, err := conn.Write(piece); err != nil {
					t.Fatal(err)
				}
			}
			_ = conn.SetReadDeadline(time.Now().Add(patience / 2)) // a socket has one
			answer := make([]byte, 4)
			if _, err := io.ReadFull(conn, answer); err != nil {
				t.Errorf("%s, pieces of %d bytes: no CONNACK: %v", name, size, err)
			} else if !bytes.Equal(answer, []byte{0x20, 2, 0, 0}) {
				t.Errorf("%s, pieces of %d bytes: CONNACK = %x", name, size, answer)
			}
		}
	}
	b.stop(t)
}

// bytesIn yields b in pieces of size.
func bytesIn(b []byte, size int) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			n := min(size, len(b))
			if !yield(b[:n]) {
				return
			}
			b = b[n:]
		}
	}
}
