package attack_test

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"sallyport/certs"
)

// TestWhichPagesMayConnect shows the rule of Origin as a configuration gives it,
// its default included.
func TestWhichPagesMayConnect(t *testing.T) {
	t.Parallel()
	const (
		cert     = "tls: {certificate: tls/server.crt, key: tls/server.key}\n"
		optional = "tls: {certificate: tls/server.crt, key: tls/server.key, client_auth: optional, client_ca: tls/ca.crt}\n"
	)
	type try struct {
		path, origin string
		want         int
	}
	for name, c := range map[string]struct {
		transport, listener string
		tries               []try
	}{
		"any page where passwords authenticate":         {"ws", "", []try{{"/mqtt", "https://evil.example", 101}, {"/", "", 404}}},
		"any page over TLS without client certificates": {"wss", cert, []try{{"/mqtt", "https://evil.example", 101}}},
		"the same host where certificates may authenticate": {"wss", optional, []try{
			{"/mqtt", "https://evil.example", 403}, {"/mqtt", "null", 403}, {"/mqtt", "https://localhost", 101}, {"/mqtt", "", 101},
		}},
		"the list also where certificates authenticate": {"wss", optional + "websocket: {origins: ['https://app.example']}", []try{
			{"/mqtt", "https://app.example", 101}, {"/mqtt", "https://localhost", 403}, {"/mqtt", "https://evil.example", 403},
		}},
		"every page where the configuration says so": {"wss", optional + "websocket: {origins: ['*']}", []try{{"/mqtt", "https://evil.example", 101}}},
		"another path": {"ws", "websocket: {path: /door}", []try{{"/door", "", 101}, {"/mqtt", "", 404}}},
		"every path":   {"ws", "websocket: {path: '*'}", []try{{"/door", "", 101}, {"/", "", 101}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := prepare(t, strings.Replace(plain(c.listener, ""), "transport: tcp", "transport: "+c.transport, 1), freely)
			if _, err := certs.Quickstart(s.path("tls"), []string{"localhost"}, time.Now()); err != nil {
				t.Fatal(err)
			}
			s.begin()
			for _, x := range c.tries {
				nc := s.socket("tcp") // the name of the listener, whatever it speaks
				if c.transport == "wss" {
					nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // only the upgrade is looked at
				}
				if got := (&webConn{Conn: nc}).upgrade(request(x.path, map[string]string{"Origin": x.origin})); got != x.want {
					t.Errorf("%s from origin %q: %d, want %d", x.path, x.origin, got, x.want)
				}
			}
		})
	}
}
