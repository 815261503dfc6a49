package topic

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Syntax says how placeholders are spelled.
type Syntax uint8

// The spellings. In both, text that is not a placeholder stands for itself.
const (
	// Dollar knows ${clientid} and ${username}, as a level or a part of one,
	// and HiveMQ's spellings of them: ${{clientid}}, ${{username}},
	// ${mqtt-clientid}. A "$" without "{" is an ordinary character.
	Dollar Syntax = iota
	// Percent knows %c (client id) and %u (user name) where they are a whole
	// level, as Mosquitto's acl_file does; elsewhere they are ordinary text.
	Percent
)

// The names of placeholders, as Pattern.Names and PlaceholderError give them.
const (
	ClientID = "clientid"
	Username = "username"
)

// ErrPlaceholder is wrapped by ParsePattern's errors about a placeholder that
// is unknown or not closed.
var ErrPlaceholder = errors.New("placeholder")

// Pattern is a topic filter with placeholders. It is immutable; the zero value
// expands to nothing but an error.
type Pattern struct {
	text  string
	parts []part
	names []string
}

// part is literal text, or a placeholder when name is set.
type part struct {
	literal string
	name    string
}

// ParsePattern compiles s, which must be a topic filter (CheckFilter, without
// limits) whatever single level is put in for each placeholder.
func ParsePattern(s string, syn Syntax) (Pattern, error) {
	var (
		parts []part
		err   error
	)
	switch syn {
	case Dollar:
		parts, err = parseDollar(s)
	case Percent:
		parts = parsePercent(s)
	default:
		err = fmt.Errorf("unknown placeholder syntax %d", syn)
	}
	if err != nil {
		return Pattern{}, err
	}
	p := Pattern{text: s, parts: parts}
	// The pattern is judged with a harmless level in each place.
	var sample strings.Builder
	for _, part := range parts {
		if part.name == "" {
			sample.WriteString(part.literal)
			continue
		}
		sample.WriteByte('x')
		if !slices.Contains(p.names, part.name) {
			p.names = append(p.names, part.name)
		}
	}
	if err := CheckFilter(sample.String(), Limits{}); err != nil {
		return Pattern{}, err
	}
	return p, nil
}

func parseDollar(s string) ([]part, error) {
	var parts []part
	for {
		before, after, found := strings.Cut(s, "${")
		if before != "" {
			parts = append(parts, part{literal: before})
		}
		if !found {
			return parts, nil
		}
		closing := "}"
		if strings.HasPrefix(after, "{") {
			after, closing = after[1:], "}}"
		}
		word, rest, found := strings.Cut(after, closing)
		if !found {
			return nil, fmt.Errorf("%w is not closed: ${ without %s", ErrPlaceholder, closing)
		}
		var name string
		switch word {
		case "clientid", "mqtt-clientid":
			name = ClientID
		case "username":
			name = Username
		default:
			return nil, fmt.Errorf("%w %.40q is unknown", ErrPlaceholder, word)
		}
		parts = append(parts, part{name: name})
		s = rest
	}
}

func parsePercent(s string) []part {
	var (
		parts   []part
		literal = 0 // where the literal text before the current level begins
		at      = 0
	)
	for more := s != ""; more; {
		var level string
		level, _, more = cutLevel(s[at:])
		name := ""
		switch level {
		case "%c":
			name = ClientID
		case "%u":
			name = Username
		}
		if name != "" {
			if literal < at {
				parts = append(parts, part{literal: s[literal:at]})
			}
			parts = append(parts, part{name: name})
			literal = at + len(level)
		}
		at += len(level) + 1
	}
	if literal < len(s) {
		parts = append(parts, part{literal: s[literal:]})
	}
	return parts
}

// Text returns the pattern as it was written.
func (p Pattern) Text() string { return p.text }

// Literal returns the filter that a pattern without placeholders is; ok is
// false when it has some.
func (p Pattern) Literal() (filter string, ok bool) {
	if p.text == "" || len(p.names) > 0 {
		return "", false
	}
	return p.text, true
}

// Names returns the placeholder names used ("clientid", "username"), each once,
// in order of first use; nil for a plain filter. The caller may keep it but not
// change it.
func (p Pattern) Names() []string { return slices.Clip(p.names) }

// Expand inserts the values, each once and byte by byte: a value is never
// expanded again. value returns false for a value that the client doesn't have.
//
// The error is a *PlaceholderError when a value can't be one level of a filter:
// it names the placeholder and why. A rule whose pattern doesn't expand
// applies to nothing; whether that may go unnoticed is for the policy to say.
func (p Pattern) Expand(value func(name string) (string, bool)) (filter string, err error) {
	if p.text == "" {
		return "", ErrEmpty
	}
	if len(p.names) == 0 {
		return p.text, nil
	}
	var b strings.Builder
	b.Grow(len(p.text) + 32)
	for i, part := range p.parts {
		if part.name == "" {
			b.WriteString(part.literal)
			continue
		}
		v, ok := value(part.name)
		if why := unfit(v, ok, i == 0); why != 0 {
			return "", &PlaceholderError{Name: part.name, Why: why}
		}
		b.WriteString(v)
	}
	return b.String(), nil
}

// unfit says why v can't stand in a filter, 0 if it can. leading is true when
// v begins the filter.
func unfit(v string, present, leading bool) Unfit {
	switch {
	case !present:
		return Absent
	case v == "":
		return Empty
	case strings.Contains(v, "/"):
		return HasSeparator
	case strings.ContainsAny(v, "+#"):
		return HasWildcard
	case strings.Contains(v, "\x00"):
		return HasNUL
	case leading && isDollar(v):
		return LeadsWithDollar
	}
	return 0
}

// PlaceholderError says that a placeholder's value can't stand in a filter. It
// doesn't hold the value.
type PlaceholderError struct {
	Name string // of the placeholder: ClientID or Username
	Why  Unfit
}

func (e *PlaceholderError) Error() string {
	return "value of placeholder " + e.Name + " " + e.Why.String()
}

// Unfit is why a value can't be one level of a filter.
type Unfit uint8

// The reasons.
const (
	Absent          Unfit = iota + 1 // the client has no such value
	Empty                            // it is the empty string
	HasSeparator                     // it holds a slash: more than one level
	HasWildcard                      // it holds + or #
	HasNUL                           // it holds U+0000
	LeadsWithDollar                  // it would make the first level begin with $
)

func (u Unfit) String() string {
	switch u {
	case Absent:
		return "is absent"
	case Empty:
		return "is empty"
	case HasSeparator:
		return "holds a level separator"
	case HasWildcard:
		return "holds a wildcard"
	case HasNUL:
		return "holds a NUL"
	case LeadsWithDollar:
		return "would make the first level begin with $"
	}
	return "is fit"
}
