package token

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"sallyport/internal/jwt"
	"sallyport/security"
	"sallyport/security/authn"
)

// OAUTHBEARER is the method of enhanced authentication (RFC 7628).
const OAUTHBEARER = "OAUTHBEARER"

// maxMessage bounds a client's message: a token and what stands around it.
const maxMessage = jwt.MaxToken + 2<<10

// invalidToken is what a client is told whose token is refused, whatever the reason
// (RFC 7628 3.2.2).
const invalidToken = `{"status":"invalid_token"}`

// Serves implements authn.EnhancedAuthenticator.
func (a *Authenticator) Serves(method string) bool {
	return method == OAUTHBEARER && !a.o.NoOAUTHBEARER
}

// Start implements authn.EnhancedAuthenticator.
func (a *Authenticator) Start(c *authn.Credentials) (authn.Exchange, error) {
	if !a.Serves(c.AuthMethod) {
		return nil, a.refuse("authentication method is not served")
	}
	return &exchange{a: a, by: presentedBy(c)}, nil
}

// exchange is one run: a client's message, and if that is refused, what it answers to
// being told so. There is no third step.
type exchange struct {
	a     *Authenticator
	by    presented
	cause error // why the token was refused; nil before
	over  bool
}

// Next implements authn.Exchange.
func (x *exchange) Next(_ context.Context, data []byte) (reply []byte, p *security.Principal, err error) {
	switch {
	case x.over:
		return nil, nil, x.a.refuse("the exchange is over")
	case x.cause != nil: // whatever it answers; RFC 7628 3.2.3 wants ^A
		x.over = true
		return nil, nil, x.cause
	}
	m, err := parseMessage(data)
	if err != nil {
		x.over = true
		return nil, nil, x.a.refuse("OAUTHBEARER: %v", err)
	}
	p, err = x.a.judge(m.token, x.by)
	switch {
	case errors.Is(err, authn.ErrNotMine):
		err = x.a.refuse("OAUTHBEARER: no token of an issuer or key of ours")
	case err == nil && m.authzid != "" && m.authzid != p.Name:
		err = x.a.refuse("OAUTHBEARER: authorization identity is not the name of the token")
	}
	if err != nil {
		x.cause = err
		return []byte(invalidToken), nil, nil
	}
	x.over = true
	return nil, p, nil
}

// Failed implements authn.Failing: the client is told before it is refused.
func (x *exchange) Failed() error { return x.cause }

// message is the client's first, and only one that says something.
type message struct {
	authzid string
	token   []byte
}

// kvsep ends each pair of a key and a value (RFC 7628 3.1).
const kvsep = "\x01"

// parseMessage reads gs2-header kvsep *kvpair kvsep (RFC 7628 3.1). auth must be there,
// once, with the scheme Bearer; host and port are held to their form, and others, which
// RFC 7628 leaves to later, to theirs. Nothing of an error is from the message.
func parseMessage(data []byte) (m message, err error) {
	if len(data) > maxMessage {
		return m, errors.New("message is too long")
	}
	header, rest, found := bytes.Cut(data, []byte(kvsep))
	if !found {
		return m, errors.New("message has no pairs")
	}
	if m.authzid, err = parseHeader(string(header)); err != nil {
		return m, err
	}
	seen := map[string]bool{}
	for len(rest) > 0 && rest[0] != kvsep[0] {
		pair, after, found := bytes.Cut(rest, []byte(kvsep))
		key, value, equals := bytes.Cut(pair, []byte("="))
		switch {
		case !found:
			return m, errors.New("message is cut off")
		case !equals || !isKey(key) || !isValue(value):
			return m, errors.New("a pair has not the form key=value")
		case seen[string(key)]:
			return m, errors.New("a key stands twice")
		case len(seen) == maxPairs:
			return m, errors.New("too many pairs")
		}
		seen[string(key)] = true
		switch string(key) {
		case "auth":
			if m.token = bare(value); len(m.token) == len(value) {
				return m, errors.New("auth is not of the scheme Bearer")
			}
		case "host":
			if len(value) == 0 || len(value) > 255 || bytes.ContainsAny(value, " \t\r\n") {
				return m, errors.New("host is none")
			}
		case "port":
			if !isPort(string(value)) {
				return m, errors.New("port is none")
			}
		}
		rest = after
	}
	if string(rest) != kvsep {
		return m, errors.New("message does not end as it has to")
	}
	if m.token == nil {
		return m, errors.New("message has no token")
	}
	return m, nil
}

// maxPairs bounds the pairs of a message; RFC 7628 knows seven keys.
const maxPairs = 16

// parseHeader reads the gs2-header (RFC 5801 4): no channel binding, and perhaps an
// authorization identity.
func parseHeader(s string) (authzid string, err error) {
	flag, rest, found := strings.Cut(s, ",")
	authzid, end, ended := strings.Cut(rest, ",")
	switch {
	case !found || !ended || end != "":
		return "", errors.New("gs2-header has not its form")
	case flag != "n" && flag != "y": // p asks for channel binding, which the method has none of
		return "", errors.New("gs2-header asks for what there is not")
	case authzid == "":
		return "", nil
	}
	authzid, found = strings.CutPrefix(authzid, "a=")
	if !found || authzid == "" {
		return "", errors.New("gs2-header has not its form")
	}
	// saslname: =2C is a comma, =3D an equals sign, and = nothing else (RFC 5801 4).
	plain := strings.NewReplacer("=2C", "", "=3D", "").Replace(authzid)
	if strings.Contains(plain, "=") {
		return "", errors.New("authorization identity is malformed")
	}
	return strings.NewReplacer("=2C", ",", "=3D", "=").Replace(authzid), nil
}

func isKey(b []byte) bool {
	for _, c := range b {
		if c|0x20 < 'a' || c|0x20 > 'z' {
			return false
		}
	}
	return len(b) > 0
}

// isValue reports whether b is visible ASCII, space, tab, CR and LF.
func isValue(b []byte) bool {
	for _, c := range b {
		if (c < 0x20 || c > 0x7e) && c != '\t' && c != '\r' && c != '\n' {
			return false
		}
	}
	return true
}

func isPort(s string) bool {
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' || len(s) > 5 {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return n >= 1 && n <= 65535
}
