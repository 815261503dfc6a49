package jwt

import "strings"

// header is what counts of a JOSE header (RFC 7515 4.1). Keys that it brings along
// or points to (jku, jwk, x5u, x5c, x5t) have no place here.
type header struct {
	alg   Algorithm
	kid   string
	named bool // has a kid
	typ   string
	typed bool // has a typ
}

func parseHeader(data []byte) (h header, err error) {
	o, err := parseObject(data, MaxToken)
	if err != nil {
		return header{}, err
	}
	alg, ok, err := text(o, "alg")
	if err != nil {
		return header{}, err
	}
	if !ok {
		return header{}, refuse(BadAlgorithm, "no alg")
	}
	h.alg = Algorithm(alg)
	if h.kid, h.named, err = text(o, "kid"); err != nil {
		return header{}, err
	}
	if h.typ, h.typed, err = text(o, "typ"); err != nil {
		return header{}, err
	}
	h.typ = mediaType(h.typ)
	return h, refuseHeader(o)
}

// refuseHeader refuses what makes a token another thing than one signed JWT.
func refuseHeader(o object) error {
	// RFC 7515 4.1.11: we know no extension, and the list is never empty.
	if _, ok := o["crit"]; ok {
		return refuse(Critical, "crit: an extension that must be understood")
	}
	if _, ok := o["b64"]; ok { // RFC 7797: signed in another form
		return refuse(Critical, "b64: a payload in another form")
	}
	if _, ok := o["enc"]; ok {
		return refuse(BadType, "enc: an encrypted token")
	}
	cty, _, err := text(o, "cty")
	if err != nil {
		return err
	}
	if strings.EqualFold(mediaType(cty), "JWT") { // RFC 7519 5.2
		return refuse(BadType, "cty: a token in a token")
	}
	return nil
}

// mediaType is a type without the prefix that may be left out (RFC 7515 4.1.9).
func mediaType(s string) string {
	const prefix = "application/"
	if len(s) > len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) && !strings.Contains(s[len(prefix):], "/") {
		return s[len(prefix):]
	}
	return s
}
