package broker

import (
	"testing"
	"testing/synctest"
	"time"

	"sallyport/packet"
	"sallyport/store"
	"sallyport/store/storetest"
)

// A QoS 2 message of a publisher whose session ends with its connection is at once with
// clients that keep none either. For others it waits for the commit, and then so do
// all that come after it on their way to the same client.
func TestWhatNobodyKeepsWaitsForNoCommit(t *testing.T) {
	const delay = time.Second
	slow := func() store.Store {
		return storetest.New(storetest.Options{Delay: func(int) time.Duration { return delay }})
	}
	way{bubble: true, store: slow}.run(t, nil, func(x *bed) {
		clients := map[string]*peer{}
		for _, c := range []struct {
			id, filter string
			opts       []with
		}{{"passing", "a/#", nil}, {"keeping", "a/both", []with{kept(100)}}, {"alone", "$share/g/a/shared", nil}} {
			p := x.open(packet.V5)
			p.sendConnect(c.id, c.opts...)
			time.Sleep(3 * delay)
			p.connack()
			p.sendSubscribe(1, filter(c.filter, 2))
			time.Sleep(3 * delay)
			p.suback(1)
			clients[c.id] = p
		}
		pub := x.connect(packet.V5, "pub")
		send := func(id uint16, topic, payload string) {
			pub.send(pub.pub(packet.PublishOut{Topic: topic, Payload: []byte(payload), QoS: 2, PacketID: id}))
			synctest.Wait()
		}
		// check looks at how many packets have come, without letting time pass.
		check := func(what, who string, want int) {
			t.Helper()
			if got := len(clients[who].in); got != want {
				t.Errorf("%s: %d packets for %s, want %d", what, got, who, want)
			}
		}
		send(1, "a/passing", "1")
		check("nothing is to be kept", "passing", 1)
		send(2, "a/both", "2")
		send(3, "a/passing", "3")
		check("one of two keeps it", "keeping", 0)
		if n := len(clients["passing"].in); n != 1 && n != 3 { // whose turn came first
			t.Errorf("%d packets, want all, or that what follows a message waits with it", n)
		}
		send(4, "a/shared", "4")
		check("a shared subscription keeps it", "alone", 0)
		time.Sleep(4 * delay)
		synctest.Wait()
		check("it is kept", "keeping", 1)
		check("all are kept", "alone", 1)
		for i, want := range []string{"1", "2", "3"} {
			m := clients["passing"].message()
			if m.payload != want {
				t.Errorf("message %d is %q, want %q", i, m.payload, want)
			}
			clients["passing"].finish(m)
		}
		for id := range uint16(4) {
			pub.expectAck(packet.PUBREC, id+1, packet.Success)
		}
	})
}

// A client that keeps nothing, and whose window is full, gets what waits for it when it
// acknowledges, though the commit of the same message for another has not come.
func TestAQueueThatNobodyKeepsWaitsForNoCommit(t *testing.T) {
	const delay = time.Second
	slow := func() store.Store {
		return storetest.New(storetest.Options{Delay: func(int) time.Duration { return delay }})
	}
	way{bubble: true, store: slow}.run(t, nil, func(x *bed) {
		passing := x.connect(packet.V5, "passing", receiveMax(1))
		passing.subscribe(filter("a/#", 2))
		keeping := x.open(packet.V5)
		keeping.sendConnect("keeping", kept(100))
		time.Sleep(3 * delay)
		keeping.connack()
		keeping.sendSubscribe(1, filter("a/both", 2))
		time.Sleep(3 * delay)
		keeping.suback(1)
		pub := x.connect(packet.V5, "pub")
		for id, topic := range []string{"a/passing", "a/passing", "a/both", "a/passing"} {
			pub.send(pub.pub(packet.PublishOut{Topic: topic, Payload: []byte{'1' + byte(id)}, QoS: 2, PacketID: uint16(id + 1)}))
		}
		synctest.Wait()
		begin := time.Now()
		for _, want := range []string{"1", "2"} {
			m := passing.message()
			if m.payload != want || time.Since(begin) != 0 {
				t.Errorf("%q after %v, want %q at once", m.payload, time.Since(begin), want)
			}
			passing.finish(m)
			synctest.Wait()
		}
		for _, want := range []string{"3", "4"} {
			m := passing.message()
			if m.payload != want {
				t.Errorf("%q, want %q", m.payload, want)
			}
			passing.finish(m)
		}
		time.Sleep(3 * delay)
		if m := keeping.message(); m.payload != "3" {
			t.Errorf("%q for who keeps it, want 3", m.payload)
		}
		for id := range uint16(4) {
			pub.expectAck(packet.PUBREC, id+1, packet.Success)
		}
	})
}
