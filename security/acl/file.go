package acl

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"sallyport/config"
	"sallyport/security"
	"sallyport/security/rule"
	"sallyport/topic"
)

// Options says where an acl_file is and how it is read.
type Options struct {
	Name string // of the policy in the configuration
	Path string
	// Strict refuses at SUBSCRIBE what the file does not grant, instead of
	// withholding it at delivery only.
	Strict bool
	// AllowEmpty accepts a file without an entry, which allows nothing. It is
	// for the start; on a reload such a file is more likely half written.
	AllowEmpty bool
}

// Warning is what an operator should know about a file that was accepted.
type Warning struct {
	File string
	Line int // 0 for the whole file
	Text string
}

// The bounds of a file. Lines hold a topic of at most 65535 bytes.
const (
	maxFile     = 16 << 20
	maxLine     = 65535 + 64
	maxProblems = 50
)

// Load reads and compiles an acl_file. The error joins every mistake as a
// config.Problem, up to fifty.
func Load(o Options) (*Policy, error) {
	data, exposed, err := rule.ReadFile(o.Path, maxFile)
	if err != nil {
		return nil, err
	}
	p, err := Parse(o, data)
	if err != nil {
		return nil, err
	}
	if exposed != "" {
		p.warn(0, "mode "+exposed+" lets others than the owner change access")
	}
	return p, nil
}

// Parse compiles the content of an acl_file; o.Path is only its name.
func Parse(o Options, data []byte) (*Policy, error) {
	if len(data) > maxFile {
		return nil, config.Problem{File: o.Path, Text: fmt.Sprintf("is larger than %d bytes", maxFile)}
	}
	r := reader{p: &Policy{name: o.Name, file: o.Path, strict: o.Strict}, users: map[string]*draft{}}
	r.list = &r.anonymous
	for n := 1; len(data) > 0 && len(r.problems) < maxProblems; n++ {
		line, rest, _ := bytes.Cut(data, []byte{'\n'})
		data = rest
		r.line = n
		if err := r.read(line); err != nil {
			r.problems = append(r.problems, config.Problem{File: o.Path, Line: n, Text: err.Error()})
		}
	}
	if len(r.problems) > 0 {
		return nil, errors.Join(r.problems...)
	}
	if r.p.count == 0 {
		if !o.AllowEmpty {
			return nil, config.Problem{File: o.Path, Text: "holds no entry: a reload refuses that, unless allow_empty: true says that it is meant"}
		}
		r.p.warn(0, "holds no entry: nothing is allowed")
	}
	r.compile()
	return r.p, nil
}

func (p *Policy) warn(line int, text string) {
	p.warnings = append(p.warnings, Warning{File: p.file, Line: line, Text: text})
}

// reader is the state of parsing: the lists, and which one topic lines go to.
type reader struct {
	p         *Policy
	anonymous draft
	users     map[string]*draft
	patterns  draft
	list      *draft
	line      int
	problems  []error
}

// draft is a list that is being read.
type draft struct{ rules []rule.Rule }

// compile makes the lists that decide.
func (r *reader) compile() {
	r.p.anonymous = rule.NewSet(r.anonymous.rules)
	r.p.patterns = rule.NewSet(r.patterns.rules)
	r.p.nobody = rule.NewSet(nil)
	r.p.users = make(map[string]*rule.Set, len(r.users))
	for name, list := range r.users {
		r.p.users[name] = rule.NewSet(list.rules)
	}
}

const space = " \t\r\v\f"

// read takes one line. A # begins a comment only as the first character.
func (r *reader) read(raw []byte) error {
	if len(raw) > maxLine {
		return fmt.Errorf("line is longer than %d bytes", maxLine)
	}
	line := strings.TrimRight(string(raw), space)
	if strings.HasPrefix(line, "#") {
		return nil
	}
	if !utf8.ValidString(line) || strings.Contains(line, "\x00") {
		return errors.New("line is not UTF-8 text")
	}
	line = strings.TrimLeft(line, " ")
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "":
		return nil
	case "topic":
		return r.topic(line, rest)
	case "pattern":
		return r.pattern(line, rest)
	case "user":
		return r.user(rest)
	}
	return fmt.Errorf("invalid line: begins with %.40q, not with topic, pattern or user", word)
}

// user switches to the list of a user; a second line of the same user goes on with it.
func (r *reader) user(rest string) error {
	name := strings.Trim(rest, space)
	if name == "" {
		return errors.New("missing user name")
	}
	list, ok := r.users[name]
	if !ok {
		list = &draft{}
		r.users[name] = list
	}
	r.list = list
	return nil
}

// topic takes the rest of a topic line, in which nothing is a placeholder.
func (r *reader) topic(line, rest string) error {
	a, filter, err := splitAccess(rest)
	if err != nil {
		return err
	}
	pattern, err := topic.PlainPattern(filter)
	if err != nil {
		return fmt.Errorf("invalid topic %.80q: %w", filter, err)
	}
	r.add(r.list, line, a, pattern)
	return nil
}

// pattern takes the rest of a pattern line.
func (r *reader) pattern(line, rest string) error {
	a, filter, err := splitAccess(rest)
	if err != nil {
		return err
	}
	pattern, err := topic.ParsePattern(filter, topic.Percent)
	if err != nil {
		return fmt.Errorf("invalid topic %.80q: %w", filter, err)
	}
	switch {
	case partial(filter) && a == denied:
		// As text it would deny nothing, which is not what its author meant.
		return errors.New("%c and %u must be a whole level of a deny pattern")
	case partial(filter):
		r.p.warn(r.line, "%c and %u are placeholders only as a whole level; here they are taken as text")
	case len(pattern.Names()) == 0 && a != denied:
		r.p.warn(r.line, "a pattern without %c or %u is for every client, whatever user line stands above it")
	}
	added := r.add(&r.patterns, line, a, pattern)
	added.Optional = slices.Contains(pattern.Names(), topic.Username)
	return nil
}

// add puts a rule at the end of a list.
func (r *reader) add(to *draft, line string, a rule.Actions, pattern topic.Pattern) *rule.Rule {
	made := rule.Rule{Effect: security.Allow, Actions: a, Topic: pattern, File: r.p.file, Line: r.line, Text: line}
	if a == denied {
		made.Effect, made.Actions = security.Deny, reads|writes
	}
	to.rules = append(to.rules, made)
	r.p.count++
	return &to.rules[len(to.rules)-1]
}

// partial reports whether %c or %u stands beside other text in a level.
func partial(filter string) bool {
	for level := range strings.SplitSeq(filter, "/") {
		if level != "%c" && level != "%u" && (strings.Contains(level, "%c") || strings.Contains(level, "%u")) {
			return true
		}
	}
	return false
}

// denied is the access of a deny line: none.
const denied rule.Actions = 0

// splitAccess reads "[access] filter". One word is the filter; with more, the
// first is the access, so that a filter with spaces needs one.
func splitAccess(rest string) (rule.Actions, string, error) {
	rest = strings.TrimLeft(rest, " ")
	word, filter, _ := strings.Cut(rest, " ")
	filter = strings.Trim(filter, space)
	if word == "" {
		return denied, "", errors.New("empty topic")
	}
	if filter == "" {
		return reads | writes, strings.Trim(word, space), nil
	}
	switch word {
	case "read":
		return reads, filter, nil
	case "write":
		return writes, filter, nil
	case "readwrite":
		return reads | writes, filter, nil
	case "deny":
		return denied, filter, nil
	}
	return denied, "", fmt.Errorf("invalid topic access type %.40q: must be read, write, readwrite or deny", word)
}
