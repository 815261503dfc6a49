package listener

import (
	"bytes"
	"crypto/tls"
	"net"
	"runtime"
	"testing"

	"sallyport/internal/websocket"
)

// silentPeer answers a handshake and is forgotten, so that the heap shows the
// server's side alone.
func silentPeer(c net.Conn, config *tls.Config) error {
	k := link{pool: new(buffers), opening: &opening{socket: c, buffer: make([]byte, handshakeRead)}}
	if err := tls.Client(&k, config).Handshake(); err != nil {
		return err
	}
	return k.flush()
}

// heapPerStream is the live heap of an idle Stream after a handshake, in bytes.
func heapPerStream(t testing.TB, in inside, server, client *tls.Config) int {
	t.Helper()
	const streams = 200
	shared := &lender{inside: in}
	all := make([]*Stream, 0, streams)
	var before uint64
	for i := range streams + 10 {
		if i == 10 { // whatever is shared exists by now
			all = all[:0]
			before = liveHeap()
		}
		a, b := net.Pipe()
		done := make(chan error, 1)
		go func() { done <- silentPeer(b, client) }()
		s := newStream(shared)
		if err := s.openTLS(a, server).Handshake(); err != nil {
			t.Fatal(err)
		}
		if client.MaxVersion == tls.VersionTLS12 {
			if err := s.link.flush(); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		s.settle()
		s.Take(s.Take(nil)) // the session ticket
		_ = a.Close()
		all = append(all, s)
	}
	used := liveHeap() - before
	runtime.KeepAlive(all)
	return int(used / streams)
}

func liveHeap() uint64 {
	for range 3 {
		runtime.GC() // pools survive the first
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestIdleTLSStreamCostsLittle(t *testing.T) {
	server, client := tlsPair(t)
	for _, c := range []struct {
		name string
		max  uint16
	}{{"TLS 1.3", 0}, {"TLS 1.2", tls.VersionTLS12}} {
		config := client.Clone()
		config.ClientSessionCache, config.MaxVersion = nil, c.max
		with, without := heapPerStream(t, lookInside(), server, config), heapPerStream(t, inside{}, server, config)
		t.Logf("%s: live heap per idle stream: %d bytes, %d without taking buffers back", c.name, with, without)
		// tls.Conn 0.9 KiB, two ciphers of 0.9 KiB, secrets, the Stream.
		const most = 3500
		if with > most {
			t.Errorf("%s: %d bytes, want %d at most", c.name, with, most)
		}
	}
}

// turn is what a connection does for a message in steady state.
func turn(s *Stream, wire, mqtt, out []byte) []byte {
	s.Receive(wire)
	for {
		if _, err := s.Read(mqtt); err == ErrMore {
			break
		} else if err != nil {
			panic(err)
		}
	}
	if err := s.Send(mqtt[:64]); err != nil {
		panic(err)
	}
	return s.Take(out)
}

func FuzzStream(f *testing.F) {
	server, client := tlsPair(f)
	f.Add(byte(0), uint16(3), []byte{0x17, 3, 3, 0, 2, 1, 2})
	f.Add(byte(1), uint16(1), masked(websocket.OpPing, "x"))
	f.Add(byte(2), uint16(9), []byte{0x15, 3, 3, 0xff, 0xff, 0})
	f.Add(byte(3), uint16(50), masked(websocket.OpBinary, "hello"))
	f.Fuzz(func(t *testing.T, kind byte, piece uint16, wire []byte) {
		var s *Stream
		switch kind % 4 {
		case 0: // bytes that are no records
			s, _ = pair(t, server, client, false)
		case 1: // bytes that are no frames
			s, _ = pair(t, nil, nil, true)
		case 2:
			s, _ = pair(t, server, client, true)
		case 3: // frames inside good records
			var p *peer
			s, p = pair(t, server, client, true)
			wire = p.raw(wire)
		}
		read, mqtt := 0, make([]byte, 100)
		for len(wire) > 0 {
			n := min(len(wire), int(piece)+1)
			s.Receive(wire[:n:n])
			wire = wire[n:]
			for calls := 0; ; calls++ {
				m, err := s.Read(mqtt)
				if read += m; err != nil {
					break
				}
				if m == 0 || calls > 1<<16 {
					t.Fatalf("Read returned %d bytes without an error, for the %dth time", m, calls)
				}
			}
			if got := cap(s.link.part); got > 20<<10 {
				t.Fatalf("%d bytes are held for one record", got)
			}
		}
		if got := len(s.Take(nil)); got > maxOwed+1024 {
			t.Fatalf("%d bytes of answers", got)
		}
	})
}

func benchmarkStream(b *testing.B, name string, size, batch int) {
	for _, l := range layers(b) {
		if l.name != name {
			continue
		}
		b.Run(name, func(b *testing.B) {
			s, p := l.pair(b)
			message := bytes.Repeat([]byte("x"), size)
			mqtt, out := make([]byte, 64<<10), []byte(nil)
			const prepared = 1000
			var wire [][]byte
			b.ReportAllocs()
			for i := range b.N {
				if i%prepared == 0 {
					b.StopTimer()
					wire = wire[:0]
					for range min(prepared, b.N-i) {
						var w []byte
						for range batch {
							w = append(w, p.send(message)...)
						}
						wire = append(wire, w)
					}
					b.StartTimer()
				}
				out = turn(s, wire[i%prepared], mqtt, out)
			}
		})
	}
}

func BenchmarkStreamMessage(b *testing.B) {
	for _, name := range []string{"TLS 1.3", "TLS 1.2", "WebSocket", "WebSocket over TLS"} {
		benchmarkStream(b, name, 64, 1)
	}
}

func BenchmarkStreamBatch(b *testing.B) { benchmarkStream(b, "TLS 1.3", 65*64, 1) }

func BenchmarkStreamRecordPerMessage(b *testing.B) { benchmarkStream(b, "TLS 1.3", 64, 65) }

func BenchmarkStream16K(b *testing.B) { benchmarkStream(b, "TLS 1.3", 16<<10, 1) }
