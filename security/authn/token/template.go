package token

import (
	"errors"
	"fmt"
	"strings"

	"sallyport/internal/text"
)

// Bounds of a template: its text and placeholders.
const (
	templateBytes = 255
	templateParts = 8
)

// template is a text with placeholders, at least one.
type template struct {
	parts []part
	tail  string // after the last placeholder
}

// part is a placeholder with the text before it; an empty path is the name.
type part struct{ before, path string }

// parseTemplate reads a template. Between two placeholders there has to be text: what
// follows a value must show where it ends.
func parseTemplate(s string) (*template, error) {
	if len(s) > templateBytes || !text.Clean(s) {
		return nil, fmt.Errorf("a template has at most %d bytes and no control characters", templateBytes)
	}
	t, rest := &template{}, s
	for {
		before, after, found := strings.Cut(rest, "${")
		if !found {
			break
		}
		name, tail, closed := strings.Cut(after, "}")
		if !closed {
			return nil, errors.New("a placeholder of the template is not closed")
		}
		path, isClaim := strings.CutPrefix(name, "claim.")
		switch {
		case name == "username":
			path = ""
		case !isClaim || path == "":
			return nil, fmt.Errorf("placeholder %.40q is unknown: there are ${username} and ${claim.NAME}", name)
		}
		if len(t.parts) > 0 && before == "" {
			return nil, errors.New("two placeholders without text between them: two tokens could yield the same")
		}
		t.parts = append(t.parts, part{before, path})
		rest = tail
	}
	if n := len(t.parts); n == 0 || n > templateParts {
		return nil, fmt.Errorf("a template needs 1 to %d placeholders such as ${claim.device}", templateParts)
	}
	t.tail = rest
	return t, nil
}

// expand is what the template yields: each placeholder stands for one value, and two
// tokens with different values never yield the same.
func (t *template) expand(name string, claims map[string]any) (string, error) {
	var b strings.Builder
	for i, p := range t.parts {
		value := name
		if p.path != "" {
			v, there, err := one(claims, p.path)
			if err != nil {
				return "", err
			}
			if !there || v == "" {
				return "", fmt.Errorf("claim %s is missing or empty", p.path)
			}
			value = v
		}
		if i+1 < len(t.parts) {
			if end := t.parts[i+1].before; strings.Index(value+end, end) != len(value) {
				return "", fmt.Errorf("a value holds %q, by which the template ends it", end)
			}
		}
		b.WriteString(p.before)
		b.WriteString(value)
	}
	b.WriteString(t.tail)
	return b.String(), nil
}

// CheckClientID is what is wrong with a template for Options.ClientID.
func CheckClientID(s string) error {
	_, err := parseTemplate(s)
	return err
}
