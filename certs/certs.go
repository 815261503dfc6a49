// Package certs turns key, certificate and revocation files into TLS
// configurations, and makes the private CA of a quickstart.
//
// Words: a [Server] holds the files of one listener and the TLS configuration
// made of them, which Reload replaces as a whole or not at all; [Client] makes
// the configuration of a client; a [Warning] is what an operator should know
// although it stops nothing.
//
// Invariants: TLS 1.2 is the floor, unless a listener's options say legacy; a private key never appears in an error;
// every file is bounded before it is read; a certificate whose revocation can't
// be judged is refused.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"sallyport/certs/keystore"
)

// maxPEM bounds files, in bytes.
const maxPEM = 4 << 20

// Warning is a finding about a file that stops nothing.
type Warning struct {
	File string
	Text string
	// Exposed says that others than the owner may read a secret.
	Exposed bool
}

// String returns "file: text".
func (w Warning) String() string { return w.File + ": " + w.Text }

func readFile(path string, limit int64) ([]byte, error) { return keystore.ReadFile(path, limit) }

func blocks(data []byte, kind string) [][]byte { return keystore.Blocks(data, kind) }

// LoadCertificates reads the CERTIFICATE blocks of a PEM file; none is an error.
func LoadCertificates(path string) ([]*x509.Certificate, error) {
	data, err := readFile(path, maxPEM)
	if err != nil {
		return nil, fmt.Errorf("load certificates: %w", withPath(path, err))
	}
	certificates, err := parseCertificates(data)
	if err != nil {
		return nil, fmt.Errorf("load certificates %s: %w", path, err)
	}
	return certificates, nil
}

func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for i, der := range blocks(data, "CERTIFICATE") {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i+1, err)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.New("no PEM certificate in it")
	}
	return all, nil
}

func withPath(path string, err error) error { return keystore.WithPath(path, err) }

// loadPair reads a certificate chain and its key.
func loadPair(certFile, keyFile string) (tls.Certificate, error) {
	var none tls.Certificate
	certPEM, err := readFile(certFile, maxPEM)
	if err != nil {
		return none, fmt.Errorf("load certificate: %w", withPath(certFile, err))
	}
	if _, err := parseCertificates(certPEM); err != nil {
		return none, fmt.Errorf("load certificate %s: %w", certFile, err)
	}
	keyPEM, err := readFile(keyFile, maxPEM)
	if err != nil {
		return none, fmt.Errorf("load key: %w", withPath(keyFile, err))
	}
	if err := checkKey(keyPEM); err != nil {
		return none, fmt.Errorf("load key %s: %w", keyFile, err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return none, fmt.Errorf("certificate %s and key %s: %w", certFile, keyFile, err)
	}
	return pair, nil
}

// checkKey explains the usual mistakes better than a parser does.
func checkKey(keyPEM []byte) error {
	found := false
	for rest := keyPEM; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		switch b.Type {
		case "ENCRYPTED PRIVATE KEY":
			return errors.New("key is encrypted with a passphrase, which is not supported")
		case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY":
			if b.Headers["DEK-Info"] != "" {
				return errors.New("key is encrypted with a passphrase, which is not supported")
			}
			found = true
		}
	}
	if !found {
		return errors.New("no PEM private key in it")
	}
	return nil
}

// expiringSoon is how long before its end a certificate is warned about.
const expiringSoon = 30 * 24 * time.Hour

// inspectLeaf returns what is odd about a server's own certificate.
func inspectLeaf(file string, leaf *x509.Certificate, now time.Time) []Warning {
	var all []Warning
	warn := func(format string, args ...any) {
		all = append(all, Warning{File: file, Text: fmt.Sprintf(format, args...)})
	}
	day := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	switch {
	case now.After(leaf.NotAfter):
		warn("certificate expired on %s", day(leaf.NotAfter))
	case now.Before(leaf.NotBefore):
		warn("certificate is not valid before %s", day(leaf.NotBefore))
	case leaf.NotAfter.Sub(now) < expiringSoon:
		warn("certificate expires on %s", day(leaf.NotAfter))
	}
	if len(leaf.DNSNames)+len(leaf.IPAddresses) == 0 {
		warn("certificate names no host (subject alternative names); most clients will refuse it")
	}
	if len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) > 0 && !allows(leaf, x509.ExtKeyUsageServerAuth) {
		warn("certificate is not meant for servers (extended key usage); most clients will refuse it")
	}
	return all
}

func allows(c *x509.Certificate, usage x509.ExtKeyUsage) bool {
	for _, u := range c.ExtKeyUsage {
		if u == usage || u == x509.ExtKeyUsageAny {
			return true
		}
	}
	return false
}

// inspectMode returns a warning if others than the owner may read a secret file.
func inspectMode(file string) []Warning {
	var all []Warning
	for _, w := range keystore.InspectMode(file) {
		all = append(all, Warning(w))
	}
	return all
}
