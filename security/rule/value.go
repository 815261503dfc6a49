package rule

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"sallyport/internal/certfield"
	"sallyport/internal/text"
	"sallyport/security"
)

const (
	attrPrefix  = "attr."
	claimPrefix = "claim."
	certPrefix  = "cert."

	nameBytes = 256  // bounds the name of a placeholder
	listLimit = 1024 // bounds what a list stands for
)

// plainNames are the placeholders that have no field or path behind them.
var plainNames = [...]string{
	"clientid", "username", "group", "groups", "role", "roles", "listener", "address", "method", "realm",
}

// Known reports, as an error for the rule's author, a placeholder name that
// nothing could ever have a value for. These can:
//
//	clientid                 as in CONNECT, or as the broker assigned it
//	username                 absent for anonymous
//	group groups role roles  several
//	listener method realm    names: of the listener, of the authenticator and its realm
//	address                  of the peer, without port; absent for a local socket
//	cert.FIELD               of the client certificate, as certfield.Names lists them
//	cert.dns .uri .email .ip the same as cert.san.dns and so on
//	attr.NAME                an attribute that the authenticator found
//	claim.PATH               a claim of a token; dots lead into objects
func Known(name string) error {
	if len(name) > nameBytes {
		return fmt.Errorf("placeholder %.40q... is longer than %d bytes", name, nameBytes)
	}
	if !text.ValidUTF8(name) || !text.Clean(name) {
		return fmt.Errorf("placeholder %q holds control characters", name)
	}
	switch {
	case slices.Contains(plainNames[:], name):
		return nil
	case strings.HasPrefix(name, attrPrefix), strings.HasPrefix(name, claimPrefix):
		if strings.HasSuffix(name, ".") {
			return fmt.Errorf("placeholder %q names nothing after its last dot", name)
		}
		return nil
	case strings.HasPrefix(name, certPrefix):
		if _, err := certfield.Known(certName(name[len(certPrefix):])); err != nil {
			return fmt.Errorf("placeholder %q is unknown: of a certificate there are %s", name, strings.Join(certfield.Names(), ", "))
		}
		return nil
	case name == "":
		return errors.New("placeholder without a name")
	}
	return fmt.Errorf("placeholder %q is unknown", name)
}

// Lookup is what the placeholder name stands for: one value, or several (groups,
// roles, alternative names of a certificate, a list in a claim), which are put in
// one after the other. several is not nil where the name stands for a list. ok is
// false if the principal has no such thing; a list that is empty is there. A
// value that can't be told with certainty (a claim that is an object, a number
// that lost digits, a list out of bounds) is not there. The caller does not
// change several.
func Lookup(p *security.Principal, name string) (one string, several []string, ok bool) {
	switch name {
	case "clientid":
		return p.ClientID, nil, true
	case "username":
		return p.Name, nil, p.Name != ""
	case "group", "groups":
		return list(p.Groups)
	case "role", "roles":
		return list(p.Roles)
	case "listener":
		return p.Listener, nil, p.Listener != ""
	case "method":
		return p.Method, nil, p.Method != ""
	case "realm":
		return p.Realm, nil, p.Realm != ""
	case "address":
		if !p.Addr.IsValid() {
			return "", nil, false
		}
		return p.Addr.Addr().Unmap().String(), nil, true
	}
	if key, found := strings.CutPrefix(name, attrPrefix); found {
		one, ok = p.Attrs[key]
		return one, nil, ok
	}
	if path, found := strings.CutPrefix(name, claimPrefix); found {
		return claim(p.Claims, path)
	}
	if field, found := strings.CutPrefix(name, certPrefix); found && p.Cert != nil {
		return certField(p.Cert, field)
	}
	return "", nil, false
}

// list is a list that is there, even if it is empty. One that is out of bounds
// is not: to put in only a part of it would let a deny rule pass.
func list(values []string) (string, []string, bool) {
	switch {
	case len(values) > listLimit:
		return "", nil, false
	case values == nil:
		return "", []string{}, true
	}
	return "", values, true
}
