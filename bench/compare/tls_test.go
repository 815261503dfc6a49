package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/bench"
)

func TestOnlyWhatARowIsAboutCounts(t *testing.T) {
	full, resumed := row{negotiates: tls13}, row{negotiates: tls13, resumes: true}
	report := func(kind string, share float64) *bench.Report {
		return &bench.Report{TLS: kind, Measures: map[string]float64{"tls_resumed_share": share}}
	}
	for _, c := range []struct {
		name   string
		row    row
		report *bench.Report
		says   string // "": it counts
	}{
		{"full handshakes", full, report(tls13, 0), ""},
		{"resumed ones", resumed, report(tls13, 1), ""},
		{"without TLS", row{}, &bench.Report{}, ""},
		{"none resumed", resumed, report(tls13, 0), "does not resume: 0 %"},
		{"one in a thousand did not", resumed, report(tls13, .999), "does not resume"},
		{"full ones, of which some resumed", full, report(tls13, .01), "1 % of the connections resumed"},
		{"another suite", full, report("TLS 1.3, TLS_AES_256_GCM_SHA384, X25519", 0), "negotiated"},
		{"another group", full, report(tls13Hybrid, 0), "negotiated"},
		{"a mixture", full, report(tls13+"; "+tls12, 0), "negotiated"},
		{"no TLS where there should be", full, &bench.Report{}, "negotiated"},
	} {
		got, err := c.row.accept(c.report)
		if c.says == "" && (err != nil || got != c.report) || c.says != "" && got != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
		if errors.Is(err, errNoResumption) != strings.Contains(c.says, "does not resume") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestRowsOverTLS(t *testing.T) {
	chosen, err := chooseRows(overTLS, false, false)
	if err != nil || len(chosen) < 15 {
		t.Fatalf("%d rows, %v", len(chosen), err)
	}
	for _, r := range chosen {
		if r.id == "connect" {
			continue
		}
		version := r.args[slices.Index(r.args, "--tls-version")+1]
		if !strings.HasPrefix(strings.ToLower(strings.ReplaceAll(r.negotiates, "TLS ", "tlsv")), version) {
			t.Errorf("%s speaks %s and wants %q", r.id, version, r.negotiates)
		}
		if r.resumes != slices.Contains(r.args, "--tls-resume") || r.resumes != strings.Contains(r.title, "resumed") {
			t.Errorf("%s resumes: %t, %q, %v", r.id, r.resumes, r.title, r.args)
		}
		if r.rsa != strings.Contains(r.title, "RSA") || r.rsa && strings.Contains(r.negotiates, "ECDSA") || r.mutual != strings.Contains(r.title, "client certificate") {
			t.Errorf("%s: %q with an RSA key %t, client certificates %t", r.id, r.title, r.rsa, r.mutual)
		}
	}
}

// TestKeys holds the files against what a handshake asks of them.
func TestKeys(t *testing.T) {
	w := &workbench{dir: t.TempDir()}
	if err := w.makeKeys(time.Now()); err != nil {
		t.Fatal(err)
	}
	pool := func(file string) *x509.CertPool {
		text, err := os.ReadFile(file)
		p := x509.NewCertPool()
		if err != nil || !p.AppendCertsFromPEM(text) {
			t.Fatalf("%s: %v", file, err)
		}
		return p
	}
	for _, c := range []struct {
		pair pair
		ca   string
		use  x509.ExtKeyUsage
		name string
		kind x509.PublicKeyAlgorithm
	}{
		{w.keys.server(row{}), w.keys.ca, x509.ExtKeyUsageServerAuth, "127.0.0.1", x509.ECDSA},
		{w.keys.server(row{rsa: true}), w.keys.ca, x509.ExtKeyUsageServerAuth, "127.0.0.1", x509.RSA},
		{w.keys.client, w.keys.clientCA, x509.ExtKeyUsageClientAuth, "", x509.ECDSA},
	} {
		loaded, err := tls.LoadX509KeyPair(c.pair.cert, c.pair.key)
		if err != nil {
			t.Fatal(err)
		}
		_, err = loaded.Leaf.Verify(x509.VerifyOptions{Roots: pool(c.ca), KeyUsages: []x509.ExtKeyUsage{c.use}, DNSName: c.name})
		if err != nil || loaded.Leaf.PublicKeyAlgorithm != c.kind {
			t.Errorf("%s: %v, a key of %v", c.pair.cert, err, loaded.Leaf.PublicKeyAlgorithm)
		}
	}
	text, err := os.ReadFile(w.keys.crl)
	if err != nil || strings.Count(string(text), "BEGIN X509 CRL") != 1 {
		t.Errorf("%s: %v", w.keys.crl, err)
	}
}

func TestEachRowHasItsKeys(t *testing.T) {
	w := &workbench{keys: keys{
		ecdsa: pair{"ecdsa.crt", "ecdsa.key"}, rsa: pair{"rsa.crt", "rsa.key"}, clientCA: "clients.crt", crl: "clients.crl",
	}}
	for id, want := range map[string]string{
		"tlsfull": "ecdsa.crt ecdsa.key", "tls12rsa": "rsa.crt rsa.key", "tlsmutualresumed": "ecdsa.crt ecdsa.key clients.crt",
		"idlemutual": "ecdsa.crt ecdsa.key clients.crt", "tlscrl": "ecdsa.crt ecdsa.key clients.crt clients.crl",
	} {
		chosen, err := chooseRows(id, false, false)
		if err != nil {
			t.Fatal(err)
		}
		s := w.settings(broker{}, chosen[0])
		if got := strings.TrimSpace(strings.Join([]string{s.Cert, s.Key, s.ClientCA, s.CRL}, " ")); got != want || !s.TLS {
			t.Errorf("%s: %q, want %q", id, got, want)
		}
	}
}

func TestConfigurationsDemandClientCertificates(t *testing.T) {
	s := settings{Port: 4711, Users: "u", TLS: true, Cert: "c.pem", Key: "k.pem", Dir: "d", ClientCA: "clients.pem", CRL: "revoked.pem"}
	for _, b := range brokers() {
		text, err := b.template()
		if err != nil {
			t.Fatal(err)
		}
		if text == nil {
			if args := b.command(&workbench{}, s, ""); !slices.Contains(args, "clients.pem") {
				t.Errorf("%s: %v", b.id, args)
			}
			continue
		}
		for _, r := range rows() {
			if r.crl && r.without[b.id] == "" {
				if made := rendered(t, text, s); !strings.Contains(made, "revoked.pem") {
					t.Errorf("%s reads no list:\n%s", b.id, made)
				}
			}
		}
		if made := rendered(t, text, s); !strings.Contains(made, "clients.pem") {
			t.Errorf("%s asks for no certificate:\n%s", b.id, made)
		}
		if s := (settings{Port: 4711, Users: "u", TLS: true, Cert: "c.pem", Key: "k.pem", Dir: "d"}); strings.Contains(rendered(t, text, s), "require") {
			t.Errorf("%s asks for certificates in every row", b.id)
		}
	}
}
