package listener

import (
	"crypto/tls"
	"testing"
)

func TestAChallengeEndsWithTheHandshakeOnSockets(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		server, client := challengePair(t, version)
		l := startSockets(t, Options{Transport: TLS, TLS: server}, unexpectedSocket(t))
		challenge(t, dial(t, l), client)
		eventually(t, "Open", l.counts.Open.Load, 0)
	}
}
