package security

import (
	"hash/maphash"
	"math"
	"math/bits"
	"math/rand/v2"
	"strings"
	"time"
	"unsafe"
)

// Access answers for one principal and remembers answers, so that a topic in
// steady use costs one look-up. It belongs to one goroutine, or to the lock of
// whoever holds it, and to one direction of flow: one that publishes is not
// asked about receiving.
//
// What it remembers is bounded, per topic (and share name): the answers for each
// QoS and retain flag, until the moment at which time alone may change one of
// them. Answers that depend on the message, and those for topics of more than 512
// bytes, are not remembered. Who goes through many topics is answered by what was
// said of one and holds for all that begin as it does (Verdict.Scope).
type Access struct {
	gate      *Gate
	principal *Principal
	rules     *Ruleset
	// first is the first slot of a hash table with open addressing and 1<<size
	// slots; nil is none. Every connection has an Access, so it holds no slice header.
	first *slot
	size  uint8
	last  uint8 // the slot that was found last: Publish asks for what Known has found
	wide  bool  // there were many topics: before the table lie maxScopes scopes
}

// slots is the hash table, nil where there is none.
func (a *Access) slots() []slot {
	if a.first == nil {
		return nil
	}
	return unsafe.Slice(a.first, a.ahead()+1<<a.size)[a.ahead():]
}

// ahead is how many scopes lie before the table.
func (a *Access) ahead() int {
	if a.wide {
		return maxScopes
	}
	return 0
}

// scopes is the scopes before the table; nil where there are none.
func (a *Access) scopes() []slot {
	if a.first == nil || !a.wide {
		return nil
	}
	return unsafe.Slice(a.first, maxScopes)
}

// setTable makes t, with its scopes, what is remembered.
func (a *Access) setTable(t []slot) {
	a.first, a.last, a.size = &t[0], 0, uint8(bits.TrailingZeros(uint(len(t)-a.ahead())))
}

// answers is what is remembered of a topic. Each bit of known, allowed and differs
// is for one QoS and retain flag.
type answers struct {
	until   uint32 // seconds since 1970, 0: never
	known   uint8
	allowed uint8
	differs uint8 // the shadow policies answer otherwise
}

// slot is what is remembered of one topic, or, as a scope, of all that begin with
// key, which then ends in a slash; known is 0 where it is empty.
type slot struct {
	answers
	hash  uint32
	group uint16 // length of the share name at the end of key
	key   string
}

const (
	// MaxPlaces bounds the topics that an Access remembers.
	MaxPlaces = 128
	// displaces is how many topics that find no place there are for one that takes another's.
	displaces    = 8
	accessProbes = 16 // bounds the look-up of a topic
	// accessKey bounds the bytes of a topic with its share name: a longer one is
	// judged each time, so that nobody makes the broker hold 128 times 64 KiB.
	accessKey = 512
	maxScopes = 4
	wideSize  = 4 // with so many slots, as a power of two, further topics are answered by scopes
)

// Hash is the hash of a topic, 0 until somebody has needed it: all who are asked
// about one message share one, so that its topic is hashed once at most. nil is
// nobody's.
type Hash uint64

// Hash is the hash of topic by the gate's seed, which is kept in h unless h is nil.
func (g *Gate) Hash(topic string, h *Hash) Hash {
	if h != nil && *h != 0 {
		return *h
	}
	sum := Hash(maphash.String(g.seed, topic))
	if h != nil {
		*h = sum // one topic in 2^64 is hashed each time
	}
	return sum
}

// NewAccess makes an Access for p.
func NewAccess(g *Gate, p *Principal) Access { return Access{gate: g, principal: p} }

// Principal is who is asked for.
func (a *Access) Principal() *Principal { return a.principal }

// Publish is Gate.Publish for a message that is no will. topic may view a
// buffer: it is copied if it is remembered. h is topic's hash, or nil.
func (a *Access) Publish(topic string, h *Hash, qos byte, retain bool, payload []byte) (Permit, Verdict) {
	bit := answerBit(qos, retain)
	rules, s := a.recall(topic, h, "", bit)
	if s == nil || s.known&s.allowed&bit == 0 {
		q := Request{Principal: a.principal, Action: Publish, Topic: topic, QoS: qos, Retain: retain}
		var v Verdict
		if s != nil && s.known&bit != 0 {
			// Refusals are rare: their reason is worked out again rather than kept. What
			// is said now is not remembered: if the time of a refusal that holds for many
			// topics has just ended, it is said of this one alone.
			v, _ = a.gate.answerAbout(rules, q, payload)
		} else {
			v = a.ask(rules, s, h, bit, q, payload)
		}
		if !v.Allowed() {
			return Permit{}, v
		}
	} else if s.differs&bit != 0 {
		a.gate.shadow.again()
	}
	return Permit{by: a.principal, topic: topic, qos: qos, retain: retain, rules: rules}, Verdict{Effect: Allow}
}

// Known reports whether topic was judged under the present rules, so that its
// form was checked then. h is topic's hash, or nil.
func (a *Access) Known(topic string, h *Hash) bool {
	if a.gate.rules.Load() != a.rules || a.first == nil {
		return false
	}
	return a.find(topic, h, "") != nil
}

// Place is where the topic is remembered that was asked about last, below
// MaxPlaces; another topic may be there later. It is 0 if nothing is.
func (a *Access) Place() int { return int(a.last) }

// Receive is Gate.Receive. group is the share name of the subscription that the
// message comes by, empty for one that is not shared; h is topic's hash, or nil.
func (a *Access) Receive(topic string, h *Hash, group string, qos byte, retain bool, payload []byte) Delivery {
	if a.principal == nil {
		return Delivery{}
	}
	bit := answerBit(qos, retain)
	rules, s := a.recall(topic, h, group, bit)
	if s == nil || s.known&bit == 0 {
		v := a.ask(rules, s, h, bit, Request{
			Principal: a.principal, Action: Receive, Topic: topic, QoS: qos, Retain: retain,
			Shared: group != "", Group: group,
		}, payload)
		if !v.Allowed() {
			return Delivery{}
		}
		return Delivery{rules: rules}
	}
	if s.differs&bit != 0 {
		a.gate.shadow.again()
	}
	if s.allowed&bit == 0 {
		return Delivery{}
	}
	return Delivery{rules: rules}
}

func answerBit(qos byte, retain bool) uint8 {
	bit := uint8(1) << qos
	if retain {
		bit <<= 3
	}
	return bit
}

// recall finds what is remembered of a topic, the answer of bit if it is; nil if
// nothing is. Answers of other rules, or of a time that is over, are forgotten.
func (a *Access) recall(topic string, h *Hash, group string, bit uint8) (*Ruleset, *answers) {
	rules := a.gate.rules.Load()
	if rules != a.rules {
		a.rules = rules
		a.first, a.wide = nil, false
		return rules, nil
	}
	if a.first == nil {
		return rules, nil
	}
	if a.wide && group == "" {
		if s := a.within(topic, bit); s != nil {
			return rules, s
		}
	}
	s := a.find(topic, h, group)
	if s == nil {
		return rules, nil
	}
	if s.over() {
		s.answers = answers{known: forgotten}
	}
	return rules, &s.answers
}

// over reports whether time may have changed one of the answers.
func (s *answers) over() bool { return s.until != 0 && time.Now().Unix() >= int64(s.until) }

// within finds the scope of a topic that has the answer of bit; nil if there is none.
func (a *Access) within(topic string, bit uint8) *answers {
	scopes := a.scopes()
	for i := range scopes {
		s := &scopes[i]
		if s.known&bit == 0 || !strings.HasPrefix(topic, s.key) {
			continue
		}
		if s.over() {
			*s = slot{}
			continue
		}
		return &s.answers
	}
	return nil
}

// forgotten marks a slot that holds a topic and no answer. No request has this bit.
const forgotten = 1 << 7

func (a *Access) hash(topic string, h *Hash, group string) uint32 {
	sum := uint64(a.gate.Hash(topic, h))
	if group != "" {
		sum ^= maphash.String(a.gate.seed, group) * 0x9e3779b97f4a7c15
	}
	return uint32(sum)
}

func (s *slot) is(topic, group string) bool {
	n := len(s.key) - int(s.group)
	return n == len(topic) && s.key[:n] == topic && s.key[n:] == group
}

func (a *Access) find(topic string, h *Hash, group string) *slot {
	slots := a.slots()
	if s := &slots[a.last]; s.is(topic, group) && s.known != 0 {
		return s
	}
	hash := a.hash(topic, h, group)
	mask := uint32(len(slots) - 1)
	for i := uint32(0); i < accessProbes && i <= mask; i++ {
		s := &slots[(hash+i)&mask]
		if s.known == 0 {
			return nil
		}
		if s.hash == hash && s.is(topic, group) {
			a.last = uint8((hash + i) & mask)
			return s
		}
	}
	return nil
}

// question is a request with its message, in one piece that is used again.
type question struct {
	q Request
	m Message
}

// answerAbout is answer for a message with a payload.
func (g *Gate) answerAbout(rules *Ruleset, q Request, payload []byte) (v Verdict, differs bool) {
	x, _ := g.questions.Get().(*question)
	if x == nil {
		x = new(question)
	}
	x.q, x.m.Payload = q, payload
	x.q.Message = &x.m
	v, differs = g.answer(rules, &x.q)
	*x = question{} // it keeps nothing of the message
	g.questions.Put(x)
	return v, differs
}

// ask puts q to the policies and remembers the answer, in s if the topic has that slot.
func (a *Access) ask(rules *Ruleset, s *answers, h *Hash, bit uint8, q Request, payload []byte) Verdict {
	v, differs := a.gate.answerAbout(rules, q, payload)
	if v.Volatile || len(q.Topic)+len(q.Group) > accessKey {
		return v
	}
	until := uint32(0)
	if v.Until != 0 {
		// A whole second early rather than late, and in 2106 where it is later than that.
		until = uint32(min(max(v.Until/1e9, 1), math.MaxUint32))
	}
	if s == nil {
		s = a.widen(q.Topic, q.Group, v.Scope)
	}
	if s == nil {
		at := a.room(q.Topic, h, q.Group)
		if at == nil {
			return v
		}
		s = &at.answers
	}
	s.known |= bit
	s.allowed &^= bit
	s.differs &^= bit
	if v.Allowed() {
		s.allowed |= bit
	}
	if differs {
		s.differs |= bit
	}
	if until != 0 && (s.until == 0 || until < s.until) {
		s.until = until
	}
	return v
}

// widen makes a scope, of as many levels, for a topic of a client that has used many;
// nil where there is none to be made. Of scopes beyond those that there is room for
// one in displaces is, in the place of another.
func (a *Access) widen(topic, group string, levels int) *answers {
	if levels == 0 || group != "" || a.first == nil || !a.wide && a.size < wideSize {
		return nil
	}
	prefix := Beginning(topic, levels)
	if prefix == "" {
		return nil
	}
	if !a.wide {
		a.wide = true
		a.setTable(make([]slot, maxScopes+1)) // what was in it is found out again, with few questions
	}
	var free *slot
	scopes := a.scopes()
	for i := range scopes {
		s := &scopes[i]
		if s.key == prefix {
			return &s.answers
		}
		if s.key == "" {
			free = s
		}
	}
	if free == nil {
		if rand.Uint32N(displaces) != 0 {
			return nil
		}
		free = &scopes[rand.Uint32N(maxScopes)]
	}
	*free = slot{key: strings.Clone(prefix)}
	return &free.answers
}

// Beginning is what all topics begin with for which an answer about topic holds
// whose Scope is levels; empty where that is topic alone.
func Beginning(topic string, levels int) string {
	n := 0
	for range levels {
		i := strings.IndexByte(topic[n:], '/')
		if i < 0 {
			return ""
		}
		n += i + 1
	}
	return topic[:n]
}

// room makes a slot for a topic. Where the table has no place near the topic's
// own it grows. At its largest another topic there is forgotten for one topic in
// displaces; the others get nil: who goes through more topics than there are
// places is not made to copy each, and keeps most answers that are in use.
func (a *Access) room(topic string, h *Hash, group string) *slot {
	fresh := slot{hash: a.hash(topic, h, group), group: uint16(len(group)), answers: answers{known: forgotten}}
	if a.first == nil {
		a.setTable(make([]slot, 1))
	}
	for {
		slots := a.slots()
		i := place(slots, fresh)
		if i < 0 && len(slots) >= MaxPlaces {
			if rand.Uint32N(displaces) != 0 { // by chance: a count would fall in step with the topics
				return nil
			}
			i = int((fresh.hash + fresh.hash>>16%accessProbes) & uint32(len(slots)-1))
			slots[i] = fresh
		}
		if i >= 0 {
			a.last = uint8(i)
			if slots[i].key = topic + group; group == "" {
				slots[i].key = strings.Clone(topic)
			}
			return &slots[i]
		}
		for size := len(slots) * 2; ; size *= 2 {
			larger := make([]slot, a.ahead()+size)
			if moved(larger[a.ahead():], slots) || size >= MaxPlaces {
				copy(larger, a.scopes())
				a.setTable(larger) // at the largest what finds no place is forgotten
				break
			}
		}
	}
}

func moved(to, from []slot) bool {
	for _, s := range from {
		if s.known != 0 && place(to, s) < 0 {
			return false
		}
	}
	return true
}

// place enters s near its own place and says where; -1 where that is full.
func place(slots []slot, s slot) int {
	mask := uint32(len(slots) - 1)
	for i := uint32(0); i < accessProbes && i <= mask; i++ {
		at := (s.hash + i) & mask
		if slots[at].known == 0 {
			slots[at] = s
			return int(at)
		}
	}
	return -1
}
