package certs

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Files are what Quickstart made or found, all PEM, mode 0600, in a folder of
// mode 0700.
type Files struct {
	CAFile    string // ca.crt: what clients trust
	CAKeyFile string // ca.key
	CertFile  string // server.crt
	KeyFile   string // server.key
	// Notes say what was made or replaced, and why; empty when all was reused.
	Notes []string
	// Warnings are about key files that others can read.
	Warnings []Warning
}

// Quickstart sees to it that dir holds a private CA and a server certificate
// of it for hosts (names and addresses) beside localhost, 127.0.0.1 and ::1.
// What is there and good is reused. The server certificate is issued anew when
// it is broken, near its end, of another CA, or lacks one of hosts; the CA only
// when it is missing or expired, for then every client needs the new one. A CA
// file that can't be read or doesn't parse is an error: it may be somebody's.
//
// The CA is meant for the clients' configuration, not for a system's trust
// store. It carries no name constraints: a machine's names and addresses change,
// and a constrained CA could not follow.
func Quickstart(dir string, hosts []string, now time.Time) (Files, error) {
	f := Files{
		CAFile: filepath.Join(dir, "ca.crt"), CAKeyFile: filepath.Join(dir, "ca.key"),
		CertFile: filepath.Join(dir, "server.crt"), KeyFile: filepath.Join(dir, "server.key"),
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Files{}, err
	}
	names := subjectNames(hosts)
	ca, caKey, err := f.authority(now)
	if err != nil {
		return Files{}, fmt.Errorf("quickstart CA: %w", err)
	}
	why := f.whyReissue(ca, names, now)
	if why == "" {
		f.Warnings = append(inspectMode(f.CAKeyFile), inspectMode(f.KeyFile)...)
		return f, nil
	}
	if caKey == nil {
		return Files{}, fmt.Errorf("quickstart: server certificate %s: %s, and %s to issue another is missing", f.CertFile, why, f.CAKeyFile)
	}
	if err := f.issue(ca, caKey, names, now); err != nil {
		return Files{}, fmt.Errorf("quickstart server certificate: %w", err)
	}
	f.Notes = append(f.Notes, "issued server certificate: "+why)
	f.Warnings = append(inspectMode(f.CAKeyFile), inspectMode(f.KeyFile)...)
	return f, nil
}

// authority loads or makes the CA. The key is nil if only the certificate is there.
func (f *Files) authority(now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := loadKey(f.CAKeyFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	certificates, err := LoadCertificates(f.CAFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.Notes = append(f.Notes, "made CA: there was none")
		// A key alone is what a crash between the two writes leaves.
		return f.newAuthority(key, now)
	case err != nil:
		return nil, nil, err
	}
	ca := certificates[0]
	if !ca.IsCA {
		return nil, nil, fmt.Errorf("%s is not a CA certificate", f.CAFile)
	}
	if key != nil && !key.PublicKey.Equal(ca.PublicKey) {
		return nil, nil, fmt.Errorf("%s is not the key of %s", f.CAKeyFile, f.CAFile)
	}
	if now.After(ca.NotAfter) {
		f.Notes = append(f.Notes, "made CA: the old one expired; clients need the new "+f.CAFile)
		return f.newAuthority(nil, now)
	}
	return ca, key, nil
}

func (f *Files) newAuthority(key *ecdsa.PrivateKey, now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	if key == nil {
		var err error
		if key, err = newKey(); err != nil {
			return nil, nil, err
		}
		// With the old certificate gone first, a crash leaves no pair that
		// doesn't match.
		if err := os.Remove(f.CAFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
		if err := writeKey(f.CAKeyFile, key); err != nil {
			return nil, nil, err
		}
	}
	ca, err := makeCA(key, now)
	if err != nil {
		return nil, nil, err
	}
	return ca, key, writeCertificate(f.CAFile, ca)
}

// whyReissue returns why the server certificate can't be used, or "".
func (f *Files) whyReissue(ca *x509.Certificate, names names, now time.Time) string {
	pair, err := loadPair(f.CertFile, f.KeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "there was none"
	}
	if err != nil {
		return "the old one is unusable"
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	if pair.Leaf.CheckSignatureFrom(ca) != nil {
		return "the old one is of another CA"
	}
	if now.Add(expiringSoon).After(pair.Leaf.NotAfter) && pair.Leaf.NotAfter.Before(ca.NotAfter) {
		return "the old one expires on " + pair.Leaf.NotAfter.UTC().Format(time.DateOnly)
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now}); err != nil {
		return "the old one does not verify"
	}
	if missing := names.missingFrom(pair.Leaf); missing != "" {
		return "the old one lacks " + missing
	}
	return ""
}

func (f *Files) issue(ca *x509.Certificate, caKey *ecdsa.PrivateKey, names names, now time.Time) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	leaf, err := makeServer(ca, caKey, key, names, now)
	if err != nil {
		return err
	}
	// A crash between the two leaves a pair that doesn't match, which the next start replaces.
	if err := writeKey(f.KeyFile, key); err != nil {
		return err
	}
	return writeCertificate(f.CertFile, leaf)
}

// loadKey reads an ECDSA key, PKCS #8, as writeKey wrote it.
func loadKey(path string) (*ecdsa.PrivateKey, error) {
	data, err := readFile(path, maxPEM)
	if err != nil {
		return nil, withPath(path, err)
	}
	if err := checkKey(data); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, der := range blocks(data, "PRIVATE KEY") {
		if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
			if ec, isECDSA := key.(*ecdsa.PrivateKey); isECDSA {
				return ec, nil
			}
		}
	}
	return nil, fmt.Errorf("%s: not an ECDSA key in PKCS #8", path)
}

// Pair reads the server certificate with its key.
func (f *Files) Pair() (tls.Certificate, error) { return loadPair(f.CertFile, f.KeyFile) }
