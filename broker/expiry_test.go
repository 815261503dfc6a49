package broker

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/packet"
	"sallyport/security"
	"sallyport/security/authn"
)

// until is when credentials of those who connect from now on expire.
func (d *door) until(at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.expires = uint32(at.Unix())
}

func TestTheEndOfACredentialEndsTheConnection(t *testing.T) {
	for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
		for _, ka := range []uint16{0, 10, 1000} {
			overPipes(t, nil, func(x *bed) {
				w := x.connect(packet.V5, "watch", keepAlive(0))
				w.subscribe(filter("will", 1))
				x.door.until(time.Now().Add(300 * time.Second)) // some rounds of the wheel
				p := x.connect(v, "c", keepAlive(ka), willOf("will", "gone", 0))
				for range 29 {
					x.pass(10 * time.Second)
					p.ping()
				}
				x.pass(8 * time.Second)
				p.ping()
				w.nothing()
				x.pass(2200 * time.Millisecond)
				began := time.Now() // virtual
				p.leaves(packet.NotAuthorized)
				if late := time.Since(began); late > 2*time.Second {
					t.Errorf("version %d, keep alive %d: ended %v late", v, ka, late)
				}
				w.gets("gone") // that it expired does not silence it
				w.ping()       // others stay
			})
		}
	}
}

// Real sockets, whose broker has a clock of its own.
func TestEveryDriverEndsAnExpiredConnection(t *testing.T) {
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		start, ticks := time.Now(), make(chan time.Time)
		var passed atomic.Int64
		var out lockedBuffer
		overTCP(t, func(s *setup) {
			passed.Store(0)
			s.opt.Now = func() time.Time { return start.Add(time.Duration(passed.Load())) }
			s.opt.Tick = ticks
			s.opt.Log = slog.New(slog.NewTextHandler(&out, nil))
			s.door.until(start.Add(time.Hour))
		}, func(x *bed) {
			p := x.connect(v, "c", keepAlive(0))
			passed.Store(int64(time.Hour - 2*time.Second))
			ticks <- time.Time{}
			ticks <- time.Time{} // what was due in the one before has happened
			p.ping()
			passed.Store(int64(time.Hour + time.Second))
			ticks <- time.Time{}
			p.leaves(packet.NotAuthorized)
			if n := strings.Count(out.String(), "msg=credential_expired client=c"); n != 1 {
				t.Errorf("%d events:\n%s", n, out.String())
			}
			out.Reset()
		})
	}
}

// lockedBuffer is a buffer that a log may write to while a test reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lockedBuffer) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}

// renewing is an enhanced authentication whose credentials last as long as the
// client's data says.
type renewing struct{}

func (renewing) Exchange(string, *authn.Credentials) (Exchange, bool) { return renewing{}, true }

func (renewing) Step(data []byte, done func([]byte, *security.Principal, error)) {
	d, err := time.ParseDuration(string(data))
	if err != nil {
		done(nil, nil, err)
		return
	}
	done(nil, &security.Principal{Realm: "renewing", Name: "c", Expires: uint32(time.Now().Add(d).Unix())}, nil)
}

// MQTT 5.0, 4.12.1: who authenticates again has other credentials from then on.
func TestReauthenticationMovesTheEnd(t *testing.T) {
	for _, tt := range []struct{ first, again, total string }{
		{"20s", "100s", "110s"}, // later
		{"100s", "20s", "30s"},  // sooner
	} {
		overPipes(t, func(s *setup) { s.lis.Enhanced = renewing{} }, func(x *bed) {
			p := x.open(packet.V5)
			p.sendConnect("c", method("ROUNDS"), keepAlive(0), func(c *packet.Connect) {
				c.Props.AuthData = []byte(tt.first)
				c.Props.Mark(packet.PropAuthData)
			})
			p.connack()
			x.pass(10 * time.Second)
			p.sendAuth(packet.ReAuthenticate, "ROUNDS", tt.again)
			p.expectAuth(packet.Success, "")
			total, err := time.ParseDuration(tt.total)
			if err != nil {
				t.Fatal(err)
			}
			x.pass(total - 11*time.Second)
			p.ping()
			x.pass(1200 * time.Millisecond)
			p.leaves(packet.NotAuthorized)
		})
	}
}
