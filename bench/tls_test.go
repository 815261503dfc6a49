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
	if r := mustRun(t, o); !r.OK() || r.Delivered != 400 || r.Generator != "goroutines" || !strings.HasPrefix(r.TLS, "TLS 1.3, ") {
		t.Errorf("%+v", r)
	}
}

const suite12 = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"

func TestConnectionsOverTLSSayWhatTheyNegotiated(t *testing.T) {
	tests := []struct {
		name    string
		version uint16
		curve   tls.CurveID
		resume  bool
		says    string
		resumed float64 // share, at least
	}{
		{"full", tls.VersionTLS13, tls.X25519, false, "TLS 1.3, TLS_AES_128_GCM_SHA256, X25519", 0},
		{"full, hybrid", tls.VersionTLS13, tls.X25519MLKEM768, false, "TLS 1.3, TLS_AES_128_GCM_SHA256, X25519MLKEM768", 0},
		{"resumed", tls.VersionTLS13, tls.CurveP256, true, "TLS 1.3, TLS_AES_128_GCM_SHA256, CurveP256", .5},
		{"full, TLS 1.2", tls.VersionTLS12, tls.CurveP256, false, "TLS 1.2, " + suite12 + ", CurveP256", 0},
		{"resumed, TLS 1.2", tls.VersionTLS12, tls.CurveP256, true, "TLS 1.2, " + suite12 + ", CurveP256", .5}, // the first one's group
	}
	for _, tt := range tests {
		b, target := secure(t)
		target.TLS.CurvePreferences, target.TLS.MaxVersion = []tls.CurveID{tt.curve}, tt.version
		target.TLS.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
		target.TLS.ClientSessionCache = Forgetful{}
		if tt.resume {
			target.TLS.ClientSessionCache = tls.NewLRUClientSessionCache(0)
		}
		for _, scenario := range []string{Connect, Idle} {
			o := small(b, scenario)
			o.Dial, o.Clients, o.Duration = target.Dial, 4, time.Millisecond
			r := mustRun(t, o)
			share := r.Measures["tls_resumed_share"]
			if r.TLS != tt.says || share < tt.resumed || !tt.resume && share > 0 {
				t.Errorf("%s, %s: %q, %v resumed", tt.name, scenario, r.TLS, share)
			}
		}
	}
}

func TestAllThatConnectionsNegotiatedIsSaid(t *testing.T) {
	s := secured{all: 4, resumed: 1, kinds: map[string]struct{}{
		negotiated(&tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_256_GCM_SHA384, CurveID: tls.X25519}): {},
		negotiated(&tls.ConnectionState{Version: tls.VersionTLS12, CipherSuite: tls.TLS_RSA_WITH_AES_128_GCM_SHA256}):             {},
	}}
	r := new(Report)
	s.report(r)
	if want := "TLS 1.2, TLS_RSA_WITH_AES_128_GCM_SHA256; TLS 1.3, TLS_AES_256_GCM_SHA384, X25519"; r.TLS != want || r.Measures["tls_resumed_share"] != .25 {
		t.Errorf("%q, %v, want %q", r.TLS, r.Measures, want)
	}
	if new(secured).report(r); r.Measures["tls_resumed_share"] != .25 {
		t.Error("a run without TLS says something of it")
	}
}
