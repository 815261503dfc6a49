package bench

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"sallyport/client"
	"sallyport/client/clienttest"
)

// secure starts a broker behind TLS and returns how to reach it.
func secure(t *testing.T) (*clienttest.Broker, client.Target) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
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
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	b := clienttest.Serve(t, ln)
	return b, client.Target{Transport: client.TLS, Address: b.Addr, TLS: &tls.Config{RootCAs: pool}}
}

func TestTrafficOverTLSIsVerified(t *testing.T) {
	b, target := secure(t)
	o := small(b, P2P)
	o.Dial, o.QoS = target.Dial, 1
	if r := mustRun(t, o); !r.OK() || r.Delivered != 400 || r.Generator != "goroutines" {
		t.Errorf("%+v", r)
	}
}

func TestConnectionsOverTLSSayWhatTheyNegotiated(t *testing.T) {
	tests := []struct {
		name    string
		curve   tls.CurveID
		resume  bool
		says    string
		resumed float64 // share, at least
	}{
		{"full", tls.X25519, false, "X25519", 0},
		{"full, hybrid", tls.X25519MLKEM768, false, "X25519MLKEM768", 0},
		{"resumed", tls.CurveP256, true, "CurveP256", .5},
	}
	for _, tt := range tests {
		b, target := secure(t)
		target.TLS.CurvePreferences = []tls.CurveID{tt.curve}
		if tt.resume {
			target.TLS.ClientSessionCache = tls.NewLRUClientSessionCache(0)
		}
		for _, scenario := range []string{Connect, Idle} {
			o := small(b, scenario)
			o.Dial, o.Clients, o.Duration = target.Dial, 4, time.Millisecond
			r := mustRun(t, o)
			share := r.Measures["tls_resumed_share"]
			if !strings.HasPrefix(r.TLS, "TLS 1.3, ") || !strings.HasSuffix(r.TLS, ", "+tt.says) || share < tt.resumed || !tt.resume && share > 0 {
				t.Errorf("%s, %s: %q, %v resumed", tt.name, scenario, r.TLS, share)
			}
		}
	}
}
