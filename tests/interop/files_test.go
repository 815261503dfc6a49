package interop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// write makes a file with mode 0600 and returns its path.
func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// authority is a CA for tests.
type authority struct {
	dir    string
	path   string // of its certificate
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir(), serial: 1}
	a.path = filepath.Join(a.dir, "ca.crt")
	a.key = newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.path, "CERTIFICATE", der)
	return a
}

// identity is a certificate with its key.
type identity struct {
	cert, key string // paths
	serial    *big.Int
}

// issue makes a certificate for name: of a server on this machine, or of a client.
func (a *authority) issue(t *testing.T, name string, server bool) identity {
	t.Helper()
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if server {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		template.DNSNames = []string{"localhost"}
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	}
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	id := identity{
		cert: filepath.Join(a.dir, fmt.Sprintf("%s-%d.crt", name, a.serial)), key: filepath.Join(a.dir, fmt.Sprintf("%s-%d.key", name, a.serial)),
		serial: template.SerialNumber,
	}
	writePEM(t, id.cert, "CERTIFICATE", der)
	writePEM(t, id.key, "PRIVATE KEY", keyDER)
	return id
}

// revoke writes a revocation list with ids and returns its path.
func (a *authority) revoke(t *testing.T, ids ...identity) string {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	for _, id := range ids {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: id.serial, RevocationTime: time.Now().Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(a.dir, "ca.crl")
	writePEM(t, path, "X509 CRL", der)
	return path
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	write(t, path, string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
}

// nextPort is where freePort looks next: below the range from which the
// kernel gives ports to outgoing connections, at a different place in each run.
var nextPort atomic.Int32

// freePort is a port that no one listens on, for configurations that can't
// leave the choice to the kernel. It is given to one caller only.
func freePort(t *testing.T) int {
	t.Helper()
	const first, span = 12000, 18000
	nextPort.CompareAndSwap(0, int32(os.Getpid()*37%span)+1)
	for range 200 {
		port := first + int(nextPort.Add(1))%span
		if bindable("127.0.0.1", port) && bindable("::1", port) {
			return port
		}
	}
	t.Fatal("no free port found")
	return 0
}

func bindable(host string, port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
