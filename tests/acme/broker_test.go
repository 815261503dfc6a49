package acme

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// sallyport is the binary, which TestMain builds.
var sallyport string

// build makes the binary of the module around this one.
func build(dir string) error {
	sallyport = filepath.Join(dir, "sallyport")
	cmd := exec.Command("go", "build", "-o", sallyport, "./cmd/sallyport")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Stderr = os.Stderr
	return cmd.Run()
}

// broker is a process that serves.
type broker struct {
	cmd   *exec.Cmd
	log   lines
	ended chan error
}

func serve(t *testing.T, config string) *broker {
	t.Helper()
	b := &broker{cmd: exec.Command(sallyport, "serve", "-c", config), log: make(lines, 1000), ended: make(chan error, 1)}
	out, err := b.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			b.log <- s.Text()
		}
		b.ended <- b.cmd.Wait()
		close(b.log)
	}()
	t.Cleanup(func() { _ = b.cmd.Process.Kill() }) // it may have ended
	return b
}

func (b *broker) stop(t *testing.T) {
	t.Helper()
	if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-b.ended; err != nil {
		t.Errorf("the broker ended with %v", err)
	}
}

// addr is where the broker listens.
func (b *broker) addr(t *testing.T) string {
	t.Helper()
	_, rest, _ := strings.Cut(b.log.await(t, "msg=listening"), " addr=")
	addr, _, _ := strings.Cut(rest, " ")
	return strings.Trim(addr, `"`)
}

// forward is what leads port 443 of the names to a broker.
type forward struct {
	net.Listener
	to   string
	open chan struct{} // closed when to is known, or never will be
	once sync.Once
}

func (f *forward) leadTo(addr string) {
	f.once.Do(func() {
		f.to = addr
		close(f.open)
	})
}

func newForward(t *testing.T) *forward {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &forward{Listener: ln, open: make(chan struct{})}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() { f.lead(c) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		f.once.Do(func() { close(f.open) })
		all.Wait()
	})
	return f
}

func (f *forward) lead(c net.Conn) {
	defer c.Close()
	<-f.open // whoever comes early waits
	far, err := net.Dial("tcp", f.to)
	if err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(c, far) // to the end of either
		_ = c.Close()
	})
	_, _ = io.Copy(far, c)
	_ = far.Close()
	back.Wait()
}

// clients issues a certificate for a client, and writes that of its authority to path.
func clients(t *testing.T, path string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a client"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// mqtt connects as a client does, and returns what certificate the broker has.
func mqtt(addr string, config *tls.Config) (*x509.Certificate, error) {
	c, err := tls.Dial("tcp", addr, config)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a"); err != nil {
		return nil, err
	}
	answer := make([]byte, 4)
	if _, err := io.ReadFull(c, answer); err != nil {
		return nil, err
	}
	if string(answer) != "\x20\x02\x00\x00" {
		return nil, fmt.Errorf("CONNACK % x", answer)
	}
	return c.ConnectionState().PeerCertificates[0], nil
}

const brokerText = `
listeners:
  - name: tls
    transport: tls
    address: "127.0.0.1:0"
    identity: common_name
    tls:
      client_auth: require
      client_ca: clients.crt
      acme: {directory: "DIRECTORY", ca_file: pebble.crt, domains: [mqtt.example.org], storage: acme, accept_terms: true, CHALLENGE}
    policies: [all]
policies:
  - {name: all, type: allow_all}
control: {socket: control.sock}
`

// A broker that demands certificates of its clients gets its own by either challenge.
func TestBroker(t *testing.T) {
	t.Parallel()
	for _, challenge := range []string{"tls-alpn-01", "http-01"} {
		t.Run(challenge, func(t *testing.T) {
			t.Parallel()
			f := newForward(t)
			port := f.Addr().(*net.TCPAddr).Port
			web := freePort(t)
			p := newPebble(t, settings{tlsPort: port, httpPort: web})
			dir := t.TempDir()
			write(t, filepath.Join(dir, "pebble.crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw})))
			mine := clients(t, filepath.Join(dir, "clients.crt"))
			section := "challenge: " + challenge
			if challenge == "http-01" {
				section += fmt.Sprintf(`, http_address: "127.0.0.1:%d"`, web)
			}
			config := filepath.Join(dir, "sallyport.yaml")
			write(t, config, strings.NewReplacer("DIRECTORY", p.URL+"/dir", "CHALLENGE", section).Replace(brokerText))
			if out, err := exec.Command(sallyport, "check", "-c", config).CombinedOutput(); err != nil {
				t.Fatalf("check: %v\n%s", err, out)
			}

			b := serve(t, config)
			addr := b.addr(t)
			client := &tls.Config{ServerName: "mqtt.example.org", RootCAs: p.roots, Certificates: []tls.Certificate{mine}, NextProtos: []string{"mqtt"}}
			if challenge == "tls-alpn-01" {
				if _, err := mqtt(addr, client); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
					t.Errorf("before there is a certificate: %v", err)
				}
			}
			f.leadTo(addr)
			b.log.await(t, `msg="certificate issued"`)
			first, err := mqtt(addr, client)
			if err != nil {
				t.Fatal(err)
			}
			status, err := exec.Command(sallyport, "ctl", "-c", config, "status").CombinedOutput()
			if err != nil || !strings.Contains(string(status), "ACME: mqtt.example.org from "+p.URL+"/dir, until "+first.NotAfter.UTC().Format(time.RFC3339)) {
				t.Errorf("ctl status: %v\n%s", err, status)
			}
			stranger := client.Clone()
			stranger.Certificates = nil
			if _, err := mqtt(addr, stranger); err == nil {
				t.Error("a client without a certificate was let in")
			}
			stranger.NextProtos = []string{"acme-tls/1"}
			if _, err := mqtt(addr, stranger); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
				t.Errorf("a client that offers acme-tls/1: %v", err)
			}

			other := serve(t, config)
			other.log.await(t, " in use") // the storage, or the port of http-01 before it
			if err := <-other.ended; err == nil {
				t.Error("two brokers have one storage")
			}
			b.stop(t)
			b = serve(t, config)
			again, err := mqtt(b.addr(t), client)
			if err != nil || !again.Equal(first) {
				t.Errorf("after a restart: %v", err)
			}
			b.stop(t)
		})
	}
}

// nextPort is where freePort looks next.
var nextPort atomic.Int32

// freePort is one that nobody listens on now, below the range from which the kernel
// gives ports to connections. It is given to one caller only.
func freePort(t *testing.T) int {
	t.Helper()
	const first, span = 10000, 2000
	for range span {
		port := first + (os.Getpid()*37+int(nextPort.Add(1)))%span
		if ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = ln.Close() // nothing was accepted
			return port
		}
	}
	t.Fatal("no free port found")
	return 0
}
