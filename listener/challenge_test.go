package listener

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
)

// A server that asked who answers for a name (RFC 8737) sees the certificate and
// the end, and nothing that it sends is read as MQTT or as a request of WebSocket.
func TestAChallengeEndsWithTheHandshake(t *testing.T) {
	for _, transport := range []Transport{TLS, WSS} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			server, client := challengePair(t, version)
			l := start(t, Options{Transport: transport, TLS: server}, unexpected(t))
			challenge(t, dial(t, l), client)
			eventually(t, "Open", l.counts.Open.Load, 0)
			if failed := l.counts.HandshakeFailed.Load() + l.counts.UpgradeFailed.Load(); failed != 0 {
				t.Errorf("%s: %d failures, want none", transport, failed)
			}
		}
	}
}

// challengePair is a server that answers challenges, and one that asks.
func challengePair(t *testing.T, version uint16) (server, client *tls.Config) {
	t.Helper()
	inner, client := tlsPair(t)
	server = &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c, err := inner.GetConfigForClient(hello)
		if err != nil {
			return nil, err
		}
		c = c.Clone()
		c.NextProtos = []string{challengeProtocol}
		return c, nil
	}, GetCertificate: inner.GetCertificate}
	client = client.Clone()
	client.NextProtos, client.MinVersion, client.MaxVersion = []string{challengeProtocol}, version, version
	return server, client
}

// challenge is what an ACME server does, and a byte of MQTT more.
func challenge(t *testing.T, raw net.Conn, client *tls.Config) {
	t.Helper()
	c := tls.Client(raw, client)
	defer c.Close()
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if got := c.ConnectionState().NegotiatedProtocol; got != challengeProtocol {
		t.Errorf("protocol %q, want %q", got, challengeProtocol)
	}
	_, _ = io.WriteString(c, "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00") // it may be closed already
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("after the handshake: %d bytes, %v; want the end", n, err)
	}
}
