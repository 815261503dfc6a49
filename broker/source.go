package broker

import (
	"crypto/x509"
	"math"
	"strings"
	"sync"
	"time"

	"sallyport/security"
	"sallyport/session"
)

// originOf is a principal as plain data, which shares p's lists and maps.
func originOf(p *security.Principal) *session.Origin {
	o := &session.Origin{
		Realm: p.Realm, Name: p.Name, ClientID: p.ClientID, Listener: p.Listener, Method: p.Method,
		Groups: p.Groups, Roles: p.Roles, Attrs: p.Attrs, Claims: p.Claims, Addr: p.Addr, Secure: p.Secure, Internal: p.Internal,
		Account: p.Account,
	}
	if p.Cert != nil {
		o.Cert = p.Cert.Raw
	}
	if t := p.Token; t != nil {
		o.Token = &session.OriginToken{ID: t.ID, Issuer: t.Issuer, Secret: t.Secret, KeyID: t.KeyID}
		if !t.Secret {
			o.Token.Key = t.Key[:]
		}
	}
	return o
}

// principalOf is the reverse of originOf. The expiry of the credential, the chain of
// its certificate and what it grants are not among it: they judge connections, and
// silence nobody's kept messages. A certificate that can't be
// read makes the principal nil, to whom nothing is allowed.
func principalOf(o *session.Origin) *security.Principal {
	if o == nil {
		return nil
	}
	p := &security.Principal{
		Realm: o.Realm, Name: o.Name, ClientID: o.ClientID, Listener: o.Listener, Method: o.Method,
		Groups: o.Groups, Roles: o.Roles, Attrs: o.Attrs, Claims: o.Claims, Addr: o.Addr, Secure: o.Secure, Internal: o.Internal,
		Account: o.Account,
	}
	if len(o.Cert) > 0 {
		cert, err := x509.ParseCertificate(o.Cert)
		if err != nil {
			return nil
		}
		p.Cert = cert
	}
	if t := o.Token; t != nil {
		p.Token = &security.Token{ID: t.ID, Issuer: t.Issuer, Secret: t.Secret, KeyID: t.KeyID}
		copy(p.Token.Key[:], t.Key)
	}
	return p
}

// sources remembers the publishers whose retained messages were judged lately. The
// zero sources is ready for use.
type sources struct {
	mu sync.Mutex // guards of, and what its sources were told
	of map[*session.Origin]*source
}

// source is a publisher of retained messages, and what was said last that holds for
// more than one of them.
type source struct {
	principal *security.Principal
	beginning string // of the topics for which it holds; empty: nothing was said
	qos       byte
	note      uint64 // as of a message
}

// sourcesKept bounds how many publishers are remembered.
const sourcesKept = 1024

// find is the publisher of m, and if what was said of another of its messages holds
// for m too, a note of that.
func (s *sources) find(m *session.Message) (from *source, note uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, known := s.of[m.Origin]
	if !known {
		if s.of == nil || len(s.of) >= sourcesKept {
			s.of = make(map[*session.Origin]*source)
		}
		from = &source{principal: principalOf(m.Origin)}
		s.of[m.Origin] = from
	}
	if from.beginning != "" && from.qos == m.QoS && !m.Will && strings.HasPrefix(m.Topic, from.beginning) {
		note = from.note
	}
	return from, note
}

// tell notes what was said of m, for others of its publisher.
func (s *sources) tell(from *source, m *session.Message, scope int, note uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	beginning := security.Beginning(m.Topic, scope)
	if beginning == "" || m.Will {
		return
	}
	if from.beginning != beginning {
		from.beginning = strings.Clone(beginning)
	}
	from.qos, from.note = m.QoS, note
}

// stillAllowed reports whether the publisher of a retained message would be
// allowed to publish it now. A message whose publisher is not known is not
// allowed. The answer is noted with the message, for as long as it holds.
func (b *Broker) stillAllowed(m *session.Message) bool {
	if b.opt.KeepRetainedSource {
		return true
	}
	// The generation first: an answer of newer rules is at worst noted under an older one.
	generation := b.gate.Generation()
	if allowed, noted := readNote(m.Memo.Load(), generation); noted {
		return allowed
	}
	from, note := b.sources.find(m)
	if allowed, noted := readNote(note, generation); noted {
		m.Memo.Store(note)
		return allowed
	}
	v := b.gate.Decide(&security.Request{
		Principal: b.publisher(from), Action: security.Publish, Topic: m.Topic, QoS: m.QoS, Retain: true,
		Will: m.Will, Message: &security.Message{Payload: m.Payload},
	})
	if !v.Volatile {
		note = makeNote(v, generation)
		m.Memo.Store(note)
		b.sources.tell(from, m, v.Scope, note)
	}
	return v.Allowed()
}

// publisher is who has published, as he is now. The gate's generation grows when that
// changes.
func (b *Broker) publisher(from *source) *security.Principal {
	if b.opt.Publisher == nil || from.principal == nil || from.principal.Internal {
		return from.principal
	}
	return b.opt.Publisher(from.principal)
}

// A note is an answer with the generation of the rules that gave it (31 bits),
// the second since 1970 at which it ends (32 bits, 0: never), and what it was (1 bit).

func makeNote(v security.Verdict, generation uint64) uint64 {
	note := generation << 33
	if v.Until != 0 {
		// A whole second early rather than late.
		note |= uint64(min(max(v.Until/1e9, 1), math.MaxUint32)) << 1
	}
	if v.Allowed() {
		note |= 1
	}
	return note
}

func readNote(note, generation uint64) (allowed, noted bool) {
	if note == 0 || note>>33 != generation<<33>>33 {
		return false, false
	}
	if until := int64(uint32(note >> 1)); until != 0 && time.Now().Unix() >= until {
		return false, false
	}
	return note&1 != 0, true
}
