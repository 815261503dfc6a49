package broker

import (
	"errors"
	"io"
	"testing"
	"time"

	"sallyport/packet"
	"sallyport/security"
	"sallyport/store"
)

// FuzzServe gives arbitrary bytes to connections in every state: no panic, and
// when they have ended nothing is left.
func FuzzServe(f *testing.F) {
	for _, seed := range serveSeeds() {
		for mode := range byte(6) {
			f.Add(mode, seed)
			f.Add(mode|64, seed)
		}
	}
	f.Fuzz(func(t *testing.T, mode byte, data []byte) {
		now := time.Unix(1_000_000_000, 0)
		lim := testLimits()
		lim.QueueMessages, lim.OutputBytes, lim.Packet = 20, 10_000, 100_000
		lis := &Listener{Name: "test", Limits: lim, Auth: &door{}, Enhanced: rounds{}, AllowEmptyClientID: true}
		st := store.Store(store.NewMemory())
		if mode&64 != 0 {
			st = durable{store.NewMemory()}
		}
		b := New(Options{
			Listeners: map[string]*Listener{"test": lis}, Store: st, Now: func() time.Time { return now },
			Gate:      security.NewGate(&security.Ruleset{ByListener: map[string][]security.Policy{"test": {denyTopic("secret")}}}),
			QueueQoS0: mode&8 != 0, MergeOverlapping: mode&16 != 0, RedeliverOnDisconnect: mode&32 != 0,
		})
		defer func() {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		}()
		open := func(c *packet.Connect) *Pipe {
			p, err := b.Pipe(Info{Listener: "test"})
			if err != nil {
				t.Fatal(err)
			}
			if c != nil {
				put(t, p, packet.AppendConnect(nil, c))
				put(t, p, packet.AppendSubscribe(nil, c.Version, &packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{filter("#", 2), filter("$share/g/#", 1)}}))
			}
			return p
		}
		pipes := []*Pipe{open(&packet.Connect{Version: packet.V5, ClientID: "bystander", CleanStart: true})}
		switch mode & 7 {
		case 0, 6, 7:
			pipes = append(pipes, open(nil))
		case 1:
			pipes = append(pipes, open(&packet.Connect{Version: packet.V311, ClientID: "c", CleanStart: true}))
		case 2:
			pipes = append(pipes, open(&packet.Connect{Version: packet.V5, ClientID: "c"}))
		case 3:
			pipes = append(pipes, open(&packet.Connect{Version: packet.V311, ClientID: "c"}))
		case 4:
			c := packet.Connect{Version: packet.V5, ClientID: "c"}
			method("ROUNDS")(&c)
			kept(1000)(&c)
			pipes = append(pipes, open(&c))
		case 5:
			c := packet.Connect{Version: packet.V31, ClientID: "c"}
			willOf("will", "x", 0)(&c)
			pipes = append(pipes, open(&c))
		}
		last := pipes[len(pipes)-1]
		half := len(data) / 2
		put(t, last, data[:half])
		put(t, last, data[half:])
		// Once more, cut into bytes, on a connection that stalls.
		again := open(nil)
		pipes = append(pipes, again)
		again.Stall(true)
		for i := range data {
			put(t, again, data[i:i+1])
		}
		again.Stall(false)
		for _, p := range pipes {
			_ = p.Close() // some are closed already
		}
		m := &b.metrics
		// What waits for another connection's turn goes on by itself.
		for range 1000 {
			if b.reg.each(func(cl *client) { cl.expireNow() }); m.Connections.Load() == 0 && m.Sessions.Load() == 0 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		for name, n := range map[string]int64{
			"Panics": m.Panics.Load(), "Connections": m.Connections.Load(), "Sessions": m.Sessions.Load(), "Subscriptions": m.Subscriptions.Load(),
			"Shared": m.Shared.Load(), "BufferedBytes": m.BufferedBytes.Load(), "Queued": m.Queued.Load(), "routes": int64(b.tree.Len()),
		} {
			if n != 0 {
				t.Errorf("%s is %d at the end, want 0", name, n)
			}
		}
	})
}

// durable is a store that the engine takes for one that keeps something, at once.
type durable struct{ *store.Memory }

func put(t *testing.T, p *Pipe, data []byte) {
	t.Helper()
	if _, err := p.Write(data); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		t.Fatal(err)
	}
}

// serveSeeds are whole conversations and broken ones.
func serveSeeds() [][]byte {
	var seeds [][]byte
	for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
		c := packet.Connect{Version: v, ClientID: "c", KeepAlive: 10, HasUsername: true, Username: "u", HasPassword: true, Password: []byte("p")}
		willOf("will", "x", 0)(&c)
		connect := packet.AppendConnect(nil, &c)
		ids := &packet.Ack{PacketID: 1}
		rest := packet.AppendSubscribe(nil, v, &packet.Subscribe{PacketID: 2, Filters: []packet.Subscription{filter("a/+", 2), filter("$share/g/a/b", 1)}})
		for qos := range byte(3) {
			rest = packet.AppendPublish(rest, v, &packet.PublishOut{Topic: "a/b", QoS: qos, PacketID: 3, Retain: true, Payload: []byte("x"), ExpiryAt: -1})
		}
		rest = packet.AppendPublish(rest, v, &packet.PublishOut{Topic: "secret", QoS: 1, PacketID: 4, ExpiryAt: -1})
		for _, typ := range []packet.Type{packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP} {
			rest = packet.AppendAck(rest, v, typ, ids)
		}
		rest = packet.AppendPing(rest, packet.PINGREQ)
		rest = packet.AppendUnsubscribe(rest, v, &packet.Unsubscribe{PacketID: 5, Filters: []string{"a/+", "none"}})
		if v == packet.V5 {
			a := packet.Auth{Code: packet.ReAuthenticate}
			a.Props.AuthMethod = "ROUNDS"
			a.Props.Mark(packet.PropAuthMethod)
			rest = packet.AppendAuth(rest, &a)
			rest = packet.AppendPublish(rest, v, &packet.PublishOut{Topic: "a/b", Alias: 1, Props: []byte{2, 0, 0, 0, 9}, ExpiryAt: 1, Expiry: 9})
			rest = packet.AppendPublish(rest, v, &packet.PublishOut{Alias: 1, ExpiryAt: -1})
		}
		bye := packet.AppendDisconnect(nil, v, &packet.Disconnect{})
		seeds = append(seeds, connect, append(connect[:len(connect):len(connect)], rest...), rest, append(rest[:len(rest):len(rest)], bye...))
	}
	return append(seeds, []byte{0x10, 0xff, 0xff, 0xff, 0x7f}, []byte{0x30, 0x80, 0x80, 0x80, 0x80}, []byte{0}, nil)
}
