package control

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"

	"sallyport/security"
)

// Client is the answer of GET /clients/{id}: who a client is, without what it
// proved that with.
type Client struct {
	ClientID   string       `json:"client_id"`
	User       string       `json:"user"` // empty for anonymous
	Realm      string       `json:"realm,omitempty"`
	Listener   string       `json:"listener,omitempty"`
	Address    string       `json:"address,omitempty"`
	Secure     bool         `json:"secure"`
	Method     string       `json:"method,omitempty"` // the authenticator that accepted
	Groups     []string     `json:"groups,omitempty"`
	Roles      []string     `json:"roles,omitempty"`
	Attributes []string     `json:"attributes,omitempty"` // names alone
	Claims     []string     `json:"claims,omitempty"`     // the same
	Cert       *Certificate `json:"certificate,omitempty"`
	Expires    *time.Time   `json:"expires,omitempty"` // of the credential

	// Of a client that there is, in the answer of /clients/{id} and /explain:
	Online        *bool `json:"online,omitempty"`
	Subscriptions *int  `json:"subscriptions,omitempty"`
}

// Certificate is what is told of a client's certificate.
type Certificate struct {
	Subject  string    `json:"subject"`
	Issuer   string    `json:"issuer"`
	Serial   string    `json:"serial"` // hexadecimal
	SHA256   string    `json:"sha256"` // of its DER, hexadecimal
	NotAfter time.Time `json:"not_after"`
}

func clientOf(p *security.Principal) Client {
	if p == nil {
		return Client{}
	}
	c := Client{
		ClientID: p.ClientID, User: p.Name, Realm: p.Realm, Listener: p.Listener, Secure: p.Secure, Method: p.Method,
		Groups: p.Groups, Roles: p.Roles, Attributes: sortedKeys(p.Attrs), Claims: sortedKeys(p.Claims),
	}
	if p.Addr.IsValid() {
		c.Address = p.Addr.String()
	}
	if !p.Expires.IsZero() {
		at := p.Expires.UTC()
		c.Expires = &at
	}
	if x := p.Cert; x != nil {
		sum := sha256.Sum256(x.Raw)
		c.Cert = &Certificate{Subject: x.Subject.String(), Issuer: x.Issuer.String(), SHA256: hex.EncodeToString(sum[:]), NotAfter: x.NotAfter.UTC()}
		if x.SerialNumber != nil {
			c.Cert.Serial = x.SerialNumber.Text(16)
		}
	}
	return c
}

var errNoClient = &Error{Status: http.StatusNotFound, Code: "no_client", Message: "no client with this id is connected, and no session of it is kept"}

// find returns a client that is connected or away.
func (s *Server) find(id string) (*security.Principal, Client, error) {
	p, online, ok := s.options.Engine.ClientPrincipal(id)
	if !ok || p == nil {
		return nil, Client{}, errNoClient
	}
	n := s.options.Engine.ClientSubscriptions(id)
	c := clientOf(p)
	c.ClientID, c.Online, c.Subscriptions = id, &online, &n
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
