package session

import (
	"hash/maphash"
	"iter"
	"unsafe"
)

// Subscription is one standing subscription.
type Subscription struct {
	// Filter is as the client wrote it, with $share. Its parts are views of it, so
	// that a subscription keeps one string.
	Filter            string
	share             uint16 // length of the share name; 0: not shared
	QoS               byte
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte
	Removed           bool // it is over: a route that was taken before must not deliver
	identified        bool // it is part of an identified
}

// identified is a subscription with an identifier. Few have one, and the others
// keep no room for it.
type identified struct {
	Subscription // the first field: Via finds the rest by it
	id           [1]uint32
	via          Via
}

// NewSubscription makes a subscription to filter, whose share name is group
// (empty: it is not shared), with a subscription identifier (0: none).
func NewSubscription(filter, group string, id uint32) *Subscription {
	s := Subscription{Filter: filter, share: uint16(len(group))}
	if id == 0 {
		return &s
	}
	s.identified = true
	with := &identified{Subscription: s, id: [1]uint32{id}}
	with.via.SubIDs = with.id[:]
	return &with.Subscription
}

const sharePrefix = "$share/"

// Topic is the filter without $share and the share name.
func (s *Subscription) Topic() string {
	if s.share == 0 {
		return s.Filter
	}
	return s.Filter[len(sharePrefix)+int(s.share)+1:]
}

// Group is the share name, empty if the subscription is not shared.
func (s *Subscription) Group() string {
	if s.share == 0 {
		return ""
	}
	return s.Filter[len(sharePrefix):][:s.share]
}

// Shared reports whether the subscription is shared.
func (s *Subscription) Shared() bool { return s.share != 0 }

// Via is how messages come by the subscription, if it is not shared; nil if it
// has no identifier.
func (s *Subscription) Via() *Via {
	if !s.identified {
		return nil
	}
	return &(*identified)(unsafe.Pointer(s)).via
}

// Subs is a client's standing subscriptions by their filters: a list while they
// are few, then a hash table with open addressing, without the keys, which the
// subscriptions hold. The zero Subs is empty.
type Subs struct{ t *subTable }

type subTable struct {
	slots []*Subscription // beyond fewSubs their number is a power of two, nil where empty
	n     int
	seed  maphash.Seed
}

// fewSubs is how many subscriptions are kept in a list.
const fewSubs = 8

// Len is the number of subscriptions.
func (s *Subs) Len() int {
	if s.t == nil {
		return 0
	}
	return s.t.n
}

// Get returns the subscription with a filter, nil if there is none.
func (s *Subs) Get(filter string) *Subscription {
	if s.t == nil {
		return nil
	}
	if i, found := s.t.find(filter); found {
		return s.t.slots[i]
	}
	return nil
}

// All yields every subscription. None may come or go meanwhile.
func (s *Subs) All() iter.Seq[*Subscription] {
	return func(yield func(*Subscription) bool) {
		if s.t == nil {
			return
		}
		for _, sub := range s.t.slots {
			if sub != nil && !yield(sub) {
				return
			}
		}
	}
}

// Set stores sub and returns what it replaces: the subscription with the same
// filter, or nil (MQTT-3.8.4-3).
func (s *Subs) Set(sub *Subscription) (old *Subscription) {
	if s.t == nil {
		s.t = &subTable{}
	}
	return s.t.set(sub)
}

// Delete takes the subscription with a filter away and returns it, nil if there was none.
func (s *Subs) Delete(filter string) (old *Subscription) {
	if s.t == nil {
		return nil
	}
	i, found := s.t.find(filter)
	if !found {
		return nil
	}
	old = s.t.slots[i]
	if s.t.n == 1 {
		s.t = nil
		return old
	}
	s.t.remove(i)
	return old
}

func (t *subTable) hashed() bool { return len(t.slots) > fewSubs }

func (t *subTable) home(filter string) int {
	return int(maphash.String(t.seed, filter) & uint64(len(t.slots)-1))
}

// find is where filter is, or where it would be put.
func (t *subTable) find(filter string) (i int, found bool) {
	if !t.hashed() {
		for i, sub := range t.slots {
			if sub.Filter == filter {
				return i, true
			}
		}
		return len(t.slots), false
	}
	for i = t.home(filter); t.slots[i] != nil; i = (i + 1) & (len(t.slots) - 1) {
		if t.slots[i].Filter == filter {
			return i, true
		}
	}
	return i, false
}

func (t *subTable) set(sub *Subscription) (old *Subscription) {
	i, found := t.find(sub.Filter)
	if found {
		old, t.slots[i] = t.slots[i], sub
		return old
	}
	t.n++
	switch {
	case !t.hashed() && t.n <= fewSubs:
		t.slots = append(t.slots, sub)
		return nil
	case !t.hashed():
		t.seed = maphash.MakeSeed() // a client can't choose filters that meet
		t.resize(2 * fewSubs)
	case t.n > len(t.slots)/4*3:
		t.resize(2 * len(t.slots))
	}
	i, _ = t.find(sub.Filter)
	t.slots[i] = sub
	return nil
}

func (t *subTable) resize(size int) {
	old := t.slots
	t.slots = make([]*Subscription, size)
	for _, sub := range old {
		if sub != nil {
			i, _ := t.find(sub.Filter)
			t.slots[i] = sub
		}
	}
}

// remove empties slot i.
func (t *subTable) remove(i int) {
	t.n--
	if !t.hashed() {
		t.slots[i] = t.slots[t.n]
		t.slots[t.n] = nil
		t.slots = t.slots[:t.n]
		return
	}
	// What stands behind i moves up, or it would not be found any more.
	mask := len(t.slots) - 1
	for j := (i + 1) & mask; t.slots[j] != nil; j = (j + 1) & mask {
		if home := t.home(t.slots[j].Filter); (j-home)&mask >= (j-i)&mask {
			t.slots[i], i = t.slots[j], j
		}
	}
	t.slots[i] = nil
	if t.n <= fewSubs/2 {
		list := make([]*Subscription, 0, fewSubs)
		for _, sub := range t.slots {
			if sub != nil {
				list = append(list, sub)
			}
		}
		t.slots = list
	} else if len(t.slots) > 2*fewSubs && t.n < len(t.slots)/8 {
		t.resize(len(t.slots) / 2)
	}
}
