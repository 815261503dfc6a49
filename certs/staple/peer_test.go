package staple

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/certs/ocsp"
)

func findOpenSSL(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	return path
}

func writePEM(t *testing.T, path, kind string, der []byte) string {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// opensslResponder runs "openssl ocsp" for certificates of ca, signing as
// signer, and returns its URL. Index is as "openssl ca" keeps it.
func opensslResponder(t *testing.T, ca, signer *authority, index string, args ...string) string {
	t.Helper()
	openssl, dir := findOpenSSL(t), t.TempDir()
	keyDER, err := x509.MarshalPKCS8PrivateKey(signer.key)
	if err != nil {
		t.Fatal(err)
	}
	indexFile := filepath.Join(dir, "index.txt")
	if err := os.WriteFile(indexFile, []byte(index), 0o600); err != nil {
		t.Fatal(err)
	}
	args = append([]string{
		"ocsp", "-port", "0", "-index", indexFile,
		"-CA", writePEM(t, filepath.Join(dir, "ca.pem"), "CERTIFICATE", ca.cert.Raw),
		"-rsigner", writePEM(t, filepath.Join(dir, "signer.pem"), "CERTIFICATE", signer.cert.Raw),
		"-rkey", writePEM(t, filepath.Join(dir, "signer.key"), "PRIVATE KEY", keyDER),
	}, args...)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	cmd := exec.CommandContext(ctx, openssl, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
	})
	// "ACCEPT [::]:41123 PID=28335"
	line, err := bufio.NewReader(out).ReadString('\n')
	words := strings.Fields(line)
	if err != nil || len(words) < 2 || words[0] != "ACCEPT" {
		cancel()
		_ = cmd.Wait() // killed; what it wrote is complete now
		t.Fatalf("openssl ocsp says %q: %s", line, &complaints)
	}
	_, port, err := net.SplitHostPort(words[1])
	if err != nil {
		t.Fatal(err)
	}
	return "http://127.0.0.1:" + port
}

const indexEnd = "\t301231235959Z\t"

func indexGood(serial int64) string {
	return fmt.Sprintf("V%s\t%04X\tunknown\t/CN=broker\n", indexEnd, serial)
}

func indexRevoked(serial int64) string {
	return fmt.Sprintf("R%s250101000000Z,keyCompromise\t%04X\tunknown\t/CN=broker\n", indexEnd, serial)
}

// delegate issues a certificate for signing responses, or for servers.
func (a *authority) delegate(t *testing.T, usage x509.ExtKeyUsage) *authority {
	t.Helper()
	key := newKey(t, "p256")
	template := &x509.Certificate{
		SerialNumber: big.NewInt(77), Subject: pkix.Name{CommonName: "responder"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}
	return &authority{create(t, template, a.cert, key.Public(), a.key), key}
}

// staplerOf makes a Stapler for responder that asks at once.
func staplerOf(t *testing.T, o Options) *Stapler {
	t.Helper()
	o.Jitter = -1
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func addTo(t *testing.T, s *Stapler, cert *tls.Certificate) *Staple {
	t.Helper()
	staple, warnings, err := s.Add(cert, nil)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("Add: %v, %v", warnings, err)
	}
	return staple
}

func TestOpenSSLResponder(t *testing.T) {
	const serial = 0x1234
	ca := newCA(t, "p256")
	cert := ca.leaf(t, "p256", serial, nil)
	lasting := []string{"-nmin", "60"}
	for _, c := range []struct {
		name   string
		ca     *authority // whose index it has
		signer *authority
		index  string
		args   []string
		ahead  time.Duration // of our clock
		want   string        // the status
		err    string        // or what the error says
	}{
		{"good", ca, ca, indexGood(serial), lasting, 0, "good", ""},
		{"good, no next update", ca, ca, indexGood(serial), nil, 0, "good", ""},
		{"good, named by its key", ca, ca, indexGood(serial), append([]string{"-resp_key_id"}, lasting...), 0, "good", ""},
		{"good, with the issuer's certificate left out", ca, ca, indexGood(serial), append([]string{"-resp_no_certs"}, lasting...), 0, "good", ""},
		{"revoked", ca, ca, indexRevoked(serial), lasting, 0, "revoked", ""},
		{"by a delegate", ca, ca.delegate(t, x509.ExtKeyUsageOCSPSigning), indexGood(serial), lasting, 0, "good", ""},
		{"unknown", ca, ca, indexGood(serial + 1), lasting, 0, "", "doesn't know the certificate"},
		{"expired", ca, ca, indexGood(serial), lasting, 2 * time.Hour, "", "expired at"},
		{"of the future", ca, ca, indexGood(serial), lasting, -time.Hour, "", "not valid before"},
		{"by somebody not delegated", ca, ca.delegate(t, x509.ExtKeyUsageServerAuth), indexGood(serial), lasting, 0, "", "not meant for signing OCSP"},
		{"by another CA's delegate", ca, newCA(t, "p256").delegate(t, x509.ExtKeyUsageOCSPSigning), indexGood(serial), lasting, 0, "", "not issued by"},
		{"by another CA", ca, newCA(t, "p256"), indexGood(serial), lasting, 0, "", "not issued by"},
		{"by another CA that says nothing of itself", ca, newCA(t, "p256"), indexGood(serial), append([]string{"-resp_no_certs"}, lasting...), 0, "", "not signed by"},
		{"with SHA-1", ca, ca, indexGood(serial), append([]string{"-rmd", "sha1"}, lasting...), 0, "", "1.2.840.10045.4.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			url := opensslResponder(t, c.ca, c.signer, c.index, c.args...)
			s := staplerOf(t, Options{OverrideURL: url, Now: func() time.Time { return time.Now().Add(c.ahead) }})
			staple := addTo(t, s, cert)
			err := staple.Ask(t.Context())
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want an error with %q", err, c.err)
				}
				if staple.Response(false) != nil {
					t.Error("it is stapled")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			r, err := ocsp.Verify(staple.Response(false), cert.Leaf, ca.cert, ocsp.Options{Now: time.Now(), Endless: time.Hour})
			if err != nil || r.Status.String() != c.want {
				t.Errorf("stapled: %+v, %v; want %s", r, err, c.want)
			}
		})
	}
}

func TestOpenSSLResponderOfAnyKey(t *testing.T) {
	for _, kind := range []string{"rsa", "p256", "p384", "ed25519"} {
		ca := newCA(t, kind)
		cert := ca.leaf(t, kind, 0x1234, nil)
		s := staplerOf(t, Options{OverrideURL: opensslResponder(t, ca, ca, indexGood(0x1234), "-nmin", "60")})
		if err := addTo(t, s, cert).Ask(t.Context()); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// A long URL makes the request one by POST.
func TestOpenSSLResponderIsPosted(t *testing.T) {
	ca := newCA(t, "p256")
	cert := ca.leaf(t, "p256", 0x1234, nil)
	url := opensslResponder(t, ca, ca, indexGood(0x1234), "-nmin", "60") + "/" + strings.Repeat("x", 200)
	s := staplerOf(t, Options{OverrideURL: url})
	if err := addTo(t, s, cert).Ask(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestDeadAndHangingResponders(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }() // closed below, or the test failed
	ca := newCA(t, "p256")
	s := staplerOf(t, Options{OverrideURL: "http://" + ln.Addr().String()}) // accepted by the kernel, and never answered
	staple := addTo(t, s, ca.leaf(t, "p256", 5, nil))
	begin := time.Now()
	if staple.Response(true) != nil {
		t.Error("a staple from nowhere")
	}
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("a hanging responder held a handshake for %v", d)
	}
	s.Close()
	_ = ln.Close() // so that the next one is refused
	s = staplerOf(t, Options{OverrideURL: "http://" + ln.Addr().String()})
	if err := addTo(t, s, ca.leaf(t, "p256", 5, nil)).Ask(t.Context()); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("a dead responder: %v", err)
	}
}

// serveTLS runs handshakes with a config until the test ends.
func serveTLS(t *testing.T, config *tls.Config) string {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(10 * time.Second)) // else the read below fails
			var b [1]byte
			_, _ = c.Read(b[:]) // the handshake, and the peer's end
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close() // ends the loop
		<-done
	})
	return ln.Addr().String()
}

func TestHandshakesGetTheStaple(t *testing.T) {
	ca := newCA(t, "p256")
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	for _, kind := range []string{"rsa", "p256", "p384", "ed25519"} {
		b := newBench(t, Options{})
		b.ca = ca
		b.says(0, time.Hour)
		cert := ca.leaf(t, kind, 5, nil)
		staple := b.add(cert)
		if err := staple.Ask(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			name := kind + " " + tls.VersionName(version)
			direct := &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) { return staple.Certificate(h), nil }}
			// As certs.Server does, which chooses a whole configuration.
			chosen := &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return direct, nil }}
			for _, config := range []*tls.Config{direct, chosen} {
				addr := serveTLS(t, config)
				c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: version, MaxVersion: version})
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				got := c.ConnectionState().OCSPResponse
				_ = c.Close() // nothing was sent
				if r, err := ocsp.Verify(got, cert.Leaf, ca.cert, ocsp.Options{Now: time.Now()}); err != nil || r.Status != ocsp.Good {
					t.Errorf("%s: got %d bytes: %+v, %v", name, len(got), r, err)
				}
			}
			if text := sClient(t, ca, serveTLS(t, direct), version, "-status"); !strings.Contains(text, "OCSP Response Status: successful") || !strings.Contains(text, "Cert Status: good") {
				t.Errorf("%s: s_client -status says %s", name, text)
			}
			if text := sClient(t, ca, serveTLS(t, direct), version); strings.Contains(text, "OCSP") {
				t.Errorf("%s: s_client, which doesn't ask, says %s", name, text)
			}
		}
	}
}

func TestHandshakesGoOnWithoutAStaple(t *testing.T) {
	ca := newCA(t, "p256")
	b := newBench(t, Options{})
	staple := b.add(ca.leaf(t, "p256", 5, nil))
	addr := serveTLS(t, &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) { return staple.Certificate(h), nil }})
	if text := sClient(t, ca, addr, tls.VersionTLS13, "-status"); !strings.Contains(text, "OCSP response: no response sent") || !strings.Contains(text, "Verify return code: 0 (ok)") {
		t.Errorf("s_client -status says %s", text)
	}
}

// A large response must not break the handshake that carries it.
func TestLargestStapleFitsIntoAHandshake(t *testing.T) {
	ca := newCA(t, "p256")
	cert := *ca.leaf(t, "p256", 5, nil)
	cert.OCSPStaple = make([]byte, maxStaple)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	addr := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{cert}})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: version, MaxVersion: version})
		if err != nil {
			t.Fatal(err)
		}
		if got := len(c.ConnectionState().OCSPResponse); got != maxStaple {
			t.Errorf("%s: got %d bytes", tls.VersionName(version), got)
		}
		_ = c.Close() // nothing was sent
	}
}

// sClient runs "openssl s_client" and returns what it prints.
func sClient(t *testing.T, ca *authority, addr string, version uint16, args ...string) string {
	t.Helper()
	flag := map[uint16]string{tls.VersionTLS12: "-tls1_2", tls.VersionTLS13: "-tls1_3"}[version]
	roots := writePEM(t, filepath.Join(t.TempDir(), "ca.pem"), "CERTIFICATE", ca.cert.Raw)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, findOpenSSL(t), append([]string{"s_client", "-connect", addr, "-servername", "localhost", "-CAfile", roots, flag}, args...)...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out)
}
