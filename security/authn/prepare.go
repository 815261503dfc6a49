package authn

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"sallyport/internal/certfield"
)

// StepOptions is one transformation of a Preparation. It takes a text, may change it
// by one of Match, Split, Decode and Lower, and sets it.
type StepOptions struct {
	// Set is what becomes of the result: username, password, or var.NAME.
	Set string
	// From is the text to begin with, with placeholders: ${username}, ${password},
	// ${client_id}, ${listener}, ${address}, ${cert.FIELD} (internal/certfield),
	// ${header.NAME} and ${query.NAME} of a WebSocket upgrade, ${var.NAME} of a step before.
	From string
	// Match is a regular expression (RE2, linear in the text) that the whole text has to
	// match; As is what it becomes, with $1 and ${name} for its groups; empty: the first
	// group, or the whole.
	Match, As string
	// Split takes the text apart; Part is which one to take, from 0, and from the end
	// where it is negative.
	Split string
	Part  int
	// Decode is base64 (standard or URL alphabet, with or without padding).
	Decode string
	// Lower makes letters lower case.
	Lower bool
}

// Preparation is transformations in order. A placeholder that stands for nothing, a
// text that does not match, and a part that is not there make it fail: the client is
// refused, or left to the next member.
type Preparation struct {
	steps []step
	// next leaves a client for whom it fails to the next member.
	next bool
}

// Bounds of transformations.
const (
	maxSteps    = 32
	maxPattern  = 1024
	maxPrepared = 65535 // bytes of a text; what a field of CONNECT can hold
	// maxMatched is the longest text that an expression is tried on, in bytes: who sends it
	// has proved nothing yet, and matching takes up to a microsecond a byte. A token
	// (16 KiB) with a word before it has room.
	maxMatched    = 17 << 10
	maxParts      = 64 // of one template
	variablesOnly = "var."
)

type step struct {
	set    string
	from   []piece
	match  *regexp.Regexp
	as     string
	split  string
	part   int
	decode bool
	lower  bool
}

// piece is literal text, or a placeholder: the value of one kind with a name.
type piece struct {
	text string // literal, if kind is empty
	kind string // username, password, client_id, listener, address, cert, header, query, var
	name string
	cert certfield.Template
}

// StepErrors is what is wrong with transformations: by the number of a step, from 0.
type StepErrors map[int]error

// Error tells all of them.
func (e StepErrors) Error() string {
	var list []string
	for _, i := range slices.Sorted(maps.Keys(e)) {
		list = append(list, fmt.Sprintf("prepare[%d]: %v", i, e[i]))
	}
	return strings.Join(list, "; ")
}

// NewPreparation compiles transformations. next says that a client for whom one of
// them fails is left to the next member, in the place of being refused. What is wrong
// with steps is a StepErrors.
func NewPreparation(next bool, list ...StepOptions) (*Preparation, error) {
	if len(list) == 0 {
		return nil, nil
	}
	if len(list) > maxSteps {
		return nil, fmt.Errorf("more than %d steps", maxSteps)
	}
	p := &Preparation{next: next}
	known := map[string]bool{}
	wrong := StepErrors{}
	for i, o := range list {
		s, err := compileStep(o, known)
		if err != nil {
			wrong[i] = err
		}
		p.steps = append(p.steps, s)
		known[o.Set] = true
	}
	if len(wrong) > 0 {
		return nil, wrong
	}
	return p, nil
}

func compileStep(o StepOptions, known map[string]bool) (step, error) {
	s := step{set: o.Set, as: o.As, split: o.Split, part: o.Part, lower: o.Lower}
	switch name, variable := strings.CutPrefix(o.Set, variablesOnly); {
	case variable && plainName(name), o.Set == "username", o.Set == "password":
	default:
		return s, errors.New("set must be username, password or var.NAME")
	}
	var err error
	if s.from, err = parsePieces(o.From, known); err != nil {
		return s, err
	}
	ways := 0
	for _, has := range []bool{o.Match != "", o.Split != "", o.Decode != "", o.Lower} {
		if has {
			ways++
		}
	}
	switch {
	case ways > 1:
		return s, errors.New("does more than one of match, split, decode and lower: use one step for each")
	case o.As != "" && o.Match == "":
		return s, errors.New("as needs match")
	case o.Part != 0 && o.Split == "":
		return s, errors.New("part needs split")
	case o.Part < -1000 || o.Part > 1000:
		return s, errors.New("part must be from -1000 to 1000")
	case o.Decode != "" && o.Decode != "base64":
		return s, errors.New("decode must be base64")
	case len(o.Match) > maxPattern:
		return s, fmt.Errorf("match is longer than %d bytes", maxPattern)
	case len(o.As) > maxPattern:
		return s, fmt.Errorf("as is longer than %d bytes", maxPattern)
	}
	s.decode = o.Decode != ""
	if o.Match == "" {
		return s, nil
	}
	// By itself first: a)|(?:b would be whole in the parentheses, and match a part.
	if _, err = regexp.Compile(o.Match); err == nil {
		s.match, err = regexp.Compile(`\A(?:` + o.Match + `)\z`)
	}
	if err != nil {
		return s, fmt.Errorf("match: %w", err)
	}
	if s.as == "" {
		s.as = "${0}"
		if s.match.NumSubexp() > 0 {
			s.as = "${1}"
		}
	}
	return s, nil
}

func plainName(s string) bool {
	for _, r := range s {
		if r != '_' && r != '-' && (r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r)) {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// parsePieces takes a template apart.
func parsePieces(text string, known map[string]bool) ([]piece, error) {
	if text == "" {
		return nil, errors.New("from is needed")
	}
	if len(text) > maxPattern {
		return nil, fmt.Errorf("from is longer than %d bytes", maxPattern)
	}
	var pieces []piece
	for text != "" {
		literal, rest, found := strings.Cut(text, "${")
		if literal != "" {
			pieces = append(pieces, piece{text: literal})
		}
		if !found {
			break
		}
		inside, after, closed := strings.Cut(rest, "}")
		if !closed {
			return nil, errors.New("from: a ${ has no }")
		}
		p, err := placeholder(inside, known)
		if err != nil {
			return nil, fmt.Errorf("from: %w", err)
		}
		pieces, text = append(pieces, p), after
		if len(pieces) > maxParts {
			return nil, errors.New("from has too many placeholders")
		}
	}
	return pieces, nil
}

func placeholder(inside string, known map[string]bool) (piece, error) {
	kind, name, dotted := strings.Cut(inside, ".")
	p := piece{kind: kind, name: name}
	switch kind {
	case "username", "password", "client_id", "listener", "address":
		if !dotted {
			return p, nil
		}
	case "cert":
		var err error
		p.cert, err = certfield.ParseTemplate("${" + inside + "}")
		return p, err
	case "header":
		if plainName(name) {
			p.name = canonicalHeader(name)
			return p, nil
		}
	case "query":
		if plainName(name) {
			return p, nil
		}
	case "var":
		if known[inside] {
			return p, nil
		}
		return p, fmt.Errorf("${%s}: no step before sets it", inside)
	}
	return p, fmt.Errorf("${%s} is unknown", inside)
}

// canonicalHeader is a field name as the headers of an upgrade have it.
func canonicalHeader(name string) string {
	b := []byte(name)
	upper := true
	for i, c := range b {
		switch {
		case upper && 'a' <= c && c <= 'z':
			b[i] = c - 'a' + 'A'
		case !upper && 'A' <= c && c <= 'Z':
			b[i] = c - 'A' + 'a'
		}
		upper = c == '-'
	}
	return string(b)
}

// errNull is why a preparation fails, with the step.
type errNull struct {
	step int
	why  string
}

func (e *errNull) Error() string { return fmt.Sprintf("step %d of prepare: %s", e.step, e.why) }

// apply makes cr's user name and password. It returns a copy with a password of its
// own, or cr itself where there is nothing to do.
func (p *Preparation) apply(cr *Credentials) (*Credentials, error) {
	if p == nil {
		return cr, nil
	}
	own := *cr
	var vars map[string]string
	for i := range p.steps {
		s := &p.steps[i]
		value, why := s.run(&own, vars)
		if why == "" {
			why = s.put(value, &own, &vars)
		}
		if why != "" {
			return nil, &errNull{i, why}
		}
	}
	return &own, nil
}

func (s *step) run(cr *Credentials, vars map[string]string) (value, why string) {
	var b strings.Builder
	for i := range s.from {
		text, ok := s.from[i].value(cr, vars)
		if !ok {
			return "", "${" + s.from[i].spelled() + "} stands for nothing"
		}
		if b.Len()+len(text) > maxPrepared {
			return "", "text is too long"
		}
		b.WriteString(text)
	}
	value = b.String()
	switch {
	case s.match != nil:
		if len(value) > maxMatched {
			return "", "text is too long to be matched"
		}
		at := s.match.FindStringSubmatchIndex(value)
		if at == nil {
			return "", "text does not match"
		}
		if strings.Count(s.as, "$")*len(value) > 16*maxPrepared {
			return "", "text is too long"
		}
		value = string(s.match.ExpandString(nil, s.as, value, at))
	case s.split != "":
		parts := strings.Split(value, s.split)
		n := s.part
		if n < 0 {
			n += len(parts)
		}
		if n < 0 || n >= len(parts) {
			return "", "text has no such part"
		}
		value = parts[n]
	case s.decode:
		plain, ok := anyBase64(value)
		if !ok {
			return "", "text is not base64"
		}
		value = plain
	case s.lower:
		value = strings.ToLower(value)
	}
	if len(value) > maxPrepared {
		return "", "text is too long"
	}
	return value, ""
}

func anyBase64(s string) (string, bool) {
	s = strings.TrimRight(s, "=")
	for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		if plain, err := e.Strict().DecodeString(s); err == nil {
			return string(plain), true
		}
	}
	return "", false
}

// put sets what a step has made. A user name is one that a CONNECT could have.
func (s *step) put(value string, cr *Credentials, vars *map[string]string) (why string) {
	switch s.set {
	case "username":
		if value == "" || !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
			return "what it makes is no user name"
		}
		cr.HasUsername, cr.Username = true, value
	case "password":
		cr.HasPassword, cr.Password = true, []byte(value)
	default:
		if *vars == nil {
			*vars = map[string]string{}
		}
		(*vars)[s.set] = value
	}
	return ""
}

func (p *piece) spelled() string {
	if p.name == "" {
		return p.kind
	}
	return p.kind + "." + p.name
}

// value is what a piece stands for; ok is false for nothing.
func (p *piece) value(cr *Credentials, vars map[string]string) (v string, ok bool) {
	switch p.kind {
	case "":
		return p.text, true
	case "username":
		return cr.Username, cr.HasUsername && cr.Username != ""
	case "password":
		return string(cr.Password), cr.HasPassword
	case "client_id":
		return cr.ClientID, cr.ClientID != ""
	case "listener":
		return cr.Listener, true
	case "address":
		return plain(cr.Addr.Addr()).String(), cr.Addr.IsValid()
	case "cert":
		if cr.Cert == nil || !cr.CertVerified {
			return "", false
		}
		v, err := p.cert.Expand(cr.Cert)
		return v, err == nil
	case "header":
		list := cr.Header[p.name]
		if len(list) != 1 { // of two, who knows which another reader took
			return "", false
		}
		return list[0], true
	case "query":
		return queryValue(cr.Query, p.name)
	}
	v, ok = vars[variablesOnly+p.name]
	return v, ok
}
