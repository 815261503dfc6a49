package websocket

import (
	"encoding/binary"
)

// AppendHeader appends the header of an unmasked, final frame of n payload
// bytes, as servers send it. A negative n counts as 0.
func AppendHeader(dst []byte, op Opcode, n int) []byte {
	return appendHeader(dst, op, n, 0)
}

// AppendMaskedHeader appends the header of a masked, final frame of n payload
// bytes, as clients send it. Key must be unpredictable and new for each frame
// (RFC 6455, 5.3); the payload goes through [Mask] with it.
func AppendMaskedHeader(dst []byte, op Opcode, n int, key [4]byte) []byte {
	return append(appendHeader(dst, op, n, 0x80), key[:]...)
}

func appendHeader(dst []byte, op Opcode, n int, mask byte) []byte {
	dst = append(dst, 0x80|byte(op))
	switch n = max(n, 0); {
	case n <= 125:
		return append(dst, mask|byte(n))
	case n <= 0xffff:
		return binary.BigEndian.AppendUint16(append(dst, mask|126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, mask|127), uint64(n))
}

// AppendClose appends a server's close frame with code and no reason text.
// CloseNone gives a frame without a code.
func AppendClose(dst []byte, code uint16) []byte {
	if code == CloseNone {
		return AppendHeader(dst, OpClose, 0)
	}
	return binary.BigEndian.AppendUint16(AppendHeader(dst, OpClose, 2), code)
}

// AppendPong appends a server's answer to a ping; payload is cut at
// [MaxControl] bytes, which no decoded ping exceeds.
func AppendPong(dst, payload []byte) []byte {
	payload = payload[:min(len(payload), MaxControl)]
	return append(AppendHeader(dst, OpPong, len(payload)), payload...)
}

// Mask combines b, in place, with key, starting at position in the key
// (RFC 6455, 5.3), and returns the position for the bytes that follow. It
// masks and unmasks.
func Mask(key [4]byte, position int, b []byte) int {
	end := (position + len(b)) & 3
	var word [8]byte
	for i := range word {
		word[i] = key[(position+i)&3]
	}
	w := binary.LittleEndian.Uint64(word[:])
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^w)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= word[i]
	}
	return end
}
