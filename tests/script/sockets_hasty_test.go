package script_test

import (
	"fmt"
	"testing"
	"time"

	"sallyport/listener"
	"sallyport/packet"
)

// A peer may send all that it has to say and go, without a look at an answer: the
// broker reads its end together with its CONNECT, and handles what lies between.
func TestPeersThatWaitForNothingAreHeard(t *testing.T) {
	const peers, messages = 20, 50
	for _, d := range drivers() {
		for _, kind := range []listener.Transport{listener.TCP, listener.Unix, listener.TLS, listener.WS, listener.WSS} {
			t.Run(fmt.Sprint(d.name, " ", kind), func(t *testing.T) {
				at := openDoor(t, d, kind)
				w := newSocketWorld(t, d, at, nil, nil)
				go func() {
					for range peers {
						<-w.arrived
					}
				}()
				for i := range peers {
					c, err := at.dial()
					if err != nil {
						t.Fatal(err)
					}
					out := packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: fmt.Sprint("peer", i)})
					for range messages {
						out = packet.AppendPublish(out, packet.V5, &packet.PublishOut{Topic: "t", ExpiryAt: -1})
					}
					if _, err := c.Write(packet.AppendDisconnect(out, packet.V5, &packet.Disconnect{})); err != nil {
						t.Fatal(err)
					}
					if err := c.Close(); err != nil {
						t.Fatal(err)
					}
				}
				m := w.broker.Metrics()
				for deadline := time.Now().Add(patience); m.PublishReceived.Load() < peers*messages || m.Connections.Load() > 0; {
					if time.Now().After(deadline) {
						t.Fatalf("%d of %d messages came, %d connections are left", m.PublishReceived.Load(), peers*messages, m.Connections.Load())
					}
					<-time.After(time.Millisecond)
				}
			})
		}
	}
}
