package bench

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"sallyport/packet"
)

// listener is a receiver that hears one publisher of numbered topics.
func listener(v packet.Version, qos byte) (*receiver, template) {
	r := &run{Options: Options{Version: v, QoS: qos, Payload: 64}, id: 99, start: time.Now(), rest: pattern(64)}
	p := &publisher{number: 3, t: newTemplate(v, "a/", true, qos, false, 64), topics: 10}
	return r.newReceiver(&rawConn{version: v, limit: 1 << 16}, 3, []*publisher{p}, new(histogram)), p.t
}

// verdicts are what a receiver holds against the messages it took.
func verdicts(v *receiver) [5]uint64 {
	t := &v.trackers[0]
	return [5]uint64{t.next, t.duplicates, t.misordered, v.foreign.Load(), v.invalid.Load()}
}

func TestWhatIsNotAsSentIsFound(t *testing.T) {
	good := stamp{run: 99, publisher: 3}
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		for qos := range byte(3) {
			tests := []struct {
				name             string
				change           func(frame []byte, tm *template) []byte
				foreign, invalid uint64
			}{
				{"as sent", func(f []byte, tm *template) []byte { return f }, 0, 0},
				{"another run", func(f []byte, tm *template) []byte { f[tm.stampAt]++; return f }, 1, 0},
				{"another publisher", func(f []byte, tm *template) []byte { f[tm.stampAt+11]++; return f }, 1, 0},
				{"a changed payload", func(f []byte, tm *template) []byte { f[len(f)-1]++; return f }, 0, 1},
				{"a cut payload", func(f []byte, tm *template) []byte { f[1]--; return f[:len(f)-1] }, 0, 1},
				{"another topic", func(f []byte, tm *template) []byte { f[tm.digitsAt-1]++; return f }, 0, 1},
				{"a topic with another number", func(f []byte, tm *template) []byte { f[tm.digitsAt]++; return f }, 0, 1},
				{"properties nobody sent", func(f []byte, tm *template) []byte {
					if v != packet.V5 {
						f[len(f)-1]++
						return f
					}
					f[1] += 2 // payload format indicator 0
					f[tm.stampAt-1] = 2
					return slices.Insert(f, tm.stampAt, 1, 0)
				}, 0, 0},
			}
			for _, tt := range tests {
				r, tm := listener(v, qos)
				send := func(n uint64) []byte {
					good.sequence = n
					return tm.append(nil, &good, uint16(n+1), n%10)
				}
				stream := slices.Concat(send(0), send(1), tt.change(send(2), &tm), send(3))
				if used, err := r.take(stream); err != nil || used != len(stream) {
					t.Fatalf("%s: took %d of %d, %v", tt.name, used, len(stream), err)
				}
				want := tt.invalid
				if tt.name == "properties nobody sent" && v != packet.V5 {
					want = 1
				}
				if r.foreign.Load() != tt.foreign || r.invalid.Load() != want {
					t.Errorf("version %d, QoS %d, %s: %d foreign, %d invalid, want %d, %d", v, qos, tt.name, r.foreign.Load(), r.invalid.Load(), tt.foreign, want)
				}
			}
		}
	}
}

func TestPacketsComeInPieces(t *testing.T) {
	r, tm := listener(packet.V5, 2)
	var stream []byte
	for n := range uint64(20) {
		stream = tm.append(stream, &stamp{run: 99, publisher: 3, sequence: n}, uint16(n+1), n%10)
		stream = packet.AppendAck(stream, packet.V5, packet.PUBREL, &packet.Ack{PacketID: uint16(n + 1)})
	}
	var part []byte
	for _, b := range stream {
		part = append(part, b)
		used, err := r.take(part)
		if err != nil {
			t.Fatal(err)
		}
		part = part[used:]
	}
	if got := verdicts(r); got != [5]uint64{20} || len(part) != 0 || len(r.out) != 20*8 {
		t.Errorf("verdicts %v, %d bytes left, %d bytes of answers", got, len(part), len(r.out))
	}
}

func TestAnExchangeEndsWithItsLastAcknowledgement(t *testing.T) {
	ack := func(kind packet.Type, id uint16, code packet.Code) []byte {
		return packet.AppendAck(nil, packet.V5, kind, &packet.Ack{PacketID: id, Code: code})
	}
	tests := []struct {
		name           string
		qos            byte
		stream         []byte
		acked, refused uint64
		answers        []byte
	}{
		{"PUBACK", 1, slices.Concat(ack(packet.PUBACK, 1, 0), ack(packet.PUBACK, 2, 0)), 2, 0, nil},
		{"no subscriber", 1, ack(packet.PUBACK, 1, packet.NoMatchingSubscribers), 1, 0, nil},
		{"refusal", 1, ack(packet.PUBACK, 1, packet.NotAuthorized), 1, 1, nil},
		{"PUBREC", 2, ack(packet.PUBREC, 7, 0), 0, 0, ack(packet.PUBREL, 7, 0)},
		{"refused PUBREC", 2, ack(packet.PUBREC, 7, packet.NotAuthorized), 1, 1, nil},
		{"PUBCOMP", 2, ack(packet.PUBCOMP, 7, 0), 1, 0, nil},
		{"half a PUBACK", 1, []byte{0x40, 2, 0}, 0, 0, nil},
	}
	for _, tt := range tests {
		r := &run{Options: Options{Version: packet.V5, QoS: tt.qos, Payload: 64, Window: 1}}
		p := r.newPublisher(&rawConn{version: packet.V5, limit: 1 << 16, ack: new(packet.Connack)}, 0, "a", false, false)
		if _, err := p.take(tt.stream); err != nil || p.acked.Load() != tt.acked || p.refused.Load() != tt.refused || !bytes.Equal(p.answers, tt.answers) {
			t.Errorf("%s: %v, %d acknowledged, %d refused, answers %x", tt.name, err, p.acked.Load(), p.refused.Load(), p.answers)
		}
	}
	r := &run{Options: Options{Version: packet.V5, Payload: 64, Window: 1}}
	p := r.newPublisher(&rawConn{version: packet.V5, limit: 1 << 16, ack: new(packet.Connack)}, 0, "a", false, false)
	for _, bad := range [][]byte{{0x40, 2, 0, 0}, {0x30, 0}, {0xe0, 1, 0x8b}, {0x40, 0xff, 0xff, 0x7f}} {
		if _, err := p.take(bad); err == nil {
			t.Errorf("%x was taken", bad)
		}
	}
}

func TestAScheduleLetsEachMessageBeDueOnce(t *testing.T) {
	r := &run{Options: Options{Rate: 1000}}
	pubs := []*publisher{{}, {}, {}}
	s := r.newSchedule(pubs, 5e6)
	due := func(i int, n uint64) { pubs[i].due.Store(n) }
	for _, tt := range []struct {
		now, next int64
		due       [3]uint64
	}{
		{0, 5e6, [3]uint64{0, 0, 0}},
		{5e6, 6e6, [3]uint64{1, 0, 0}},
		{6_500_000, 7e6, [3]uint64{1, 1, 0}},
		{6_500_000, 7e6, [3]uint64{1, 1, 0}},
		{11e6, 12e6, [3]uint64{3, 2, 2}},
		{5_000_000 + 1_000_000_000, 1_006_000_000, [3]uint64{334, 334, 333}},
	} {
		if next := s.advance(tt.now, due); next != tt.next {
			t.Errorf("at %d: next at %d, want %d", tt.now, next, tt.next)
		}
		if got := [3]uint64{pubs[0].due.Load(), pubs[1].due.Load(), pubs[2].due.Load()}; got != tt.due {
			t.Errorf("at %d: due %v, want %v", tt.now, got, tt.due)
		}
	}
	if got := pubs[1].dueAt(2); got != 5e6+7e6 {
		t.Errorf("the third message of the second publisher is due at %d", got)
	}
}

// FuzzReceiver holds that the fast way of taking messages finds what decoding finds.
func FuzzReceiver(f *testing.F) {
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		for qos := range byte(3) {
			_, tm := listener(v, qos)
			var stream []byte
			for _, n := range []uint64{0, 1, 1, 4, 2} {
				stream = tm.append(stream, &stamp{run: 99, publisher: 3, sequence: n}, uint16(n+1), n%10)
			}
			f.Add(byte(v), qos, stream)
		}
	}
	f.Fuzz(func(t *testing.T, version, qos byte, data []byte) {
		v := packet.V311
		if version == byte(packet.V5) {
			v = packet.V5
		}
		fast, _ := listener(v, qos%3)
		slow, _ := listener(v, qos%3)
		used, err := fast.take(data)
		var slowly int
		var slowErr error
		for slowErr == nil {
			n := 0
			slow.known = shape{}
			h, head, err := packet.ReadHeader(data[slowly:])
			if err == nil && head > 0 && head+h.Length <= len(data)-slowly {
				n, err = slow.take(data[slowly : slowly+head+h.Length])
			} else {
				_, err = slow.take(data[slowly:])
			}
			slowErr = err
			if slowly += n; n == 0 {
				break
			}
		}
		if used != slowly || (err == nil) != (slowErr == nil) || verdicts(fast) != verdicts(slow) || !bytes.Equal(fast.out, slow.out) {
			t.Fatalf("took %d, %v, %v; decoded %d, %v, %v", used, err, verdicts(fast), slowly, slowErr, verdicts(slow))
		}
	})
}
