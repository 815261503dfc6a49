package bench

import (
	"crypto/tls"
	"maps"
	"slices"
	"strings"
	"sync"
)

// secured counts what TLS connections negotiated: in [Connect] those that are
// measured, else those that last as long as the run.
type secured struct {
	mu           sync.Mutex // guards the fields below
	all, resumed int
	kinds        map[string]struct{} // few: what one broker chooses for one client
}

// see counts c if it is of TLS.
func (s *secured) see(c *rawConn) {
	t, ok := c.Conn.(*tls.Conn)
	if !ok {
		return
	}
	state := t.ConnectionState()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all++
	if state.DidResume {
		s.resumed++
	}
	if s.kinds == nil {
		s.kinds = make(map[string]struct{})
	}
	s.kinds[negotiated(&state)] = struct{}{}
}

// negotiated names version, cipher suite and the group that keys were agreed on
// with, of which there is none where keys are exchanged by RSA. A resumed session
// of TLS 1.2 has that of the handshake that began it.
func negotiated(state *tls.ConnectionState) string {
	kind := tls.VersionName(state.Version) + ", " + tls.CipherSuiteName(state.CipherSuite)
	if state.CurveID != 0 {
		kind += ", " + state.CurveID.String()
	}
	return kind
}

func (s *secured) report(rep *Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == 0 {
		return
	}
	rep.TLS = strings.Join(slices.Sorted(maps.Keys(s.kinds)), "; ")
	rep.set("tls_resumed_share", float64(s.resumed)/float64(s.all))
}

// Forgetful is a cache of TLS sessions that keeps none. A client with it says
// that it takes tickets, as nearly all do, and begins anew each time, so that a
// broker does for it what it does for a client that comes for the first time.
type Forgetful struct{}

// Get implements [tls.ClientSessionCache].
func (Forgetful) Get(string) (*tls.ClientSessionState, bool) { return nil, false }

// Put implements [tls.ClientSessionCache].
func (Forgetful) Put(string, *tls.ClientSessionState) {}
