package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"
)

// Transport names a way to reach a server.
type Transport string

// The transports.
const (
	TCP  Transport = "tcp"
	TLS  Transport = "tls"
	WS   Transport = "ws"
	WSS  Transport = "wss"
	Unix Transport = "unix"
)

// DialTimeout bounds the opening of a connection when the context doesn't.
const DialTimeout = 30 * time.Second

// Target is where a server is and how it is reached.
type Target struct {
	Transport Transport
	Address   string // host:port, or the path of a Unix socket
	// TLS is used by TLS and WSS; nil verifies with the system's roots. The
	// server name defaults to the host of Address.
	TLS *tls.Config
	// Path is the WebSocket's request target; "" is /mqtt.
	Path string
	// Subprotocol is the WebSocket's; "" is mqtt (MQTT 5.0, 6.0-3).
	Subprotocol string
}

// Dial opens a connection that carries MQTT, handshakes done.
func (t Target) Dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, DialTimeout)
	defer cancel()
	network := "tcp"
	if t.Transport == Unix {
		network = "unix"
	}
	nc, err := new(net.Dialer).DialContext(ctx, network, t.Address)
	if err != nil {
		return nil, err
	}
	switch t.Transport {
	case TCP, Unix:
		return nc, nil
	case TLS:
		return t.startTLS(ctx, nc)
	case WS:
		return t.startWebSocket(ctx, nc)
	case WSS:
		secure, err := t.startTLS(ctx, nc)
		if err != nil {
			return nil, err
		}
		return t.startWebSocket(ctx, secure)
	}
	nc.Close()
	return nil, fmt.Errorf("unknown transport %q", t.Transport)
}

// startTLS shakes hands; it closes nc if that fails.
func (t Target) startTLS(ctx context.Context, nc net.Conn) (net.Conn, error) {
	cfg := &tls.Config{}
	if t.TLS != nil {
		cfg = t.TLS.Clone()
	}
	if cfg.ServerName == "" {
		host, _, err := net.SplitHostPort(t.Address)
		if err != nil {
			nc.Close()
			return nil, err
		}
		cfg.ServerName = host
	}
	if t.Transport == WSS {
		cfg.NextProtos = []string{"http/1.1"} // the upgrade is HTTP/1.1 only
	}
	secure := tls.Client(nc, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return secure, nil
}
