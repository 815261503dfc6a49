package listener

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"sallyport/internal/websocket"
)

// goodbye bounds how long a pong or close frame may wait for a peer that
// doesn't read.
const goodbye = time.Second

// frameChunk is how much payload is copied behind a frame header, to leave in
// the same write: all of a usual packet, one TLS record of a large one.
const frameChunk = 16<<10 - websocket.MaxHeader

var errFramesClosed = errors.New("listener: write after the WebSocket close frame")

// frames is a stream of bytes inside binary WebSocket frames, over a socket or
// a TLS connection. It has no read buffer: frames are taken off in the buffer
// of the reader.
type frames struct {
	net.Conn
	in     deframer   // owned by the reader
	chunks *sync.Pool // of *[]byte, see chunk

	writing    sync.Mutex // held while a frame is written; guards the fields below
	closeSent  bool
	writeErr   error // sticky: half a frame can't be taken back
	deadlineMu sync.Mutex
	deadline   time.Time // guarded by deadlineMu; the caller's, for writes
}

// Read implements [net.Conn]. It returns io.EOF after the peer's close frame.
func (f *frames) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for f.in.err == nil {
		n, err := f.Conn.Read(p)
		if n, _ = f.deframe(p[:n]); n > 0 {
			return n, nil // both errors, deframe's and the socket's, come back on the next call
		}
		if err != nil && f.in.err == nil {
			return 0, err
		}
	}
	return 0, f.in.err
}

// deframe moves the payload in b to its front and returns its length.
func (f *frames) deframe(b []byte) (int, error) { return f.in.deframe(b, f) }

// pong answers a ping.
func (f *frames) pong(payload []byte) error {
	return f.sendControl(func(dst []byte) []byte { return websocket.AppendPong(dst, payload) })
}

// Write implements [net.Conn]: p leaves as one frame. An error is sticky, since
// half a frame may have left.
func (f *frames) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	f.writing.Lock()
	defer f.writing.Unlock()
	if err := f.writable(); err != nil {
		return 0, err
	}
	first := p[:min(len(p), frameChunk)]
	chunk := f.chunk()
	*chunk = websocket.AppendHeader((*chunk)[:0], websocket.OpBinary, len(p))
	header := len(*chunk)
	*chunk = append(*chunk, first...)
	n, err := f.Conn.Write(*chunk)
	f.chunks.Put(chunk)
	n = max(n-header, 0)
	if err == nil && len(p) > len(first) {
		var m int
		m, err = f.Conn.Write(p[len(first):])
		n += m
	}
	f.writeErr = err
	return n, err
}

// chunk returns a buffer that fits a frame header and frameChunk bytes.
func (f *frames) chunk() *[]byte {
	if b, had := f.chunks.Get().(*[]byte); had {
		return b
	}
	b := make([]byte, 0, websocket.MaxHeader+frameChunk)
	return &b
}

// writable reports why nothing can be written. Writing is held.
func (f *frames) writable() error {
	if f.writeErr != nil {
		return f.writeErr
	}
	if f.closeSent {
		return errFramesClosed
	}
	return nil
}

// sendControl writes one control frame from the reader's side. It waits for a
// frame in progress, but not long for the socket, so that a peer that pings and
// doesn't read can't hold the reader.
func (f *frames) sendControl(frame func(dst []byte) []byte) error {
	f.writing.Lock()
	defer f.writing.Unlock()
	if err := f.writable(); err != nil {
		if f.closeSent {
			return nil // nothing may follow our close frame; reading goes on
		}
		return err
	}
	f.limitWrite()
	_, f.writeErr = f.Conn.Write(frame(make([]byte, 0, websocket.MaxControl+2)))
	f.restoreWrite()
	return f.writeErr
}

// sendClose sends the close frame, unless one was sent.
func (f *frames) sendClose(code uint16) error {
	f.writing.Lock()
	defer f.writing.Unlock()
	if f.closeSent || f.writeErr != nil {
		return f.writeErr
	}
	f.limitWrite()
	_, f.writeErr = f.Conn.Write(websocket.AppendClose(nil, code))
	f.closeSent = true
	f.restoreWrite()
	return f.writeErr
}

// limitWrite sets a deadline for a frame that the caller didn't ask for,
// restoreWrite puts the caller's back.
func (f *frames) limitWrite() {
	f.deadlineMu.Lock()
	defer f.deadlineMu.Unlock()
	limit := time.Now().Add(goodbye)
	if f.deadline.IsZero() || limit.Before(f.deadline) {
		_ = f.Conn.SetWriteDeadline(limit) // fails on a closed socket, as will the write
	}
}

func (f *frames) restoreWrite() {
	f.deadlineMu.Lock()
	defer f.deadlineMu.Unlock()
	_ = f.Conn.SetWriteDeadline(f.deadline) // see limitWrite
}

// SetWriteDeadline implements [net.Conn].
func (f *frames) SetWriteDeadline(t time.Time) error {
	f.deadlineMu.Lock()
	defer f.deadlineMu.Unlock()
	f.deadline = t
	return f.Conn.SetWriteDeadline(t)
}

// SetDeadline implements [net.Conn].
func (f *frames) SetDeadline(t time.Time) error {
	return errors.Join(f.SetReadDeadline(t), f.SetWriteDeadline(t))
}

// CloseWrite sends the close frame and ends the sending side of what is below.
func (f *frames) CloseWrite() error {
	err := f.sendClose(websocket.CloseNormal)
	if t, isTLS := f.Conn.(*tls.Conn); isTLS {
		if tlsErr := t.CloseWrite(); err == nil {
			err = tlsErr
		}
		if socketErr := closeWriteSocket(t.NetConn()); err == nil {
			err = socketErr
		}
		return err
	}
	if socketErr := closeWriteSocket(f.Conn); err == nil {
		err = socketErr
	}
	return err
}

// Close sends the close frame if nobody is writing, and closes what is below.
func (f *frames) Close() error {
	if f.writing.TryLock() {
		if f.writable() == nil {
			f.limitWrite()
			// A peer that can't be told finds out by the closed socket.
			_, f.writeErr = f.Conn.Write(websocket.AppendClose(nil, websocket.CloseNormal))
			f.closeSent = true
		}
		f.writing.Unlock()
	}
	return f.Conn.Close()
}
