package session

import (
	"testing"

	"sallyport/packet"
)

func message(payload string) *Message {
	return &Message{Topic: "t", Payload: []byte(payload), ExpiryAt: -1}
}

func attached(window int) *Session {
	s := &Session{}
	s.Expiry = 100
	s.Attach(packet.V5, window)
	return s
}

func enqueue(s *Session, payload string, qos byte) {
	s.Enqueue(Entry{Msg: message(payload), QoS: qos, Seq: s.NextSeq()})
}

// all takes what may be sent now, as "payload" with a + for DUP, or "R" for a PUBREL.
func all(t *testing.T, s *Session) (got []string, ids []uint16) {
	t.Helper()
	for {
		snd, ok := s.Next(0, func(Entry) { t.Error("an entry expired") })
		if !ok {
			return got, ids
		}
		text := string(snd.Msg.Payload)
		if snd.Dup {
			text += "+"
		}
		if snd.Release {
			text = "R"
		}
		got, ids = append(got, text), append(ids, snd.ID)
	}
}

func expect(t *testing.T, s *Session, want ...string) []uint16 {
	t.Helper()
	got, ids := all(t, s)
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
	return ids
}

func TestTheWindowBoundsWhatIsSent(t *testing.T) {
	s := attached(2)
	for _, p := range []string{"1", "2", "3", "4"} {
		enqueue(s, p, 1)
	}
	ids := expect(t, s, "1", "2")
	if ids[0] != 1 || ids[1] != 2 {
		t.Errorf("identifiers %v, want 1 and 2", ids)
	}
	if s.Room() {
		t.Error("there is room in a full window")
	}
	s.Forget(2)
	expect(t, s, "3")
	s.Forget(1)
	s.Forget(3)
	s.Forget(3) // twice gives nothing twice
	expect(t, s, "4")
	if n, _ := s.InFlight(); n != 1 {
		t.Errorf("%d in flight, want 1", n)
	}
	if !s.Room() {
		t.Error("there is no room for a second")
	}
}

func TestQoS0IsSentWithoutWindowButInOrder(t *testing.T) {
	s := attached(1)
	enqueue(s, "0", 0)
	enqueue(s, "1", 1)
	enqueue(s, "2", 1)
	enqueue(s, "3", 0)
	expect(t, s, "0", "1")
	s.Forget(1)
	expect(t, s, "2", "3")
}

func TestAResumedSessionSendsAgainInOrder(t *testing.T) {
	s := attached(4)
	for _, p := range []string{"1", "2", "3", "4", "5"} {
		enqueue(s, p, 2)
	}
	expect(t, s, "1", "2", "3", "4")
	o, _ := s.Outgoing(2)
	o.State = AwaitComp
	s.Attach(packet.V5, 2)
	if s.Room() {
		t.Error("there is room while flights wait to be sent again")
	}
	expect(t, s, "1+", "R", "3+")
	s.Forget(2) // took nothing of this window
	expect(t, s)
	s.Forget(1)
	expect(t, s, "4+")
	s.Attach(packet.V5, 10) // and once more
	expect(t, s, "3+", "4+", "5")
	s.Forget(4)
	s.Attach(packet.V5, 1)
	s.Forget(3) // acknowledged before it was sent again
	expect(t, s, "5+")
}

func TestDupIsForTheSecondDeliveryOnly(t *testing.T) {
	s := attached(1)
	enqueue(s, "1", 1)
	enqueue(s, "2", 1)
	expect(t, s, "1")
	s.Attach(packet.V5, 1)
	s.Attach(packet.V5, 1)
	expect(t, s, "1+")
	s.Forget(1)
	expect(t, s, "2")
}

func TestIdentifiersWrapAndSkipWhatIsInUse(t *testing.T) {
	s := attached(maxInFlight)
	for want := 1; want <= maxInFlight; want++ {
		id, ok := s.Track(Entry{Msg: message(""), QoS: 1})
		if !ok || int(id) != want {
			t.Fatalf("identifier %d %v, want %d", id, ok, want)
		}
	}
	if _, ok := s.Track(Entry{Msg: message(""), QoS: 1}); ok || s.Room() {
		t.Fatal("there is an identifier beyond the last")
	}
	s.Enqueue(Entry{Msg: message("x"), QoS: 1})
	s.Attach(packet.V5, maxInFlight+10)
	s.inflight.each(func(o *Outgoing) {
		o.State = AwaitComp // they take identifiers and no window
	})
	for {
		snd, ok := s.Next(0, nil)
		if !ok {
			break
		}
		if !snd.Release {
			t.Fatal("a message without an identifier was sent")
		}
	}
	s.Forget(777)
	if snd, ok := s.Next(0, nil); !ok || snd.ID != 777 {
		t.Errorf("identifier %d %v, want the only free one", snd.ID, ok)
	}
}

func TestExpiredEntriesAreGivenToDrop(t *testing.T) {
	s := attached(10)
	for i := range 6 {
		m := message("x")
		if i%2 == 0 {
			m.Expires = 100
		}
		s.Enqueue(Entry{Msg: m, QoS: 1, Seq: s.NextSeq()})
	}
	var dropped []uint64
	sent := 0
	for {
		if _, ok := s.Next(100, func(e Entry) { dropped = append(dropped, e.Seq) }); !ok {
			break
		}
		sent++
	}
	if n, bytes := s.Queued(); n != 0 || bytes != 0 {
		t.Errorf("%d entries and %d bytes left, want none", n, bytes)
	}
	if sent != 3 || len(dropped) != 3 || dropped[0] != 1 || dropped[2] != 5 {
		t.Errorf("%d sent, dropped %v", sent, dropped)
	}
}

func TestHeldEntriesWaitAndHoldTheRest(t *testing.T) {
	s := attached(10)
	m := message("2")
	m.Hold()
	s.Enqueue(Entry{Msg: m, QoS: 1}) // a copy at QoS 1 has no exchange to wait for
	s.Enqueue(Entry{Msg: m, QoS: 2})
	enqueue(s, "3", 1)
	expect(t, s, "2")
	m.Unhold()
	expect(t, s, "2", "3")
	m = message("4")
	m.Hold()
	s.Enqueue(Entry{Msg: m, QoS: 2})
	enqueue(s, "5", 1)
	if n, bytes := s.DropHeld(m); n != 1 || bytes != message("4").Size() {
		t.Errorf("dropped %d with %d bytes", n, bytes)
	}
	expect(t, s, "5")
}

func TestBoundsOfTheQueue(t *testing.T) {
	s := &Session{}
	size := message("x").Size()
	fits := func(n int) bool { return s.Fits(n, 2, 3*size) }
	for range 2 {
		if !fits(size) {
			t.Fatal("no room in a queue that isn't full")
		}
		enqueue(s, "x", 1)
	}
	if fits(1) {
		t.Error("room beyond the number of messages")
	}
	if e, ok := s.DropOldest(); !ok || e.Seq != 1 {
		t.Errorf("dropped %+v %v, want the first", e, ok)
	}
	if !fits(2*size) || fits(2*size+1) {
		t.Error("the bound of bytes is not exact")
	}
	s.DropOldest()
	if _, ok := s.DropOldest(); ok {
		t.Error("something was dropped from an empty queue")
	}
}

func TestWhatIsInFlightIsCountedInSteps(t *testing.T) {
	s := attached(100)
	size := message("x").Size()
	count := func(why string, messages, bytes int) {
		t.Helper()
		if n, b := s.Count(); n != messages || b != bytes {
			t.Errorf("%s: counted %d messages and %d bytes, want %d and %d", why, n, b, messages, bytes)
		}
	}
	count("nothing was sent", 0, 0)
	enqueue(s, "x", 1)
	count("one waits", 1, size)
	expect(t, s, "x")
	count("it is in flight", -1, 0)
	enqueue(s, "x", 1)
	expect(t, s, "x")
	count("another is in flight", 0, 0)
	many := CountStep/size + 1
	for range many {
		s.Track(Entry{Msg: message("x"), QoS: 1})
	}
	count("many are in flight", 0, (many+1)*size)
	if n, b := s.Counted(); n != 0 || b != (many+2)*size {
		t.Errorf("the sum is %d messages and %d bytes, want 0 and %d", n, b, (many+2)*size)
	}
	for id := range many + 2 {
		s.Forget(uint16(id + 1))
	}
	count("all are acknowledged", 0, -(many+2)*size)
	s.Trim()
	count("all is over", 0, 0)
}

func TestSharedFlightsAreTakenAtQoS1(t *testing.T) {
	s := attached(10)
	g := "group"
	for i := range 6 {
		e := Entry{Msg: message("x"), QoS: byte(1 + i%2)}
		if i < 4 {
			e.Via = &Via{Share: g}
		}
		s.Track(e)
	}
	if other := s.TakeShared("another group"); len(other) != 0 {
		t.Errorf("%d taken of a group that sent nothing", len(other))
	}
	taken := s.TakeShared(g)
	if len(taken) != 2 {
		t.Fatalf("%d taken, want 2", len(taken))
	}
	if n, _ := s.InFlight(); n != 4 {
		t.Errorf("%d left, want 4", n)
	}
	if _, ok := s.Outgoing(2); !ok {
		t.Error("a QoS 2 flight was taken")
	}
	if len(s.TakeShared(nil)) != 0 {
		t.Error("they were taken twice")
	}
}

func TestAHollowExchangeIsOnlyCompleted(t *testing.T) {
	s := attached(1)
	large := message("x")
	large.Payload = make([]byte, 1000)
	id, _ := s.Track(Entry{Msg: large, QoS: 2, Via: &Via{SubIDs: []uint32{1}}})
	_, before := s.InFlight()
	s.Attach(packet.V5, 1)
	snd, ok := s.Next(0, nil)
	if !ok || snd.ID != id || !snd.Dup {
		t.Fatalf("%+v %v, want the message again", snd, ok)
	}
	if _, ok := s.Hollow(id + 1); ok {
		t.Error("an exchange that isn't there is hollow")
	}
	if e, ok := s.Hollow(id); !ok || len(e.Msg.Payload) != 0 || e.Via != nil {
		t.Errorf("%+v %v, want no payload", e, ok)
	}
	if n, after := s.InFlight(); n != 1 || after > before-1000 {
		t.Errorf("%d in flight with %d bytes, and were %d", n, after, before)
	}
	if !s.Room() {
		t.Error("it takes a place of the window")
	}
	s.Attach(packet.V5, 1)
	if snd, ok = s.Next(0, nil); !ok || !snd.Release || snd.ID != id {
		t.Errorf("%+v %v, want PUBREL", snd, ok)
	}
	s.Forget(id)
	if n, bytes := s.InFlight(); n != 0 || bytes != 0 || !s.Room() {
		t.Errorf("%d in flight with %d bytes", n, bytes)
	}
	id, _ = s.Track(Entry{Msg: message("x"), QoS: 1})
	if _, ok := s.Hollow(id); ok {
		t.Error("a QoS 1 exchange is hollow")
	}
}

func TestIncomingIdentifiers(t *testing.T) {
	s := &Session{}
	if s.Release(1) || s.HasIncoming(1) {
		t.Error("an identifier is known before it came")
	}
	s.AddIncoming(1)
	s.AddIncoming(1)
	if !s.HasIncoming(1) || s.Incoming() != 1 {
		t.Error("the identifier is not known")
	}
	if !s.Release(1) || s.Release(1) {
		t.Error("it is not released exactly once")
	}
}

func TestTimeLeftIsRoundedUp(t *testing.T) {
	const second = 1_000_000_000
	for _, c := range []struct {
		expires, now int64
		left         uint32
		expired      bool
	}{
		{0, 5 * second, 0, false},
		{10 * second, 0, 10, false},
		{10 * second, 1, 10, false},
		{10 * second, 9*second + 1, 1, false},
		{10 * second, 10*second - 1, 1, false},
		{10 * second, 10 * second, 0, true},
		{10 * second, 11 * second, 0, true},
	} {
		m := Message{Expires: c.expires}
		if left, expired := m.Left(c.now), m.Expired(c.now); left != c.left || expired != c.expired {
			t.Errorf("expires %d now %d: %d %v, want %d %v", c.expires, c.now, left, expired, c.left, c.expired)
		}
	}
}

func TestSubscriptionsReplaceByFilter(t *testing.T) {
	s := &Session{}
	a, b := &Subscription{Filter: "f"}, &Subscription{Filter: "f", QoS: 1}
	if s.Subs.Set(a) != nil || s.Subs.Set(b) != a || s.Subs.Len() != 1 || s.Subs.Get("f") != b {
		t.Error("the second subscription did not replace the first")
	}
}

func TestIdleMeansNothingToSend(t *testing.T) {
	s := attached(1)
	if !s.Idle() {
		t.Error("a new session isn't idle")
	}
	enqueue(s, "1", 1)
	if s.Idle() {
		t.Error("idle with a queue")
	}
	expect(t, s, "1")
	if !s.Idle() {
		t.Error("not idle while only an acknowledgement is awaited")
	}
	s.Attach(packet.V5, 1)
	if s.Idle() {
		t.Error("idle while a flight has to be sent again")
	}
}

func TestWhatIsRestoredGoesOnWhereItWas(t *testing.T) {
	var s Session
	s.Restore(Entry{Msg: message("a"), QoS: 1, Seq: 7}, 40, AwaitAck)
	s.Restore(Entry{Msg: message("b"), QoS: 2, Seq: 9}, 41, AwaitComp)
	s.Restore(Entry{Msg: message("c"), QoS: 1, Seq: 12}, 0, AwaitAck)
	s.Restore(Entry{Msg: message("x"), QoS: 1, Seq: 13}, 50, AwaitAck)
	// A later one has its identifier: so it was acknowledged.
	if over, some := s.Restore(Entry{Msg: message("d"), QoS: 1, Seq: 14}, 50, AwaitAck); !some || over.Seq != 13 {
		t.Errorf("%+v %v is over", over, some)
	}
	s.SetLastSeq(20)
	s.AddIncoming(5)
	if n, _ := s.InFlight(); n != 3 {
		t.Fatalf("%d in flight, want 3", n)
	}
	s.Attach(packet.V5, 10)
	c := message("c")
	for i, want := range []struct {
		payload      string
		id           uint16
		dup, release bool
	}{{"a", 40, true, false}, {"b", 41, false, true}, {"d", 50, true, false}, {"c", 51, false, false}} {
		if want.payload == "c" { // it has to be read first
			first, last, hungry := s.Hungry()
			if _, ok := s.Next(0, nil); ok || !hungry || first != 12 || last != 12 {
				t.Errorf("entries %d to %d are to be read, %v", first, last, hungry)
			}
			s.PageIn(12, []Entry{{Msg: c, QoS: 1, Seq: 12}})
		}
		got, ok := s.Next(0, nil)
		if !ok || string(got.Msg.Payload) != want.payload || got.ID != want.id || got.Dup != want.dup || got.Release != want.release {
			t.Errorf("packet %d: %+v %v, want %+v", i, got, ok, want)
		}
	}
	if seq := s.NextSeq(); seq != 21 {
		t.Errorf("the next entry is number %d, want 21", seq)
	}
	if !s.HasIncoming(5) {
		t.Error("an identifier that was received is forgotten")
	}
}
