package certs

import (
	"context"
	"crypto/x509"
	"time"

	"sallyport/certs/revocation"
)

// CRL is a set of certificate revocation lists (RFC 5280, 5) with Mosquitto's
// rules: the client's certificate must be on a list of its issuer's that is in
// force, CAs are held against the lists that are there. It is safe for
// concurrent use.
type CRL struct {
	lists   *revocation.Lists
	checker *revocation.Checker
}

// LoadCRL reads the lists of a file as [revocation.Load] does. Anchors are the
// certificates that chains may end in.
func LoadCRL(path string, anchors []*x509.Certificate) (*CRL, error) {
	lists, err := revocation.Load(path)
	if err != nil {
		return nil, err
	}
	return newCRL(lists, anchors)
}

func parseCRL(data []byte, anchors []*x509.Certificate) (*CRL, error) {
	lists, err := revocation.Parse(data, "")
	if err != nil {
		return nil, err
	}
	return newCRL(lists, anchors)
}

func newCRL(lists *revocation.Lists, anchors []*x509.Certificate) (*CRL, error) {
	checker, err := revocation.New(revocation.Options{Lists: lists, Missing: revocation.AcceptMissingCA, Anchors: anchors})
	return &CRL{lists, checker}, err
}

// inspect warns about lists that refuse everybody, and about a missing end.
func (c *CRL) inspect(file string, now time.Time) []Warning {
	var all []Warning
	for _, s := range c.lists.States(now) {
		switch {
		case s.NextUpdate.IsZero():
			all = append(all, Warning{file, "list of " + s.Issuer + " has no next update: it never expires"})
		case now.After(s.NextUpdate):
			all = append(all, Warning{file, "list of " + s.Issuer + " has expired: client certificates of it are refused"})
		case now.Before(s.ThisUpdate):
			all = append(all, Warning{file, "list of " + s.Issuer + " is not valid yet: client certificates of it are refused"})
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
	checker := c.checker.At(func() time.Time { return now })
	if lenient {
		return checker.Recheck(chains)
	}
	return checker.Check(context.Background(), chains)
}
