package client_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"path/filepath"
	"testing"
	"time"

	"sallyport/client"
	"sallyport/client/clienttest"
	"sallyport/internal/websocket"
	"sallyport/packet"
)

// authority makes a certificate for 127.0.0.1 and the pool that trusts it.
func authority(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// upgrading accepts WebSockets. It answers in frames of three bytes with a
// ping before each, so that a client must put pieces together.
type upgrading struct{ net.Listener }

func (u upgrading) Accept() (net.Conn, error) {
	nc, err := u.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &served{Conn: nc, upgrade: websocket.NewUpgrade(websocket.UpgradeOptions{Path: "/mqtt", Subprotocols: []string{"mqtt"}})}, nil
}

type served struct {
	net.Conn
	upgrade *websocket.Upgrade
	decoder websocket.Decoder
	raw     []byte
	data    []byte
	pongs   int
}

func (s *served) Read(b []byte) (int, error) {
	for len(s.data) == 0 {
		if len(s.raw) == 0 {
			buf := make([]byte, 512)
			n, err := s.Conn.Read(buf)
			if err != nil {
				return 0, err
			}
			s.raw = buf[:n]
		}
		if s.upgrade != nil {
			n, done, err := s.upgrade.Feed(s.raw)
			if s.raw = s.raw[n:]; err != nil || done {
				s.Conn.Write(s.upgrade.Response())
				s.upgrade = nil
			}
			if err != nil {
				return 0, err
			}
			continue
		}
		ev, n, err := s.decoder.Next(s.raw)
		if s.raw = s.raw[n:]; err != nil {
			return 0, err
		}
		switch ev.Kind {
		case websocket.Data:
			s.data = ev.Payload
		case websocket.Pong:
			s.pongs++
		case websocket.Close:
			if s.pongs == 0 {
				return 0, errors.New("no pong came")
			}
			return 0, net.ErrClosed
		}
	}
	n := copy(b, s.data)
	s.data = s.data[n:]
	return n, nil
}

func (s *served) Write(b []byte) (int, error) {
	var out []byte
	for rest := b; len(rest) > 0; {
		part := rest[:min(3, len(rest))]
		rest = rest[len(part):]
		out = append(websocket.AppendHeader(out, websocket.OpPing, 2), "hi"...)
		out = append(websocket.AppendHeader(out, websocket.OpBinary, len(part)), part...)
	}
	if _, err := s.Conn.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}

// TestEveryTransportCarriesMessages sends to itself over each.
func TestEveryTransportCarriesMessages(t *testing.T) {
	cert, pool := authority(t)
	server := &tls.Config{Certificates: []tls.Certificate{cert}}
	trusting := &tls.Config{RootCAs: pool}
	listen := func(network, addr string) net.Listener {
		ln, err := net.Listen(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		return ln
	}
	tcp := func() net.Listener { return listen("tcp", "127.0.0.1:0") }
	tests := []struct {
		transport client.Transport
		ln        net.Listener
	}{
		{client.TCP, tcp()},
		{client.TLS, tls.NewListener(tcp(), server)},
		{client.WS, upgrading{tcp()}},
		{client.WSS, upgrading{tls.NewListener(tcp(), server)}},
		{client.Unix, listen("unix", filepath.Join(t.TempDir(), "s"))},
	}
	for _, tt := range tests {
		t.Run(string(tt.transport), func(t *testing.T) {
			b := clienttest.Serve(t, tt.ln)
			target := client.Target{Transport: tt.transport, Address: b.Addr, TLS: trusting}
			got := make(chan *client.Message, 1)
			c := client.New(client.Options{Dial: target.Dial, Connect: packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "c"},
				OnMessage: func(m *client.Message) error { got <- m; return nil }})
			defer c.Close()
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if _, err := c.Connect(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Subscribe(ctx, packet.Subscribe{Filters: []packet.Subscription{{Filter: "a/#", QoS: 2}}}); err != nil {
				t.Fatal(err)
			}
			payload := make([]byte, 100_000) // more than a frame of either side
			payload[len(payload)-1] = 7
			if _, err := c.Publish(ctx, client.Message{Topic: "a/b", Payload: payload, QoS: 2}); err != nil {
				t.Fatal(err)
			}
			select {
			case m := <-got:
				if m.Topic != "a/b" || len(m.Payload) != len(payload) || m.Payload[len(payload)-1] != 7 {
					t.Errorf("got %s with %d bytes", m.Topic, len(m.Payload))
				}
			case <-ctx.Done():
				t.Fatal("no message came")
			}
			if err := c.Disconnect(ctx, nil); err != nil {
				t.Errorf("Disconnect = %v", err)
			}
		})
	}
}

func TestDialRefuses(t *testing.T) {
	cert, pool := authority(t)
	plain := clienttest.Start(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	secure := clienttest.Serve(t, tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{cert}}))
	wsLn, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ws := clienttest.Serve(t, upgrading{wsLn})
	tests := []struct {
		name   string
		target client.Target
	}{
		{"a certificate of an unknown authority", client.Target{Transport: client.TLS, Address: secure.Addr}},
		{"a certificate for another name", client.Target{Transport: client.TLS, Address: secure.Addr, TLS: &tls.Config{RootCAs: pool, ServerName: "other"}}},
		{"another path", client.Target{Transport: client.WS, Address: ws.Addr, Path: "/other"}},
		{"another subprotocol", client.Target{Transport: client.WS, Address: ws.Addr, Subprotocol: "chat"}},
		{"a path that breaks the request line", client.Target{Transport: client.WS, Address: ws.Addr, Path: "/a b\r\nX: y"}},
		{"an unknown transport", client.Target{Transport: "quic", Address: plain.Addr}},
		{"no socket there", client.Target{Transport: client.Unix, Address: filepath.Join(t.TempDir(), "none")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if nc, err := tt.target.Dial(context.Background()); err == nil {
				nc.Close()
				t.Error("Dial succeeded")
			}
		})
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // accepts, says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, transport := range []client.Transport{client.TLS, client.WS} {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		_, err := client.Target{Transport: transport, Address: ln.Addr().String()}.Dial(ctx)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: Dial = %v, want context.DeadlineExceeded", transport, err)
		}
		cancel()
	}
}
