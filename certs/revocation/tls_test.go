package revocation

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"
)

// A ticket that was taken before the revocation carries no further than a fresh
// handshake would.
func TestResumptionAfterRevocationByOCSP(t *testing.T) {
	root := newCA(t, "root", nil)
	r, s := newResponder(t, root)
	key := newKey(t)
	device := root.issue(t, key, responderAt(s.url))
	serverKey := newKey(t)
	server := root.issue(t, serverKey, func(c *x509.Certificate) {
		c.DNSNames, c.ExtKeyUsage = []string{"broker.test"}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	pool := x509.NewCertPool()
	pool.AddCert(root.cert)
	var clock movable
	r.clock, r.valid = clock.now, time.Hour
	c := newChecker(t, Options{OCSP: HardFail, Online: newOnline(t, OnlineOptions{Now: clock.now}), Now: clock.now})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		r.say(device, isGood)
		serverConfig := &tls.Config{
			Certificates: []tls.Certificate{{Certificate: [][]byte{server.Raw}, PrivateKey: serverKey}},
			ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: pool, MaxVersion: version,
			VerifyConnection: func(state tls.ConnectionState) error { return c.Check(t.Context(), state.VerifiedChains) },
		}
		clientConfig := &tls.Config{
			Certificates: []tls.Certificate{{Certificate: [][]byte{device.Raw}, PrivateKey: key}},
			RootCAs:      pool, ServerName: "broker.test", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1),
		}
		connect := func() (resumed bool, serverErr error) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			done := make(chan error, 1)
			go func() {
				conn, err := l.Accept()
				if err != nil {
					done <- err
					return
				}
				defer func() { _ = conn.Close() }()
				_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // a test that hangs says so
				srv := tls.Server(conn, serverConfig)
				if err = srv.Handshake(); err == nil {
					_, err = srv.Write([]byte("x"))
				}
				done <- err
			}()
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			client := tls.Client(conn, clientConfig)
			if client.Handshake() == nil {
				_, _ = client.Read(make([]byte, 1)) // takes the ticket, or the alert
			}
			return client.ConnectionState().DidResume, <-done
		}
		// What an earlier version's turn left is out of date.
		clock.move(24 * time.Hour)
		if version == tls.VersionTLS13 {
			_, _ = connect() // asks again about what was revoked
			idle(t, c.o.Online)
		}
		if _, err := connect(); err != nil {
			t.Fatalf("%s: %v", tls.VersionName(version), err)
		}
		if resumed, err := connect(); err != nil || !resumed {
			t.Fatalf("%s: resumed %v, %v, want it resumed", tls.VersionName(version), resumed, err)
		}
		r.say(device, isRevoked(1))
		clock.move(2 * time.Hour)
		_, err := connect()
		wantCause(t, tls.VersionName(version)+": resumed after revocation", err, Revoked)
	}
}
