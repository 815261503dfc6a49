package roles

import (
	"bytes"
	"errors"
	"net/netip"

	"sallyport/config"
	"sallyport/security/rule"
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

// document is the form of a permission file.
type document struct {
	// Defaults is what the file says where no rule does.
	Defaults defaults `yaml:"defaults"`
	// Roles maps a role's name to its permissions.
	Roles map[string]config.Named[roleEntry] `yaml:"roles"`
	// Groups maps a group's name to its permissions and roles.
	Groups map[string]config.Named[groupEntry] `yaml:"groups"`
	// Users maps a user name to what it may do. Names are compared bytewise.
	Users map[string]config.Named[userEntry] `yaml:"users"`
	// Everyone is what every principal may do, anonymous ones included.
	Everyone []config.Located[permission] `yaml:"everyone"`
}

type defaults struct {
	// Connect deny: who is authenticated connects only where a rule allows it.
	Connect access `yaml:"connect"`
	// Shared deny: an allow without shared and group is not about shared subscriptions.
	Shared access `yaml:"shared"`
}

type roleEntry struct {
	Permissions []config.Located[permission] `yaml:"permissions"`
}

type groupEntry struct {
	Permissions []config.Located[permission] `yaml:"permissions"`
	Roles       config.Many[located]         `yaml:"roles"`
}

type userEntry struct {
	Permissions []config.Located[permission] `yaml:"permissions"`
	Roles       config.Many[located]         `yaml:"roles"`
	Groups      config.Many[located]         `yaml:"groups"`
}

type located = config.Located[string]

// permission is one allow or deny.
type permission struct {
	// Allow or Deny: what the rule is about.
	Allow config.Many[config.Located[verb]] `yaml:"allow"`
	Deny  config.Many[config.Located[verb]] `yaml:"deny"`
	// Topic is topic filters, which may have placeholders.
	Topic config.Many[located] `yaml:"topic"`
	// QoS is the quality of service that the rule speaks about; absent is all.
	QoS config.Many[levels] `yaml:"qos"`
	// Retain is whether a published message is a retained one.
	Retain *config.Located[retainWord] `yaml:"retain"`
	// Shared is whether a subscription is a shared one.
	Shared *config.Located[sharedWord] `yaml:"shared"`
	// Group is the groups of a shared subscription; # is any. A name without
	// shared beside it implies shared: required.
	Group config.Many[located] `yaml:"group"`
	// From is source addresses or networks.
	From config.Many[netip.Prefix] `yaml:"from"`
	// Listener is names of listeners.
	Listener config.Many[located] `yaml:"listener"`
	// TLS is whether the connection is encrypted.
	TLS *config.Located[tlsWord] `yaml:"tls"`
	// Time is windows, one of which has to be open.
	Time config.Many[config.Located[window]] `yaml:"time"`
	// When is an expression in CEL.
	When *located `yaml:"when"`
}

// Load reads and compiles a permission file of at most config.MaxLargeYAML
// bytes. Mistakes are reported all at once, as config.Problems.
func Load(o Options) (*Policy, error) {
	data, exposed, err := rule.ReadFile(o.Path, config.MaxLargeYAML)
	if err != nil {
		return nil, err
	}
	p, err := Parse(o, data)
	if err != nil {
		return nil, err
	}
	if exposed != "" {
		p.warnings = append(p.warnings, Warning{File: o.Path, Text: "mode " + exposed + " lets others than the owner change permissions"})
	}
	return p, nil
}

// Parse compiles the content of a permission file; o.Path is only its name.
func Parse(o Options, data []byte) (*Policy, error) {
	var doc document
	var unread error
	if !blank(data) {
		unread = config.DecodeLargeYAML(data, o.Path, &doc)
	}
	c := compiler{file: o.Path, doc: &doc, conditions: map[string]compiled{}}
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
