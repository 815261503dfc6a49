package attack_test

import (
	"os"
	"runtime"
	"strings"
	"testing"

	"sallyport/packet"
)

// TestEveryOptionActs sets one option in a configuration file and watches the
// assembled broker do what the reference says: an option that is read and lost
// on the way to the engine fails here.
func TestEveryOptionActs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		listener, top string
		test          func(t *testing.T, s *site)
	}{
		"queue_full: drop-newest keeps the first":        {"", "limits: {queue_messages: 2}", queued("1", "2")},
		"queue_full: drop-oldest keeps the last":         {"", "limits: {queue_messages: 2, queue_full: drop-oldest}", queued("2", "3")},
		"queue_full of a listener comes before":          {"limits: {queue_full: drop-oldest}", "limits: {queue_messages: 2}", queued("2", "3")},
		"queue_full: disconnect ends a slow receiver":    {"", "limits: {queue_messages: 1, inflight: 1, queue_full: disconnect}", fullDisconnects},
		"queue_qos0 keeps QoS 0 for the absent":          {"", "mqtt: {queue_qos0: true}", keepsQoS0},
		"session_owner: principal keeps others out":      {"", "", foreignClaim(packet.NotAuthorized)},
		"session_owner: client_id lets others take over": {"", "mqtt: {session_owner: client_id}", foreignClaim(packet.Success)},
		"shared_redeliver: session_end waits":            {"", "", sharedMoves(false)},
		"shared_redeliver: disconnect moves at once":     {"", "mqtt: {shared_redeliver: disconnect}", sharedMoves(true)},
		"merge_overlapping sends one copy":               {"", "mqtt: {merge_overlapping: true}", copies(1)},
		"without it each subscription gets its copy":     {"", "", copies(2)},
		"no_matching_subscribers answers 0x10":           {"", "mqtt: {no_matching_subscribers: true}", unheard(packet.NoMatchingSubscribers)},
		"without it nobody learns who listens":           {"", "", unheard(packet.Success)},
		"reason_strings tell what was wrong":             {"limits: {topic_levels: 2}", "", reasonTold(true)},
		"reason_strings: false tells nothing":            {"limits: {topic_levels: 2}", "mqtt: {reason_strings: false}", reasonTold(false)},
		"response_information reaches who asks":          {"", `mqtt: {response_information: "answers/"}`, responseInformation},
		"retain: false refuses":                          {"", "mqtt: {retain: false}", retainOff},
		"wildcard_subscriptions: false refuses":          {"", "mqtt: {wildcard_subscriptions: false}", refusedFilter("a/+", packet.WildcardSubsNotSupported)},
		"shared_subscriptions: false refuses":            {"", "mqtt: {shared_subscriptions: false}", refusedFilter("$share/g/a", packet.SharedSubsNotSupported)},
		"subscription_identifiers: false refuses":        {"", "mqtt: {subscription_identifiers: false}", identifierRefused},
		"keep_alive_max is told or refused":              {"limits: {keep_alive_max: 30}", "", keepAliveMax},
		"qos lowers what is granted":                     {"limits: {qos: 1}", "", maxQoS},
		"inflight bounds what is sent":                   {"limits: {inflight: 1}", "", oneInFlight},
		"topic_alias_out: 0 uses none":                   {"limits: {topic_alias_out: 0}", "", aliasUsed(false)},
		"topic_alias_out uses aliases":                   {"limits: {topic_alias_out: 1}", "", aliasUsed(true)},
		"session_expiry bounds what is granted":          {"limits: {session_expiry: 60s}", "", expiryGranted},
		"message_size drops what is larger":              {"limits: {message_size: 4}", "", messageSize},
		"client_id_bytes refuses a longer one":           {"limits: {client_id_bytes: 5}", "", connected(id("123456"), packet.ClientIDNotValid, packet.V3IdentifierRejected)},
		"packet_size_unauthenticated closes":             {"limits: {packet_size_unauthenticated: 256}", "", largeConnect},
		"allow_empty_client_id: false refuses":           {"allow_empty_client_id: false", "", connected(id(""), packet.ClientIDNotValid, packet.V3IdentifierRejected)},
		"generated_client_id_prefix begins the id":       {"generated_client_id_prefix: door-", "", generatedID},
		"v3_refusal_code: 4 refuses with 4":              {"v3_refusal_code: 4", "", connected(word("wrong"), packet.BadUserNameOrPassword, packet.V3BadUserNameOrPassword)},
		"shutdown.publish_wills: true publishes":         {"", "", willAtStop(true)},
		"shutdown.publish_wills: false does not":         {"", "shutdown: {publish_wills: false}", willAtStop(false)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.test(t, siege(t, plain(c.listener, c.top), freely))
		})
	}
}

// queued sends three messages to an absent client and wants these back.
func queued(want ...string) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		s.absent("alice", "q")
		writer := s.as(packet.V5, "bob")
		for _, m := range []string{"1", "2", "3"} {
			writer.publish("q", m, 1, false)
		}
		alice := s.as(packet.V5, "alice", lasting)
		for _, m := range want {
			alice.only("q", m)
		}
		alice.ping()
		if len(alice.inbox) > 0 {
			t.Errorf("%v too many", alice.inbox)
		}
	}
}

// absent makes a session with a subscription and leaves it.
func (s *site) absent(user, filter string) {
	s.t.Helper()
	p := s.as(packet.V5, user, lasting)
	p.allowed(1, filter)
	p.send(packet.AppendDisconnect(nil, packet.V5, &packet.Disconnect{}))
	p.ended()
}

func fullDisconnects(t *testing.T, s *site) {
	slow, writer := s.as(packet.V5, "alice"), s.as(packet.V5, "bob")
	slow.allowed(1, "q")
	for _, m := range []string{"in flight", "queued", "too many"} {
		writer.publish("q", m, 1, false)
	}
	if code := slow.ended(); code != packet.QuotaExceeded {
		t.Errorf("the slow receiver got 0x%02x, want 0x97", byte(code))
	}
}

func keepsQoS0(_ *testing.T, s *site) {
	s.absent("alice", "q")
	writer := s.as(packet.V5, "bob")
	writer.publish("q", "zero", 0, false)
	writer.ping()
	s.as(packet.V5, "alice", lasting).only("q", "zero")
}

func foreignClaim(want packet.Code) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		s.as(packet.V5, "alice", lasting, id("pump"))
		ack := s.dial().connect(login(packet.V5, "bob", lasting, id("pump")))
		if ack.Code != want || ack.SessionPresent != (want == packet.Success) {
			t.Errorf("another user's claim: CONNACK 0x%02x, session present %t", byte(ack.Code), ack.SessionPresent)
		}
	}
}

// sharedMoves wants a sent, unacknowledged message to move, or not, when its member goes and keeps its session.
func sharedMoves(atOnce bool) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		first := s.as(packet.V5, "alice", lasting)
		first.allowed(1, "$share/g/work")
		writer := s.as(packet.V5, "bob")
		writer.publish("work", "job", 1, false)
		first.unacked()
		second := s.as(packet.V5, "mallory")
		second.allowed(1, "$share/g/work")
		first.send(packet.AppendDisconnect(nil, packet.V5, &packet.Disconnect{}))
		first.ended()
		if atOnce {
			second.only("work", "job")
			return
		}
		writer.publish("work", "next", 1, false)
		second.only("work", "next")
		if m := s.as(packet.V5, "alice", lasting).unacked(); m.payload != "job" || !m.dup {
			t.Errorf("the member that came back got %+v", m)
		}
	}
}

func copies(want int) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		p := s.as(packet.V5, "alice")
		p.allowed(1, "a/+", "a/#")
		p.publish("a/b", "x", 0, false)
		p.ping()
		if len(p.inbox) != want {
			t.Errorf("%d copies, want %d", len(p.inbox), want)
		}
	}
}

func unheard(want packet.Code) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		if code := s.as(packet.V5, "alice").publish("nobody/here", "x", 1, false); code != want {
			t.Errorf("PUBACK 0x%02x, want 0x%02x", byte(code), byte(want))
		}
	}
}

func reasonTold(want bool) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		p := s.as(packet.V5, "alice")
		p.send(pub(packet.V5, "a/b/c", "x", 0, false, 0))
		h, body := p.await(packet.DISCONNECT)
		d, err := packet.DecodeDisconnect(packet.V5, h.Flags, body, packet.Limits{})
		if err != nil || d.Code != packet.TopicNameInvalid {
			t.Fatalf("DISCONNECT %x: %v", body, err)
		}
		if (d.Props.ReasonString != "") != want {
			t.Errorf("reason string %q, wanted %t", d.Props.ReasonString, want)
		}
	}
}

func responseInformation(t *testing.T, s *site) {
	asks := func(c *packet.Connect) {
		c.Props.RequestResponseInfo = 1
		c.Props.Mark(packet.PropRequestResponseInfo)
	}
	if ack := s.dial().connect(login(packet.V5, "alice", asks)); ack.Props.ResponseInfo != "answers/" {
		t.Errorf("who asks got %q", ack.Props.ResponseInfo)
	}
	if ack := s.dial().connect(login(packet.V5, "bob")); ack.Props.Has(packet.PropResponseInfo) {
		t.Error("who does not ask got response information")
	}
}

func retainOff(t *testing.T, s *site) {
	p := s.dial()
	if ack := p.connect(login(packet.V5, "alice")); !ack.Props.Has(packet.PropRetainAvailable) || ack.Props.RetainAvailable != 0 {
		t.Error("CONNACK does not tell that retained messages are not available")
	}
	p.send(pub(packet.V5, "a", "x", 0, true, 0))
	if code := p.ended(); code != packet.RetainNotSupported {
		t.Errorf("a retained PUBLISH got 0x%02x, want 0x9a", byte(code))
	}
}

func refusedFilter(filter string, want packet.Code) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		if codes := s.as(packet.V5, "alice").subscribe(0, filter); codes[0] != want {
			t.Errorf("%s: 0x%02x, want 0x%02x", filter, byte(codes[0]), byte(want))
		}
	}
}

func identifierRefused(t *testing.T, s *site) {
	p := s.as(packet.V5, "alice")
	p.send(packet.AppendSubscribe(nil, packet.V5, &packet.Subscribe{PacketID: 1, SubID: 7, Filters: []packet.Subscription{{Filter: "a"}}}))
	if code := p.ended(); code != packet.SubIDsNotSupported {
		t.Errorf("a subscription identifier got 0x%02x, want 0xa1", byte(code))
	}
}

func keepAliveMax(t *testing.T, s *site) {
	for keepAlive, fits := range map[uint16]bool{0: false, 31: false, 30: true} {
		wants := func(c *packet.Connect) { c.KeepAlive = keepAlive }
		ack := s.dial().connect(login(packet.V5, "alice", wants))
		if ack.Code != 0 || ack.Props.Has(packet.PropServerKeepAlive) == fits || !fits && ack.Props.ServerKeepAlive != 30 {
			t.Errorf("keep alive %d: CONNACK 0x%02x, server keep alive %d", keepAlive, byte(ack.Code), ack.Props.ServerKeepAlive)
		}
		ack = s.dial().connect(login(packet.V311, "alice", wants))
		if (ack.Code == 0) != fits {
			t.Errorf("MQTT 3.1.1, keep alive %d: CONNACK %d", keepAlive, ack.Code)
		}
	}
}

func maxQoS(t *testing.T, s *site) {
	p := s.dial()
	if ack := p.connect(login(packet.V5, "alice")); !ack.Props.Has(packet.PropMaximumQoS) || ack.Props.MaximumQoS != 1 {
		t.Errorf("maximum QoS %d in CONNACK, want 1", ack.Props.MaximumQoS)
	}
	if codes := p.subscribe(2, "a"); codes[0] != packet.GrantedQoS1 {
		t.Errorf("granted 0x%02x, want QoS 1", byte(codes[0]))
	}
	p.send(pub(packet.V5, "a", "x", 2, false, 9))
	if code := p.ended(); code != packet.QoSNotSupported {
		t.Errorf("a PUBLISH of QoS 2 got 0x%02x, want 0x9b", byte(code))
	}
}

func oneInFlight(t *testing.T, s *site) {
	p := s.as(packet.V5, "alice")
	p.allowed(1, "q")
	writer := s.as(packet.V5, "bob")
	writer.publish("q", "1", 1, false)
	writer.publish("q", "2", 1, false)
	p.ping()
	if len(p.inbox) != 1 {
		t.Fatalf("%d messages in flight, want 1", len(p.inbox))
	}
	p.only("q", "1")
	p.only("q", "2")
}

func aliasUsed(want bool) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		p := s.as(packet.V5, "alice", func(c *packet.Connect) {
			c.Props.TopicAliasMaximum = 5
			c.Props.Mark(packet.PropTopicAliasMaximum)
		})
		p.allowed(0, "long/topic")
		p.publish("long/topic", "1", 0, false)
		p.publish("long/topic", "2", 0, false)
		p.ping()
		if got := p.inbox[0].topic + p.inbox[1].topic; (got == "long/topic") != want {
			t.Errorf("topics %q and %q, alias wanted %t", p.inbox[0].topic, p.inbox[1].topic, want)
		}
	}
}

func expiryGranted(t *testing.T, s *site) {
	ack := s.dial().connect(login(packet.V5, "alice", lasting)) // asks for an hour
	if ack.Props.SessionExpiry != 60 {
		t.Errorf("granted %d s, want 60", ack.Props.SessionExpiry)
	}
}

func messageSize(t *testing.T, s *site) {
	p := s.as(packet.V5, "alice")
	p.allowed(0, "m")
	if code := p.publish("m", "12345", 1, false); code != packet.QuotaExceeded {
		t.Errorf("a larger message got 0x%02x, want 0x97", byte(code))
	}
	p.publish("m", "1234", 1, false)
	p.only("m", "1234")
}

// connected wants a CONNECT with change to be answered with these codes.
func connected(change func(*packet.Connect), v5, v3 packet.Code) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		for v, want := range map[packet.Version]packet.Code{packet.V5: v5, packet.V311: v3} {
			if ack := s.stranger().connect(login(v, "alice", change)); ack.Code != want {
				t.Errorf("MQTT %d: CONNACK 0x%02x, want 0x%02x", v, byte(ack.Code), byte(want))
			}
		}
	}
}

func largeConnect(t *testing.T, s *site) {
	p := s.dial()
	p.send(packet.AppendConnect(nil, login(packet.V5, "alice", word(strings.Repeat("x", 256)))))
	p.silentEnd()
	s.as(packet.V5, "alice") // a smaller one gets in
}

func generatedID(t *testing.T, s *site) {
	ack := s.dial().connect(login(packet.V5, "alice", id("")))
	if got := ack.Props.AssignedClientID; !strings.HasPrefix(got, "door-") || len(got) < len("door-")+16 {
		t.Errorf("assigned client id %q", got)
	}
}

// willAtStop stops the broker and looks whether a will waits for a client that is away.
func willAtStop(want bool) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		s.absent("bob", "gone")
		s.as(packet.V5, "alice", willTo("gone", "bye", false))
		if err := s.srv.Stop(); err != nil {
			t.Fatal(err)
		}
		if n := s.srv.Metrics().Queued.Load(); (n == 1) != want {
			t.Errorf("%d messages queued at the stop, a will wanted: %t", n, want)
		}
	}
}

func TestSocketModeIsAsConfigured(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("modes mean nothing here")
	}
	text := strings.Replace(plain(`socket_mode: "0640"`, ""), "transport: tcp\n    address: \"127.0.0.1:0\"", "transport: unix\n    address: mqtt.sock", 1)
	s := siege(t, text, freely)
	st, err := os.Stat(s.path("mqtt.sock"))
	if err != nil {
		t.Fatal(err)
	}
	if mode := st.Mode().Perm(); mode != 0o640 {
		t.Errorf("mode %04o, want 0640", mode)
	}
}
