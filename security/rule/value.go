package rule

import "sallyport/security"

// Known reports, as an error for the rule's author, a placeholder name that
// nothing could ever have a value for.
func Known(name string) error { return nil }

// Lookup is what the placeholder name stands for: one value, or several (groups,
// roles, alternative names of a certificate, a list in a claim), which are put in
// one after the other. ok is false if the principal has no such thing; a list
// that is empty is there.
func Lookup(p *security.Principal, name string) (one string, several []string, ok bool) {
	return "", nil, false
}
