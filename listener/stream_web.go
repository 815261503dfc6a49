package listener

import "sallyport/internal/websocket"

// writable reports why no frame can be sent. The caller holds web.sending.
func (s *Stream) writable() error {
	if s.web.err != nil {
		return s.web.err
	}
	if s.web.closeSent {
		return errFramesClosed
	}
	return nil
}

// sendFrame sends mqtt as one frame. The caller holds web.sending.
func (s *Stream) sendFrame(mqtt []byte) error {
	if s.tls == nil {
		var header [websocket.MaxHeader]byte
		s.link.push(websocket.AppendHeader(header[:0], websocket.OpBinary, len(mqtt)), mqtt)
		return nil
	}
	// Header and payload share a record.
	first := mqtt[:min(len(mqtt), frameChunk)]
	chunk := websocket.AppendHeader(s.lender.get(websocket.MaxHeader+len(first)), websocket.OpBinary, len(mqtt))
	chunk = append(chunk, first...)
	err := s.write(chunk)
	s.lender.put(chunk)
	if err == nil && len(mqtt) > len(first) {
		err = s.write(mqtt[len(first):])
	}
	return err
}

// pong implements answerer: it notes the ping for the next Take, so that a peer
// that pings and doesn't read costs one pong.
func (s *Stream) pong(payload []byte) error {
	s.web.pongs.Lock()
	defer s.web.pongs.Unlock()
	s.web.pings, s.web.length = true, copy(s.web.payload[:], payload)
	return nil
}

// pinged reports whether a ping waits for its answer.
func (w *web) pinged() bool {
	w.pongs.Lock()
	defer w.pongs.Unlock()
	return w.pings
}

// sendPong answers the last ping, if there is one. Nothing may follow our close
// frame; an error shows at the next Send.
func (s *Stream) sendPong() {
	if !s.web.pinged() {
		return
	}
	s.web.sending.Lock()
	defer s.web.sending.Unlock()
	s.web.pongs.Lock()
	pong := websocket.AppendPong(nil, s.web.payload[:s.web.length])
	s.web.pings = false
	s.web.pongs.Unlock()
	if s.writable() == nil {
		s.web.err = s.write(pong)
	}
}

// sendClose implements answerer: it sends the close frame, unless one was sent.
func (s *Stream) sendClose(code uint16) error {
	s.web.sending.Lock()
	defer s.web.sending.Unlock()
	if s.web.closeSent || s.web.err != nil {
		return s.web.err
	}
	s.web.closeSent = true
	var frame [4]byte
	s.web.err = s.write(websocket.AppendClose(frame[:0], code))
	return s.web.err
}
