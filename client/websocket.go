package client

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"sallyport/internal/websocket"
)

// wsChunk is the largest frame sent: MQTT packets may span frames (MQTT-6.0.0-2).
const wsChunk = 32 << 10

// wsConn is the byte stream inside a WebSocket. One goroutine reads; any may write.
type wsConn struct {
	net.Conn
	decoder websocket.Decoder // of the reader
	raw     []byte            // of the reader: read and not yet decoded
	data    []byte            // of the reader: decoded and not yet handed out
	buf     []byte            // what raw lies in

	// write guards the fields below and the order of frames.
	write  sync.Mutex
	frame  []byte
	closed bool // a close frame was sent
}

// startWebSocket upgrades nc; it closes nc if that fails.
func (t Target) startWebSocket(ctx context.Context, nc net.Conn) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	ws, err := t.upgrade(nc)
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("WebSocket handshake: %w", err)
	}
	return ws, nil
}

func (t Target) upgrade(nc net.Conn) (net.Conn, error) {
	o := websocket.ClientOptions{Host: t.Address, Path: t.Path, Subprotocols: []string{t.Subprotocol}}
	if o.Path == "" {
		o.Path = "/mqtt"
	}
	if t.Subprotocol == "" {
		o.Subprotocols = []string{"mqtt"}
	}
	rand.Read(o.Key[:])
	request, err := websocket.AppendRequest(nil, o)
	if err != nil {
		return nil, err
	}
	if _, err := nc.Write(request); err != nil {
		return nil, err
	}
	ws := &wsConn{Conn: nc, decoder: websocket.Decoder{Client: true}, buf: make([]byte, readStep)}
	answer := websocket.NewResponse(o)
	for {
		n, err := nc.Read(ws.buf)
		used, done, ferr := answer.Feed(ws.buf[:n])
		switch {
		case ferr != nil:
			return nil, ferr
		case done:
			ws.raw = ws.buf[used:n]
			return ws, nil
		case errors.Is(err, io.EOF):
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		}
	}
}

// Read returns payload bytes; control frames are answered on the way.
func (w *wsConn) Read(b []byte) (int, error) {
	for len(w.data) == 0 {
		if len(w.raw) == 0 {
			n, err := w.Conn.Read(w.buf)
			if n == 0 {
				return 0, err
			}
			w.raw = w.buf[:n]
		}
		if err := w.decode(); err != nil {
			return 0, err
		}
	}
	n := copy(b, w.data)
	w.data = w.data[n:]
	return n, nil
}

func (w *wsConn) decode() error {
	ev, n, err := w.decoder.Next(w.raw)
	w.raw = w.raw[n:]
	if pe, ok := errors.AsType[*websocket.ProtocolError](err); ok {
		w.sendClose(pe.Code) // best effort: the connection ends with err
	}
	if err != nil {
		return err
	}
	switch ev.Kind {
	case websocket.Data:
		w.data = ev.Payload
	case websocket.Ping:
		return w.send(websocket.OpPong, ev.Payload)
	case websocket.Close:
		w.sendClose(websocket.CloseNormal) // best effort: the peer has closed
		return io.EOF
	}
	return nil
}

// Write sends b in binary frames.
func (w *wsConn) Write(b []byte) (int, error) {
	sent := 0
	for sent < len(b) {
		part := b[sent:min(sent+wsChunk, len(b))]
		if err := w.send(websocket.OpBinary, part); err != nil {
			return sent, err
		}
		sent += len(part)
	}
	return sent, nil
}

// send masks with a fresh key, as every frame of a client must (RFC 6455, 5.3).
func (w *wsConn) send(op websocket.Opcode, payload []byte) error {
	var key [4]byte
	rand.Read(key[:])
	w.write.Lock()
	defer w.write.Unlock()
	if w.closed {
		return net.ErrClosed
	}
	w.closed = op == websocket.OpClose
	w.frame = websocket.AppendMaskedHeader(w.frame[:0], op, len(payload), key)
	start := len(w.frame)
	w.frame = append(w.frame, payload...)
	websocket.Mask(key, 0, w.frame[start:])
	_, err := w.Conn.Write(w.frame)
	return err
}

func (w *wsConn) sendClose(code uint16) error {
	return w.send(websocket.OpClose, []byte{byte(code >> 8), byte(code)})
}

// ConnectionState is that of the TLS channel below; without one, of no handshake.
func (w *wsConn) ConnectionState() tls.ConnectionState {
	if secure, ok := w.Conn.(*tls.Conn); ok {
		return secure.ConnectionState()
	}
	return tls.ConnectionState{}
}

// CloseWrite sends a close frame: no data follows.
func (w *wsConn) CloseWrite() error { return w.sendClose(websocket.CloseNormal) }
