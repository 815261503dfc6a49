package listener

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"unsafe"
)

// inside is where a tls.Conn keeps its buffers. They are empty between two
// reads and never given back: 4 KiB for the lifetime of an idle connection, 18
// KiB after one large record. There is no way in for others, so it is looked up
// by name and type; where a version of Go has them no more, nothing is done
// and everything works as before. All that is ever done is to give an empty
// buffer other empty memory, between calls of Read and on its goroutine.
type inside struct {
	found                 bool
	rawInput, hand, input uintptr // offsets
}

func lookInside() (i inside) {
	conn := reflect.TypeFor[tls.Conn]()
	field := func(name string, want reflect.Type) uintptr {
		f, has := conn.FieldByName(name)
		i.found = i.found && has && f.Type == want
		return f.Offset
	}
	i.found = true
	i.rawInput = field("rawInput", reflect.TypeFor[bytes.Buffer]()) // ciphertext
	i.hand = field("hand", reflect.TypeFor[bytes.Buffer]())         // handshake messages
	i.input = field("input", reflect.TypeFor[bytes.Reader]())       // plaintext, within the memory of rawInput
	return i
}

func (i inside) buffer(c *tls.Conn, offset uintptr) *bytes.Buffer {
	return (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(c), offset))
}

func (i inside) reader(c *tls.Conn) *bytes.Reader {
	return (*bytes.Reader)(unsafe.Add(unsafe.Pointer(c), i.input))
}

// drained reports whether c has neither ciphertext nor plaintext to go on with.
func (i inside) drained(c *tls.Conn) bool {
	return i.found && i.buffer(c, i.rawInput).Len() == 0 && i.reader(c).Len() == 0
}

// handshakeBytes is how much of a handshake message c holds.
func (i inside) handshakeBytes(c *tls.Conn) int {
	if !i.found {
		return 0
	}
	return i.buffer(c, i.hand).Len()
}

// lend gives c, which is drained, the memory of b for its next reads.
func (i inside) lend(c *tls.Conn, b []byte) {
	*i.buffer(c, i.rawInput) = *bytes.NewBuffer(b[:0])
}

// takeBack returns the memory that c reads into, nil if there is none or c
// still needs it.
func (i inside) takeBack(c *tls.Conn) []byte {
	if !i.drained(c) {
		return nil
	}
	raw := i.buffer(c, i.rawInput)
	raw.Reset()
	b := raw.AvailableBuffer()
	*raw = bytes.Buffer{}
	i.reader(c).Reset(nil)
	if hand := i.buffer(c, i.hand); hand.Len() == 0 {
		*hand = bytes.Buffer{}
	}
	return b
}
