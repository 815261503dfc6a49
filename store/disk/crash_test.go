package disk

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/session"
	"sallyport/store"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// model is what a store should hold, as texts that can be compared.
type model struct {
	sessions map[string]map[string]string // by client, then by what it is
	retained map[string]string
}

func newModel() *model {
	return &model{map[string]map[string]string{}, map[string]string{}}
}

// text is the whole of it.
func (m *model) text() string {
	var b strings.Builder
	for _, c := range slices.Sorted(maps.Keys(m.sessions)) {
		fmt.Fprintln(&b, c)
		for _, k := range slices.Sorted(maps.Keys(m.sessions[c])) {
			fmt.Fprintln(&b, " ", k, m.sessions[c][k])
		}
	}
	for _, topic := range slices.Sorted(maps.Keys(m.retained)) {
		fmt.Fprintln(&b, topic, m.retained[topic])
	}
	return b.String()
}

// apply does to the model what op does to a store.
func (m *model) apply(op *store.Op) {
	client := fmt.Sprintf("client %d", op.Session)
	s := m.sessions[client]
	switch op.Kind {
	case store.PutRetained:
		m.retained[op.Message.Topic] = string(op.Message.Payload)
		return
	case store.DeleteRetained:
		delete(m.retained, op.Topic)
		return
	case store.PutSession:
		if s == nil {
			s = map[string]string{}
			m.sessions[client] = s
		}
		s["expiry"] = fmt.Sprint(op.Expiry, op.Owner.Name)
	}
	if s == nil {
		return
	}
	entry := fmt.Sprintf("entry %d", op.Entry.Seq)
	switch op.Kind {
	case store.DeleteSession:
		delete(m.sessions, client)
	case store.PutSubscription:
		s["sub "+op.Sub.Filter] = fmt.Sprint(op.Sub.QoS)
	case store.DeleteSubscription:
		delete(s, "sub "+op.Topic)
	case store.PutEntry:
		s[entry] = string(op.Entry.Msg.Payload)
	case store.SetFlight:
		if _, there := s[entry]; !there {
			return // it has been acknowledged, or was never kept
		}
		s[entry+" flies"] = fmt.Sprint(op.PacketID, op.State)
	case store.DeleteEntry:
		delete(s, entry)
		delete(s, entry+" flies")
	case store.AddIncoming:
		s[fmt.Sprint("incoming ", op.PacketID)] = ""
	case store.DeleteIncoming:
		delete(s, fmt.Sprint("incoming ", op.PacketID))
	case store.PutWill:
		s["will"] = fmt.Sprint(string(op.Message.Payload), op.At)
	case store.DeleteWill:
		delete(s, "will")
	}
}

// modelOf is what a store holds that was just opened.
func modelOf(s *Store) *model {
	m := newModel()
	kept, _ := s.Restore()
	for _, r := range kept {
		in := map[string]string{"expiry": fmt.Sprint(r.Expiry, r.Owner.Name)}
		m.sessions[r.Client] = in
		for _, sub := range r.Subs {
			in["sub "+sub.Filter] = fmt.Sprint(sub.QoS)
		}
		for _, e := range r.Entries {
			in[fmt.Sprintf("entry %d", e.Seq)] = string(payloadOf(s, r.Number, &e))
			if e.PacketID != 0 {
				in[fmt.Sprintf("entry %d flies", e.Seq)] = fmt.Sprint(e.PacketID, e.State)
			}
		}
		for _, id := range r.Incoming {
			in[fmt.Sprint("incoming ", id)] = ""
		}
		if r.Will != nil {
			in["will"] = fmt.Sprint(string(r.Will.Payload), r.WillAt)
		}
	}
	s.EachRetained("", 1<<30, func(msg *session.Message) bool {
		m.retained[msg.Topic] = string(msg.Payload)
		return true
	})
	return m
}

// payloadOf is the payload of a message that waits, read from the store if need be.
func payloadOf(s *Store, session uint64, e *store.RestoredEntry) []byte {
	if e.Msg != nil {
		return e.Msg.Payload
	}
	page, err := s.Page(session, e.Seq, e.Seq, 1, 1)
	if err != nil || len(page) != 1 {
		panic(fmt.Sprint(page, err))
	}
	return page[0].Msg.Payload
}

// retain does what comes before a batch with op.
func retain(s *Store, op *store.Op) {
	switch op.Kind {
	case store.PutRetained:
		s.Retain(op.Message)
	case store.DeleteRetained:
		s.Unretain(op.Topic)
	}
}

// changes makes batches as a broker would.
type changes struct {
	*rand.Rand
	seq     uint64
	ended   [6]uint64                  // sessions of each client
	waiting map[uint64][]session.Entry // by session, what was put and not deleted
}

// number is that of the present session of client i.
func (c *changes) number(i int) uint64 { return uint64(i) + 1 + 6*c.ended[i] }

func (c *changes) batch() *store.Batch {
	var b store.Batch
	for range 1 + c.IntN(3) {
		client := c.number(c.IntN(6))
		c.seq++
		switch c.IntN(14) {
		case 0, 1:
			b.Add(store.Op{Kind: store.PutSession, Session: client, Client: fmt.Sprintf("client %d", client), Owner: &session.Origin{Name: fmt.Sprint(c.IntN(3))}, Expiry: uint32(1 + c.IntN(100))})
		case 2:
			if c.IntN(4) == 0 {
				b.Add(store.Op{Kind: store.DeleteSession, Session: client})
				delete(c.waiting, client)
				c.ended[(client-1)%6]++
			}
		case 3:
			sub := session.NewSubscription(fmt.Sprintf("f/%d", c.IntN(5)), "", 0)
			sub.QoS = byte(c.IntN(3))
			b.Add(store.Op{Kind: store.PutSubscription, Session: client, Sub: sub})
		case 4:
			b.Add(store.Op{Kind: store.DeleteSubscription, Session: client, Topic: fmt.Sprintf("f/%d", c.IntN(5))})
		case 5, 6, 7, 8: // one message for one or for several
			m := session.NewMessage("t", []byte(fmt.Sprint("payload ", c.seq)), nil)
			for i := range 1 + c.IntN(3) {
				to := c.number((c.IntN(2) + 2*i) % 6)
				c.seq++
				b.Add(store.Op{Kind: store.PutEntry, Session: to, Entry: session.Entry{Msg: m, QoS: 1, Seq: c.seq}})
				c.waiting[to] = append(c.waiting[to], session.Entry{Msg: m, QoS: 1, Seq: c.seq})
			}
		case 9, 10:
			if w := c.waiting[client]; len(w) > 0 {
				b.Add(store.Op{Kind: store.DeleteEntry, Session: client, Entry: w[0]})
				c.waiting[client] = w[1:]
			}
		case 11:
			if w := c.waiting[client]; len(w) > 0 {
				b.Add(store.Op{Kind: store.SetFlight, Session: client, Entry: session.Entry{Seq: w[c.IntN(len(w))].Seq}, PacketID: uint16(1 + c.IntN(100)), State: session.State(c.IntN(2))})
			}
		case 12:
			kind := []store.Kind{store.AddIncoming, store.DeleteIncoming}[c.IntN(2)]
			b.Add(store.Op{Kind: kind, Session: client, PacketID: uint16(1 + c.IntN(5))})
			if c.IntN(3) == 0 {
				b.Add(store.Op{Kind: store.PutWill, Session: client, Message: session.NewMessage("w", []byte{byte('a' + c.IntN(9))}, nil), At: int64(c.IntN(50))})
			} else if c.IntN(3) == 0 {
				b.Add(store.Op{Kind: store.DeleteWill, Session: client})
			}
		case 13:
			topic := fmt.Sprintf("r/%d", c.IntN(8))
			if c.IntN(4) == 0 {
				b.Add(store.Op{Kind: store.DeleteRetained, Topic: topic})
			} else {
				b.Add(store.Op{Kind: store.PutRetained, Topic: topic, Message: session.NewMessage(topic, []byte(fmt.Sprint(c.seq)), nil)})
			}
		}
	}
	return &b
}

// TestPowerLossLosesNothingThatWasAcknowledged cuts the power at random moments:
// what is there then is what was there after some batch, and with Always after
// none before the last that was acknowledged.
func TestPowerLossLosesNothingThatWasAcknowledged(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 5
	}
	for _, c := range []struct {
		name       string
		durability Durability
	}{{"always", Always}, {"interval", Interval}, {"os", System}} {
		t.Run(c.name, func(t *testing.T) {
			lost, kept := 0, 0
			for round := range rounds {
				l, k := powerLoss(t, c.durability, uint64(round))
				lost, kept = lost+l, kept+k
			}
			t.Logf("%d acknowledged batches were kept, %d lost", kept, lost)
			if c.durability == Always && lost > 0 || c.durability == System && lost == 0 {
				t.Errorf("%d acknowledged batches were lost", lost)
			}
			if kept < rounds {
				t.Errorf("only %d acknowledged batches were kept: the test shows little", kept)
			}
		})
	}
}

func powerLoss(t *testing.T, durability Durability, seed uint64) (lost, kept int) {
	t.Helper()
	fs := vfs.NewCrashableMem()
	opt := Options{Dir: "store", FS: fs, Durability: durability, Interval: time.Millisecond}
	s, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(seed, 1))
	c := &changes{Rand: r, waiting: map[uint64][]session.Entry{}}
	m := newModel()
	states := []string{m.text()}
	var mu sync.Mutex // guards acked
	acked, crashed := 0, make(chan *vfs.MemFS, 1)
	at, batches := 50+r.IntN(300), 400
	var all sync.WaitGroup
	var sure, possible int
	for i := range batches {
		b := c.batch()
		for k := range b.Ops {
			m.apply(&b.Ops[k])
			retain(s, &b.Ops[k])
		}
		states = append(states, m.text())
		all.Add(1)
		s.Commit(b, func(err error) {
			defer all.Done()
			if err != nil {
				t.Errorf("commit %d: %v", i, err)
			}
			mu.Lock()
			acked = max(acked, i+1)
			mu.Unlock()
		})
		if r.IntN(20) == 0 {
			time.Sleep(time.Duration(r.IntN(300)) * time.Microsecond) // an fsync may come in between
		}
		if i == at {
			mu.Lock()
			sure = acked
			mu.Unlock()
			crashed <- fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(2) * r.IntN(100), RNG: r})
			possible = i + 1
		}
	}
	all.Wait()
	closed(t, s)
	opt.FS = <-crashed
	again, err := Open(opt)
	if err != nil {
		t.Fatalf("round %d: %v", seed, err)
	}
	defer closed(t, again)
	got := modelOf(again).text()
	found := -1
	for k := possible; k >= 0; k-- {
		if states[k] == got {
			found = k
			break
		}
	}
	if found < 0 {
		t.Fatalf("round %d: after the loss of power the store holds what it never held:\n%s\nafter batch %d it was:\n%s", seed, got, possible, states[possible])
	}
	if found < sure {
		lost = sure - found
	}
	return lost, min(found, sure)
}

// TestTheEndOfTheProcessLosesNothing looks at what the system has of the files,
// synced or not, while the store is open: that is what a killed process leaves.
func TestTheEndOfTheProcessLosesNothing(t *testing.T) {
	for _, d := range []Durability{Always, Interval, System} {
		fs := vfs.NewCrashableMem()
		s := open(t, Options{FS: fs, Durability: d, Interval: time.Hour})
		commit(t, s, store.Op{Kind: store.PutSession, Session: 1, Client: "a", Owner: owner, Expiry: 9})
		left := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
		synced := fs.CrashClone(vfs.CrashCloneCfg{})
		closed(t, s)
		for _, c := range []struct {
			fs   *vfs.MemFS
			want int
		}{{left, 1}, {synced, map[Durability]int{Always: 1}[d]}} {
			again := open(t, Options{FS: c.fs})
			if n := len(restored(again)); n != c.want {
				t.Errorf("durability %d: %d sessions, want %d", d, n, c.want)
			}
			closed(t, again)
		}
	}
}
