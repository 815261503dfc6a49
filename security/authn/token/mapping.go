package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sallyport/internal/text"
	"sallyport/security"
	"sallyport/security/rule"
)

// Mapping says what of a token's claims becomes what of a principal. A claim is named
// by its path as in policies (rule.Claim): dots lead into objects.
type Mapping struct {
	Name       string            // the user name; empty: sub
	Groups     string            // a list, or a text of words as scope is (RFC 6749 3.3); empty: none
	Roles      string            // the same
	Attributes map[string]string // a path for each attribute: a text, number or bool
	// Permissions is what the token itself allows and denies (see Grants); empty: nothing.
	Permissions string
	// Keep is the claims that policies can read, by their whole names; with All all are
	// kept. What Permissions needs is kept in any case.
	Keep []string
	All  bool
}

// Bounds of what is taken from one token.
const (
	maxName       = 255 // bytes, as names of certificates
	maxWords      = 128 // groups, roles
	maxWord       = 256 // bytes
	maxAttribute  = 1024
	maxAttributes = 32
	maxClaims     = 4 << 10 // bytes of what is kept, as JSON
	maxPath       = 128
)

func (m *Mapping) check() error {
	if len(m.Attributes) > maxAttributes {
		return fmt.Errorf("more than %d attributes", maxAttributes)
	}
	paths := []string{m.Groups, m.Roles, m.Permissions, m.Name}
	for _, p := range m.Attributes {
		if p == "" {
			return errors.New("an attribute comes from no claim")
		}
		paths = append(paths, p)
	}
	for _, p := range paths {
		if len(p) > maxPath || !text.Clean(p) {
			return fmt.Errorf("a path of a claim is longer than %d bytes or has control characters", maxPath)
		}
	}
	return nil
}

// at is the claim at a path; null is none.
func at(claims map[string]any, path string) (v any, there bool) {
	v, there = rule.Claim(claims, path)
	return v, there && v != nil
}

func (m *Mapping) namePath() string {
	if m.Name == "" {
		return "sub"
	}
	return m.Name
}

// principal makes what claims say. Errors name paths, never values.
func (a *Authenticator) principal(realm string, claims map[string]any) (*security.Principal, error) {
	m := &a.o.Mapping
	p := &security.Principal{Realm: realm}
	var err error
	if p.Name, err = name(claims, m.namePath()); err != nil {
		return nil, err
	}
	if p.Groups, err = words(claims, m.Groups); err != nil {
		return nil, err
	}
	if p.Roles, err = words(claims, m.Roles); err != nil {
		return nil, err
	}
	if p.Attrs, err = attributes(claims, m.Attributes); err != nil {
		return nil, err
	}
	if p.Claims, err = m.kept(claims); err != nil {
		return nil, err
	}
	granted, err := a.granted(claims)
	if err != nil {
		return nil, err
	}
	p.Token = &security.Token{}
	if granted != nil { // else Granted would hold a nil *Grants
		p.Token.Granted = granted
	}
	return p, nil
}

// one is the scalar at a path, as policies read it.
func one(claims map[string]any, path string) (value string, there bool, err error) {
	if _, there = at(claims, path); !there {
		return "", false, nil
	}
	value, several, ok := rule.Lookup(&security.Principal{Claims: claims}, "claim."+path)
	if !ok || several != nil {
		return "", true, fmt.Errorf("claim %s is no text, number or bool", path)
	}
	return value, true, nil
}

// name is the user name: a text, since names are compared bytewise and a number has
// many spellings. It stands for one level of a topic in permissions.
func name(claims map[string]any, path string) (string, error) {
	v, there := at(claims, path)
	s, isText := v.(string)
	switch {
	case !there:
		return "", fmt.Errorf("claim %s, which is the name, is missing", path)
	case !isText || s == "":
		return "", fmt.Errorf("claim %s, which is the name, is no text or empty", path)
	case len(s) > maxName:
		return "", fmt.Errorf("claim %s, which is the name, is longer than %d bytes", path, maxName)
	case !text.Clean(s):
		return "", fmt.Errorf("claim %s, which is the name, has control characters", path)
	case strings.ContainsAny(s, "+#/"):
		return "", fmt.Errorf("claim %s, which is the name, has one of + # /", path)
	}
	return s, nil
}

// words is a list of texts, or the words of a text.
func words(claims map[string]any, path string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	v, there := at(claims, path)
	if !there {
		return nil, nil
	}
	var all []string
	switch v := v.(type) {
	case string:
		all = strings.Fields(v)
	case []any:
		if len(v) > maxWords {
			break
		}
		for _, e := range v {
			s, _ := e.(string)
			all = append(all, s) // empty where it is none: refused below
		}
	default:
		return nil, fmt.Errorf("claim %s is neither a list nor a text", path)
	}
	if list, ok := v.([]any); len(all) > maxWords || ok && len(list) > maxWords {
		return nil, fmt.Errorf("claim %s has more than %d values", path, maxWords)
	}
	for _, s := range all {
		if s == "" || len(s) > maxWord || !text.Clean(s) {
			return nil, fmt.Errorf("claim %s has a value that is no text of 1 to %d bytes without control characters", path, maxWord)
		}
	}
	return all, nil
}

func attributes(claims map[string]any, paths map[string]string) (map[string]string, error) {
	var out map[string]string
	for attribute, path := range paths {
		v, there, err := one(claims, path)
		switch {
		case err != nil:
			return nil, err
		case !there:
			continue
		case len(v) > maxAttribute || !text.Clean(v):
			return nil, fmt.Errorf("claim %s is longer than %d bytes or has control characters", path, maxAttribute)
		}
		if out == nil {
			out = make(map[string]string, len(paths))
		}
		out[attribute] = v
	}
	return out, nil
}

// kept is the claims that stay with the connection. They are refused rather than cut:
// a deny rule could be about what is missing.
func (m *Mapping) kept(claims map[string]any) (map[string]any, error) {
	kept := claims
	if !m.All {
		kept = map[string]any{}
		for k, v := range claims {
			if slices.Contains(m.Keep, k) || m.Permissions != "" && (k == m.Permissions || strings.HasPrefix(m.Permissions, k+".")) {
				kept[k] = v
			}
		}
	}
	if len(kept) == 0 {
		return nil, nil
	}
	b, err := json.Marshal(kept)
	if err != nil {
		return nil, errors.New("claims can't be kept")
	}
	if len(b) > maxClaims {
		return nil, fmt.Errorf("claims of %d bytes are more than %d: name those that policies read in keep_claims", len(b), maxClaims)
	}
	return kept, nil
}
