package interop

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// wire is a connection on which each packet is sent and read by hand: for
// questions whose answer must not depend on what a client library does.
// MQTT 3.1.1.
type wire struct {
	net.Conn
	nextID uint16
	early  []*packets.PublishPacket // came while something else was waited for
}

// greeting is what a wire connects with.
type greeting struct {
	id, user, password string
	keepAlive          uint16
	keep               bool // the session
	will               string
}

// hello connects to a port of this machine; code is -1 if no CONNACK came.
func hello(t *testing.T, port int, g greeting) (w *wire, code int) {
	t.Helper()
	conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	return helloOn(t, conn, g)
}

func helloOn(t *testing.T, conn net.Conn, g greeting) (w *wire, code int) {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() }) // a second close is harmless
	_ = conn.SetDeadline(time.Now().Add(patience))
	p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	p.ProtocolName, p.ProtocolVersion = "MQTT", 4
	p.ClientIdentifier, p.Keepalive, p.CleanSession = g.id, g.keepAlive, !g.keep
	p.UsernameFlag, p.Username = g.user != "", g.user
	p.PasswordFlag, p.Password = g.password != "", []byte(g.password)
	if g.will != "" {
		p.WillFlag, p.WillTopic, p.WillMessage = true, g.will, []byte("gone")
	}
	w = &wire{Conn: conn}
	if err := p.Write(conn); err != nil {
		return w, -1
	}
	answer, err := packets.ReadPacket(conn)
	ack, isConnack := answer.(*packets.ConnackPacket)
	if err != nil || !isConnack {
		return w, -1
	}
	return w, int(ack.ReturnCode)
}

// mustHello is hello for one who has to be let in.
func mustHello(t *testing.T, port int, g greeting) *wire {
	t.Helper()
	w, code := hello(t, port, g)
	if code != 0 {
		t.Fatalf("CONNECT of %q as %q: code %d", g.id, g.user, code)
	}
	return w
}

// subscribe returns the code of the SUBACK, -1 if the connection ended.
func (w *wire) subscribe(filter string, qos byte) int {
	p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	w.nextID++
	p.MessageID, p.Topics, p.Qoss = w.nextID, []string{filter}, []byte{qos}
	if p.Write(w.Conn) != nil {
		return -1
	}
	for {
		switch a := w.read().(type) {
		case *packets.PublishPacket:
			w.early = append(w.early, a)
		case *packets.SubackPacket:
			return int(a.ReturnCodes[0])
		case nil:
			return -1
		}
	}
}

// publish sends at QoS 1 and reports whether it was acknowledged.
func (w *wire) publish(topic, payload string, retain bool) bool {
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	w.nextID++
	p.MessageID, p.Qos, p.Retain, p.TopicName, p.Payload = w.nextID, 1, retain, topic, []byte(payload)
	if p.Write(w.Conn) != nil {
		return false
	}
	for {
		switch a := w.read().(type) {
		case *packets.PublishPacket:
			w.early = append(w.early, a)
		case *packets.PubackPacket:
			return true
		case nil:
			return false
		}
	}
}

// read returns the next packet, nil at the end of the connection.
func (w *wire) read() packets.ControlPacket {
	p, err := packets.ReadPacket(w.Conn)
	if err != nil {
		return nil
	}
	return p
}

// received returns what arrived so far: a ping's answer comes behind it.
func (w *wire) received() (list []*packets.PublishPacket) {
	if packets.NewControlPacket(packets.Pingreq).Write(w.Conn) != nil {
		return nil
	}
	list, w.early = w.early, nil
	for {
		switch p := w.read().(type) {
		case *packets.PublishPacket:
			list = append(list, p)
		case *packets.PingrespPacket, nil:
			return list
		}
	}
}

// next waits for the next PUBLISH.
func (w *wire) next(t *testing.T) *packets.PublishPacket {
	t.Helper()
	if len(w.early) > 0 {
		p := w.early[0]
		w.early = w.early[1:]
		return p
	}
	for {
		switch p := w.read().(type) {
		case *packets.PublishPacket:
			return p
		case nil:
			t.Fatal("the connection ended, or no message came")
		}
	}
}

// ended reports whether the broker closes the connection.
func (w *wire) ended() bool {
	_ = w.SetReadDeadline(time.Now().Add(patience))
	for {
		_, err := packets.ReadPacket(w.Conn)
		if err != nil {
			timeout, isNet := err.(net.Error)
			return !isNet || !timeout.Timeout()
		}
	}
}

// leave disconnects.
func (w *wire) leave() {
	_ = packets.NewControlPacket(packets.Disconnect).Write(w.Conn) // it may have ended
	_ = w.Conn.Close()
}
