package expect

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"sallyport/config"
	"sallyport/security"
)

// Table is what somebody expects of a configuration.
type Table struct {
	Config       string // the configuration's path, as seen from the working folder; empty: none is named
	Expectations []Expectation
}

// Expectation is one request and whether it is expected to be allowed. Its
// Request has no Principal.
type Expectation struct {
	Name    string // optional
	Who     Who
	WhoName string // the name of Who, or its client id
	Request security.Request
	Topic   string // as written, with $share; empty for connect
	Allowed bool
	File    string
	Line    int
}

// document is the form of a table of expectations, and of a file of identities.
type document struct {
	Config     string                        `yaml:"config"`
	Identities identityMap                   `yaml:"identities"`
	Tests      []config.Located[expectation] `yaml:"tests"`
}

// expectation is one entry of tests.
type expectation struct {
	Name      string                              `yaml:"name"`
	Who       *config.Located[string]             `yaml:"who"`
	Identity  *config.Located[Who]                `yaml:"identity"`
	Publish   config.Many[config.Located[string]] `yaml:"publish"`
	Subscribe config.Many[config.Located[string]] `yaml:"subscribe"`
	Receive   config.Many[config.Located[string]] `yaml:"receive"`
	Connect   bool                                `yaml:"connect"`
	QoS       uint8                               `yaml:"qos"`
	Retain    bool                                `yaml:"retain"`
	Will      bool                                `yaml:"will"`
	At        moment                              `yaml:"at"`
	Allowed   *bool                               `yaml:"allowed"`
}

// moment is a time in RFC 3339.
type moment struct{ time.Time }

// UnmarshalText reads a time with its zone.
func (m *moment) UnmarshalText(b []byte) (err error) {
	m.Time, err = ParseTime(string(b))
	return err
}

// ParseTime reads a moment in RFC 3339, such as 2026-03-01T08:30:00Z.
func ParseTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || t.UnixNano() <= 0 || t.Year() > 2200 {
		return time.Time{}, fmt.Errorf("must be a time such as 2026-03-01T08:30:00Z, after 1970, not %.60q", s)
	}
	return t, nil
}

// ReadTable reads a table of expectations. The error is a config.Problems.
func ReadTable(path string) (*Table, error) {
	data, err := config.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return ParseTable(data, path)
}

// ParseTable is ReadTable for data that was read from path.
func ParseTable(data []byte, path string) (*Table, error) {
	doc, problems := decode(data, path)
	t := &Table{Config: doc.Config}
	if t.Config != "" && !filepath.IsAbs(t.Config) {
		t.Config = filepath.Join(filepath.Dir(path), t.Config)
	}
	if len(doc.Tests) == 0 && len(problems) == 0 {
		problems = append(problems, config.Problem{File: path, Key: "tests", Text: "holds no expectation: nothing would be tested"})
	}
	for i, l := range doc.Tests {
		key := fmt.Sprintf("tests[%d]", i)
		list, wrong := l.Value.expectations(&doc, path, l.Pos)
		for _, p := range wrong {
			p.File, p.Key = path, key
			problems = append(problems, p)
		}
		t.Expectations = append(t.Expectations, list...)
	}
	if err := problems.Sort().Err(); err != nil {
		return nil, err
	}
	return t, nil
}

// decode reads either file and checks who is in it.
func decode(data []byte, path string) (doc document, problems config.Problems) {
	if err := config.DecodeYAML(data, path, &doc); err != nil && !errors.As(err, &problems) {
		problems = config.Problems{{File: path, Text: err.Error()}}
	}
	if len(doc.Identities) > maxIdentities {
		problems = append(problems, config.Problem{File: path, Key: "identities", Text: fmt.Sprintf("names more than %d clients", maxIdentities)})
		doc.Identities = nil
	}
	for name, l := range doc.Identities {
		if err := l.Value.Check(); err != nil && len(problems) == 0 {
			problems = append(problems, config.Problem{File: path, Line: l.Line, Column: l.Column, Key: "identities." + name, Text: err.Error()})
		}
		l.Value.in(filepath.Dir(path))
		doc.Identities[name] = l
	}
	return doc, problems
}

// list is the identities in the order of the file.
func (m identityMap) list() []Identity {
	var out []Identity
	for name, l := range m {
		out = append(out, Identity{Name: name, Who: l.Value, Line: l.Line})
	}
	slices.SortFunc(out, func(a, b Identity) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// expectations makes one expectation of each topic.
func (x *expectation) expectations(doc *document, path string, at config.Pos) (list []Expectation, wrong config.Problems) {
	complain := func(at config.Pos, format string, args ...any) {
		wrong = append(wrong, config.Problem{Line: at.Line, Column: at.Column, Text: fmt.Sprintf(format, args...)})
	}
	base := Expectation{Name: x.Name, File: path, Line: at.Line}
	switch {
	case x.Who != nil && x.Identity != nil, x.Who == nil && x.Identity == nil:
		complain(at, "needs either who, a name under identities, or identity")
	case x.Who != nil:
		l, known := doc.Identities[x.Who.Value]
		if !known {
			complain(x.Who.Pos, "there is no %q under identities", x.Who.Value)
		}
		base.Who, base.WhoName = l.Value, x.Who.Value
	default:
		base.Who, base.WhoName = x.Identity.Value, x.Identity.Value.ClientID
		base.Who.in(filepath.Dir(path))
		if err := base.Who.Check(); err != nil {
			complain(x.Identity.Pos, "identity: %v", err)
		}
	}
	if x.Allowed == nil {
		complain(at, "needs allowed: true or allowed: false")
	} else {
		base.Allowed = *x.Allowed
	}
	action, topics, err := x.does()
	if err != nil {
		complain(at, "%v", err)
	}
	for _, t := range topics {
		e := base
		e.Topic = t.Value
		if t.Line != 0 {
			e.Line = t.Line
		}
		if e.Request, err = (Ask{Action: action, Topic: t.Value, QoS: x.QoS, Retain: x.Retain, Will: x.Will, At: x.At.Time}).Request(); err != nil {
			where := t.Pos
			if where.Line == 0 {
				where = at
			}
			complain(where, "%v", err)
		}
		list = append(list, e)
	}
	return list, wrong
}

// does is the one action that is asked about, with its topics: for connect one
// that is empty.
func (x *expectation) does() (action security.Action, topics []config.Located[string], err error) {
	if x.Connect {
		action, topics = security.Connect, []config.Located[string]{{}}
	}
	for _, a := range []struct {
		action security.Action
		topics []config.Located[string]
	}{{security.Publish, x.Publish}, {security.Subscribe, x.Subscribe}, {security.Receive, x.Receive}} {
		if a.topics == nil {
			continue
		}
		if action != 0 {
			return 0, nil, errors.New("asks about more than one of publish, subscribe, receive and connect")
		}
		action, topics = a.action, a.topics
	}
	if len(topics) == 0 {
		return 0, nil, errors.New("needs a topic under publish, subscribe or receive, or connect: true")
	}
	return action, topics, nil
}
