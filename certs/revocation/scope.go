package revocation

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	ber "golang.org/x/crypto/cryptobyte/asn1"
)

// Extensions of certificates, lists and entries (RFC 5280, 4.2, 5.2 and 5.3).
var (
	oidIssuerAltName      = asn1.ObjectIdentifier{2, 5, 29, 18}
	oidCRLNumber          = asn1.ObjectIdentifier{2, 5, 29, 20}
	oidReasonCode         = asn1.ObjectIdentifier{2, 5, 29, 21}
	oidInvalidityDate     = asn1.ObjectIdentifier{2, 5, 29, 24}
	oidDeltaIndicator     = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidIssuingPoint       = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidCertificateIssuer  = asn1.ObjectIdentifier{2, 5, 29, 29}
	oidDistributionPoints = asn1.ObjectIdentifier{2, 5, 29, 31}
	oidAuthorityKeyID     = asn1.ObjectIdentifier{2, 5, 29, 35}
)

// reasons is a set of ReasonFlags, bit n for reason flag n.
type reasons uint16

// allReasons are those that a complete answer covers. Bit 0 is unused (RFC 5280,
// 4.2.1.13): it neither adds nor lacks anything.
const allReasons reasons = 0x1fe

// scope is what a list is about (RFC 5280, 5.2.5).
type scope struct {
	names   [][]byte // GeneralNames of the distribution point, DER; empty for no partition
	users   bool     // only certificates of users
	cas     bool     // only certificates of CAs
	reasons reasons
}

// tags of context-specific elements.
func primitive(n uint8) ber.Tag   { return ber.Tag(n).ContextSpecific() }
func constructed(n uint8) ber.Tag { return ber.Tag(n).ContextSpecific().Constructed() }

var errScope = errors.New("malformed issuing distribution point")

// readScope reads an IssuingDistributionPoint and refuses what is not supported.
func readScope(der []byte) (scope, error) {
	s := scope{reasons: allReasons}
	in := cryptobyte.String(der)
	var body, point, flags cryptobyte.String
	var partitioned, someReasons, indirect, attributes bool
	// An empty one would say nothing, and must not be (RFC 5280, 5.2.5).
	if !in.ReadASN1(&body, ber.SEQUENCE) || !in.Empty() || body.Empty() ||
		!body.ReadOptionalASN1(&point, &partitioned, constructed(0)) ||
		!readFlag(&body, 1, &s.users) || !readFlag(&body, 2, &s.cas) ||
		!body.ReadOptionalASN1(&flags, &someReasons, primitive(3)) ||
		!readFlag(&body, 4, &indirect) || !readFlag(&body, 5, &attributes) || !body.Empty() {
		return scope{}, errScope
	}
	switch {
	case indirect:
		return scope{}, errors.New("indirect lists are not supported")
	case attributes:
		return scope{}, errors.New("a list of attribute certificates says nothing about others")
	case s.users && s.cas:
		return scope{}, errors.New("a list only of users and only of CAs covers nothing")
	}
	if someReasons {
		var ok bool
		if s.reasons, ok = readReasons(flags); !ok {
			return scope{}, errScope
		}
	}
	if partitioned {
		names, relative, ok := readPointName(point)
		switch {
		case relative:
			return scope{}, errors.New("a distribution point relative to the issuer is not supported")
		case !ok || len(names) == 0:
			return scope{}, errScope
		}
		s.names = names
	}
	return s, nil
}

// readFlag reads an implicitly tagged BOOLEAN DEFAULT FALSE.
func readFlag(in *cryptobyte.String, tag uint8, flag *bool) bool {
	var value cryptobyte.String
	var present bool
	if !in.ReadOptionalASN1(&value, &present, primitive(tag)) {
		return false
	}
	if present {
		// A flag of an unheard-of form narrows the list, too: never wider than meant.
		if len(value) != 1 {
			return false
		}
		*flag = value[0] != 0
	}
	return true
}

// readReasons reads the contents of an implicitly tagged BIT STRING.
func readReasons(in []byte) (reasons, bool) {
	if len(in) == 0 || len(in) > 3 || in[0] > 7 || len(in) == 1 && in[0] != 0 {
		return 0, false
	}
	var set reasons
	for i := range 8*(len(in)-1) - int(in[0]) {
		if in[1+i/8]&(0x80>>(i%8)) != 0 {
			set |= 1 << i
		}
	}
	return set & allReasons, true
}

// readPointName reads a DistributionPointName: the names, or that it is relative.
func readPointName(in cryptobyte.String) (names [][]byte, relative, ok bool) {
	if in.PeekASN1Tag(constructed(1)) {
		return nil, true, true
	}
	var full cryptobyte.String
	if !in.ReadASN1(&full, constructed(0)) || !in.Empty() {
		return nil, false, false
	}
	for !full.Empty() {
		var name cryptobyte.String
		var tag ber.Tag
		if !full.ReadAnyASN1Element(&name, &tag) {
			return nil, false, false
		}
		names = append(names, name)
	}
	return names, false, true
}

// point is one DistributionPoint of a certificate (RFC 5280, 4.2.1.13).
type point struct {
	names   [][]byte // GeneralNames, DER
	reasons reasons
}

// points are the certificate's distribution points for lists of its own issuer.
// Those that leave it to another (cRLIssuer) are passed over, as are all when
// the extension is malformed: then no partitioned list covers the certificate.
func points(c *x509.Certificate) []point {
	i := slices.IndexFunc(c.Extensions, func(e extension) bool { return e.Id.Equal(oidDistributionPoints) })
	if i < 0 {
		return nil
	}
	in := cryptobyte.String(c.Extensions[i].Value)
	var body cryptobyte.String
	if !in.ReadASN1(&body, ber.SEQUENCE) || !in.Empty() {
		return nil
	}
	var all []point
	for !body.Empty() {
		var one, name, flags, other cryptobyte.String
		var named, someReasons, foreign bool
		if !body.ReadASN1(&one, ber.SEQUENCE) ||
			!one.ReadOptionalASN1(&name, &named, constructed(0)) ||
			!one.ReadOptionalASN1(&flags, &someReasons, primitive(1)) ||
			!one.ReadOptionalASN1(&other, &foreign, constructed(2)) || !one.Empty() {
			return nil
		}
		if foreign || !named {
			continue
		}
		p := point{reasons: allReasons}
		names, relative, ok := readPointName(name)
		if someReasons && ok {
			p.reasons, ok = readReasons(flags)
		}
		if !ok {
			return nil
		}
		if relative {
			continue
		}
		p.names = names
		all = append(all, p)
	}
	return all
}

// url is the first name of the point that HTTP can fetch, "" for none.
func (p *point) url() string {
	for _, name := range p.names {
		in := cryptobyte.String(name)
		var uri cryptobyte.String
		if in.ReadASN1(&uri, primitive(6)) && webURL(string(uri)) { // uniformResourceIdentifier
			return string(uri)
		}
	}
	return ""
}

// covers returns the reasons for which the list speaks about c; 0 for none. Its
// issuer is not looked at.
func (s *scope) covers(c *x509.Certificate) reasons {
	isCA := c.BasicConstraintsValid && c.IsCA
	if s.users && isCA || s.cas && !isCA {
		return 0
	}
	if len(s.names) == 0 {
		return s.reasons
	}
	var covered reasons
	for _, p := range points(c) {
		if slices.ContainsFunc(p.names, s.named) {
			covered |= p.reasons & s.reasons // RFC 5280, 6.3.3 (d)
		}
	}
	// Without a point of its own a certificate is under the issuer's name.
	if slices.ContainsFunc(s.names, func(name []byte) bool { return isDirectoryName(name, c.RawIssuer) }) {
		covered |= s.reasons
	}
	return covered
}

func (s *scope) named(name []byte) bool {
	return slices.ContainsFunc(s.names, func(other []byte) bool { return string(other) == string(name) })
}

// isDirectoryName reports whether a GeneralName is the directoryName rdns.
func isDirectoryName(name, rdns []byte) bool {
	in := cryptobyte.String(name)
	var value cryptobyte.String
	return in.ReadASN1(&value, constructed(4)) && canonical(value) == canonical(rdns)
}
