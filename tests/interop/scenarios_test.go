package interop

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// stage is where the scenarios of one client are played.
type stage struct {
	b     *broker
	kind  kind
	place place
	root  string // of its topics
}

// login is the ordinary user with a fresh client id.
func (s *stage) login() login {
	return login{Place: s.place, ID: randomID(), User: userName, Password: passWord}
}

func (s *stage) topic(name string) string { return s.root + "/" + name }

// play plays all of them.
func (s *stage) play(t *testing.T, others []string) {
	t.Run("every QoS arrives as the smaller of both", s.everyQoS)
	t.Run("a retained message waits for new subscribers", s.retained)
	t.Run("a will is published when the connection is cut", s.will)
	t.Run("a shared subscription shares", s.shared)
	t.Run("a kept session queues", s.keptSession)
	if s.kind.version() == 5 {
		t.Run("properties arrive as sent", s.properties)
	}
	for _, name := range others {
		t.Run("over "+name, func(t *testing.T) { s.over(t, s.b.places[name]) })
	}
	t.Run("strangers are refused", s.refusals)
	if s.place.Transport == "tcp" {
		t.Run("a certificate is an identity", s.certificate)
	}
}

func (s *stage) listen(t *testing.T, l login, filter string, qos byte) *listener {
	t.Helper()
	out, err := s.kind.listen(t, l, filter, qos)
	if err != nil {
		t.Fatalf("subscribe to %s: %v", filter, err)
	}
	return out
}

func (s *stage) publish(t *testing.T, m message, payloads ...[]byte) {
	t.Helper()
	if err := s.kind.publish(t, s.login(), m, payloads...); err != nil {
		t.Fatalf("publish to %s: %v", m.Topic, err)
	}
}

// same fails unless got is want in every field.
func same(t *testing.T, got, want message) {
	t.Helper()
	if !bytes.Equal(got.Payload, want.Payload) {
		t.Errorf("payload = %q, want %q", got.Payload, want.Payload)
	}
	if len(got.User) == 0 {
		got.User = nil
	}
	got.Payload, want.Payload = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("message = %+v, want %+v", got, want)
	}
}

// binary is no text in any encoding.
var binary = []byte{0, 1, 0xff, 0xfe, '\n', 0xc0, 0x80, '\r', 0, '"', 0x1a}

func (s *stage) everyQoS(t *testing.T) {
	topic := s.topic("qos")
	var listeners [3]*listener
	for qos := range listeners {
		listeners[qos] = s.listen(t, s.login(), topic, byte(qos))
		defer listeners[qos].leave()
	}
	for sent := range byte(3) {
		m := message{Topic: topic, Payload: append([]byte{sent}, binary...), QoS: sent}
		s.publish(t, m)
		for asked, l := range listeners {
			m.QoS = min(sent, byte(asked))
			same(t, l.next(t), m)
		}
	}
}

func (s *stage) retained(t *testing.T) {
	for qos := range byte(3) {
		topic := s.topic(fmt.Sprint("retained", qos))
		live := s.listen(t, s.login(), topic, 2)
		m := message{Topic: topic, Payload: []byte("kept"), QoS: qos, Retain: true}
		s.publish(t, m)
		late := s.listen(t, s.login(), topic, 2)
		same(t, late.next(t), m)
		m.Retain = false // not retained for those who were there
		same(t, live.next(t), m)
		live.leave()
		late.leave()

		s.publish(t, message{Topic: topic, QoS: qos, Retain: true}) // an empty one clears
		later := s.listen(t, s.login(), topic, 2)
		after := message{Topic: topic, Payload: []byte("after"), QoS: qos}
		s.publish(t, after)
		same(t, later.next(t), after)
		later.leave()
	}
}

func (s *stage) will(t *testing.T) {
	for qos := range byte(3) {
		topic := s.topic(fmt.Sprint("will", qos))
		mourner := s.listen(t, s.login(), topic, 2)
		will := message{Topic: topic, Payload: []byte("gone"), QoS: qos, Retain: qos == 1}
		l := s.login()
		l.Will = &will
		// One that says goodbye leaves no will: the next message is the other's.
		polite := s.login()
		polite.Will = &message{Topic: topic, Payload: []byte("not to be seen"), QoS: qos}
		if err := s.kind.publish(t, polite, message{Topic: s.topic("nothing"), Payload: []byte("x"), QoS: qos}); err != nil {
			t.Fatal(err)
		}
		s.listen(t, l, s.topic("nothing"), 0).abort()
		want := will
		want.Retain = false // it was there before the will
		same(t, mourner.next(t), want)
		mourner.leave()
		if will.Retain {
			late := s.listen(t, s.login(), topic, 2)
			same(t, late.next(t), will)
			late.leave()
		}
	}
}

func (s *stage) shared(t *testing.T) {
	topic := s.topic("shared")
	one := s.listen(t, s.login(), "$share/group/"+topic, 1)
	two := s.listen(t, s.login(), "$share/group/"+topic, 1)
	whole := s.listen(t, s.login(), topic, 1)
	const n = 20
	var payloads [][]byte
	for i := range n {
		payloads = append(payloads, fmt.Append(nil, "job ", i))
	}
	s.publish(t, message{Topic: topic, QoS: 1}, payloads...)
	for i := range n {
		same(t, whole.next(t), message{Topic: topic, QoS: 1, Payload: payloads[i]})
	}
	took := [2]int{}
	seen := map[string]int{}
	for range n {
		select {
		case m := <-one.messages:
			took[0]++
			seen[string(m.Payload)]++
		case m := <-two.messages:
			took[1]++
			seen[string(m.Payload)]++
		case <-t.Context().Done():
		}
	}
	if len(seen) != n {
		t.Errorf("%d of %d messages arrived: %v", len(seen), n, seen)
	}
	if took[0] == 0 || took[1] == 0 {
		t.Errorf("the members got %d and %d messages: that is not sharing", took[0], took[1])
	}
	one.leave()
	two.leave()
	whole.leave()
}

func (s *stage) keptSession(t *testing.T) {
	topic := s.topic("kept")
	l := s.login()
	l.Keep = true
	first := s.listen(t, l, topic, 2)
	first.leave()
	s.publish(t, message{Topic: topic, Payload: []byte("QoS 0 is not queued"), QoS: 0})
	var sent []message
	for _, qos := range []byte{1, 2} {
		for i := range 3 {
			m := message{Topic: topic, Payload: fmt.Append(nil, "queued ", i), QoS: qos}
			s.publish(t, m)
			sent = append(sent, m)
		}
	}
	again := s.listen(t, l, topic, 2)
	tells := s.kind.version() > 3 // CONNACK of MQTT 3.1 has no such flag
	if tells && again.resumed != nil && !*again.resumed {
		t.Error("CONNACK says that there was no session")
	}
	if first.resumed != nil && *first.resumed {
		t.Error("CONNACK of the first connection says that there was a session")
	}
	for _, m := range sent {
		same(t, again.next(t), m)
	}
	again.leave()
	// Coming without keeping ends the session: nothing is queued.
	l.Keep = false
	s.listen(t, l, s.topic("nothing"), 0).leave()
	s.publish(t, message{Topic: topic, Payload: []byte("lost"), QoS: 1})
	l.Keep = true
	fresh := s.listen(t, l, topic, 2)
	if fresh.resumed != nil && *fresh.resumed {
		t.Error("a session outlived a clean start")
	}
	last := message{Topic: topic, Payload: []byte("new"), QoS: 1}
	s.publish(t, last)
	same(t, fresh.next(t), last)
	fresh.leave()
}

func (s *stage) properties(t *testing.T) {
	topic := s.topic("properties")
	l := s.listen(t, s.login(), topic, 1)
	m := message{
		Topic: topic, Payload: []byte("question"), QoS: 1, ContentType: "text/plain", Response: s.topic("answers"),
		Correlation: "c-17", Expiry: 3600, User: [][2]string{{"a", "1"}, {"a", "2"}, {"b", "3"}},
	}
	s.publish(t, m)
	got := l.next(t)
	if got.Expiry > 3600 || got.Expiry < 3500 {
		t.Errorf("message expiry = %d, want what is left of 3600", got.Expiry)
	}
	got.Expiry = m.Expiry
	same(t, got, m)
	l.leave()
}

// over makes one round trip over another transport.
func (s *stage) over(t *testing.T, p place) {
	via := &stage{b: s.b, kind: s.kind, place: p, root: s.root}
	topic := s.topic("over/" + p.Transport)
	l := via.listen(t, via.login(), topic, 2)
	m := message{Topic: topic, Payload: binary, QoS: 2}
	via.publish(t, m)
	same(t, l.next(t), m)
	l.leave()
}

func (s *stage) refusals(t *testing.T) {
	code := map[int]int{3: 5, 4: 5, 5: 0x86}[s.kind.version()]
	for _, c := range []struct{ name, user, password string }{
		{"a wrong password", userName, "guess"},
		{"an unknown user", "mallory", passWord},
		{"nobody", "", ""},
	} {
		l := s.login()
		l.User, l.Password = c.user, c.password
		_, err := s.kind.listen(t, l, s.topic("secret"), 0)
		if err == nil {
			t.Errorf("%s was let in", c.name)
		} else if got := refusal(err); got != code && !s.hidesCode(got) {
			t.Errorf("%s: code %#x, want %#x (%v)", c.name, got, code, err)
		}
		if err := s.kind.publish(t, l, message{Topic: s.topic("secret"), Payload: []byte("x"), QoS: 1}); err == nil {
			t.Errorf("%s could publish", c.name)
		}
	}
}

// hidesCode reports whether the client may have kept the code for itself:
// those that print a text instead exit with 1.
func (s *stage) hidesCode(got int) bool {
	_, isCommand := s.kind.(commandKind)
	return isCommand && got == 1
}

// certificate is played over TLS, and by a client of WebSocket over secure WebSocket.
func (s *stage) certificate(t *testing.T) {
	mutual, plain := "mtls", "tls"
	if strings.HasPrefix(s.place.Transport, "ws") {
		mutual, plain = "mwss", "wss"
	}
	place := s.b.places[mutual]
	device := s.b.ca.issue(t, "meter-1", false)
	place.Cert, place.Key = device.cert, device.key
	l := login{Place: place, ID: randomID()}
	own := "device/meter-1/power"
	sub := s.listen(t, l, own, 1)
	l.ID = randomID()
	m := message{Topic: own, Payload: []byte("12.5"), QoS: 1}
	if err := s.kind.publish(t, l, m); err != nil {
		t.Fatal(err)
	}
	same(t, sub.next(t), m)
	sub.leave()

	stranger := newAuthority(t, "somebody else").issue(t, "meter-1", false)
	forged := l
	forged.Place.Cert, forged.Place.Key = stranger.cert, stranger.key
	if _, err := s.kind.listen(t, forged, own, 1); err == nil {
		t.Error("a certificate of another authority was let in")
	}
	bare := l
	bare.Place.Cert, bare.Place.Key = "", ""
	if _, err := s.kind.listen(t, bare, own, 1); err == nil {
		t.Error("a client without certificate was let in")
	}
	fooled := s.login()
	fooled.Place = s.b.places[plain]
	fooled.Place.CA = newAuthority(t, "somebody else").path
	if _, err := s.kind.listen(t, fooled, s.topic("secret"), 0); err == nil {
		t.Error("the client accepted a server certificate that its CA didn't sign")
	}
}
