package ocsp

import (
	"bytes"
	"crypto"
	_ "crypto/sha256" // so that the hashes can be asked for by their number
	_ "crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Options is what a response is held against, beside the certificate.
type Options struct {
	Now time.Time
	// Endless is how long after its ThisUpdate a response without NextUpdate
	// counts; 0 refuses such a response.
	Endless time.Duration
	// Nonce is that of the request, if it had one. An answer with another, or
	// with one that was not sent, is refused; one without is accepted, and not
	// Nonced: most responders sign in advance.
	Nonce []byte
}

// Verify reads a response (DER) and checks that it is the statement of issuer,
// or of a responder delegated by it, about cert, and holds at this time, give or
// take Skew. That issuer signed cert is for the caller to know. A responder that
// refuses to say is a [RefusedError].
func Verify(der []byte, cert, issuer *x509.Certificate, o Options) (*Response, error) {
	p, err := parse(der)
	if err != nil {
		return nil, err
	}
	single, err := p.about(cert, issuer)
	if err != nil {
		return nil, err
	}
	r := &Response{
		Raw: der, Status: single.status(), ProducedAt: p.ProducedAt,
		ThisUpdate: single.ThisUpdate, NextUpdate: single.NextUpdate,
		RevokedAt: single.Revoked.At, Reason: int(single.Revoked.Reason),
	}
	if r.Delegate, err = p.signer(issuer, o.Now); err != nil {
		return nil, err
	}
	if r.Delegate != nil {
		r.NoCheck = slices.ContainsFunc(r.Delegate.Extensions, isNoCheck)
	}
	if err := r.checkTimes(o); err != nil {
		return nil, err
	}
	if p.nonce != nil {
		if r.Nonced = o.Nonce != nil && bytes.Equal(p.nonce, o.Nonce); !r.Nonced {
			return nil, errors.New("response answers another request: its nonce differs")
		}
	}
	return r, nil
}

// about finds the one statement on cert. One on a certificate of that number by
// another issuer beside it is refused: it could be taken for the one.
func (p *parsed) about(cert, issuer *x509.Certificate) (*singleResponse, error) {
	key, err := publicKeyBits(issuer)
	if err != nil {
		return nil, err
	}
	var found *singleResponse
	for i := range p.Responses {
		s := &p.Responses[i]
		switch {
		case !s.ends():
			return nil, errBehind
		case s.ID.Serial == nil || s.ID.Serial.Cmp(cert.SerialNumber) != 0:
			continue
		case !s.ID.issuedBy(issuer.RawSubject, key):
			return nil, errors.New("response is about a certificate of another issuer")
		case found != nil:
			return nil, errors.New("response speaks of the certificate twice")
		}
		found = s
	}
	if found == nil {
		return nil, errors.New("response is not about this certificate")
	}
	if found.status() == None {
		return nil, errors.New("response gives no status, or several at once")
	}
	for _, e := range found.Extensions {
		if e.Critical {
			return nil, fmt.Errorf("critical extension %s of the statement is not known", e.Id)
		}
	}
	return found, nil
}

// issuedBy tells whether name and key are those that were hashed.
func (id *certID) issuedBy(name, key []byte) bool {
	var h crypto.Hash
	switch oid := id.Hash.Algorithm; {
	case oid.Equal(oidSHA1):
		return bytes.Equal(id.NameHash, identify(name)) && bytes.Equal(id.KeyHash, identify(key))
	case oid.Equal(oidSHA256):
		h = crypto.SHA256
	case oid.Equal(oidSHA384):
		h = crypto.SHA384
	case oid.Equal(oidSHA512):
		h = crypto.SHA512
	default:
		return false
	}
	sum := func(data []byte) []byte {
		w := h.New()
		w.Write(data)
		return w.Sum(nil)
	}
	return bytes.Equal(id.NameHash, sum(name)) && bytes.Equal(id.KeyHash, sum(key))
}

// signer checks the signature and returns the delegate that made it, or nil
// for the issuer (RFC 6960, 4.2.2.2).
func (p *parsed) signer(issuer *x509.Certificate, now time.Time) (*x509.Certificate, error) {
	if p.names(issuer) {
		if issuer.CheckSignature(p.algorithm, p.Raw, p.signature) == nil {
			return nil, nil
		}
	}
	err := errors.New("response is not signed by the certificate's issuer, nor by a responder that it delegated")
	for _, c := range p.certificates {
		if !p.names(c) {
			continue
		}
		if bytes.Equal(c.RawSubjectPublicKeyInfo, issuer.RawSubjectPublicKeyInfo) && bytes.Equal(c.RawSubject, issuer.RawSubject) {
			continue // the issuer's own, which was tried
		}
		// Delegation first: only then is a signature by its key worth a look.
		if refused := checkDelegate(c, issuer, now); refused != nil {
			err = fmt.Errorf("responder %q: %w", c.Subject.String(), refused)
			continue
		}
		if c.CheckSignature(p.algorithm, p.Raw, p.signature) == nil {
			return c, nil
		}
		err = errors.New("signature of the response is wrong")
	}
	return nil, err
}

// names tells whether the response says that c signed it.
func (p *parsed) names(c *x509.Certificate) bool {
	if p.byName != nil {
		return bytes.Equal(p.byName, c.RawSubject)
	}
	key, err := publicKeyBits(c)
	return err == nil && bytes.Equal(p.byKey, identify(key))
}

// checkDelegate tells why c may not answer for issuer.
func checkDelegate(c, issuer *x509.Certificate, now time.Time) error {
	// Not anyExtendedKeyUsage: the issuer must have meant it (RFC 6960, 4.2.2.2).
	switch {
	case !bytes.Equal(c.RawIssuer, issuer.RawSubject) || c.CheckSignatureFrom(issuer) != nil:
		return errors.New("its certificate is not issued by the certificate's own issuer")
	case !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
		return errors.New("its certificate is not meant for signing OCSP responses")
	case c.KeyUsage != 0 && c.KeyUsage&(x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment) == 0:
		return errors.New("the key of its certificate is not meant for signatures")
	case len(c.UnhandledCriticalExtensions) > 0:
		return fmt.Errorf("critical extension %s of its certificate is not known", c.UnhandledCriticalExtensions[0])
	case now.Before(c.NotBefore):
		return errors.New("its certificate is not valid yet")
	case now.After(c.NotAfter):
		return errors.New("its certificate has expired")
	}
	return nil
}

func isNoCheck(e pkix.Extension) bool { return e.Id.Equal(oidNoCheck) }

// checkTimes holds a response against the clock (RFC 6960, 3.2 and 4.2.2.1).
func (r *Response) checkTimes(o Options) error {
	at := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	latest := o.Now.Add(Skew)
	switch {
	case r.ThisUpdate.After(latest):
		return fmt.Errorf("response is not valid before %s", at(r.ThisUpdate))
	case r.ProducedAt.After(latest):
		return fmt.Errorf("response was made in the future, at %s", at(r.ProducedAt))
	case r.NextUpdate.IsZero() && o.Endless <= 0:
		return errors.New("response has no next update")
	case r.NextUpdate.IsZero():
		if end := r.ThisUpdate.Add(o.Endless); o.Now.After(end.Add(Skew)) {
			return fmt.Errorf("response has no next update and is of %s: too old", at(r.ThisUpdate))
		}
	case r.NextUpdate.Before(r.ThisUpdate):
		return errors.New("response ends before it begins")
	case o.Now.After(r.NextUpdate.Add(Skew)):
		return fmt.Errorf("response expired at %s", at(r.NextUpdate))
	}
	return nil
}
