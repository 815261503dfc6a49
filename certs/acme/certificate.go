package acme

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// maxChain is how many certificates a chain may have.
	maxChain = 10
	// skew is how far our clock may be behind the server's.
	skew = time.Hour
)

// judge makes a certificate to serve of a chain in DER and its key, and refuses
// what no client should accept: for another key or other names, or a chain whose
// certificates don't sign each other.
func judge(chain [][]byte, key crypto.Signer, domains []string) (*tls.Certificate, error) {
	if len(chain) == 0 || len(chain) > maxChain {
		return nil, fmt.Errorf("the chain has %d certificates, not 1 to %d", len(chain), maxChain)
	}
	parsed := make([]*x509.Certificate, len(chain))
	for i, der := range chain {
		var err error
		if parsed[i], err = x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("certificate %d of the chain: %w", i+1, err)
		}
		if i > 0 {
			if err := parsed[i-1].CheckSignatureFrom(parsed[i]); err != nil {
				return nil, fmt.Errorf("certificate %d of the chain did not issue the one before it: %w", i+1, err)
			}
		}
	}
	leaf := parsed[0]
	public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(key.Public()) {
		return nil, errors.New("the certificate is for another key")
	}
	if leaf.IsCA {
		return nil, errors.New("the certificate is a CA's")
	}
	for _, d := range domains {
		if leaf.VerifyHostname(d) != nil { // its error lists all names, which are the server's words
			return nil, fmt.Errorf("the certificate is not for %s", d)
		}
	}
	if use := leaf.ExtKeyUsage; len(use) > 0 && !slices.Contains(use, x509.ExtKeyUsageServerAuth) && !slices.Contains(use, x509.ExtKeyUsageAny) {
		return nil, errors.New("the certificate is not for servers")
	}
	return &tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf}, nil
}

// timely refuses a certificate that was issued now and is not of now.
func timely(leaf *x509.Certificate, now time.Time) error {
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("the certificate has ended on %s already: is the clock right?", stamp(leaf.NotAfter))
	case leaf.NotBefore.After(now.Add(skew)):
		return fmt.Errorf("the certificate begins on %s only: is the clock right?", stamp(leaf.NotBefore))
	}
	return nil
}

// newKey makes the key of one certificate.
func newKey(kind KeyType) (crypto.Signer, error) {
	if kind == RSA2048 {
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// keep writes a certificate that was just issued.
func (k *Keeper) keep(cert *tls.Certificate) error {
	key, err := formatKey(cert.PrivateKey.(crypto.Signer)) // judge has put it there
	if err != nil {
		return err
	}
	var chain strings.Builder
	for _, der := range cert.Certificate {
		chain.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	return k.store.write(certificateFile, stored{Domains: k.options.Domains, Key: key, Chain: chain.String()})
}

// load reads what is stored. A file that can't be read as what it should be is
// an error: to order anew would be to overwrite what an operator may need.
func (k *Keeper) load() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.loadLocked()
}

func (k *Keeper) loadLocked() error {
	k.plan = plan{}
	k.account = nil
	data, err := k.store.read(accountFile)
	if err == nil && data != nil {
		k.account, err = parseAccount(data)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", k.store.path(accountFile), err)
	}
	if k.account != nil && k.account.Directory != k.options.Directory {
		return fmt.Errorf("%s is of another server, %s", k.store.path(accountFile), clean(k.account.Directory))
	}
	if data, err = k.store.read(attemptsFile); err != nil {
		return err
	}
	k.plan.restore(data, k.options.Domains, time.Now()) // a damaged one is as good as none
	if data, err = k.store.read(certificateFile); err != nil || data == nil {
		return err
	}
	if err := k.loadCertificate(data); err != nil {
		return fmt.Errorf("%s: %w; remove it, and another is ordered", k.store.path(certificateFile), err)
	}
	return nil
}

// loadCertificate takes a stored certificate into use. One for other domains
// than today's serves those that it has, until there is one for all, and one that
// has ended is served until there is another: its clients are told so.
func (k *Keeper) loadCertificate(data []byte) error {
	s, chain, key, err := parseStored(data)
	if err != nil {
		return err
	}
	cert, err := judge(chain, key, nil)
	if err != nil {
		return err
	}
	useful := slices.ContainsFunc(k.options.Domains, func(d string) bool { return cert.Leaf.VerifyHostname(d) == nil })
	if !useful {
		k.log.Warn("stored certificate is for none of the domains", "directory", k.options.Directory, "file", k.store.path(certificateFile))
		k.use(nil)
		return nil
	}
	k.plan.holds(cert.Leaf, k.options.RenewBefore)
	if !slices.Equal(s.Domains, k.options.Domains) {
		k.plan.renewal = time.Time{} // now
	}
	k.use(cert)
	return nil
}

// use serves cert from now on; mu is held.
func (k *Keeper) use(cert *tls.Certificate) {
	k.cert.Store(cert)
	k.state.Serial, k.state.NotBefore, k.state.NotAfter = "", time.Time{}, time.Time{}
	if cert != nil {
		k.state.Serial = fmt.Sprintf("%x", cert.Leaf.SerialNumber)
		k.state.NotBefore, k.state.NotAfter = cert.Leaf.NotBefore, cert.Leaf.NotAfter
	}
	k.state.Next = k.plan.next(time.Now())
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
