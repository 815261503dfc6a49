// Package websocket is RFC 6455 as state machines without I/O: bytes go in as
// they arrive, in any chunks, and values come out. The caller owns the socket,
// the clock, the randomness and every buffer.
//
// A server feeds the opening bytes to an [Upgrade], sends its Response, then
// passes what follows through a [Decoder] and puts [AppendHeader] before what
// it sends. A client sends [AppendRequest], feeds the answer to a [Response],
// and masks with [AppendMaskedHeader] and [Mask].
//
// Invariants: nothing is allocated for what a peer merely announced; a head is
// at most [MaxHead] bytes; a decoder holds at most one frame header and one
// control payload (125 bytes); no error text repeats a byte of the peer, since
// heads carry credentials. Extensions, so compression too, are never accepted.
package websocket

import "errors"

// Opcode is a frame's type (RFC 6455, 5.2).
type Opcode byte

// The opcodes of RFC 6455; all others are reserved and refused.
const (
	OpContinuation Opcode = 0x0
	OpText         Opcode = 0x1
	OpBinary       Opcode = 0x2
	OpClose        Opcode = 0x8
	OpPing         Opcode = 0x9
	OpPong         Opcode = 0xA
)

// Status codes of a close frame (RFC 6455, 7.4.1). CloseNone is never sent: it
// stands for a close frame without a code.
const (
	CloseNormal      uint16 = 1000
	CloseGoingAway   uint16 = 1001
	CloseProtocol    uint16 = 1002
	CloseUnsupported uint16 = 1003
	CloseNone        uint16 = 1005
	CloseInvalidData uint16 = 1007
	ClosePolicy      uint16 = 1008
	CloseTooBig      uint16 = 1009
)

const (
	// MaxHead bounds the request or status line with all headers, in bytes.
	MaxHead = 8 << 10
	// MaxHeader is the longest frame header, in bytes: two, a 64-bit length, a masking key.
	MaxHeader = 14
	// MaxControl bounds the payload of a control frame, in bytes (RFC 6455, 5.5).
	MaxControl = 125
	// maxFields bounds the header fields of a head.
	maxFields = 100
)

// ErrClosed is returned by [Decoder.Next] for bytes after a close frame: none
// may follow it (RFC 6455, 5.5.1).
var ErrClosed = errors.New("websocket: data after the close frame")

// ProtocolError says that the peer broke the framing rules. Code is what the
// close frame that answers it carries.
type ProtocolError struct {
	Code   uint16
	Reason string
}

func (e *ProtocolError) Error() string { return "websocket: " + e.Reason }

func violation(reason string) error { return &ProtocolError{Code: CloseProtocol, Reason: reason} }
