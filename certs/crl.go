package certs

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// CRL is a set of certificate revocation lists (RFC 5280, 5). It is safe for
// concurrent use.
type CRL struct {
	lists map[string][]*revocations // by the issuer's name, DER
	// above holds, for a trust anchor (DER) that is not a root, the anchors
	// that issued it. crypto/x509 ends a chain at the first anchor, so that
	// without this an intermediate listed as one could not be revoked.
	above map[string][]*x509.Certificate
}

// revocations is one list.
type revocations struct {
	list    *x509.RevocationList
	serials map[string]struct{} // big-endian bytes
	// signer is the last key that the signature was found good under, as DER;
	// it saves a signature check per handshake.
	signer atomic.Pointer[[]byte]
}

// LoadCRL reads the X509 CRL blocks of a PEM file; none is an error. Delta and
// partial lists (critical extensions) are refused, since taken for complete
// ones they would let revoked certificates in. Anchors are the certificates
// that chains may end in.
func LoadCRL(path string, anchors []*x509.Certificate) (*CRL, error) {
	data, err := readFile(path, maxCRL)
	if err != nil {
		return nil, fmt.Errorf("load CRL: %w", withPath(path, err))
	}
	c, err := parseCRL(data, anchors)
	if err != nil {
		return nil, fmt.Errorf("load CRL %s: %w", path, err)
	}
	return c, nil
}

func parseCRL(data []byte, anchors []*x509.Certificate) (*CRL, error) {
	c := &CRL{lists: make(map[string][]*revocations), above: make(map[string][]*x509.Certificate)}
	for _, a := range anchors {
		c.above[string(a.Raw)] = issuersOf(a, anchors)
	}
	for i, der := range blocks(data, "X509 CRL") {
		r, err := parseList(der)
		if err != nil {
			return nil, fmt.Errorf("list %d: %w", i+1, err)
		}
		issuer := string(r.list.RawIssuer)
		c.lists[issuer] = append(c.lists[issuer], r)
	}
	if len(c.lists) == 0 {
		return nil, errors.New("no PEM revocation list in it")
	}
	return c, nil
}

// issuersOf returns the anchors above a, its issuer first.
func issuersOf(a *x509.Certificate, anchors []*x509.Certificate) []*x509.Certificate {
	var above []*x509.Certificate
	// Two CAs that certified each other would go on for ever.
	for len(above) < len(anchors) && !bytes.Equal(a.RawIssuer, a.RawSubject) {
		i := slices.IndexFunc(anchors, func(issuer *x509.Certificate) bool {
			return bytes.Equal(a.RawIssuer, issuer.RawSubject) && a.CheckSignatureFrom(issuer) == nil
		})
		if i < 0 {
			break
		}
		a = anchors[i]
		above = append(above, a)
	}
	return above
}

func parseList(der []byte) (*revocations, error) {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	for _, e := range list.Extensions {
		if e.Critical {
			return nil, fmt.Errorf("critical extension %s: delta and partial lists are not supported", e.Id)
		}
	}
	r := &revocations{list: list, serials: make(map[string]struct{}, len(list.RevokedCertificateEntries))}
	for _, entry := range list.RevokedCertificateEntries {
		for _, e := range entry.Extensions {
			if e.Critical {
				return nil, fmt.Errorf("critical extension %s of an entry: indirect lists are not supported", e.Id)
			}
		}
		r.serials[string(entry.SerialNumber.Bytes())] = struct{}{}
	}
	// Of a list with a million entries only the serials need to stay.
	r.list = &x509.RevocationList{
		RawIssuer: list.RawIssuer, RawTBSRevocationList: list.RawTBSRevocationList, Issuer: list.Issuer,
		Signature: list.Signature, SignatureAlgorithm: list.SignatureAlgorithm,
		ThisUpdate: list.ThisUpdate, NextUpdate: list.NextUpdate,
	}
	return r, nil
}

// inspect warns about lists that refuse everybody, and about a missing end.
func (c *CRL) inspect(file string, now time.Time) []Warning {
	var all []Warning
	for _, lists := range c.lists {
		for _, r := range lists {
			issuer := r.list.Issuer.String()
			switch {
			case r.list.NextUpdate.IsZero():
				all = append(all, Warning{file, "list of " + issuer + " has no next update: it never expires"})
			case now.After(r.list.NextUpdate):
				all = append(all, Warning{file, "list of " + issuer + " has expired: client certificates of it are refused"})
			case now.Before(r.list.ThisUpdate):
				all = append(all, Warning{file, "list of " + issuer + " is not valid yet: client certificates of it are refused"})
			}
		}
	}
	return all
}

// Check refuses a client whose verified chains (leaf first, as crypto/tls
// gives them) are all revoked or not to be judged. One good chain suffices:
// with cross-signed CAs the others are detours.
func (c *CRL) Check(chains [][]*x509.Certificate, now time.Time) error {
	return c.check(chains, now, false)
}

// check is Check; lenient judges by the newest list where all are out of date.
func (c *CRL) check(chains [][]*x509.Certificate, now time.Time, lenient bool) error {
	err := errors.New("certificate was not verified, so its revocation can't be judged")
	for _, chain := range chains {
		if err = c.checkChain(chain, now, lenient); err == nil {
			return nil
		}
	}
	return err
}

func (c *CRL) checkChain(chain []*x509.Certificate, now time.Time, lenient bool) error {
	if len(chain) == 0 {
		return errors.New("empty chain")
	}
	chain = slices.Concat(chain, c.above[string(chain[len(chain)-1].Raw)])
	if len(chain) == 1 {
		// The certificate is itself the trust anchor, and no other issued it:
		// only its own list could name it.
		return c.checkOne(chain[0], chain[0], true, now, lenient)
	}
	for i := range len(chain) - 1 {
		if err := c.checkOne(chain[i], chain[i+1], i == 0, now, lenient); err != nil {
			return err
		}
	}
	return nil
}

// checkOne holds a certificate against the newest good list of its issuer.
func (c *CRL) checkOne(certificate, issuer *x509.Certificate, required bool, now time.Time, lenient bool) error {
	lists := c.lists[string(certificate.RawIssuer)]
	if len(lists) == 0 {
		if required {
			return errors.New("no revocation list of the certificate's issuer")
		}
		return nil
	}
	var newest, stale *revocations
	err := errors.New("revocation list is not signed by the certificate's issuer")
	for _, r := range lists {
		if !r.signedBy(issuer) {
			continue
		}
		switch {
		case now.Before(r.list.ThisUpdate):
			err, stale = errors.New("revocation list is not valid yet"), r.newer(stale)
		case !r.list.NextUpdate.IsZero() && now.After(r.list.NextUpdate):
			err, stale = errors.New("revocation list has expired"), r.newer(stale)
		default:
			newest = r.newer(newest)
		}
	}
	if newest == nil && lenient {
		newest = stale
	}
	if newest == nil {
		return err
	}
	if _, revoked := newest.serials[string(certificate.SerialNumber.Bytes())]; revoked {
		return fmt.Errorf("certificate %x is revoked", certificate.SerialNumber)
	}
	return nil
}

// newer is the newer one of r and other, which may be nil.
func (r *revocations) newer(other *revocations) *revocations {
	if other == nil || r.list.ThisUpdate.After(other.list.ThisUpdate) {
		return r
	}
	return other
}

func (r *revocations) signedBy(issuer *x509.Certificate) bool {
	if known := r.signer.Load(); known != nil && bytes.Equal(*known, issuer.Raw) {
		return true
	}
	if r.list.CheckSignatureFrom(issuer) != nil {
		return false
	}
	r.signer.Store(&issuer.Raw)
	return true
}
