package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"sallyport/tests/crash"
)

// makePayload is the payload of message id: its name, and filler that follows
// from the name, so that a mix of two messages is seen.
func makePayload(id crash.ID, size int) []byte {
	b := fmt.Appendf(nil, "%s %d %d ", id.Publisher, id.N, size)
	x := filler(id)
	for range size {
		x = x*1664525 + 1013904223
		b = append(b, 'a'+byte(x>>24)%26)
	}
	return b
}

func filler(id crash.ID) uint32 {
	x := uint32(id.N)
	for _, c := range []byte(id.Publisher) {
		x = x*31 + uint32(c)
	}
	return x
}

// readPayload names the message, and refuses a payload that is not its own.
func readPayload(b []byte) (crash.ID, error) {
	f := bytes.SplitN(b, []byte(" "), 4)
	if len(f) != 4 {
		return crash.ID{}, errors.New("the payload names no message")
	}
	n, err1 := strconv.Atoi(string(f[1]))
	size, err2 := strconv.Atoi(string(f[2]))
	id := crash.ID{Publisher: string(f[0]), N: n}
	if err1 != nil || err2 != nil || size != len(f[3]) {
		return id, errors.New("the payload is cut short or names no message")
	}
	if !bytes.Equal(makePayload(id, size), b) {
		return id, fmt.Errorf("the payload of %v is not as it was sent", id)
	}
	return id, nil
}
