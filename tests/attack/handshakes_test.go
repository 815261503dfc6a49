package attack_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/packet"
)

// besieged is a broker with a few places for handshakes that time alone hardly frees.
func besieged(t *testing.T, places int, w *wicked) *site {
	t.Helper()
	s := forCertificates(t, w.here, everything)
	s.text = strings.ReplaceAll(s.text, "crl: clients.crl", fmt.Sprintf("crl: clients.crl, handshakes: %d, handshake_timeout: 5m", places))
	return s.begin()
}

// from dials the door tls from a loopback address, each of which is a prefix of its own.
func (s *site) from(source string) net.Conn {
	s.t.Helper()
	nc, err := dialTCP(s.addr("tls"), source)
	if err != nil {
		s.t.Fatalf("dial from %s: %v", source, err)
	}
	s.t.Cleanup(func() { _ = nc.Close() })
	return nc
}

// hello is the ClientHello of Go's client.
func hello(t *testing.T) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer client.Close()
	go func() { _ = tls.Client(client, &tls.Config{ServerName: "localhost"}).Handshake() }() // ends with the pipe
	b := make([]byte, 4<<10)
	n, err := server.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// ends counts connections that the broker has closed.
type ends struct {
	mu sync.Mutex // guards n
	n  int
}

func (e *ends) watch(nc net.Conn) {
	_, _ = io.Copy(io.Discard, nc) // an answer to a ClientHello, perhaps
	e.mu.Lock()
	e.n++
	e.mu.Unlock()
}

func (e *ends) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.n
}

// written counts events of a reason, those that were left out of the log included,
// as far as a later one has told of them.
func (s *site) written(reason string) (n int) {
	lines := regexp.MustCompile(`msg=handshake_failed .*reason=`+reason+` .*`).FindAllString(s.log.String(), -1)
	for _, line := range lines {
		n++
		if m := regexp.MustCompile(`suppressed=(\d+)`).FindStringSubmatch(line); m != nil {
			more, _ := strconv.Atoi(m[1]) // digits
			n += more
		}
	}
	return n
}

// residents is what goroutines, their stacks and the heap hold.
func residents() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// TestThousandsOfHalfOpenHandshakesKeepNobodyOut: places are bounded, whoever is turned
// away is closed and counted, and those who are served and newcomers from elsewhere go on.
func TestThousandsOfHalfOpenHandshakesKeepNobodyOut(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs more than one loopback address")
	}
	const places, flood = 300, 3000
	w := &wicked{t: t, here: newAuthority(t, "here"), other: newAuthority(t, "other")}
	s := besieged(t, places, w)
	served := s.mustEnter("tls", w.here.device("served"))
	served.allowed(1, "a")
	whole := hello(t)
	before := residents()
	var closed ends
	kinds := [][]byte{nil, whole[:11], whole[:len(whole)-1], whole}
	for i := range flood {
		nc := s.from(fmt.Sprintf("127.1.%d.1", i%8))
		_, _ = nc.Write(kinds[i/8%len(kinds)])
		go closed.watch(nc)
		if i%100 == 0 {
			served.publish("a", fmt.Sprint(i), 1, false)
			served.only("a", fmt.Sprint(i))
		}
	}
	eventually(t, "all but those who have a place are closed", func() bool { return closed.count() == flood-places })
	// What the 2 x 300 sockets of this process hold is in it, too.
	if grown := residents() - before; grown > places*100<<10 {
		t.Errorf("%d half-open handshakes hold %d KiB", places, grown>>10)
	}
	for n := range 20 {
		p := s.welcomed(fmt.Sprintf("127.2.%d.1", n), w.here.device(fmt.Sprint("newcomer", n)))
		p.stays("b")
	}
	// When there was no place it had one of the flood's, which is free when it is through.
	eventually(t, "a newcomer took the place of an old one", func() bool { return closed.count() > flood-places })
	served.publish("a", "the end", 1, false)
	served.only("a", "the end")
	// A second later one more event tells of those that were left out.
	eventually(t, "every one is counted", func() bool {
		go closed.watch(s.from("127.1.0.1"))
		return s.written("crowded") > flood-places
	})
}

// welcomed is a client from an address, with everything that a client does.
func (s *site) welcomed(source string, device tls.Certificate) *peer {
	s.t.Helper()
	nc := tls.Client(s.from(source), &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{device}}) //nolint:gosec // the attacker doesn't care who it is
	_ = nc.SetDeadline(time.Now().Add(patience))
	if err := nc.Handshake(); err != nil {
		s.t.Fatalf("a newcomer from %s: %v", source, err)
	}
	p := newPeer(s.t, nc)
	if ack := p.connect(login(packet.V5, "x", id(device.Leaf.Subject.CommonName))); ack.Code != 0 {
		s.t.Fatalf("a newcomer from %s: 0x%02x", source, byte(ack.Code))
	}
	return p
}

// TestHandshakesThatCostWorkKeepNobodyOut: they fail at the end, or are made whole
// again and again, from few addresses.
func TestHandshakesThatCostWorkKeepNobodyOut(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs more than one loopback address")
	}
	w := &wicked{t: t, here: newAuthority(t, "here"), other: newAuthority(t, "other")}
	s := besieged(t, 64, w)
	served := s.mustEnter("tls", w.here.device("served"))
	served.allowed(1, "a")
	good, bad, whole := w.here.device("flood"), as(w.other.device("stranger")), hello(t)
	bad.InsecureSkipVerify = true
	attacks := map[string]func(net.Conn){
		"a stranger's certificate": func(nc net.Conn) {
			c := tls.Client(nc, bad)
			if c.Handshake() == nil {
				_, _ = c.Read(make([]byte, 1)) // the alert
			}
		},
		"whole handshakes": func(nc net.Conn) {
			c := tls.Client(nc, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{good}}) //nolint:gosec // the attacker doesn't care who it is
			_ = c.Handshake()                                                                                 // refused for want of a place, perhaps
		},
		"a ClientHello and no more": func(nc net.Conn) {
			_, _ = nc.Write(whole)
			_, _ = nc.Read(make([]byte, 1))
		},
	}
	stop := make(chan struct{})
	var all sync.WaitGroup
	for _, attack := range attacks {
		for i := range 16 {
			source := fmt.Sprintf("127.3.%d.1", i%4)
			all.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					nc, err := dialTCP(s.addr("tls"), source)
					if err != nil {
						return
					}
					_ = nc.SetDeadline(time.Now().Add(patience))
					attack(nc)
					_ = nc.(*net.TCPConn).SetLinger(0) // else the ports would run out
					_ = nc.Close()
				}
			})
		}
	}
	for n := range 10 {
		served.publish("a", fmt.Sprint(n), 1, false)
		served.only("a", fmt.Sprint(n))
		s.welcomed(fmt.Sprintf("127.4.%d.1", n), w.here.device(fmt.Sprint("newcomer", n))).stays("b")
	}
	close(stop)
	all.Wait()
	if s.written("unknown_ca") == 0 {
		t.Errorf("no event tells of a stranger's certificate:\n%s", bytes.TrimSpace([]byte(s.log.String()[:2000])))
	}
}
