package conformance

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/listener"
	"sallyport/security"
	"sallyport/security/authn"
	"sallyport/topic"
)

// Packets of MQTT 3.1.1, written out so that no encoder of ours has a part in it.
const (
	connectPacket = "\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a"
	connackPacket = "\x20\x02\x00\x00"
	pingReq       = "\xc0\x00"
	pingResp      = "\xd0\x00"
)

// Opcodes of RFC 6455, 5.2.
const (
	opContinuation = 0
	opText         = 1
	opBinary       = 2
	opClose        = 8
)

// anybody lets every client in, and the policy allows everything.
type anybody struct{}

func (anybody) Begin(_ *authn.Credentials, done func(*security.Principal, error)) func() {
	done(&security.Principal{Realm: "test"}, nil)
	return nil
}
func (anybody) Epoch() authn.Epoch              { return authn.Epoch{} }
func (anybody) Stands(*security.Principal) bool { return true }
func (anybody) FailureFloor() time.Duration     { return 0 }
func (anybody) Decide(*security.Request) security.Verdict {
	return security.Verdict{Effect: security.Allow}
}

// serveWebSocket runs a broker behind a WebSocket listener on loopback and
// returns its address.
func serveWebSocket(t *testing.T) string {
	t.Helper()
	b := broker.New(broker.Options{
		Gate: security.NewGate(&security.Ruleset{ByListener: map[string][]security.Policy{"ws": {anybody{}}}}),
		Listeners: map[string]*broker.Listener{"ws": {Name: "ws", Auth: anybody{}, Limits: broker.Limits{
			PacketUnauthenticated: 1 << 10, Packet: 1 << 10, Topic: topic.Limits{Bytes: 100, Levels: 10}, ClientIDBytes: 100,
			OutputBytes: 1 << 10, ReceiveMaximum: 10, Inflight: 10,
		}}},
	})
	l, err := listener.Listen(listener.Options{Name: "ws", Transport: listener.WS, Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		served <- l.Serve(func(c *listener.Conn) { b.Serve(c, broker.Info{Listener: "ws", Remote: c.Remote}) })
	}()
	t.Cleanup(func() {
		if err := errors.Join(l.Close(), <-served); err != nil {
			t.Errorf("close the listener: %v", err)
		}
		b.Shutdown(10 * time.Second)
		if err := b.Close(); err != nil {
			t.Errorf("close the broker: %v", err)
		}
	})
	return l.Addrs()[0].String()
}

// webSocket is a client of RFC 6455 that can also do what a client may not.
type webSocket struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

// upgrade connects and sends the opening handshake of RFC 6455, 1.3.
func upgrade(t *testing.T, address, subprotocols string) (*webSocket, *http.Response) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // the test may have closed it
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	request := "GET /mqtt HTTP/1.1\r\nHost: " + address + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	if subprotocols != "" {
		request += "Sec-WebSocket-Protocol: " + subprotocols + "\r\n"
	}
	w := &webSocket{t, c, bufio.NewReader(c)}
	w.write([]byte(request + "\r\n"))
	answer, err := http.ReadResponse(w.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	return w, answer
}

// open is upgrade for a test whose subject begins behind it.
func open(t *testing.T, address string) *webSocket {
	t.Helper()
	w, answer := upgrade(t, address, "mqtt")
	if answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the upgrade was answered with %s", answer.Status)
	}
	return w
}

func (w *webSocket) write(b []byte) {
	w.t.Helper()
	if _, err := w.Write(b); err != nil {
		w.t.Fatal(err)
	}
}

// frame is a whole frame of a client; first holds FIN and the opcode.
func frame(first byte, payload string) []byte {
	key := [4]byte{1, 2, 3, 4}
	b := append([]byte{first, 0x80 | byte(len(payload))}, key[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^key[i%4])
	}
	return b
}

// next reads one frame of the server; it fails the test for a masked one.
func (w *webSocket) next() (opcode byte, payload []byte, err error) {
	w.t.Helper()
	var head [2]byte
	if _, err := io.ReadFull(w.in, head[:]); err != nil {
		return 0, nil, err
	}
	if head[0]&0x70 != 0 || head[1] > 125 { // the answers of these tests are short
		w.t.Fatalf("the server's frame begins with % x", head)
	}
	payload = make([]byte, head[1])
	_, err = io.ReadFull(w.in, payload)
	return head[0] & 15, payload, err
}

// expect reads binary frames until their payloads are want, whatever the cut.
func (w *webSocket) expect(want string) {
	w.t.Helper()
	var got []byte
	for len(got) < len(want) {
		opcode, payload, err := w.next()
		if err != nil {
			w.t.Fatalf("got % x, then %v, want % x", got, err, want)
		}
		if opcode != opBinary && opcode != opContinuation {
			w.t.Fatalf("a frame with opcode %d, want binary data", opcode)
		}
		got = append(got, payload...)
	}
	if !bytes.Equal(got, []byte(want)) {
		w.t.Fatalf("got % x, want % x", got, want)
	}
}

// expectEnd wants the connection to end with no more data than a close frame.
func (w *webSocket) expectEnd() {
	w.t.Helper()
	for {
		opcode, payload, err := w.next()
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			w.t.Fatal("the connection is open")
		}
		if err != nil {
			return
		}
		if opcode != opClose {
			w.t.Fatalf("a frame with opcode %d and % x, want the end", opcode, payload)
		}
	}
}

func TestWebSocketSelectsTheSubprotocol(t *testing.T) {
	// MQTT311: 6.0.0-4
	// MQTT5: 6.0.0-4
	address := serveWebSocket(t)
	for offer, want := range map[string]string{"mqtt": "mqtt", "chat, mqtt": "mqtt", "mqttv3.1": "mqttv3.1"} {
		_, answer := upgrade(t, address, offer)
		if answer.StatusCode != http.StatusSwitchingProtocols || answer.Header.Get("Sec-WebSocket-Protocol") != want {
			t.Errorf("%q was answered with %s, subprotocol %q, want %q",
				offer, answer.Status, answer.Header.Get("Sec-WebSocket-Protocol"), want)
		}
		// RFC 6455, 1.3: the answer to the key of the request.
		if got := answer.Header.Get("Sec-WebSocket-Accept"); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
			t.Errorf("the key was answered with %q", got)
		}
	}
	for _, offer := range []string{"", "chat", "MQTT"} {
		_, answer := upgrade(t, address, offer)
		if answer.StatusCode < 400 {
			t.Errorf("%q was answered with %s", offer, answer.Status)
		}
	}
}

func TestWebSocketCarriesPacketsInBinaryFrames(t *testing.T) {
	// MQTT311: 6.0.0-1
	// MQTT5: 6.0.0-1
	address := serveWebSocket(t)
	w := open(t, address)
	w.write(frame(0x80|opBinary, connectPacket))
	w.expect(connackPacket)
	w.write(frame(0x80|opBinary, pingReq))
	w.expect(pingResp)
	w.write(frame(0x80|opText, pingReq))
	w.expectEnd()

	first := open(t, address)
	first.write(frame(0x80|opText, connectPacket))
	first.expectEnd()
}

func TestWebSocketFramesNeedNotHoldWholePackets(t *testing.T) {
	// MQTT311: 6.0.0-2
	// MQTT5: 6.0.0-2
	address := serveWebSocket(t)
	all := connectPacket + pingReq + pingReq
	for name, cut := range map[string][]int{
		"several packets in one frame":        nil,
		"a packet over two frames":            {5},
		"a frame with an end and a beginning": {5, len(connectPacket) - 4},
	} {
		t.Run(name, func(t *testing.T) {
			w, rest := open(t, address), all
			for _, n := range cut {
				w.write(frame(0x80|opBinary, rest[:n]))
				rest = rest[n:]
			}
			w.write(frame(0x80|opBinary, rest))
			w.expect(connackPacket + pingResp + pingResp)
		})
	}
	single := open(t, address)
	for i := range len(all) {
		single.write(frame(0x80|opBinary, all[i:i+1]))
	}
	single.expect(connackPacket + pingResp + pingResp)
	fragments := open(t, address)
	fragments.write(frame(opBinary, all[:7]))
	fragments.write(frame(0x80|opContinuation, all[7:]))
	fragments.expect(connackPacket + pingResp + pingResp)
}

func TestWebSocketFramesWithoutMaskEndTheConnection(t *testing.T) {
	w := open(t, serveWebSocket(t))
	w.write(append([]byte{0x80 | opBinary, byte(len(connectPacket))}, connectPacket...))
	w.expectEnd()
}
