package authn

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"

	"sallyport/internal/certfield"
	"sallyport/security"
)

// Identity takes the user name from a verified client certificate; user name
// and password of the CONNECT are then not looked at. Where a listener has it,
// it is the first member. A client without a certificate is left to the next.
type Identity struct {
	// Template is what the user name is made of. The zero Template refuses.
	Template certfield.Template
	// Label is its name in the configuration; empty is "certificate".
	Label string
	// Realm of the principals; empty is "certificate".
	Realm string
	// JoinAnchors says that one name is one principal whichever trust anchor
	// vouches for it. Without it the realm holds the anchor's key, so that the
	// same name from another authority is someone else.
	JoinAnchors bool
}

// certificateName is what a listener's own identity is called.
const certificateName = "certificate"

// Name is the Label, or "certificate".
func (id Identity) Name() string { return cmp.Or(id.Label, certificateName) }

// Authenticate is Quick.
func (id Identity) Authenticate(_ context.Context, c *Credentials) (*security.Principal, error) {
	p, err, _ := id.Quick(c)
	return p, err
}

// Quick answers at once, always.
func (id Identity) Quick(c *Credentials) (*security.Principal, error, bool) {
	if c.Cert == nil {
		return nil, ErrNotMine, true
	}
	p, err := id.identify(c)
	if err != nil {
		return nil, &Refused{Method: id.Name(), Reason: err.Error()}, true
	}
	return p, nil, true
}

var errUnverified = errors.New("certificate was not verified")

func (id Identity) identify(c *Credentials) (*security.Principal, error) {
	if !c.CertVerified {
		return nil, errUnverified
	}
	realm := cmp.Or(id.Realm, certificateName)
	if !id.JoinAnchors {
		if c.Anchor == nil {
			return nil, errors.New("trust anchor of the certificate is not known")
		}
		// The anchor's key, not its name or serial: its renewal keeps every session.
		sum := sha256.Sum256(c.Anchor.RawSubjectPublicKeyInfo)
		realm += ":" + hex.EncodeToString(sum[:16])
	}
	name, err := id.name(c.Cert)
	if err != nil {
		return nil, err
	}
	return &security.Principal{Realm: realm, Name: name}, nil
}

func (id Identity) name(cert *x509.Certificate) (string, error) {
	return id.Template.Expand(cert)
}
