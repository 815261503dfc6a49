package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"

	"sallyport/certs"
)

// keys are the files of the rows over TLS: PEM, the same for each broker.
type keys struct {
	ca            string // of servers: what the load trusts
	ecdsa, rsa    pair   // a server's: P-256, 2048 bits
	clientCA, crl string // of clients, ECDSA P-256, and its revocation list
	client        pair   // a client's: ECDSA P-256
}

// pair is a certificate and its key.
type pair struct{ cert, key string }

// revokedCount is how many certificates the revocation list has, none of them in use.
const revokedCount = 1000

// makeKeys makes them in the folder of the workbench.
func (w *workbench) makeKeys(now time.Time) error {
	files, err := certs.Quickstart(w.path("tls"), []string{"localhost", "127.0.0.1"}, now)
	if err != nil {
		return err
	}
	k := keys{
		ca: files.CAFile, ecdsa: pair{files.CertFile, files.KeyFile},
		clientCA: w.path("clients.crt"), crl: w.path("clients.crl"),
	}
	servers, err := loadAuthority(files.CAFile, files.CAKeyFile)
	if err != nil {
		return err
	}
	clients, err := newAuthority(k.clientCA, now)
	if err != nil {
		return err
	}
	of2048, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	if k.rsa, err = servers.issue(w.path("rsa"), of2048, x509.ExtKeyUsageServerAuth, now); err != nil {
		return err
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if k.client, err = clients.issue(w.path("client"), p256, x509.ExtKeyUsageClientAuth, now); err != nil {
		return err
	}
	w.keys = k
	return clients.revoke(k.crl, revokedCount, now)
}

// server is what a row's server shows.
func (k *keys) server(r row) pair {
	if r.rsa {
		return k.rsa
	}
	return k.ecdsa
}

// authority signs.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func loadAuthority(certFile, keyFile string) (*authority, error) {
	loaded, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	signer, ok := loaded.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: not a key that signs", keyFile)
	}
	return &authority{loaded.Leaf, signer}, nil
}

// newAuthority makes one with a key that is written nowhere.
func newAuthority(file string, now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "clients of bench/compare"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{cert, key}, writePEM(file, "CERTIFICATE", der)
}

// issue writes path.crt and path.key, of a certificate for the loopback.
func (a *authority) issue(path string, key crypto.Signer, use x509.ExtKeyUsage, now time.Time) (pair, error) {
	p := pair{path + ".crt", path + ".key"}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "bench"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{use},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return p, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return p, err
	}
	if err := writePEM(p.cert, "CERTIFICATE", der); err != nil {
		return p, err
	}
	return p, writePEM(p.key, "PRIVATE KEY", secret)
}

// revoke writes a list of n certificates that were never issued.
func (a *authority) revoke(file string, n int, now time.Time) error {
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(24 * time.Hour)}
	for i := range n {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(int64(1000 + i)), RevocationTime: now.Add(-time.Hour)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		return err
	}
	return writePEM(file, "X509 CRL", der)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
