package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"sync"

	"sallyport/session"
	"sallyport/store"
	"sallyport/store/disk"
)

// contents is what a store is filled with.
type contents struct {
	retained int
	sessions int
	each     int // messages of a session
	payload  int // bytes
}

// batchOps is how many changes a batch has, and underway how many batches are
// handed over before the first is kept.
const (
	batchOps = 200
	underway = 64
)

// filler writes to a store.
type filler struct {
	st    *disk.Store
	batch store.Batch
	room  chan struct{} // a place for each batch under way
	mu    sync.Mutex    // guards err
	err   error         // the first
}

func newFiller(st *disk.Store) *filler { return &filler{st: st, room: make(chan struct{}, underway)} }

func (f *filler) add(op store.Op) {
	f.batch.Add(op)
	if len(f.batch.Ops) >= batchOps {
		f.commit()
	}
}

func (f *filler) commit() {
	f.room <- struct{}{}
	f.st.Commit(&f.batch, func(err error) {
		f.mu.Lock()
		f.err = cmp.Or(f.err, err)
		f.mu.Unlock()
		<-f.room
	})
	f.batch.Reset()
}

// wait returns when everything is kept.
func (f *filler) wait() error {
	f.commit()
	for range underway {
		f.room <- struct{}{}
	}
	for range underway {
		<-f.room
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// publisher is one of those whose messages are in the store. It looks as a client
// of the broker that serve starts.
func publisher(i int) *session.Origin {
	return &session.Origin{ClientID: fmt.Sprintf("publisher-%d", i), Listener: "bench", Method: "anonymous",
		Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(20_000+i))}
}

// publishers are as many as a plant has gateways.
func publishers() []*session.Origin {
	all := make([]*session.Origin, 100)
	for i := range all {
		all[i] = publisher(i)
	}
	return all
}

// written is about how many bytes a message of o's is on the disk if nothing is
// saved: its topic, payload, publisher and key.
func written(m *session.Message, o *session.Origin) int {
	text, _ := json.Marshal(o) // of text and numbers
	return len(m.Topic) + len(m.Payload) + len(text) + 17
}

// fill makes a store.
func fill(ctx context.Context, dir string, c contents) (err error) {
	st, err := disk.Open(disk.Options{Dir: dir, Durability: disk.System})
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, st.Close()) }()
	f, from := newFiller(st), publishers()
	for i := range c.retained {
		m := message(fmt.Sprintf("plant/%d/device/%d/state", i/1000, i), c.payload, from[i%len(from)])
		m.Retain = true
		st.Retain(m)
		f.add(store.Op{Kind: store.PutRetained, Topic: m.Topic})
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	for i := range c.sessions {
		f.session(uint64(i+1), fmt.Sprintf("device-%d", i))
		topic := fmt.Sprintf("plant/%d/device/%d/cmd", i/1000, i)
		f.add(store.Op{Kind: store.PutSubscription, Session: uint64(i + 1), Sub: session.NewSubscription(topic, "", 0)})
		for n := range c.each {
			f.entry(uint64(i+1), uint64(n+1), message(topic, c.payload, from[n%len(from)]))
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return f.wait()
}

func message(topic string, payload int, from *session.Origin) *session.Message {
	m := session.NewMessage(topic, make([]byte, payload), nil)
	m.QoS, m.Origin = 1, from
	return m
}

func (f *filler) session(number uint64, client string) {
	owner := publisher(0)
	owner.ClientID = client
	f.add(store.Op{Kind: store.PutSession, Session: number, Client: client, Owner: owner, Expiry: session.NeverExpires})
}

func (f *filler) entry(number, seq uint64, m *session.Message) {
	f.add(store.Op{Kind: store.PutEntry, Session: number, Entry: session.Entry{Msg: m, Seq: seq, QoS: 1}})
}
