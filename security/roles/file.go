package roles

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"

	"sallyport/config"
	"sallyport/security"
	"sallyport/topic"
)

// Options says where a permission file is.
type Options struct {
	Name string // of the policy in the configuration
	Path string
	// AllowEmpty accepts a file without a permission, which allows nothing. It
	// is for the start; on a reload such a file is more likely half written.
	AllowEmpty bool
}

// Warning is what an operator should know about a file that was accepted.
type Warning struct {
	File string
	Line int // 0 for the whole file
	Text string
}

// maxFile bounds a permission file, as config.DecodeYAML does.
const maxFile = 1 << 20

// document is the form of a permission file.
type document struct {
	// Users maps a user name to what it may do. Names are compared bytewise.
	Users map[string]config.Located[subject] `yaml:"users"`
	// Roles maps a role's name to its permissions.
	Roles map[string]config.Located[role] `yaml:"roles"`
	// Everyone is what every principal may do, anonymous ones included.
	Everyone []config.Located[permission] `yaml:"everyone"`
}

type subject struct {
	Permissions []config.Located[permission] `yaml:"permissions"`
	Roles       []config.Located[string]     `yaml:"roles"`
}

type role struct {
	Permissions []config.Located[permission] `yaml:"permissions"`
}

// permission is one allow or deny.
type permission struct {
	// Allow or Deny: what the rule is about.
	Allow *config.Located[verb] `yaml:"allow"`
	Deny  *config.Located[verb] `yaml:"deny"`
	// Topic is a topic filter with ${clientid} and ${username}.
	Topic config.Located[string] `yaml:"topic"`
	// QoS is the quality of service that the rule speaks about; absent is all.
	QoS []config.Located[uint8] `yaml:"qos"`
	// Retain is whether a published message is a retained one.
	Retain *config.Located[tristate] `yaml:"retain"`
	// Shared is whether a subscription is a shared one.
	Shared *config.Located[tristate] `yaml:"shared"`
	// Group is the group of a shared subscription; # is any. A name without
	// shared beside it implies shared: required.
	Group *config.Located[string] `yaml:"group"`
}

type verb string

// Choices is what allow and deny may say.
func (verb) Choices() []string { return []string{"publish", "subscribe", "both"} }

func (v verb) actions() actions {
	switch v {
	case "publish":
		return publishing
	case "subscribe":
		return subscribing
	}
	return publishing | subscribing
}

type tristate string

// Choices is what retain and shared may say.
func (tristate) Choices() []string { return []string{"allowed", "required", "forbidden"} }

func (t tristate) condition() condition {
	switch t {
	case "required":
		return required
	case "forbidden":
		return forbidden
	}
	return either
}

// Load reads and compiles a permission file. Mistakes are reported all at
// once, as config.Problems.
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
		p.warnings = append(p.warnings, Warning{File: o.Path, Text: fmt.Sprintf("mode %04o lets others than the owner change permissions", mode)})
	}
	return p, nil
}

// Parse compiles the content of a permission file; o.Path is only its name.
func Parse(o Options, data []byte) (*Policy, error) {
	var doc document
	var unread error
	if !blank(data) {
		unread = config.DecodeYAML(data, o.Path, &doc)
	}
	c := compiler{file: o.Path, doc: &doc}
	p := c.compile()
	if err := together(unread, c.problems); err != nil {
		return nil, err
	}
	if p.count == 0 && !o.AllowEmpty {
		return nil, config.Problems{{File: o.Path, Text: emptyText}}
	}
	if p.count == 0 {
		p.warnings = append(p.warnings, Warning{File: o.Path, Text: "holds no permission: nothing is allowed"})
	}
	p.name = o.Name
	return p, nil
}

// together is what could not be read and what was read and is wrong, as one
// error. About a line that could not be read, what follows from it is left out.
func together(unread error, wrong config.Problems) error {
	var all config.Problems
	if unread != nil && !errors.As(unread, &all) {
		return unread
	}
	lines := map[int]bool{}
	for _, p := range all {
		lines[p.Line] = true
	}
	for _, p := range wrong {
		if !lines[p.Line] {
			all = append(all, p)
		}
	}
	return all.Sort().Err()
}

// emptyText says why an empty file is refused.
const emptyText = "holds no permission: a reload refuses that, unless allow_empty: true says that it is meant"

// blank reports whether data is only comments and white space.
func blank(data []byte) bool {
	for line := range bytes.Lines(data) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return false
		}
	}
	return true
}

// compiler turns a document into a Policy and collects what is wrong with it.
type compiler struct {
	file     string
	doc      *document
	problems config.Problems
	count    int
}

func (c *compiler) complain(at config.Pos, key, format string, args ...any) {
	c.problems = append(c.problems, config.Problem{
		File: c.file, Line: at.Line, Column: at.Column, Key: key, Text: fmt.Sprintf(format, args...),
	})
}

func (c *compiler) compile() *Policy {
	p := &Policy{file: c.file, everyone: &ruleSet{}, users: map[string][]*ruleSet{}, roles: map[string]*ruleSet{}}
	p.everyone = c.rules("everyone", c.doc.Everyone)
	for _, name := range slices.Sorted(maps.Keys(c.doc.Roles)) {
		r := c.doc.Roles[name]
		if name == "" {
			c.complain(r.Pos, "roles", "a role needs a name")
		}
		p.roles[name] = c.rules("roles."+name+".permissions", r.Value.Permissions)
	}
	for _, name := range slices.Sorted(maps.Keys(c.doc.Users)) {
		u := c.doc.Users[name]
		if name == "" {
			c.complain(u.Pos, "users", "a user needs a name; what anonymous clients may do stands under everyone")
		}
		key := "users." + name
		own := c.rules(key+".permissions", u.Value.Permissions)
		p.users[name] = append([]*ruleSet{own}, c.rolesOf(key+".roles", u.Value.Roles, p.roles)...)
	}
	p.count = c.count
	return p
}

// rolesOf looks up a user's roles.
func (c *compiler) rolesOf(key string, names []config.Located[string], roles map[string]*ruleSet) []*ruleSet {
	var out []*ruleSet
	seen := map[string]bool{}
	for i, n := range names {
		set, known := roles[n.Value]
		switch {
		case !known:
			c.complain(n.Pos, fmt.Sprintf("%s[%d]", key, i), "there is no role %q", n.Value)
		case seen[n.Value]:
			c.complain(n.Pos, fmt.Sprintf("%s[%d]", key, i), "role %q is already there", n.Value)
		default:
			out = append(out, set)
		}
		seen[n.Value] = true
	}
	return out
}

// rules compiles the list of permissions that stands under key.
func (c *compiler) rules(key string, list []config.Located[permission]) *ruleSet {
	set := &ruleSet{}
	for i, l := range list {
		c.count++
		if r := c.rule(fmt.Sprintf("%s[%d]", key, i), l); r != nil {
			set.add(r)
		}
	}
	return set
}

// rule compiles one permission; nil if something is wrong with it.
func (c *compiler) rule(key string, l config.Located[permission]) *rule {
	before := len(c.problems)
	p := l.Value
	r := &rule{line: l.Line, qos: 0b111}
	var does verb
	switch {
	case p.Allow != nil && p.Deny != nil:
		c.complain(p.Deny.Pos, key, "allow and deny can't stand in one permission")
	case p.Allow != nil:
		r.effect, does = security.Allow, p.Allow.Value
	case p.Deny != nil:
		r.effect, does = security.Deny, p.Deny.Value
	default:
		c.complain(l.Pos, key, "needs allow or deny")
	}
	r.actions = does.actions()
	c.topic(key, r, l)
	c.qos(key, r, p.QoS, l.Pos)
	c.conditions(key, r, &p)
	if len(c.problems) > before {
		return nil
	}
	r.text = describe(r, does)
	return r
}

func (c *compiler) topic(key string, r *rule, l config.Located[permission]) {
	t := l.Value.Topic
	if t.Value == "" {
		at := t.Pos
		if at.Line == 0 {
			at = l.Pos
		}
		c.complain(at, key+".topic", "needs a topic filter; # is every topic that does not begin with $")
		return
	}
	if _, _, shared, err := topic.SplitShare(t.Value); shared || err != nil {
		c.complain(t.Pos, key+".topic", "is written without $share; shared and group speak about shared subscriptions")
		return
	}
	var err error
	if r.pattern, err = topic.ParsePattern(t.Value, topic.Dollar); err != nil {
		c.complain(t.Pos, key+".topic", "%v", err)
		return
	}
	r.literal, _ = r.pattern.Literal()
}

func (c *compiler) qos(key string, r *rule, list []config.Located[uint8], at config.Pos) {
	if list == nil {
		return
	}
	r.qos = 0
	for i, q := range list {
		if q.Value > 2 {
			c.complain(q.Pos, fmt.Sprintf("%s.qos[%d]", key, i), "must be 0, 1 or 2")
			continue
		}
		r.qos |= 1 << q.Value
	}
	if len(list) == 0 {
		c.complain(at, key+".qos", "names no QoS; leave it out for all")
	}
}

// conditions compiles retain, shared and group, each of which is an error where it can't apply.
func (c *compiler) conditions(key string, r *rule, p *permission) {
	if p.Retain != nil {
		r.retain = p.Retain.Value.condition()
		if r.actions&publishing == 0 {
			c.complain(p.Retain.Pos, key+".retain", "is about published messages, and this permission is not")
		}
	}
	if p.Shared != nil {
		r.shared = p.Shared.Value.condition()
		if r.actions&subscribing == 0 {
			c.complain(p.Shared.Pos, key+".shared", "is about subscriptions, and this permission is not")
		}
	}
	if p.Group == nil {
		return
	}
	r.group = p.Group.Value
	switch {
	case r.actions&subscribing == 0:
		c.complain(p.Group.Pos, key+".group", "is about subscriptions, and this permission is not")
	case r.shared == forbidden:
		c.complain(p.Group.Pos, key+".group", "can't be named where shared is forbidden")
	case r.group == "" || r.group != anyGroup && strings.ContainsAny(r.group, "/+#"):
		c.complain(p.Group.Pos, key+".group", "must be the name of a group, or # for any")
	case p.Shared == nil && r.group != anyGroup:
		r.shared = required
	}
}

// describe is the rule as verdicts show it.
func describe(r *rule, does verb) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s", r.effect, does, r.pattern.Text())
	if r.qos != 0b111 {
		b.WriteString(" qos")
		for q := range 3 {
			if r.qos&(1<<q) != 0 {
				fmt.Fprintf(&b, " %d", q)
			}
		}
	}
	words := [...]string{either: "", required: "required", forbidden: "forbidden"}
	if r.retain != either {
		b.WriteString(" retain " + words[r.retain])
	}
	if r.shared != either {
		b.WriteString(" shared " + words[r.shared])
	}
	if r.group != "" {
		b.WriteString(" group " + r.group)
	}
	return b.String()
}
