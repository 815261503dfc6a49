package scram

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
)

// handshake gives both ends' states of a channel of a version.
func handshake(t *testing.T, version uint16) (client, server tls.ConnectionState) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"broker.example"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	s := tls.Server(a, &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		MinVersion:   version, MaxVersion: version, SessionTicketsDisabled: true,
	})
	// Who the server is does not matter here.
	c := tls.Client(b, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
	done := make(chan error, 1)
	go func() { done <- s.Handshake() }()
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState(), s.ConnectionState()
}

func TestTLSExporter(t *testing.T) {
	var last []byte
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c, s := handshake(t, version)
		ours, err1 := TLSExporter(&s)
		theirs, err2 := TLSExporter(&c)
		if err1 != nil || err2 != nil {
			t.Fatalf("%s: %v, %v", tls.VersionName(version), err1, err2)
		}
		if ours.Type != "tls-exporter" || len(ours.Data) != 32 || !bytes.Equal(ours.Data, theirs.Data) || bytes.Equal(ours.Data, last) {
			t.Errorf("%s: bindings are %v and %v", tls.VersionName(version), ours, theirs)
		}
		last = ours.Data
		bound := func(o *ServerOptions) { o.Method.Plus, o.Binding = true, ours }
		if err := run(client(t, func(o *ClientOptions) { o.Method.Plus, o.Binding = true, theirs }), server(t, bound)); err != nil {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
	if b, err := TLSExporter(&tls.ConnectionState{Version: tls.VersionTLS13}); err == nil {
		t.Errorf("before the handshake the binding is %v", b)
	}
	_, s := handshake(t, tls.VersionTLS12)
	s.Version = tls.VersionTLS11
	if b, err := TLSExporter(&s); err == nil {
		t.Errorf("of TLS 1.1 the binding is %v", b)
	}
}
