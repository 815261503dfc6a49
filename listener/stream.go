package listener

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"

	"sallyport/internal/websocket"
)

var (
	// ErrMore is returned by [Stream.Read] when the socket has to give more first.
	ErrMore = errors.New("listener: more bytes are needed")

	errHandshakeData = errors.New("listener: a handshake message after the handshake is too long")
)

// maxLateHandshake bounds a handshake message after the handshake, in bytes:
// those that a client may send (key updates) are far shorter.
const maxLateHandshake = 1 << 10

// recordOverhead is more than a record adds to its payload, in bytes.
const recordOverhead = 128

// Stream turns the bytes of a socket into MQTT bytes and back, through TLS,
// WebSocket, or both, without touching the socket. While nothing is under way
// it holds no buffer.
//
// Receive and Read are called by one goroutine, Send, CloseWrite and Take by one
// at a time, and both sides may run beside each other. Pending is for both.
type Stream struct {
	lender *lender
	tls    *tls.Conn // over link; nil without TLS
	web    *web      // nil without WebSocket
	link   link      // without TLS only its wire and out are used

	failed error // of Read, sticky; owned by the reader
}

// newStream returns a Stream without layers.
func newStream(l *lender) *Stream {
	return &Stream{lender: l, link: link{pool: &l.buffers}}
}

// openTLS begins the TLS layer: the link waits on socket until settle.
func (s *Stream) openTLS(socket net.Conn, config *tls.Config) *tls.Conn {
	s.link.opening = &opening{socket: socket, buffer: s.lender.get(handshakeRead)[:handshakeRead]}
	s.tls = tls.Server(&s.link, config)
	if s.lender.inside.drained(s.tls) {
		s.lender.inside.lend(s.tls, s.lender.get(handshakeRead))
	}
	return s.tls
}

// settle ends the handshakes: the socket goes its own way.
func (s *Stream) settle() {
	if s.tls != nil {
		s.link.settle()
		s.lender.put(s.lender.inside.takeBack(s.tls))
	}
}

// lender is what the streams of a listener borrow from.
type lender struct {
	buffers
	inside inside
}

// web is the WebSocket layer of a Stream.
type web struct {
	in deframer // owned by the reader

	sending   sync.Mutex // held while a frame is written, so that frames stay whole
	closeSent bool       // guarded by sending
	err       error      // guarded by sending; sticky

	pongs   sync.Mutex // guards the fields below
	pings   bool       // a ping is unanswered; RFC 6455, 5.5.3: the last one is enough
	payload [websocket.MaxControl]byte
	length  int
}

// Receive gives what the socket gave, after Read has returned [ErrMore]. It is a
// view, and is all consumed when Read returns ErrMore again.
func (s *Stream) Receive(wire []byte) {
	if s.failed == nil {
		s.link.receive(wire)
	}
}

// Read returns MQTT bytes: [ErrMore] when more has to be received first,
// [io.EOF] after the peer's orderly end. An error other than ErrMore is final,
// and may leave something to Take (an alert, a close frame).
func (s *Stream) Read(p []byte) (n int, err error) {
	for s.failed == nil && len(p) > 0 {
		n, err = s.readBelow(p)
		if err == nil && s.web != nil {
			if n, err = s.web.in.deframe(p[:n], s); err != nil && n > 0 {
				return n, nil // the error is sticky and comes next time
			}
		}
		if err == nil && n == 0 {
			continue // of a frame without payload, or the beginning of one
		}
		if err != nil && err != ErrMore {
			err = s.fail(err)
		}
		return n, err
	}
	return 0, s.failed
}

// readBelow reads what is beneath WebSocket.
func (s *Stream) readBelow(p []byte) (int, error) {
	if s.web != nil && s.web.in.err != nil {
		return 0, s.web.in.err
	}
	if s.tls != nil {
		return s.decrypt(p)
	}
	n := copy(p, s.link.wire)
	if s.link.wire = s.link.wire[n:]; n == 0 {
		s.link.wire = nil
		return 0, ErrMore
	}
	return n, nil
}

// decrypt reads from the TLS layer.
func (s *Stream) decrypt(p []byte) (int, error) {
	in := &s.lender.inside
	if in.drained(s.tls) {
		if s.link.next() == 0 {
			return 0, s.rest() // tls.Conn would say so too, and allocate for it
		}
		in.lend(s.tls, s.lender.get(maxRecord))
	}
	n, err := s.tls.Read(p)
	switch {
	case s.link.overrun.Load():
		return 0, errUnread
	case n > 0:
		if err != nil && err != errEmpty {
			s.fail(err) // comes next time
		}
		return n, nil
	case err == errEmpty:
		return 0, s.rest()
	}
	return 0, err
}

// rest gives back what reading needed, and returns why it can't go on.
func (s *Stream) rest() error {
	s.link.keep()
	s.lender.put(s.lender.inside.takeBack(s.tls))
	if s.lender.inside.handshakeBytes(s.tls) > maxLateHandshake {
		return errHandshakeData
	}
	return ErrMore
}

// Violation is an error of [Stream.Read] that says what rule of TLS or WebSocket
// the peer broke.
type Violation struct{ error }

// Violation tells it apart for those who don't know this package.
func (Violation) Violation() {}

// Unwrap returns the error that it is.
func (v Violation) Unwrap() error { return v.error }

// fail ends reading for good, and returns the error that says why. Nothing here
// waits for a socket: but for the peer's orderly end and its alerts, it was wrong.
func (s *Stream) fail(err error) error {
	operation, alert := errors.AsType[*net.OpError](err)
	if err != io.EOF && (!alert || operation.Op != "remote error") {
		err = Violation{err}
	}
	s.failed = err
	s.link.drop()
	if s.tls != nil {
		s.lender.put(s.lender.inside.takeBack(s.tls))
	}
	return err
}

// Send encrypts and frames mqtt, of which it keeps nothing, into the pending
// output. An error is final.
func (s *Stream) Send(mqtt []byte) error {
	if len(mqtt) == 0 {
		return nil
	}
	if s.web == nil {
		return s.write(mqtt)
	}
	s.web.sending.Lock()
	defer s.web.sending.Unlock()
	if err := s.writable(); err != nil {
		return err
	}
	s.web.err = s.sendFrame(mqtt)
	return s.web.err
}

// write puts b into the pending output, encrypted where there is TLS.
func (s *Stream) write(b []byte) error {
	if s.tls == nil {
		s.link.push(nil, b)
		return nil
	}
	records := 1 + len(b)>>14
	s.link.begin(len(b) + records*recordOverhead)
	defer s.link.end()
	_, err := s.tls.Write(b)
	return err
}

// Take returns the pending output, in order, or nil if there is none; it
// belongs to the caller. Written is what an earlier Take returned and the caller
// has finished with, or nil.
func (s *Stream) Take(written []byte) (wire []byte) {
	s.lender.put(written)
	if s.web != nil {
		s.sendPong()
	}
	return s.link.take()
}

// Pending reports whether there is something to Take. Read may have caused some:
// a pong, an alert, a key update.
func (s *Stream) Pending() bool {
	return s.link.pending() || s.web != nil && s.web.pinged()
}

// CloseWrite says goodbye into the pending output: close frame, close_notify.
// Nothing can be sent after it.
func (s *Stream) CloseWrite() error {
	var err error
	if s.web != nil {
		err = s.sendClose(websocket.CloseNormal)
	}
	if s.tls != nil {
		s.link.begin(recordOverhead)
		err = errors.Join(err, s.tls.CloseWrite())
		s.link.end()
	}
	return err
}
