package listener

import (
	"errors"
	"io"

	"sallyport/internal/websocket"
)

// deframer takes the frames of one connection off, in place.
type deframer struct {
	decoder websocket.Decoder
	err     error // sticky; io.EOF after the peer's close frame
}

// answerer sends what a peer's control frames ask for.
type answerer interface {
	pong(payload []byte) error
	sendClose(code uint16) error // once
}

// deframe moves the payload in b to its front and returns its length. The
// error is what comes after these bytes.
func (d *deframer) deframe(b []byte, a answerer) (int, error) {
	kept := 0
	for rest := b; len(rest) > 0 && d.err == nil; {
		ev, n, err := d.decoder.Next(rest)
		rest = rest[n:]
		switch {
		case err != nil:
			d.err = err
			var violation *websocket.ProtocolError
			if errors.As(err, &violation) {
				_ = a.sendClose(violation.Code) // the violation is what gets reported
			}
		case ev.Kind == websocket.Data:
			kept += copy(b[kept:], ev.Payload)
		case ev.Kind == websocket.Ping:
			d.err = a.pong(ev.Payload)
		case ev.Kind == websocket.Close:
			_ = a.sendClose(ev.Code) // the peer is leaving, it may be gone already
			d.err = io.EOF
		}
	}
	return kept, d.err
}
