package revocation

import (
	"bytes"
	"cmp"
	"crypto/fips140"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/cryptobyte"
	ber "golang.org/x/crypto/cryptobyte/asn1"
)

type extension = pkix.Extension

// List is one certificate revocation list. It never changes, and is safe for
// concurrent use.
type List struct {
	source  string
	issuer  string // canonical
	head    *x509.RevocationList
	scope   scope
	group   string   // the scope as DER: lists of one group replace each other
	base    *big.Int // of a delta, the least number of a list it fits; else nil
	entries map[string]entry
	// signer and stranger are the last certificates under whose keys the signature
	// was found good and bad; they save a signature check per handshake.
	signer, stranger atomic.Pointer[x509.Certificate]
}

// entry is one revoked certificate.
type entry struct {
	at     int64 // Unix seconds
	reason Reason
}

// ParseList reads one list in DER. Source, a file or URL, names it in errors of
// checks. Refused, because taken for a complete list they would let revoked
// certificates in: critical extensions that are not known, of the list or an
// entry, indirect lists, and scopes that are not supported (see package comment). In
// FIPS 140-3 mode lists signed with SHA-1 are refused as well.
func ParseList(der []byte, source string) (*List, error) {
	// crypto/x509 does not look at what comes behind: another list would go lost.
	in := cryptobyte.String(der)
	if !in.SkipASN1(ber.SEQUENCE) || !in.Empty() {
		return nil, errors.New("malformed revocation list")
	}
	parsed, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	if fips140.Enabled() && !slices.Contains(fipsSignatures, parsed.SignatureAlgorithm) {
		return nil, fmt.Errorf("signed with %s, which is outside FIPS 140-3", parsed.SignatureAlgorithm)
	}
	l := &List{source: source, issuer: canonical(parsed.RawIssuer), scope: scope{reasons: allReasons}}
	if err := l.readExtensions(parsed.Extensions); err != nil {
		return nil, err
	}
	if l.base != nil && parsed.Number == nil {
		return nil, errors.New("a delta list without a number fits no other")
	}
	if !parsed.NextUpdate.IsZero() && parsed.NextUpdate.Before(parsed.ThisUpdate) {
		return nil, errors.New("the next update comes before this update")
	}
	l.entries = make(map[string]entry, len(parsed.RevokedCertificateEntries))
	for i := range parsed.RevokedCertificateEntries {
		if err := l.add(&parsed.RevokedCertificateEntries[i]); err != nil {
			return nil, err
		}
	}
	// Of a list with a million entries only what was gathered needs to stay.
	l.head = &x509.RevocationList{
		RawIssuer: parsed.RawIssuer, RawTBSRevocationList: parsed.RawTBSRevocationList, Issuer: parsed.Issuer,
		Signature: parsed.Signature, SignatureAlgorithm: parsed.SignatureAlgorithm,
		ThisUpdate: parsed.ThisUpdate, NextUpdate: parsed.NextUpdate, Number: parsed.Number,
	}
	return l, nil
}

// fipsSignatures are those that crypto/x509 checks and FIPS 140-3 has. The standard
// library holds handshakes to them, and lists to nothing but its own.
var fipsSignatures = []x509.SignatureAlgorithm{
	x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA, x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
	x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.PureEd25519,
}

func (l *List) readExtensions(all []extension) error {
	for i, e := range all {
		if slices.ContainsFunc(all[:i], func(other extension) bool { return other.Id.Equal(e.Id) }) {
			return fmt.Errorf("extension %s comes twice", e.Id)
		}
		switch {
		case e.Id.Equal(oidIssuingPoint):
			s, err := readScope(e.Value)
			if err != nil {
				return fmt.Errorf("extension %s: %w", e.Id, err)
			}
			l.scope, l.group = s, string(e.Value)
		case e.Id.Equal(oidDeltaIndicator):
			l.base = new(big.Int)
			if rest, err := asn1.Unmarshal(e.Value, &l.base); err != nil || len(rest) > 0 || l.base.Sign() < 0 {
				return errors.New("malformed delta list indicator")
			}
		case e.Id.Equal(oidAuthorityKeyID), e.Id.Equal(oidCRLNumber), e.Id.Equal(oidIssuerAltName):
		case e.Critical:
			return fmt.Errorf("critical extension %s is not supported", e.Id) // RFC 5280, 5.2
		}
	}
	return nil
}

func (l *List) add(e *x509.RevocationListEntry) error {
	for _, x := range e.Extensions {
		switch {
		case x.Id.Equal(oidCertificateIssuer):
			return fmt.Errorf("extension %s of an entry: indirect lists are not supported", x.Id)
		case x.Id.Equal(oidReasonCode), x.Id.Equal(oidInvalidityDate):
		case x.Critical:
			return fmt.Errorf("critical extension %s of an entry is not supported", x.Id) // RFC 5280, 5.3
		}
	}
	reason := Reason(255) // a number that no standard has is a revocation all the same
	if e.ReasonCode >= 0 && e.ReasonCode < 255 {
		reason = Reason(e.ReasonCode)
	}
	if reason == removeFromCRL && l.base == nil {
		return errors.New("an entry that removes one, in a list that is no delta") // RFC 5280, 5.3.1
	}
	serial := string(e.SerialNumber.Bytes())
	// Named twice, the graver entry counts.
	if _, twice := l.entries[serial]; twice && reason == removeFromCRL {
		return nil
	}
	l.entries[serial] = entry{at: e.RevocationTime.Unix(), reason: reason}
	return nil
}

// signedBy reports whether the issuer's key signed the list.
func (l *List) signedBy(issuer *x509.Certificate) bool {
	switch {
	case is(l.signer.Load(), issuer):
		return true
	case is(l.stranger.Load(), issuer):
		return false
	}
	if l.head.CheckSignatureFrom(issuer) != nil {
		l.stranger.Store(issuer)
		return false
	}
	l.signer.Store(issuer)
	return true
}

// is reports whether a certificate, or nil, is the other.
func is(known, c *x509.Certificate) bool {
	return known != nil && (known == c || bytes.Equal(known.Raw, c.Raw))
}

// lookup returns the entry of a certificate.
func (l *List) lookup(c *x509.Certificate) (entry, bool) {
	e, listed := l.entries[string(c.SerialNumber.Bytes())]
	return e, listed
}

func (l *List) future(now time.Time) bool { return now.Before(l.head.ThisUpdate) }

func (l *List) expired(now time.Time) bool {
	return !l.head.NextUpdate.IsZero() && now.After(l.head.NextUpdate)
}

// newer orders lists by thisUpdate and number; the newest is the greatest.
func newer(a, b *List) int {
	if n := a.head.ThisUpdate.Compare(b.head.ThisUpdate); n != 0 {
		return n
	}
	if a.head.Number != nil && b.head.Number != nil {
		return a.head.Number.Cmp(b.head.Number)
	}
	return 0
}

// fits reports whether the delta l can be applied to a complete list of the same
// issuer and scope (RFC 5280, 5.2.4).
func (l *List) fits(complete *List) bool {
	n := complete.head.Number
	return n != nil && n.Cmp(l.base) >= 0 && n.Cmp(l.head.Number) < 0
}

// canonical is a form of a Name in DER that is equal for names which differ only
// in the type of strings, in case and in spaces (RFC 5280, 7.1). It only narrows
// the search: the signature decides.
func canonical(der []byte) string {
	var name pkix.RDNSequence
	if rest, err := asn1.Unmarshal(der, &name); err != nil || len(rest) > 0 {
		return string(der)
	}
	var b strings.Builder
	for _, set := range name {
		parts := make([]string, 0, len(set))
		for _, a := range set {
			value, text := a.Value.(string)
			if !text {
				return string(der)
			}
			parts = append(parts, fmt.Sprintf("%s=%q", a.Type, strings.ToLower(strings.Join(strings.Fields(value), " "))))
		}
		slices.SortFunc(parts, cmp.Compare)
		b.WriteString(strings.Join(parts, "+"))
		b.WriteByte(',')
	}
	return b.String()
}
