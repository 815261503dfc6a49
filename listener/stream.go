package listener

import "errors"

// ErrMore is returned by [Stream.Read] when the socket has to give more first.
var ErrMore = errors.New("listener: more bytes are needed")

// Stream turns the bytes of a socket into MQTT bytes and back, through TLS,
// WebSocket, or both, without touching the socket.
//
// Receive and Read are called by one goroutine, Send, CloseWrite and Take by one
// at a time, and both sides may run beside each other.
type Stream struct{}

// Receive gives what the socket gave. It is a view, changed in place, until
// Read returns an error; at ErrMore all of it is consumed.
func (s *Stream) Receive(wire []byte) {}

// Read returns MQTT bytes: [ErrMore] when more has to be received first,
// [io.EOF] after the peer's orderly end. An error other than ErrMore is final.
func (s *Stream) Read(p []byte) (n int, err error) { return 0, ErrMore }

// Send encrypts and frames mqtt, of which it keeps nothing, into the pending
// output. An error is final.
func (s *Stream) Send(mqtt []byte) error { return errors.ErrUnsupported }

// Take returns the pending output, in order, or nil if there is none; it
// belongs to the caller. Written is a buffer of an earlier Take that the caller
// has finished with, or nil.
func (s *Stream) Take(written []byte) (wire []byte) { return nil }

// Pending reports whether there is something to Take. Read may have caused some:
// a pong, an alert, a key update.
func (s *Stream) Pending() bool { return false }

// CloseWrite says goodbye into the pending output: close frame, close_notify.
// Nothing can be sent after it.
func (s *Stream) CloseWrite() error { return errors.ErrUnsupported }
