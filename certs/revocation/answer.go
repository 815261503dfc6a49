package revocation

import (
	"crypto/x509"
	"time"

	"sallyport/certs/ocsp"
)

const (
	nonceSize    = 32              // bytes; RFC 9654, 2.1
	unboundedAge = 5 * time.Minute // of an answer without a next update
)

// answer is a verified OCSP response for one certificate, without its bytes.
type answer struct {
	ocsp.Response
	until time.Time // to be used so long
}

// counts reports whether the answer may be used still. A revocation stays one
// until another answer says otherwise.
func (a *answer) counts(now time.Time) bool {
	return a.Status == ocsp.Revoked || !now.After(a.until)
}

// reason is why the certificate was revoked.
func (a *answer) reason() Reason {
	if a.Reason < 0 || a.Reason > 255 {
		return 255 // a number that no standard has is a revocation all the same
	}
	return Reason(a.Reason)
}

// readAnswer verifies the answer to a request about c with that nonce, and says
// for how long it counts: to its end, or that of the certificate of who signed it.
func readAnswer(der []byte, c, issuer *x509.Certificate, nonce []byte, now time.Time) (*answer, error) {
	r, err := ocsp.Verify(der, c, issuer, ocsp.Options{Now: now, Endless: unboundedAge, Nonce: nonce})
	if err != nil {
		return nil, err
	}
	a := &answer{Response: *r, until: r.NextUpdate}
	a.Raw = nil // a hundred thousand answers are kept
	switch {
	case a.NextUpdate.IsZero():
		a.until = now.Add(unboundedAge)
	case now.After(a.NextUpdate): // by less than that
		a.until = a.NextUpdate.Add(ocsp.Skew)
	}
	if a.Delegate != nil && a.Delegate.NotAfter.Before(a.until) {
		a.until = a.Delegate.NotAfter
	}
	return a, nil
}
