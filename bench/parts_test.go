package bench

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"sallyport/packet"
)

func TestQuantilesAreWithinOnePercent(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var h histogram
	var values []int64
	for range 20_000 {
		v := int64(rng.ExpFloat64() * float64(time.Millisecond))
		values = append(values, v)
		h.record(v)
	}
	slices.Sort(values)
	for _, q := range []float64{.5, .9, .99, .999, 1} {
		want := values[min(int(q*float64(len(values))+.5), len(values))-1]
		got := int64(h.quantile(q))
		if got < want || float64(got) > float64(want)*1.01+1 {
			t.Errorf("quantile(%v) = %d, want %d to 1 %% above", q, got, want)
		}
	}
}

func TestEveryDurationHasABucket(t *testing.T) {
	var h histogram
	for _, v := range []int64{-1, 0, 1, 127, 128, 255, 256, 257, 1 << 20, 1<<62 + 12345, 1<<63 - 1} {
		h.record(v)
		if i := bucket(v); upper(i) < v || i > 0 && upper(i-1) >= max(v, 1) {
			t.Errorf("%d fell into bucket %d, (%d, %d]", v, i, upper(max(i-1, 0)), upper(i))
		}
	}
	if h.max != 1<<63-1 {
		t.Errorf("max = %d", h.max)
	}
}

func TestTrackerTellsLossFromDuplicationFromDisorder(t *testing.T) {
	tests := []struct {
		name                string
		see                 []uint64
		sent                uint64
		lost, doubled, late uint64
	}{
		{"all in order", []uint64{0, 1, 2}, 3, 0, 0, 0},
		{"nothing came", nil, 3, 3, 0, 0},
		{"gap", []uint64{0, 3}, 4, 2, 0, 0},
		{"tail missing", []uint64{0}, 4, 3, 0, 0},
		{"twice", []uint64{0, 0, 1, 1}, 2, 0, 2, 0},
		{"swapped", []uint64{1, 0, 2}, 3, 0, 0, 1},
		{"late and then again", []uint64{1, 0, 0}, 2, 0, 1, 1},
		{"a gap beyond what is remembered", []uint64{maxGaps + 10}, maxGaps + 11, maxGaps + 10, 0, 0},
	}
	for _, tt := range tests {
		var tr tracker
		came := uint64(0)
		for _, n := range tt.see {
			if tr.see(n) {
				came++
			}
		}
		if came+tt.lost != tt.sent {
			t.Errorf("%s: %d came and %d were lost of %d", tt.name, came, tt.lost, tt.sent)
		}
		if got := tr.lost(tt.sent); got != tt.lost || tr.duplicates != tt.doubled || tr.misordered != tt.late {
			t.Errorf("%s: lost %d, doubled %d, late %d; want %d, %d, %d", tt.name, got, tr.duplicates, tr.misordered, tt.lost, tt.doubled, tt.late)
		}
	}
	shared := tracker{share: 1, of: 3} // of 0..7: 1, 4 and 7
	for _, n := range []uint64{1, 2, 7, 7} {
		shared.see(n)
	}
	if shared.lost(8) != 1 || shared.duplicates != 1 || shared.misrouted != 1 {
		t.Errorf("share: lost %d, doubled %d, misrouted %d, want 1 each", shared.lost(8), shared.duplicates, shared.misrouted)
	}
	u := unordered(3)
	for _, n := range []uint64{2, 0, 2, 99} {
		u.see(n)
	}
	if u.lost(3) != 1 || u.duplicates != 2 || u.misordered != 0 {
		t.Errorf("unordered: lost %d, doubled %d", u.lost(3), u.duplicates)
	}
}

func TestTemplateIsAValidPublish(t *testing.T) {
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		for qos := byte(0); qos <= 2; qos++ {
			tm := newTemplate(v, "a/b/", true, qos, true, 300)
			s := stamp{run: 1 << 60, publisher: 7, sequence: 1 << 40, at: 12345}
			frame := tm.append(nil, &s, 0xabcd, 42)
			h, n, err := packet.ReadHeader(frame)
			if err != nil || n+h.Length != len(frame) {
				t.Fatalf("header %+v, %d, %v", h, n, err)
			}
			var p packet.Publish
			if err := packet.DecodePublish(v, h.Flags, frame[n:], packet.Limits{}, &p); err != nil {
				t.Fatal(err)
			}
			got, ok := readStamp(p.Payload)
			if string(p.Topic) != "a/b/000000042" || !ok || got != s || len(p.Payload) != 300 || !p.Retain || qos > 0 && p.PacketID != 0xabcd {
				t.Errorf("%+v with %+v", p, got)
			}
		}
	}
	if _, ok := readStamp(make([]byte, headerSize-1)); ok {
		t.Error("a short payload has a stamp")
	}
}

func TestSendingAllocatesNothingPerMessage(t *testing.T) {
	tm := newTemplate(packet.V5, "a", false, 1, false, 64)
	buf := make([]byte, 0, 1<<16)
	got := testing.AllocsPerRun(100, func() {
		out := buf
		for i := range uint64(100) {
			out = tm.append(out, &stamp{sequence: i}, uint16(i), i)
		}
	})
	if got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func TestReceivingAllocatesNothingPerMessage(t *testing.T) {
	r := &run{Options: Options{Version: packet.V5, QoS: 1, Payload: 64}, start: time.Now()}
	r.rest = pattern(64)
	tm := newTemplate(packet.V5, "a", false, 1, false, 64)
	p := &publisher{wake: make(chan struct{}, 1), t: tm}
	c := &rawConn{version: packet.V5, limit: 1 << 20}
	v := r.newReceiver(c, 0, []*publisher{p}, new(histogram))
	v.out = make([]byte, 0, 1<<16)
	var frames []byte
	for i := range uint64(100) {
		frames = tm.append(frames, &stamp{sequence: i}, 1, 0)
	}
	got := testing.AllocsPerRun(50, func() {
		v.out = v.out[:0]
		if used, err := v.take(frames); used != len(frames) || err != nil {
			t.Fatal(used, err)
		}
		v.commit((*publisher).notify)
	})
	if got != 0 {
		t.Errorf("%v allocations", got)
	}
	if v.known.total == 0 || v.invalid.Load()+v.foreign.Load() != 0 {
		t.Errorf("shape %+v, %d invalid, %d foreign", v.known, v.invalid.Load(), v.foreign.Load())
	}
}

func TestParseStat(t *testing.T) {
	const line = "42 (a) name) S 1 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0 4 0 100 9999 25 18446744073709551615"
	u, err := parseStat([]byte(line), 4096)
	if err != nil || u.cpu != 2*time.Second || u.user != 1500*time.Millisecond || u.system != 500*time.Millisecond || u.rss != 25*4096 {
		t.Errorf("parseStat = %+v, %v, want 2 s and 100 KiB", u, err)
	}
	for _, bad := range []string{"", "42 (x) S 1", "42 (x) S 1 1 1 0 -1 0 0 0 0 0 x 50 0 0 20 0 4 0 100 9999 25"} {
		if _, err := parseStat([]byte(bad), 4096); err == nil {
			t.Errorf("parseStat(%q) succeeded", bad)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("42 (a) S 1 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0 4 0 100 9999 25"))
	f.Fuzz(func(t *testing.T, b []byte) { parseStat(b, 4096) })
}
