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
	// Dollar is ${name}, or ${{name}} as HiveMQ writes it too, as a level or a
	// part of one. A name is made of letters, digits and ". _ - :"; HiveMQ's
	// mqtt-clientid and mqtt-username are ClientID and Username. Whether a name
	// means anything is not judged here. A "$" without "{" is an ordinary character.
	Dollar Syntax = iota
	// Percent knows %c (client id) and %u (user name) where they are a whole
	// level, as Mosquitto's acl_file does; elsewhere they are ordinary text.
	Percent
)

// The names of placeholders that both spellings have.
const (
	ClientID = "clientid"
	Username = "username"
)

// What a pattern may hold.
const (
	MaxNames        = 8   // different placeholders in a pattern
	maxPlaceholders = 16  // placeholders in a pattern
	maxNameBytes    = 128 // of the name of one
)

// ErrPlaceholder is wrapped by ParsePattern's errors about a placeholder that
// is malformed or not closed, and about too many of them.
var ErrPlaceholder = errors.New("placeholder")

// Pattern is a topic filter with placeholders. It is immutable; the zero value
// expands to nothing but an error.
type Pattern struct {
	text  string
	holes *holes // nil: there are none
}

// holes is where the placeholders of a pattern are.
type holes struct {
	parts  []part
	names  []string // each once, in order of first use
	levels []int    // the levels that hold one, ascending, from 0
}

// part is literal text, or the placeholder names[hole-1].
type part struct {
	literal string
	hole    int
}

// ParsePattern compiles s, which must be a topic filter (CheckFilter, without
// limits) whatever single level is put in for each placeholder.
func ParsePattern(s string, syn Syntax) (Pattern, error) {
	var (
		h   holes
		err error
	)
	switch syn {
	case Dollar:
		err = h.parseDollar(s)
	case Percent:
		err = h.parsePercent(s)
	default:
		err = fmt.Errorf("unknown placeholder syntax %d", syn)
	}
	if err != nil {
		return Pattern{}, err
	}
	if len(h.names) == 0 {
		if err := CheckFilter(s, Limits{}); err != nil {
			return Pattern{}, err
		}
		return Pattern{text: s}, nil
	}
	// The text has its limit, and what is left is judged with a harmless level in
	// each place.
	if len(s) > maxBytes {
		return Pattern{}, ErrTooLong
	}
	var sample strings.Builder
	level := 0
	for _, p := range h.parts {
		sample.WriteString(p.literal)
		level += strings.Count(p.literal, "/")
		if p.hole > 0 {
			sample.WriteByte('x')
			if n := len(h.levels); n == 0 || h.levels[n-1] != level {
				h.levels = append(h.levels, level)
			}
		}
	}
	if err := CheckFilter(sample.String(), Limits{}); err != nil {
		return Pattern{}, err
	}
	return Pattern{text: s, holes: &h}, nil
}

func (h *holes) parseDollar(s string) error {
	for {
		before, after, found := strings.Cut(s, "${")
		h.addLiteral(before)
		if !found {
			return nil
		}
		closing := "}"
		if strings.HasPrefix(after, "{") {
			after, closing = after[1:], "}}"
		}
		word, rest, found := strings.Cut(after, closing)
		if !found {
			return fmt.Errorf("%w is not closed: ${ without %s", ErrPlaceholder, closing)
		}
		if !isName(word) {
			return fmt.Errorf("%w %.40q is no name of letters, digits and . _ - : with at most %d characters", ErrPlaceholder, word, maxNameBytes)
		}
		switch word { // the usual names are the program's own words, which lie close at hand
		case "mqtt-clientid", ClientID:
			word = ClientID
		case "mqtt-username", Username:
			word = Username
		}
		if err := h.addPlaceholder(word); err != nil {
			return err
		}
		s = rest
	}
}

// isName reports whether s is well formed as the name of a placeholder. A slash
// is not among its characters, so that the levels of a pattern's text are those
// of its filters.
func isName(s string) bool {
	if s == "" || len(s) > maxNameBytes {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == '-', c == ':':
		default:
			return false
		}
	}
	return true
}

func (h *holes) parsePercent(s string) error {
	literal := 0 // where the literal text before the current level begins
	at := 0
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
			h.addLiteral(s[literal:at])
			if err := h.addPlaceholder(name); err != nil {
				return err
			}
			literal = at + len(level)
		}
		at += len(level) + 1
	}
	h.addLiteral(s[literal:])
	return nil
}

func (h *holes) addLiteral(s string) {
	if s != "" {
		h.parts = append(h.parts, part{literal: s})
	}
}

func (h *holes) addPlaceholder(name string) error {
	i := slices.Index(h.names, name)
	if i < 0 {
		if len(h.names) == MaxNames {
			return fmt.Errorf("%w %.40q is one too many: at most %d different ones", ErrPlaceholder, name, MaxNames)
		}
		i = len(h.names)
		h.names = append(h.names, name)
	}
	placed := 0
	for _, p := range h.parts {
		if p.hole > 0 {
			placed++
		}
	}
	if placed == maxPlaceholders {
		return fmt.Errorf("%w %.40q is one too many: at most %d in a pattern", ErrPlaceholder, name, maxPlaceholders)
	}
	h.parts = append(h.parts, part{hole: i + 1})
	return nil
}

// Text returns the pattern as it was written.
func (p Pattern) Text() string { return p.text }

// Literal returns the filter that a pattern without placeholders is; ok is
// false when it has some.
func (p Pattern) Literal() (filter string, ok bool) {
	if p.text == "" || p.holes != nil {
		return "", false
	}
	return p.text, true
}

// Names returns the names of the placeholders, each once, in order of first
// use; nil for a plain filter. The caller may keep it but not change it.
func (p Pattern) Names() []string {
	if p.holes == nil {
		return nil
	}
	return slices.Clip(p.holes.names)
}

// PlaceholderAt reports whether the level with the given index, from 0, holds a
// placeholder. The levels of Text are those of whatever the pattern expands to.
func (p Pattern) PlaceholderAt(level int) bool {
	return p.holes != nil && slices.Contains(p.holes.levels, level)
}

// Leading returns the name of the placeholder that the pattern begins with, and
// whose value may not begin with "$"; empty if it begins with text.
func (p Pattern) Leading() string {
	if p.holes == nil || p.holes.parts[0].hole == 0 {
		return ""
	}
	return p.holes.names[p.holes.parts[0].hole-1]
}

// Expand inserts the values, each once and byte by byte: a value is never
// expanded again. value returns false for a value that the client doesn't have.
//
// The error is a *PlaceholderError when a value can't be one level of a filter:
// it names the placeholder and why. A rule whose pattern doesn't expand
// applies to nothing; whether that may go unnoticed is for the policy to say.
func (p Pattern) Expand(value func(name string) (string, bool)) (filter string, err error) {
	if p.holes == nil {
		if p.text == "" {
			return "", ErrEmpty
		}
		return p.text, nil
	}
	var values [MaxNames]string
	for i, name := range p.holes.names {
		v, ok := value(name)
		if !ok {
			return "", &PlaceholderError{Name: name, Why: Absent}
		}
		values[i] = v
	}
	b, err := p.Append(make([]byte, 0, len(p.text)+32), values[:len(p.holes.names)])
	if err != nil {
		return "", err
	}
	return string(b), nil
}

// Append is Expand into dst, where values[i] is the value of Names()[i]. It
// allocates only to grow dst, which it returns as it was with an error: ErrEmpty
// for the zero Pattern, a *PlaceholderError for a value that doesn't fit or isn't
// given.
func (p Pattern) Append(dst []byte, values []string) ([]byte, error) {
	if p.holes == nil {
		if p.text == "" {
			return dst, ErrEmpty
		}
		return append(dst, p.text...), nil
	}
	for i, name := range p.holes.names {
		if i >= len(values) {
			return dst, &PlaceholderError{Name: name, Why: Absent}
		}
		leading := p.holes.parts[0].hole == i+1
		if why := CheckValue(values[i], leading); why != 0 {
			return dst, &PlaceholderError{Name: name, Why: why}
		}
	}
	for _, part := range p.holes.parts {
		if part.hole > 0 {
			dst = append(dst, values[part.hole-1]...)
		} else {
			dst = append(dst, part.literal...)
		}
	}
	return dst, nil
}

// CheckValue says why a placeholder's value can't stand in a filter, 0 if it
// can. leading is true when it begins the filter.
func CheckValue(v string, leading bool) Unfit {
	switch {
	case v == "":
		return Empty
	case len(v) > maxBytes:
		return TooLong
	case leading && isDollar(v):
		return LeadsWithDollar
	}
	for i := range len(v) {
		switch v[i] {
		case '/':
			return HasSeparator
		case '+', '#':
			return HasWildcard
		case 0:
			return HasNUL
		}
	}
	return 0
}

// PlaceholderError says that a placeholder's value can't stand in a filter. It
// doesn't hold the value.
type PlaceholderError struct {
	Name string // of the placeholder
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
	TooLong                          // it is longer than a topic can be
	TooMany                          // several values, where another placeholder of the pattern has several too
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
	case TooLong:
		return "is longer than a topic can be"
	case TooMany:
		return "is one of several, as is that of another placeholder beside it"
	}
	return "is fit"
}
