package interop

import (
	numbers "encoding/binary" // a test is called binary
	"encoding/json"
	"fmt"
	"slices"
	"testing"
)

// benchReport is what "sallyport bench --json" says of the messages.
type benchReport struct {
	Sent, Expected, Delivered             int
	Lost, Duplicated, Misordered, Foreign int
	Refused, Invalid                      int
	exit                                  int
}

// benchStamp is the beginning of a payload of bench.
type benchStamp struct {
	run       uint64
	publisher uint32
	sequence  uint64
}

// readBenchStamp reads it as the documentation has it, with none of bench's code.
func readBenchStamp(t *testing.T, payload []byte) benchStamp {
	t.Helper()
	if len(payload) != 64 {
		t.Fatalf("a payload of %d bytes, want 64: %x", len(payload), payload)
	}
	return benchStamp{numbers.BigEndian.Uint64(payload), numbers.BigEndian.Uint32(payload[8:]), numbers.BigEndian.Uint64(payload[12:])}
}

// startBench loads b as alice under it/bench.
func startBench(t *testing.T, b *broker, args ...string) *process {
	t.Helper()
	at := b.places["tcp"]
	base := []string{"bench", "p2p", "-h", at.Host, "-p", fmt.Sprint(at.Port), "-u", userName, "-P", passWord, "--topic-prefix", "it/bench"}
	return start(t, sallyport, append(base, args...)...)
}

// benched is the report of a bench that has ended.
func benched(t *testing.T, p *process) (r benchReport) {
	t.Helper()
	r.exit = p.wait(t, 2*patience)
	if err := json.Unmarshal([]byte(p.stdout()), &r); err != nil {
		t.Fatalf("report: %v\n%s", err, p.text())
	}
	return r
}

// TestBenchAndAnOutsideClientCountTheSame lets mosquitto_sub hear all that bench
// sends. A rate keeps the load to what it can print.
func TestBenchAndAnOutsideClientCountTheSame(t *testing.T) {
	t.Parallel()
	const pairs, each = 4, 1500
	for qos := byte(0); qos <= 2; qos++ {
		t.Run(fmt.Sprintf("QoS %d", qos), func(t *testing.T) {
			t.Parallel()
			b := newBroker(t)
			who := login{Place: b.places["tcp"], User: userName, Password: passWord}
			outside, err := mosquittoKind(t, 4).listen(t, who, "it/#", qos)
			if err != nil {
				t.Fatal(err)
			}
			bench := startBench(t, b, "--json", "-q", fmt.Sprint(qos), "--pairs", fmt.Sprint(pairs), "--messages", fmt.Sprint(each), "--rate", "4000")
			var next [pairs]uint64
			var run uint64
			for n := range pairs * each {
				m := outside.next(t)
				s := readBenchStamp(t, m.Payload)
				if n == 0 {
					run = s.run
				}
				if s.run != run || s.publisher >= pairs || m.QoS != qos {
					t.Fatalf("message %d of the outside client is %+v at QoS %d", n, s, m.QoS)
				}
				if s.sequence != next[s.publisher] {
					t.Fatalf("publisher %d: the outside client got number %d, want %d", s.publisher, s.sequence, next[s.publisher])
				}
				next[s.publisher]++
			}
			want := benchReport{Sent: pairs * each, Expected: pairs * each, Delivered: pairs * each}
			if got := benched(t, bench); got != want {
				t.Errorf("bench says %+v, want %+v", got, want)
			}
			// What comes next is a later message: so there were no more.
			if err := mosquittoKind(t, 4).publish(t, who, message{Topic: "it/end", Payload: hexBytes("end"), QoS: 1}); err != nil {
				t.Fatal(err)
			}
			if m := outside.next(t); m.Topic != "it/end" {
				t.Errorf("the outside client got one more message: %+v", m)
			}
			outside.leave()
			b.stop(t)
		})
	}
}

// A meddler is told of each of bench's messages and says what is published beside them.
type meddler func(m message, s benchStamp) []message

// repeats sends ten messages again, and five that are not bench's.
func repeats(m message, s benchStamp) []message {
	switch {
	case s.sequence >= 100 && s.sequence < 110:
		return []message{m}
	case s.sequence >= 200 && s.sequence < 205:
		m.Payload = slices.Repeat(hexBytes("x"), len(m.Payload))
		return []message{m}
	}
	return nil
}

// hidden is the topic, of ten in rotation, that the rules keep from bench.
const hidden = 3

// delays sends what the rules kept from bench under another topic, once later
// messages have passed.
func delays() meddler {
	var held []message
	return func(m message, s benchStamp) []message {
		var late []message
		if s.sequence%10 == hidden+5 {
			late, held = held, nil
		}
		if s.sequence%10 == hidden {
			m.Topic = m.Topic[:len(m.Topic)-1] + "0"
			held = append(held, m)
		}
		return late
	}
}

// TestBenchCountsWhatAnOutsideClientDoes shows that bench would notice: an
// outside client repeats messages, sends others, and holds some back.
func TestBenchCountsWhatAnOutsideClientDoes(t *testing.T) {
	t.Parallel()
	const messages = 2000
	rules := fmt.Sprintf(`
users:
  alice:
    permissions:
      - {allow: both, topic: "it/#"}
      - {deny: subscribe, topic: "it/bench/+/0/%09d"}
  bob:
    permissions:
      - {allow: both, topic: "it/#"}
`, hidden)
	for name, c := range map[string]struct {
		topics string
		meddle meddler
		want   benchReport
	}{
		"repeated and foreign messages": {"1", repeats, benchReport{Duplicated: 10, Foreign: 5}},
		"messages that never come":      {"10", func(message, benchStamp) []message { return nil }, benchReport{Lost: messages / 10}},
		// They come under another topic, too.
		"messages that come late": {"10", delays(), benchReport{Misordered: messages / 10, Invalid: messages / 10}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newRuledBroker(t, rules)
			who := login{Place: b.places["tcp"], User: "bob", Password: "bob's"}
			outside, err := paho5Kind{}.listen(t, who, "it/#", 1)
			if err != nil {
				t.Fatal(err)
			}
			beside, conn, _, err := paho5Kind{}.connect(t.Context(), who, func(message) {})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			bench := startBench(t, b, "--json", "--pairs", "1", "--messages", fmt.Sprint(messages), "--rate", "1000", "--topics", c.topics,
				"--window", "1000") // what is lost stays in the window
			for next := uint64(0); next < messages; {
				m := outside.next(t)
				if len(m.Payload) != 64 || m.Payload[0] == 'x' && m.Payload[63] == 'x' {
					continue // what was sent beside
				}
				s := readBenchStamp(t, m.Payload)
				if s.sequence < next {
					continue // the same
				}
				if s.sequence != next {
					t.Fatalf("the outside client got number %d, want %d", s.sequence, next)
				}
				next++
				for _, extra := range c.meddle(m, s) {
					if err := publishOn(t, beside, extra); err != nil {
						t.Fatal(err)
					}
				}
			}
			got := benched(t, bench)
			if got.exit == 0 {
				t.Error("bench ended with exit code 0")
			}
			got = benchReport{Lost: got.Lost, Duplicated: got.Duplicated, Misordered: got.Misordered, Foreign: got.Foreign, Refused: got.Refused, Invalid: got.Invalid}
			if got != c.want {
				t.Errorf("bench says %+v, want %+v", got, c.want)
			}
			b.stop(t)
		})
	}
}
