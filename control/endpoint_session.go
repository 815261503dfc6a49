package control

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"sallyport/security"
)

// EndSessionsRequest is the body of POST /sessions/end. What is left out matches
// every client; at least one of them but realm is needed.
type EndSessionsRequest struct {
	User        *string `json:"user,omitempty"` // a user name; empty is anonymous
	Realm       *string `json:"realm,omitempty"`
	ClientID    *string `json:"client_id,omitempty"`
	Certificate *string `json:"certificate,omitempty"` // SHA-256 of its DER, or its serial number, hexadecimal; colons are left out
	TokenID     *string `json:"token_id,omitempty"`    // RFC 7519, 4.1.7 (jti)
	Forget      bool    `json:"forget,omitempty"`      // also the sessions that are kept
}

// EndSessionsResult is the answer of POST /sessions/end.
type EndSessionsResult struct {
	Connected int `json:"connected"` // connections that were ended
	Away      int `json:"away"`      // clients that were not connected: their wills are dropped
	// Forgotten is how many sessions are not kept any more.
	Forgotten int `json:"forgotten"`
}

// endSessions is POST /sessions/end.
func (s *Server) endSessions(c *call) (any, error) {
	var q EndSessionsRequest
	if err := decode(c.body, &q); err != nil {
		c.unchanged = true
		return nil, err
	}
	match, err := q.matcher()
	if err != nil {
		c.unchanged = true
		return nil, bad("%v", err)
	}
	c.target = q.String()
	connected, away := s.options.Engine.EndSessions(match, q.Forget)
	r := EndSessionsResult{Connected: connected, Away: away}
	if q.Forget {
		r.Forgotten = connected + away
	}
	c.result = fmt.Sprintf("ended %d connected, %d away, %d forgotten", r.Connected, r.Away, r.Forgotten)
	return r, nil
}

// matcher reports of a principal whether the request is about it.
func (q *EndSessionsRequest) matcher() (func(*security.Principal) bool, error) {
	switch {
	case q.User == nil && q.ClientID == nil && q.Certificate == nil && q.TokenID == nil:
		return nil, fmt.Errorf("user, client_id, certificate or token_id says whose sessions")
	case q.ClientID != nil && *q.ClientID == "":
		return nil, fmt.Errorf("client_id is empty")
	case q.TokenID != nil && *q.TokenID == "":
		return nil, fmt.Errorf("token_id is empty") // which tokens without an identifier have
	}
	certificate := func(*x509.Certificate) bool { return true }
	if q.Certificate != nil {
		var err error
		if certificate, err = matchCertificate(*q.Certificate); err != nil {
			return nil, err
		}
	}
	is := func(want *string, got string) bool { return want == nil || *want == got }
	return func(p *security.Principal) bool {
		return !p.Internal && is(q.User, p.Name) && is(q.Realm, p.Realm) && is(q.ClientID, p.ClientID) &&
			(q.TokenID == nil || p.Token != nil && p.Token.ID == *q.TokenID) && certificate(p.Cert)
	}, nil
}

// matchCertificate reports of a certificate whether text names it: a SHA-256 has 64
// digits, a serial number at most 40 (RFC 5280, 4.1.2.2).
func matchCertificate(text string) (func(*x509.Certificate) bool, error) {
	digits := strings.ToLower(strings.ReplaceAll(text, ":", ""))
	for _, r := range digits {
		if !strings.ContainsRune("0123456789abcdef", r) {
			return nil, fmt.Errorf("certificate is not hexadecimal")
		}
	}
	if len(digits) == 2*sha256.Size {
		return func(x *x509.Certificate) bool {
			if x == nil {
				return false
			}
			sum := sha256.Sum256(x.Raw)
			return hex.EncodeToString(sum[:]) == digits
		}, nil
	}
	if digits == "" || len(digits) > 40 {
		return nil, fmt.Errorf("certificate is neither a SHA-256 nor a serial number")
	}
	serial := strings.TrimLeft(digits, "0")
	return func(x *x509.Certificate) bool {
		return x != nil && x.SerialNumber != nil && strings.TrimLeft(x.SerialNumber.Text(16), "0") == serial
	}, nil
}

// String is the request for the log. What names a token is no secret.
func (q *EndSessionsRequest) String() string {
	var text []string
	for _, f := range []struct {
		name  string
		value *string
	}{{"user", q.User}, {"realm", q.Realm}, {"client_id", q.ClientID}, {"certificate", q.Certificate}, {"token_id", q.TokenID}} {
		if f.value != nil {
			text = append(text, f.name+"="+strconv.Quote(*f.value))
		}
	}
	if q.Forget {
		text = append(text, "forget")
	}
	return strings.Join(text, " ")
}
