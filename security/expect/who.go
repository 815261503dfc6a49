package expect

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"sallyport/config"
	"sallyport/internal/text"
)

// Who is a client as a file or a command line describes it: what it presents
// when it connects, and what its authenticator would say of it.
type Who struct {
	// ClientID is the client identifier; it can't be left empty.
	ClientID string `yaml:"client_id" json:"client_id"`
	// User is the user name of CONNECT; empty: none is sent.
	User string `yaml:"user" json:"user,omitempty"`
	// Address is the source address; without it no condition on addresses holds.
	Address Address `yaml:"address" json:"address,omitzero"`
	// Listener is the name of the door; empty where there is one to choose from.
	Listener string `yaml:"listener" json:"listener,omitempty"`
	// TLS says that the client comes over TLS: of several listeners those with
	// TLS are meant, and where a policy file stands alone its conditions see it.
	TLS bool `yaml:"tls" json:"tls,omitempty"`
	// Certificate is the path of the client's certificate and its chain, PEM.
	Certificate string `yaml:"certificate" json:"certificate,omitempty"`
	// Groups, Roles, Attributes and Claims are those that an authenticator finds.
	Groups     config.Many[string] `yaml:"groups" json:"groups,omitempty"`
	Roles      config.Many[string] `yaml:"roles" json:"roles,omitempty"`
	Attributes map[string]string   `yaml:"attributes" json:"attributes,omitempty"`
	Claims     Claims              `yaml:"claims" json:"claims,omitempty"`
	// Password is checked if HasPassword; without one the right one is presumed.
	Password    []byte `yaml:"-" json:"-"`
	HasPassword bool   `yaml:"-" json:"-"`
}

// Address is a source address, without port.
type Address struct{ netip.Addr }

// UnmarshalText reads an IPv4 or IPv6 address.
func (a *Address) UnmarshalText(b []byte) error {
	addr, err := netip.ParseAddr(string(b))
	if err != nil {
		return fmt.Errorf("must be an address such as 192.0.2.7 or 2001:db8::7, not %.60q", b)
	}
	a.Addr = addr.Unmap().WithZone("")
	return nil
}

// Claims are those of a token, written as a JSON object.
type Claims map[string]any

// maxClaims bounds the text of claims, in bytes.
const maxClaims = 64 << 10

// UnmarshalText reads a JSON object.
func (c *Claims) UnmarshalText(b []byte) error {
	if len(b) > maxClaims {
		return fmt.Errorf("claims are longer than %d bytes", maxClaims)
	}
	m := map[string]any{}
	if err := json.Unmarshal(b, &m); err != nil || m == nil {
		return errors.New(`must be a JSON object in quotes, such as '{"scope": "read"}'`)
	}
	*c = m
	return nil
}

// maxNameBytes bounds what the CONNECT of MQTT can carry as a name.
const maxNameBytes = 65535

// Check says what can't be in who.
func (w *Who) Check() error {
	for _, f := range []struct{ key, value string }{{"client id", w.ClientID}, {"user", w.User}} {
		if len(f.value) > maxNameBytes || !text.ValidUTF8(f.value) || strings.ContainsRune(f.value, 0) {
			return fmt.Errorf("%s can't be sent in MQTT: it is too long, not UTF-8 or holds a NUL", f.key)
		}
	}
	if w.ClientID == "" {
		return errors.New("needs a client id")
	}
	return nil
}

// in bases the paths of who on a folder.
func (w *Who) in(dir string) {
	if w.Certificate != "" && !filepath.IsAbs(w.Certificate) {
		w.Certificate = filepath.Join(dir, w.Certificate)
	}
}

// Identity is a Who with a name and its place.
type Identity struct {
	Name string
	Who  Who
	Line int
}

// maxIdentities bounds how many clients one file describes.
const maxIdentities = 5000

type identityMap map[string]config.Located[Who]

// ReadIdentities reads a file that names clients: a mapping identities, from
// name to Who. Other keys of a table of expectations may stand in it too. The
// error is a config.Problems.
func ReadIdentities(path string) ([]Identity, error) {
	data, err := config.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return ParseIdentities(data, path)
}

// ParseIdentities is ReadIdentities for data that was read from path.
func ParseIdentities(data []byte, path string) ([]Identity, error) {
	doc, problems := decode(data, path)
	if len(doc.Identities) == 0 && len(problems) == 0 {
		problems = append(problems, config.Problem{File: path, Key: "identities", Text: "names nobody"})
	}
	if err := problems.Sort().Err(); err != nil {
		return nil, err
	}
	return doc.Identities.list(), nil
}
