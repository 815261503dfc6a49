package accounts

import (
	"errors"
	"fmt"
	"strings"

	"sallyport/security"
	"sallyport/security/rule"
	"sallyport/topic"
)

// maxTopic bounds the topic of a permission, in bytes.
const maxTopic = 4096

// Rule compiles a permission as the same words in a permission file are compiled. Its
// file and line are the caller's to set.
func (p Permission) Rule() (r rule.Rule, err error) {
	r = rule.Rule{Effect: security.Allow, Text: p.String()}
	if p.Deny {
		r.Effect = security.Deny
	}
	switch p.Action {
	case "", "all":
		r.Actions = rule.Publish | rule.Subscribe
	case "publish":
		r.Actions = rule.Publish
	case "subscribe":
		r.Actions = rule.Subscribe
	default:
		return r, errors.New("action must be all, publish or subscribe")
	}
	if r.Topic, err = p.pattern(); err != nil {
		return r, fmt.Errorf("topic: %w", err)
	}
	for _, q := range p.QoS {
		if q < 0 || q > 2 {
			return r, errors.New("qos must be 0, 1 or 2")
		}
		r.QoS |= 1 << q
	}
	if r.QoS == 0b111 {
		r.QoS = 0
	}
	if r.Retain, err = tristate("retain", p.Retain, "retained", "not_retained"); err != nil {
		return r, err
	}
	if r.Retain != rule.Either && r.Actions&rule.Publish == 0 {
		return r, errors.New("retain is about published messages, and this permission is not")
	}
	return r, p.shared(&r)
}

func (p Permission) pattern() (topic.Pattern, error) {
	if p.Topic == "" || len(p.Topic) > maxTopic {
		return topic.Pattern{}, fmt.Errorf("must have 1 to %d bytes", maxTopic)
	}
	if _, _, isShared, err := topic.SplitShare(p.Topic); isShared || err != nil {
		return topic.Pattern{}, errors.New("is written without $share: shared and group speak about shared subscriptions")
	}
	pattern, err := topic.ParsePattern(p.Topic, topic.Dollar)
	if err != nil {
		return pattern, err
	}
	for _, name := range pattern.Names() {
		if err := rule.Known(name); err != nil {
			return pattern, err
		}
	}
	return pattern, nil
}

// shared is what shared and group say about shared subscriptions.
func (p Permission) shared(r *rule.Rule) (err error) {
	if r.Shared, err = tristate("shared", p.Shared, "shared", "not_shared"); err != nil {
		return err
	}
	named := p.Group != "" && p.Group != rule.AnyGroup
	switch {
	case r.Actions&rule.Subscribe == 0 && (r.Shared != rule.Either || named):
		return errors.New("shared and group are about subscriptions, and this permission is not")
	case named && (strings.ContainsAny(p.Group, "/+#") || len(p.Group) > maxName || !topicText(p.Group)):
		return errors.New("group must be the name of a share, or # for any")
	case named && r.Shared == rule.Forbidden:
		return errors.New("group can't be named where shared is not_shared")
	case named:
		r.Groups = []string{p.Group}
		if p.Shared == "" {
			r.Shared = rule.Required
		}
	}
	return nil
}

func topicText(s string) bool { return topic.CheckName(s, topic.Limits{}) == nil }

func tristate(field, word, yes, no string) (rule.Tristate, error) {
	switch word {
	case "", "all":
		return rule.Either, nil
	case yes:
		return rule.Required, nil
	case no:
		return rule.Forbidden, nil
	}
	return rule.Either, fmt.Errorf("%s must be all, %s or %s", field, yes, no)
}

// String is the permission in words, as verdicts show it.
func (p Permission) String() string {
	var b strings.Builder
	if p.Deny {
		b.WriteString("deny ")
	} else {
		b.WriteString("allow ")
	}
	if p.Action == "" || p.Action == "all" {
		b.WriteString("both ")
	} else {
		b.WriteString(p.Action + " ")
	}
	b.WriteString(p.Topic)
	if len(p.QoS) > 0 {
		fmt.Fprintf(&b, " qos %v", p.QoS)
	}
	for _, word := range []string{p.Retain, p.Shared} {
		if word != "" && word != "all" {
			b.WriteString(" " + strings.ReplaceAll(word, "_", " "))
		}
	}
	if p.Group != "" && p.Group != rule.AnyGroup {
		b.WriteString(" group " + p.Group)
	}
	return b.String()
}
