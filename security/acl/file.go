package acl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"unicode/utf8"

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

// Problem is one mistake in an acl_file.
type Problem struct {
	File string
	Line int // from 1; 0 for the whole file
	Text string
}

// Error is file:line: text.
func (p *Problem) Error() string {
	if p.Line == 0 {
		return p.File + ": " + p.Text
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
}

// The bounds of a file. Lines hold a topic of at most 65535 bytes.
const (
	maxFile     = 16 << 20
	maxLine     = 65535 + 64
	maxProblems = 50
)

// Load reads and compiles an acl_file. The error joins every mistake as a
// *Problem, up to fifty.
func Load(o Options) (*Policy, error) {
	f, err := os.Open(o.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // opened for reading: nothing to lose
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	p, err := Parse(o, data)
	if err != nil {
		return nil, err
	}
	if mode := st.Mode().Perm(); mode&0o022 != 0 && runtime.GOOS != "windows" {
		p.warn(0, fmt.Sprintf("mode %04o lets others than the owner change access", mode))
	}
	return p, nil
}

// Parse compiles the content of an acl_file; o.Path is only its name.
func Parse(o Options, data []byte) (*Policy, error) {
	if len(data) > maxFile {
		return nil, &Problem{File: o.Path, Text: fmt.Sprintf("is larger than %d bytes", maxFile)}
	}
	r := reader{p: &Policy{name: o.Name, file: o.Path, strict: o.Strict, users: map[string]*entries{}}}
	r.list = &r.p.anonymous
	for n := 1; len(data) > 0 && len(r.problems) < maxProblems; n++ {
		line, rest, _ := bytes.Cut(data, []byte{'\n'})
		data = rest
		r.line = n
		if err := r.read(line); err != nil {
			r.problems = append(r.problems, &Problem{File: o.Path, Line: n, Text: err.Error()})
		}
	}
	if len(r.problems) > 0 {
		return nil, errors.Join(r.problems...)
	}
	if r.p.count == 0 {
		if !o.AllowEmpty {
			return nil, &Problem{File: o.Path, Text: "holds no entry: a reload refuses that, unless allow_empty: true says that it is meant"}
		}
		r.p.warn(0, "holds no entry: nothing is allowed")
	}
	return r.p, nil
}

func (p *Policy) warn(line int, text string) {
	p.warnings = append(p.warnings, Warning{File: p.file, Line: line, Text: text})
}

// reader is the state of parsing: whose list topic lines go to.
type reader struct {
	p        *Policy
	list     *entries
	line     int
	problems []error
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
	list, ok := r.p.users[name]
	if !ok {
		list = &entries{}
		r.p.users[name] = list
	}
	r.list = list
	return nil
}

func (r *reader) topic(line, rest string) error {
	a, filter, err := splitAccess(rest)
	if err != nil {
		return err
	}
	if err := topic.CheckFilter(filter, topic.Limits{}); err != nil {
		return fmt.Errorf("invalid topic %.80q: %w", filter, err)
	}
	r.list.add(entry{access: a, filter: filter, line: r.line, text: line})
	r.p.count++
	return nil
}

func (r *reader) pattern(line, rest string) error {
	a, filter, err := splitAccess(rest)
	if err != nil {
		return err
	}
	pattern, err := topic.ParsePattern(filter, topic.Percent)
	if err != nil {
		return fmt.Errorf("invalid topic %.80q: %w", filter, err)
	}
	if partial(filter) {
		// As text it would deny nothing, which is not what its author meant.
		if a == 0 {
			return errors.New("%c and %u must be a whole level of a deny pattern")
		}
		r.p.warn(r.line, "%c and %u are placeholders only as a whole level; here they are taken as text")
	}
	e := entry{access: a, pattern: pattern, line: r.line, text: line}
	for _, name := range pattern.Names() {
		e.username = e.username || name == topic.Username
	}
	if literal, ok := pattern.Literal(); ok {
		e.filter = literal
	}
	r.p.patterns.add(e)
	r.p.count++
	return nil
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

// splitAccess reads "[access] filter". One word is the filter; with more, the
// first is the access, so that a filter with spaces needs one.
func splitAccess(rest string) (access, string, error) {
	rest = strings.TrimLeft(rest, " ")
	word, filter, _ := strings.Cut(rest, " ")
	filter = strings.Trim(filter, space)
	if word == "" {
		return 0, "", errors.New("empty topic")
	}
	if filter == "" {
		return read | write, strings.Trim(word, space), nil
	}
	switch word {
	case "read":
		return read, filter, nil
	case "write":
		return write, filter, nil
	case "readwrite":
		return read | write, filter, nil
	case "deny":
		return 0, filter, nil
	}
	return 0, "", fmt.Errorf("invalid topic access type %.40q: must be read, write, readwrite or deny", word)
}
