package script_test

import (
	"bytes"
	"testing"
	"testing/synctest"

	"sallyport/packet"
	"sallyport/security"
	"sallyport/tests/script"
)

// TestRedirectTellsTheOtherServer sends connections that are there to another
// server: MQTT 5 is told which one (MQTT 5.0, 4.13), MQTT 3 is only ended, and
// who is not meant stays.
func TestRedirectTellsTheOtherServer(t *testing.T) {
	for name, c := range map[string]struct {
		permanent bool
		code      packet.Code
	}{
		"for a while": {false, packet.UseAnotherServer},
		"for good":    {true, packet.ServerMoved},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newBrokerWorld(t, map[string]string{"user": "stays:here"}).(brokerWorld)
				five, three := w.login(t, packet.V5, ""), w.login(t, packet.V311, "")
				stays := w.login(t, packet.V5, "stays")
				n := w.broker.Redirect(func(p *security.Principal) bool { return p.Name != "stays" }, "b.example", c.permanent)
				if n != 2 {
					t.Errorf("%d connections redirected, want 2", n)
				}
				synctest.Wait()
				told, _ := five.Recv() // that it ended comes with the next call
				h, size, err := packet.ReadHeader(told)
				if err != nil || h.Type != packet.DISCONNECT {
					t.Fatalf("MQTT 5 got %x: %v", told, err)
				}
				d, err := packet.DecodeDisconnect(packet.V5, h.Flags, told[size:], packet.Limits{})
				if err != nil || d.Code != c.code || d.Props.ServerReference != "b.example" {
					t.Errorf("DISCONNECT %x: %v", told, err)
				}
				if told, _ := three.Recv(); len(told) > 0 {
					t.Errorf("MQTT 3.1.1 got %x, which it can't understand", told)
				}
				for version, p := range map[string]script.Peer{"5": five, "3.1.1": three} {
					if _, err := p.Recv(); err == nil {
						t.Errorf("the connection of MQTT %s is still there", version)
					}
				}
				if err := stays.Send(packet.AppendPing(nil, packet.PINGREQ)); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if got, err := stays.Recv(); err != nil || !bytes.Equal(got, packet.AppendPing(nil, packet.PINGRESP)) {
					t.Errorf("who is not meant got %x, %v", got, err)
				}
			})
		})
	}
}

// login connects, as user "stays" or as nobody, and takes the CONNACK.
func (w brokerWorld) login(t *testing.T, v packet.Version, user string) script.Peer {
	t.Helper()
	p, err := w.Dial("main")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Drop)
	c := &packet.Connect{Version: v, CleanStart: true, ClientID: string(rune('a'+v)) + user}
	if user != "" {
		c.HasUsername, c.Username, c.HasPassword, c.Password = true, user, true, []byte("here")
	}
	if err := p.Send(packet.AppendConnect(nil, c)); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	if ack, err := p.Recv(); err != nil || len(ack) < 4 || ack[3] != 0 {
		t.Fatalf("CONNACK %x: %v", ack, err)
	}
	return p
}
