package broker

import (
	"bytes"
	"testing"
)

func TestBuffersComeInSizesAndGoBack(t *testing.T) {
	var bs buffers
	for _, tt := range []struct{ need, room int }{
		{1, 4 << 10}, {4 << 10, 4 << 10}, {4<<10 + 1, 16 << 10}, {65_000, 64 << 10}, {65_537, 256 << 10}, {300_000, 300_000},
	} {
		buf := bs.take(tt.need)
		if len(buf) != 0 || cap(buf) != tt.room {
			t.Errorf("for %d bytes: %d of %d", tt.need, len(buf), cap(buf))
		}
		bs.give(buf)
	}
	bs.give(nil)
	bs.give(make([]byte, 0, 5000)) // not of a size: forgotten
	if got := bs.take(5000); cap(got) != 16<<10 {
		t.Errorf("a buffer of %d bytes", cap(got))
	}
}

func TestAGrowingBufferKeepsWhatIsInIt(t *testing.T) {
	var bs buffers
	var want, got []byte
	for i := range 4000 {
		p := bytes.Repeat([]byte{byte(i)}, i%300)
		want, got = append(want, p...), bs.keep(got, p)
		if i < 5 && cap(got) > 1<<10 {
			t.Fatalf("%d bytes have %d bytes of room", len(got), cap(got))
		}
	}
	if !bytes.Equal(want, got) {
		t.Error("what was kept has changed")
	}
}
