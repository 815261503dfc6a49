package control

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"maps"
	"net/http"
	"slices"
	"time"

	"sallyport/internal/certfield"
	"sallyport/security"
	"sallyport/security/expect"
)

// Client is the answer of GET /clients/{id}: who a client is, without what it
// proved that with.
type Client struct {
	expect.Client
	Online        bool         `json:"online"`               // false: away, its session is kept
	Subscriptions int          `json:"subscriptions"`        // standing ones
	Attributes    []string     `json:"attributes,omitempty"` // names alone
	Claims        []string     `json:"claims,omitempty"`     // the same
	Certificate   *Certificate `json:"certificate,omitempty"`
	Expires       *time.Time   `json:"expires,omitempty"` // of the credential
}

// Certificate is what is told of a client's certificate.
type Certificate struct {
	Subject  string    `json:"subject"`
	Issuer   string    `json:"issuer"`
	Serial   string    `json:"serial"` // hexadecimal
	SHA256   string    `json:"sha256"` // of its DER, hexadecimal
	NotAfter time.Time `json:"not_after"`
	// Fields is the values that the certificate has for identities and rules, by
	// their names there; at most fieldValues of each.
	Fields map[string][]string `json:"fields,omitempty"`
	// Unreadable is why it has none for others.
	Unreadable map[string]string `json:"unreadable,omitempty"`
}

// fieldValues bounds the values of a field of a certificate that are told.
const fieldValues = 64

// describeClient is what is told of p. The client identifier is the session's:
// with one that the broker gave, p's is the same.
func describeClient(p *security.Principal, id string) Client {
	c := Client{
		Client: expect.NewClient(p), Attributes: slices.Sorted(maps.Keys(p.Attrs)), Claims: slices.Sorted(maps.Keys(p.Claims)),
		Certificate: describeCertificate(p.Cert),
	}
	c.ClientID = id
	if p.Addr.IsValid() {
		c.Address = p.Addr.String() // with the port, by which logs of others know it
	}
	if p.Expires != 0 {
		at := time.Unix(int64(p.Expires), 0).UTC()
		c.Expires = &at
	}
	return c
}

func describeCertificate(x *x509.Certificate) *Certificate {
	if x == nil {
		return nil
	}
	sum := sha256.Sum256(x.Raw)
	c := &Certificate{Subject: x.Subject.String(), Issuer: x.Issuer.String(), SHA256: hex.EncodeToString(sum[:]), NotAfter: x.NotAfter.UTC()}
	if x.SerialNumber != nil {
		c.Serial = x.SerialNumber.Text(16)
	}
	c.Fields, c.Unreadable = certfield.All(x, fieldValues)
	return c
}

// find returns a client that is connected or away.
func (s *Server) find(id string) (*security.Principal, Client, error) {
	p, online, ok := s.options.Engine.ClientPrincipal(id)
	if !ok || p == nil {
		return nil, Client{}, &Error{Status: http.StatusNotFound, Code: "no_client", Message: "no client with this id is connected, and no session of it is kept"}
	}
	c := describeClient(p, id)
	c.Online, c.Subscriptions = online, s.options.Engine.ClientSubscriptions(id)
	return p, c, nil
}

// client is GET /clients/{id}.
func (s *Server) client(c *call) (any, error) {
	_, doc, err := s.find(c.http.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return doc, nil
}
