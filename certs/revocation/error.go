package revocation

import (
	"crypto/x509"
	"fmt"
	"time"
)

// Cause is why a certificate is refused.
type Cause int

// The causes. All but [Revoked] are for lack of information.
const (
	// NotVerified says that there was no verified chain to judge.
	NotVerified Cause = iota
	// Revoked says that the issuer has revoked the certificate, or holds it.
	Revoked
	// NoList says that no list of the issuer is there.
	NoList
	// NotCovered says that the issuer's lists leave the certificate, or some
	// reasons, out of their scope.
	NotCovered
	// WrongSigner says that lists bear the issuer's name, but not its signature.
	WrongSigner
	// ExpiredList says that the next update of the issuer's lists has passed.
	ExpiredList
	// FutureList says that the issuer's lists are not valid yet.
	FutureList
	// NoResponder says that the certificate names no OCSP responder.
	NoResponder
	// ResponderFailed says that the responder gave no answer that counts.
	ResponderFailed
	// UnknownStatus says that the responder does not know the certificate.
	UnknownStatus
)

var causes = [...]string{
	NotVerified:     "was not verified, so its revocation can't be judged",
	Revoked:         "is revoked",
	NoList:          "can't be judged: no revocation list of its issuer",
	NotCovered:      "can't be judged: the revocation lists of its issuer don't cover it",
	WrongSigner:     "can't be judged: revocation list is not signed by the certificate's issuer",
	ExpiredList:     "can't be judged: revocation list has expired",
	FutureList:      "can't be judged: revocation list is not valid yet",
	NoResponder:     "can't be judged: it names no OCSP responder",
	ResponderFailed: "can't be judged: OCSP responder failed",
	UnknownStatus:   "is unknown to its OCSP responder",
}

// String returns the cause as the end of a sentence about a certificate.
func (c Cause) String() string {
	if c < 0 || int(c) >= len(causes) {
		return "is refused"
	}
	return causes[c]
}

// Reason is a CRLReason (RFC 5280, 5.3.1).
type Reason uint8

// Reasons that are treated apart.
const (
	Hold          Reason = 6
	removeFromCRL Reason = 8
)

var reasonNames = map[Reason]string{
	0: "unspecified", 1: "key compromise", 2: "CA compromise", 3: "affiliation changed", 4: "superseded",
	5: "cessation of operation", Hold: "certificate hold", removeFromCRL: "remove from CRL",
	9: "privilege withdrawn", 10: "AA compromise",
}

// String returns the reason's name.
func (r Reason) String() string {
	if name, known := reasonNames[r]; known {
		return name
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Error is why a chain is refused. The text is for the operator, not the peer.
type Error struct {
	Certificate *x509.Certificate // nil for NotVerified
	Depth       int               // 0 is the client's certificate
	Cause       Cause
	Reason      Reason    // of Revoked
	At          time.Time // of Revoked, when it was
	Source      string    // file or URL, where there is one
	Err         error     // what went wrong before, or nil
}

// Final reports whether the certificate is known to be revoked: no retry and no
// other list will help, short of its issuer's lifting a hold.
func (e *Error) Final() bool { return e.Cause == Revoked }

// Error names the certificate by serial number, in hexadecimal digits.
func (e *Error) Error() string {
	s := "certificate"
	if e.Certificate != nil {
		s = fmt.Sprintf("certificate %x", e.Certificate.SerialNumber)
		if e.Depth > 0 {
			s += fmt.Sprintf(" (CA %d above the client's)", e.Depth)
		}
	}
	s += " " + e.Cause.String()
	if e.Cause == Revoked {
		s += ": " + e.Reason.String()
		if !e.At.IsZero() {
			s += " since " + e.At.UTC().Format(time.RFC3339)
		}
	}
	if e.Source != "" {
		s += " (" + e.Source + ")"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the error behind, or nil.
func (e *Error) Unwrap() error { return e.Err }
