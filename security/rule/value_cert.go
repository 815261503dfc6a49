package rule

import (
	"crypto/x509"
	"slices"

	"sallyport/internal/certfield"
)

// shortAlternatives are alternative names without the san. before them.
var shortAlternatives = [...]string{"dns", "uri", "email", "ip"}

// certName is the field that a name after cert. stands for.
func certName(name string) string {
	if slices.Contains(shortAlternatives[:], name) {
		return "san." + name
	}
	return name
}

// certField is what a field of a certificate stands for, as [Lookup] has it. What
// can't be told with certainty is not there, as is a field with several values
// that may have one.
func certField(c *x509.Certificate, name string) (one string, several []string, ok bool) {
	name = certName(name)
	isList, err := certfield.Known(name)
	if err != nil {
		return "", nil, false
	}
	if !isList {
		one, err = certfield.One(c, name)
		return one, nil, err == nil
	}
	values, err := certfield.Values(c, name)
	switch {
	case err != nil:
		return "", nil, false
	case len(values) == 0 && certfield.OfSubject(name):
		// No value, rather than an empty list: a rule that speaks of an organization
		// is not about a subject that has none.
		return "", nil, false
	}
	return list(values)
}
