package websocket

import (
	"encoding/binary"
	"unicode/utf8"
)

// Kind says what an [Event] is.
type Kind byte

// The kinds of events.
const (
	None  Kind = iota // bytes were consumed, nothing came of them yet
	Data              // part of a binary message
	Ping              // to be answered with a pong of the same payload
	Pong              // an answer, or unsolicited; nothing to do
	Close             // the peer closes; Code is CloseNone if it gave none
)

// Event is what [Decoder.Next] made of the bytes it consumed.
type Event struct {
	Kind Kind
	// Payload holds unmasked bytes. For Data they lie in the caller's buffer,
	// for control frames in the decoder until its next call.
	Payload []byte
	Code    uint16 // of Close
}

// Decoder takes frames apart. It is a stream decoder: payload is handed on as
// it arrives, so that nothing is ever held for a frame that was only announced.
// The zero value is a server's decoder without a bound on the length of frames.
type Decoder struct {
	// Client makes it the client's decoder: frames must not be masked
	// (RFC 6455, 5.1). Otherwise they must be.
	Client bool
	// MaxFrame bounds the payload of a data frame in bytes; 0 is no bound.
	MaxFrame uint64

	header     [MaxHeader]byte
	have, need int // bytes of header that are there; that are needed, 0 = unknown
	inPayload  bool
	opcode     Opcode
	final      bool
	remaining  uint64 // bytes of payload still to come
	key        [4]byte
	position   int    // in the masking key
	fragmented bool   // a message began and its final frame is outstanding
	control    []byte // payload of a control frame so far
	err        error
}

// Next consumes bytes at the front of b, at most one frame's, and returns what
// they are and how many. It unmasks in place. Call it again with the rest until
// b is empty. An error is final: a *[ProtocolError], or [ErrClosed].
func (d *Decoder) Next(b []byte) (ev Event, n int, err error) {
	if d.err != nil || len(b) == 0 {
		return Event{}, 0, d.err
	}
	if !d.inPayload {
		if n, err = d.readHeader(b); err != nil {
			d.err = err
			return Event{}, n, err
		}
		// A frame without payload is complete with its header.
		if !d.inPayload || d.remaining > 0 {
			return Event{}, n, nil
		}
	}
	ev, m, err := d.readPayload(b[n:])
	d.err = err
	if ev.Kind == Close {
		d.err = ErrClosed
	}
	return ev, n + m, err
}

// readHeader collects and checks a frame header (RFC 6455, 5.2).
func (d *Decoder) readHeader(b []byte) (n int, err error) {
	for n < len(b) {
		d.header[d.have] = b[n]
		d.have++
		n++
		switch {
		case d.have == 1:
			err = d.checkFirst(d.header[0])
		case d.have == 2:
			err = d.checkSecond(d.header[1])
		}
		if err != nil {
			return n, err
		}
		if d.have >= 2 && d.have == d.need {
			return n, d.finishHeader()
		}
	}
	return n, nil
}

func (d *Decoder) checkFirst(c byte) error {
	d.final, d.opcode = c&0x80 != 0, Opcode(c&0x0f)
	if c&0x70 != 0 {
		return violation("reserved bits set without an extension")
	}
	switch d.opcode {
	case OpContinuation:
		if !d.fragmented {
			return violation("continuation of no message")
		}
	case OpText:
		// MQTT-6.0.0-1: MQTT travels in binary frames only.
		return &ProtocolError{CloseUnsupported, "text frame"}
	case OpBinary:
		if d.fragmented {
			return violation("new message inside a fragmented one")
		}
	case OpClose, OpPing, OpPong:
		if !d.final {
			return violation("fragmented control frame")
		}
	default:
		return violation("reserved opcode")
	}
	return nil
}

func (d *Decoder) checkSecond(c byte) error {
	masked, length := c&0x80 != 0, c&0x7f
	if masked == d.Client {
		if d.Client {
			return violation("masked frame from a server")
		}
		return violation("unmasked frame from a client")
	}
	if d.opcode >= OpClose && length > MaxControl {
		return violation("control frame longer than 125 bytes")
	}
	d.need = 2
	switch length {
	case 126:
		d.need += 2
	case 127:
		d.need += 8
	}
	if masked {
		d.need += 4
	}
	return nil
}

// finishHeader reads length and masking key out of the complete header.
func (d *Decoder) finishHeader() error {
	rest := d.header[2:d.need]
	length := uint64(d.header[1] & 0x7f)
	switch length {
	case 126:
		length, rest = uint64(binary.BigEndian.Uint16(rest)), rest[2:]
		if length < 126 {
			return violation("length not in its shortest form")
		}
	case 127:
		length, rest = binary.BigEndian.Uint64(rest), rest[8:]
		if length>>63 != 0 || length <= 0xffff {
			return violation("length not in its shortest form")
		}
	}
	if d.opcode < OpClose {
		if d.MaxFrame > 0 && length > d.MaxFrame {
			return &ProtocolError{CloseTooBig, "frame too long"}
		}
		d.fragmented = !d.final
	}
	if len(rest) == 4 {
		d.key = [4]byte(rest)
	}
	d.have, d.need, d.position = 0, 0, 0
	d.remaining, d.inPayload = length, true
	return nil
}

func (d *Decoder) readPayload(b []byte) (Event, int, error) {
	if uint64(len(b)) > d.remaining {
		b = b[:d.remaining]
	}
	if !d.Client {
		d.position = Mask(d.key, d.position, b)
	}
	d.remaining -= uint64(len(b))
	d.inPayload = d.remaining > 0
	if d.opcode < OpClose {
		if len(b) == 0 {
			return Event{}, 0, nil // an empty frame
		}
		return Event{Kind: Data, Payload: b}, len(b), nil
	}
	d.control = append(d.control, b...)
	if d.inPayload {
		return Event{}, len(b), nil
	}
	ev, err := d.finishControl()
	return ev, len(b), err
}

func (d *Decoder) finishControl() (Event, error) {
	payload := d.control
	d.control = d.control[:0]
	switch d.opcode {
	case OpPing:
		return Event{Kind: Ping, Payload: payload}, nil
	case OpPong:
		return Event{Kind: Pong, Payload: payload}, nil
	}
	if len(payload) == 0 {
		return Event{Kind: Close, Code: CloseNone}, nil
	}
	if len(payload) == 1 {
		return Event{}, violation("close frame with half a code")
	}
	code := binary.BigEndian.Uint16(payload)
	if !validCloseCode(code) {
		return Event{}, violation("close frame with a code that may not be sent")
	}
	if !utf8.Valid(payload[2:]) {
		return Event{}, &ProtocolError{CloseInvalidData, "close reason is not UTF-8"}
	}
	return Event{Kind: Close, Code: code, Payload: payload[2:]}, nil
}

// validCloseCode reports whether a peer may send code (RFC 6455, 7.4, and the
// codes that IANA registered since).
func validCloseCode(code uint16) bool {
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014, code >= 3000 && code <= 4999:
		return true
	}
	return false
}
