package jwt

import "fmt"

// Reason is why a token is refused, in a word for an audit log.
type Reason string

// The reasons.
const (
	Malformed    Reason = "malformed"     // not the form, or a claim of another type
	Duplicate    Reason = "duplicate"     // a name stands twice in an object
	BadAlgorithm Reason = "algorithm"     // alg is none that a key has; none is none
	Critical     Reason = "critical"      // crit names what must be understood, and isn't
	BadType      Reason = "type"          // a token of another kind, or one in a token
	UnknownKey   Reason = "unknown_key"   // kid names no key that has the algorithm
	BadSignature Reason = "signature"     // no key vouches for it
	MissingClaim Reason = "missing_claim" // a claim that is asked for
	BadIssuer    Reason = "issuer"
	BadAudience  Reason = "audience"
	Expired      Reason = "expired" // exp has passed, or iat is too long ago
	NotYetValid  Reason = "not_yet_valid"
	NotBound     Reason = "binding" // bound to another certificate, or to what we can't see
)

// Error says why a token is refused. It holds nothing of the token.
type Error struct {
	Reason Reason
	detail string
}

// Error returns the reason and what it is about.
func (e *Error) Error() string { return "token refused: " + string(e.Reason) + ": " + e.detail }

// refuse makes an Error. args are numbers and names of this package.
func refuse(r Reason, format string, args ...any) *Error {
	return &Error{Reason: r, detail: fmt.Sprintf(format, args...)}
}
