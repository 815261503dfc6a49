package listener

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"sallyport/internal/websocket"
)

// peer is the client of a Stream, in memory: wire bytes in and out.
type peer struct {
	t    testing.TB
	tls  *tls.Conn // nil without TLS
	link link
	web  *websocket.Decoder // nil without WebSocket
}

// pair returns a Stream behind a handshake and its peer. Without configurations
// there is no TLS.
func pair(t testing.TB, server, client *tls.Config, framed bool) (*Stream, *peer) {
	t.Helper()
	s := newStream(&lender{inside: lookInside()})
	p := &peer{t: t, link: link{pool: new(buffers)}}
	if server != nil {
		a, b := net.Pipe()
		p.link.opening = &opening{socket: b, buffer: make([]byte, handshakeRead)}
		p.tls = tls.Client(&p.link, client)
		done := make(chan error, 1)
		go func() { done <- errors.Join(p.tls.Handshake(), p.link.flush()) }()
		if err := s.openTLS(a, server).Handshake(); err != nil {
			t.Fatal(err)
		}
		// Of TLS 1.2 the client still waits for the last flight.
		if s.tls.ConnectionState().Version < tls.VersionTLS13 {
			if err := s.link.flush(); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		s.settle()
		p.link.settle()
		p.link.sending = true // the client asks for all it sends
	}
	if framed {
		s.web = &web{in: deframer{decoder: websocket.Decoder{MaxFrame: 1 << 20}}}
		p.web = &websocket.Decoder{Client: true}
	}
	return s, p
}

// send returns the wire bytes of one message.
func (p *peer) send(mqtt []byte) []byte {
	if p.web != nil {
		mqtt = masked(websocket.OpBinary, string(mqtt))
	}
	return p.raw(mqtt)
}

// raw encrypts b, where there is TLS.
func (p *peer) raw(b []byte) []byte {
	p.t.Helper()
	if p.tls == nil {
		return b
	}
	if _, err := p.tls.Write(b); err != nil {
		p.t.Error(err)
	}
	return p.link.take()
}

// receive returns the MQTT bytes in wire.
func (p *peer) receive(wire []byte) (mqtt []byte) {
	p.t.Helper()
	plain := wire
	if p.tls != nil {
		p.link.receive(wire)
		plain = nil
		for buf := make([]byte, 32<<10); ; {
			n, err := p.tls.Read(buf)
			plain = append(plain, buf[:n]...)
			if err == errEmpty {
				break
			}
			if err != nil {
				p.t.Errorf("client: %v", err)
				return nil
			}
		}
	}
	if p.web == nil {
		return plain
	}
	for len(plain) > 0 {
		ev, n, err := p.web.Next(plain)
		if err != nil {
			p.t.Error(err)
			return mqtt
		}
		plain = plain[n:]
		if ev.Kind == websocket.Data {
			mqtt = append(mqtt, ev.Payload...)
		}
	}
	return mqtt
}

// readAll reads until an error, which it returns unless it is ErrMore.
func readAll(s *Stream, size int) ([]byte, error) {
	var all []byte
	for p := make([]byte, size); ; {
		n, err := s.Read(p)
		all = append(all, p[:n]...)
		switch {
		case err == ErrMore:
			return all, nil
		case err != nil:
			return all, err
		}
	}
}

// layer is a way for a Stream to be made.
type layer struct {
	name           string
	server, client *tls.Config
	web            bool
}

func (l layer) pair(t testing.TB) (*Stream, *peer) {
	t.Helper()
	return pair(t, l.server, l.client, l.web)
}

// layers are all that a Stream can be: both versions of TLS, WebSocket, both.
func layers(t testing.TB) []layer {
	t.Helper()
	server, client := tlsPair(t)
	older := client.Clone()
	older.MaxVersion = tls.VersionTLS12
	cbc := older.Clone()
	cbc.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
	chacha := older.Clone()
	chacha.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}
	return []layer{
		{"TLS 1.3", server, client, false},
		{"TLS 1.2", server, older, false},
		{"TLS 1.2 with CBC", server, cbc, false},
		{"TLS 1.2 with ChaCha20", server, chacha, false},
		{"WebSocket", nil, nil, true},
		{"WebSocket over TLS", server, client, true},
	}
}

func TestStreamCarriesBothWays(t *testing.T) {
	for _, l := range layers(t) {
		s, p := l.pair(t)
		if _, err := s.Read(make([]byte, 10)); err != ErrMore {
			t.Fatalf("%s: Read of nothing: %v, want ErrMore", l.name, err)
		}
		for _, size := range []int{1, 100, 5000, 16 << 10, 16<<10 + 1, 100_000} {
			want := bytes.Repeat([]byte("0123456789abcdef-"), size/17+1)[:size]
			s.Receive(p.send(want))
			got, err := readAll(s, 4096)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s: read %d bytes, %v, want the %d that were sent", l.name, len(got), err, size)
			}
			if err := s.Send(want); err != nil {
				t.Fatal(err)
			}
			if !s.Pending() {
				t.Errorf("%s: nothing pending after Send", l.name)
			}
			if got := p.receive(s.Take(nil)); !bytes.Equal(got, want) {
				t.Fatalf("%s: the client got %d bytes, want the %d that were sent", l.name, len(got), size)
			}
			if s.Pending() || s.Take(nil) != nil {
				t.Errorf("%s: something pending after Take", l.name)
			}
			checkHoldsNothing(t, l.name, s)
		}
	}
}

func TestStreamTakesAnyPieces(t *testing.T) {
	for _, l := range layers(t) {
		for _, piece := range []int{1, 2, 3, 5, 7, 100, 4097} {
			s, p := l.pair(t)
			var want, wire []byte
			for _, size := range []int{1, 3, 200, 20_000, 1, 600} {
				message := bytes.Repeat([]byte{byte(size)}, size)
				want, wire = append(want, message...), append(wire, p.send(message)...)
			}
			var got []byte
			view := make([]byte, piece)
			for len(wire) > 0 {
				n := copy(view, wire)
				wire = wire[n:]
				s.Receive(view[:n])
				more, err := readAll(s, 64)
				if err != nil {
					t.Fatalf("%s in pieces of %d: %v", l.name, piece, err)
				}
				got = append(got, more...)
				clear(view) // the caller uses its buffer again
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s in pieces of %d: %d bytes, want %d", l.name, piece, len(got), len(want))
			}
			checkHoldsNothing(t, l.name, s)
		}
	}
}

// checkHoldsNothing wants an idle stream to hold no buffer.
func checkHoldsNothing(t *testing.T, name string, s *Stream) {
	t.Helper()
	if s.link.wire != nil || s.link.part != nil || s.link.out != nil {
		t.Errorf("%s: idle stream holds %d, %d and %d bytes", name, cap(s.link.wire), cap(s.link.part), cap(s.link.out))
	}
	if in := s.lender.inside; s.tls != nil && in.found {
		if raw, hand := in.buffer(s.tls, in.rawInput).Cap(), in.buffer(s.tls, in.hand).Cap(); raw+hand > 0 {
			t.Errorf("%s: idle tls.Conn holds %d and %d bytes", name, raw, hand)
		}
	}
}

func TestStreamReadsWhatCameWithTheHandshake(t *testing.T) {
	server, client := tlsPair(t)
	a, b := net.Pipe()
	s := newStream(&lender{inside: lookInside()})
	done := make(chan error, 1)
	go func() {
		c := &peer{t: t, link: link{pool: new(buffers)}}
		c.link.opening = &opening{socket: b, buffer: make([]byte, handshakeRead)}
		c.tls = tls.Client(&c.link, client)
		err := c.tls.Handshake()
		// Finished, a whole record and half of one leave together.
		_, _ = c.tls.Write([]byte("first"))
		_, _ = c.tls.Write([]byte("second"))
		wire := c.link.take()
		_, writeErr := b.Write(wire[:len(wire)-3])
		done <- errors.Join(err, writeErr)
		_, _ = b.Write(wire[len(wire)-3:])
	}()
	if err := s.openTLS(a, server).Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	s.settle()
	if got, err := readAll(s, 64); err != nil || string(got) != "first" {
		t.Fatalf("at first: %q, %v", got, err)
	}
	rest := make([]byte, 64)
	n, err := a.Read(rest)
	if err != nil {
		t.Fatal(err)
	}
	s.Receive(rest[:n])
	if got, err := readAll(s, 64); err != nil || string(got) != "second" {
		t.Errorf("then: %q, %v", got, err)
	}
}

func TestStreamKeepsWhatIsReceivedTooEarly(t *testing.T) {
	server, client := tlsPair(t)
	s, p := pair(t, server, client, false)
	s.Receive(p.send([]byte("a")))
	s.Receive(p.send([]byte("b")))
	if got, err := readAll(s, 64); err != nil || string(got) != "ab" {
		t.Errorf("read %q, %v, want ab", got, err)
	}
}

func TestStreamEndsWithThePeersGoodbye(t *testing.T) {
	for _, l := range layers(t) {
		s, p := l.pair(t)
		wire := p.send([]byte("last"))
		if p.web != nil {
			wire = append(wire, p.raw(masked(websocket.OpClose, "\x03\xe8"))...)
		} else {
			if err := p.tls.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			wire = append(wire, p.link.take()...)
		}
		s.Receive(wire)
		if got, err := readAll(s, 64); err != io.EOF || string(got) != "last" {
			t.Errorf("%s: %q, %v, want last and the end", l.name, got, err)
		}
		s.Receive([]byte("after the end"))
		if n, err := s.Read(make([]byte, 64)); n != 0 || err != io.EOF {
			t.Errorf("%s: %d, %v after the end, want the end again", l.name, n, err)
		}
		if l.web {
			if err := s.Send([]byte("x")); err != errFramesClosed {
				t.Errorf("%s: Send after the close frame: %v", l.name, err)
			}
			continue
		}
		// The other direction goes on.
		if err := s.Send([]byte("answer")); err != nil {
			t.Errorf("%s: Send after the peer's goodbye: %v", l.name, err)
		}
	}
}

func TestStreamSaysGoodbyeOnce(t *testing.T) {
	for _, l := range layers(t) {
		s, p := l.pair(t)
		if err := errors.Join(s.Send([]byte("last")), s.CloseWrite(), s.CloseWrite()); err != nil {
			t.Fatalf("%s: %v", l.name, err)
		}
		if err := s.Send([]byte("x")); err == nil {
			t.Errorf("%s: sent after CloseWrite", l.name)
		}
		plain := s.Take(nil)
		if p.tls != nil {
			p.link.receive(plain)
			var err error
			if plain, err = io.ReadAll(p.tls); err != nil {
				t.Errorf("%s: no close_notify: %v", l.name, err)
			}
		}
		want := []byte("last")
		if l.web {
			want = append(serverFrame("last"), websocket.AppendClose(nil, websocket.CloseNormal)...)
		}
		if !bytes.Equal(plain, want) {
			t.Errorf("%s: the client got %x, want %x", l.name, plain, want)
		}
		// The peer's direction goes on.
		s.Receive(p.send([]byte("more")))
		if got, err := readAll(s, 64); err != nil || string(got) != "more" {
			t.Errorf("%s: read %q, %v", l.name, got, err)
		}
	}
}

func TestStreamRefusesGarbage(t *testing.T) {
	for _, l := range layers(t) {
		s, p := l.pair(t)
		good := p.send([]byte("good"))
		s.Receive(append(good, bytes.Repeat([]byte{0x17, 3, 3, 0, 20}, 20)...))
		got, err := readAll(s, 64)
		if err == nil || err == io.EOF || string(got) != "good" {
			t.Errorf("%s: %q, %v, want good and an error", l.name, got, err)
		}
		if !s.Pending() {
			t.Errorf("%s: the peer is not told", l.name)
		}
		if _, again := s.Read(make([]byte, 8)); again != err {
			t.Errorf("%s: then %v, want the same error", l.name, again)
		}
		if s.link.wire != nil || s.link.part != nil {
			t.Errorf("%s: the rest of the input is kept", l.name)
		}
	}
}

func TestStreamRefusesALongRecordByItsHeader(t *testing.T) {
	server, client := tlsPair(t)
	s, _ := pair(t, server, client, false)
	s.Receive([]byte{0x17, 3, 3, 0xff, 0xff})
	if _, err := s.Read(make([]byte, 8)); err == nil || err == ErrMore {
		t.Errorf("a record of 65,535 bytes: %v, want an error", err)
	}
	s, _ = pair(t, server, client, false)
	s.Receive(append([]byte{0x17, 3, 3, 0x40, 0}, make([]byte, 1000)...))
	if _, err := s.Read(make([]byte, 8)); err != ErrMore {
		t.Errorf("the beginning of a record: %v, want ErrMore", err)
	}
	if got := cap(s.link.part); got > 4<<10 {
		t.Errorf("an announced record costs %d bytes for the 1,005 that came", got)
	}
}

func TestStreamAnswersPings(t *testing.T) {
	for _, l := range layers(t) {
		if !l.web {
			continue
		}
		s, p := l.pair(t)
		// Pings within a fragmented message; the last one is answered.
		hello := masked(websocket.OpBinary, "he")
		hello[0] &^= 0x80
		rest := masked(websocket.OpContinuation, "llo")
		var wire []byte
		for _, f := range [][]byte{hello, masked(websocket.OpPing, "1"), masked(websocket.OpPing, "2"), rest, masked(websocket.OpPong, "")} {
			wire = append(wire, f...)
		}
		s.Receive(p.raw(wire))
		if got, err := readAll(s, 3); err != nil || string(got) != "hello" {
			t.Errorf("%s: read %q, %v", l.name, got, err)
		}
		if !s.Pending() {
			t.Errorf("%s: no pong pending", l.name)
		}
		plain := s.Take(nil)
		if p.tls != nil {
			p.link.receive(plain)
			buf := make([]byte, 64)
			n, err := p.tls.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			plain = buf[:n]
		}
		if want := websocket.AppendPong(nil, []byte("2")); !bytes.Equal(plain, want) {
			t.Errorf("%s: answer %x, want %x", l.name, plain, want)
		}
		if s.Pending() {
			t.Errorf("%s: the pong is pending still", l.name)
		}
	}
}

func TestPeerThatPingsAndDoesNotReadCostsOnePong(t *testing.T) {
	s, p := pair(t, nil, nil, true)
	for range 10_000 {
		s.Receive(p.raw(masked(websocket.OpPing, strings.Repeat("x", websocket.MaxControl))))
		if _, err := readAll(s, 512); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(s.Take(nil)); got != 2+websocket.MaxControl {
		t.Errorf("%d bytes pending, want one pong", got)
	}
}

func TestBrokenFramesEndAStream(t *testing.T) {
	for _, l := range layers(t) {
		if !l.web {
			continue
		}
		for _, c := range []struct {
			frame []byte
			code  uint16
		}{
			{serverFrame("a"), websocket.CloseProtocol},
			{masked(websocket.OpText, "a"), websocket.CloseUnsupported},
			{masked(websocket.OpBinary, strings.Repeat("a", 1<<20+1)), websocket.CloseTooBig},
		} {
			s, p := l.pair(t)
			s.Receive(p.raw(append(masked(websocket.OpBinary, "ok"), c.frame...)))
			got, err := readAll(s, 64)
			var violation *websocket.ProtocolError
			if string(got) != "ok" || !errors.As(err, &violation) || violation.Code != c.code {
				t.Errorf("%s: %q, %v, want code %d", l.name, got, err, c.code)
			}
			if !s.Pending() {
				t.Errorf("%s: no close frame", l.name)
			}
		}
	}
}

func TestStreamReadsAndSendsAtOnce(t *testing.T) {
	const messages = 300
	for _, l := range layers(t) {
		s, p := l.pair(t)
		var want, wire []byte
		for i := range messages {
			m := fmt.Appendf(nil, "message %d %s;", i, strings.Repeat("x", i))
			want, wire = append(want, m...), append(wire, p.send(m)...)
			if l.web && i%10 == 0 {
				wire = append(wire, p.raw(masked(websocket.OpPing, "?"))...)
			}
		}
		var got, received []byte
		var group sync.WaitGroup
		group.Go(func() {
			for len(wire) > 0 {
				n := min(len(wire), 777)
				s.Receive(wire[:n])
				wire = wire[n:]
				more, err := readAll(s, 300)
				if err != nil {
					t.Error(err)
					return
				}
				got = append(got, more...)
				s.Pending()
			}
		})
		group.Go(func() {
			var out []byte
			for i := range messages {
				if err := s.Send(fmt.Appendf(nil, "message %d %s;", i, strings.Repeat("x", i))); err != nil {
					t.Error(err)
				}
				if i%3 == 0 {
					out = s.Take(out)
					received = append(received, out...)
				}
			}
			received = append(received, s.Take(nil)...)
		})
		group.Wait()
		if !bytes.Equal(got, want) {
			t.Errorf("%s: read %d bytes, want %d", l.name, len(got), len(want))
		}
		if back := p.receive(received); !bytes.Equal(back, want) {
			t.Errorf("%s: the client got %d bytes, want %d", l.name, len(back), len(want))
		}
	}
}

func TestTLSBuffersAreFoundInThisVersionOfGo(t *testing.T) {
	if !lookInside().found {
		t.Error("tls.Conn keeps its buffers elsewhere: idle connections cost 5 KiB more each; see inside")
	}
}

func TestStreamWorksWithoutLookingInside(t *testing.T) {
	server, client := tlsPair(t)
	s, p := pair(t, server, client, false)
	s.lender.inside = inside{}
	for _, size := range []int{1, 1000, 50_000} {
		want := bytes.Repeat([]byte("x"), size)
		wire := p.send(want)
		var got []byte
		for len(wire) > 0 {
			n := min(len(wire), 999)
			s.Receive(wire[:n])
			more, err := readAll(s, 4096)
			if err != nil {
				t.Fatal(err)
			}
			got, wire = append(got, more...), wire[n:]
		}
		if !bytes.Equal(got, want) {
			t.Errorf("read %d bytes, want %d", len(got), size)
		}
	}
}
