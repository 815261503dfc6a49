package certfield

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
)

const (
	templateBytes = 255 // bounds the text of a template
	templateParts = 8   // bounds its placeholders
	// resultBytes bounds what a template yields.
	resultBytes = 255
	// Prefix begins the placeholders of a template, which are fields with it.
	Prefix = "cert."
)

// Template is a text with placeholders such as ${cert.san.dns}, at least one. It
// is immutable; the zero Template yields nothing but an error.
type Template struct {
	text  string
	parts []part
	tail  string // after the last placeholder
}

// part is a placeholder with the text before it.
type part struct{ before, field string }

// ParseTemplate reads a template. Between two placeholders there has to be text:
// what follows a value must show where it ends.
func ParseTemplate(s string) (Template, error) {
	if len(s) > templateBytes {
		return Template{}, fmt.Errorf("template is longer than %d bytes", templateBytes)
	}
	if err := checkText(s); err != nil {
		return Template{}, fmt.Errorf("template %w", err)
	}
	t := Template{text: s}
	rest := s
	for {
		before, after, found := strings.Cut(rest, "${")
		if !found {
			break
		}
		name, tail, closed := strings.Cut(after, "}")
		if !closed {
			return Template{}, errors.New("placeholder in the template is not closed")
		}
		field, ok := strings.CutPrefix(name, Prefix)
		if !ok {
			return Template{}, fmt.Errorf("placeholder %q is unknown: it must be one of a certificate, such as ${cert.cn} or ${cert.san.dns}", shorten(name))
		}
		if _, err := Known(field); err != nil {
			return Template{}, err
		}
		if len(t.parts) > 0 && before == "" {
			return Template{}, errors.New("template has two placeholders without text between them: two certificates could yield the same")
		}
		t.parts = append(t.parts, part{before, field})
		rest = tail
	}
	switch {
	case len(t.parts) == 0:
		return Template{}, errors.New("template has no placeholder such as ${cert.cn}: every certificate would yield the same")
	case len(t.parts) > templateParts:
		return Template{}, fmt.Errorf("template has more than %d placeholders", templateParts)
	}
	t.tail = rest
	return t, nil
}

// String is the template as it was written.
func (t Template) String() string { return t.text }

// IsZero reports whether t is no template.
func (t Template) IsZero() bool { return len(t.parts) == 0 }

// Reads reports whether the template has a placeholder whose field begins with prefix.
func (t Template) Reads(prefix string) bool {
	for _, p := range t.parts {
		if strings.HasPrefix(p.field, prefix) {
			return true
		}
	}
	return false
}

// Expand is what the template yields for c: each placeholder stands for exactly
// one value. Two certificates with different values never yield the same.
func (t Template) Expand(c *x509.Certificate) (string, error) {
	if len(t.parts) == 0 {
		return "", errors.New("there is no template")
	}
	var b strings.Builder
	for i, p := range t.parts {
		value, err := One(c, p.field)
		if err != nil {
			return "", err
		}
		if i+1 < len(t.parts) {
			// The text after a value ends it, where it is seen first.
			if end := t.parts[i+1].before; strings.Index(value+end, end) != len(value) {
				return "", fmt.Errorf("%s of the certificate holds %q, by which the template ends it", p.field, end)
			}
		}
		b.WriteString(p.before)
		b.WriteString(value)
	}
	b.WriteString(t.tail)
	// Mosquitto has no bound on its subject, and a long one is no other's.
	most := resultBytes
	if t.text == "${"+Prefix+"subject.rfc2253}" {
		most = valueBytes
	}
	if b.Len() > most {
		return "", fmt.Errorf("%s yields more than %d bytes", t.text, most)
	}
	return b.String(), nil
}
