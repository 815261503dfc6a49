package roles

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"sallyport/config"
	"sallyport/security/rule"
)

// The words of a permission. Those of HiveMQ's permissions, in capitals, mean
// what they mean there.

// verb is a word of allow and deny.
type verb struct {
	word    string
	actions rule.Actions
}

// topical is every action that has a topic. To publish includes retained
// messages and wills, to subscribe includes to receive.
const topical = rule.Publish | rule.Subscribe

// UnmarshalText reads a verb.
func (v *verb) UnmarshalText(text []byte) error {
	v.word = string(text)
	switch v.word {
	case "publish", "PUBLISH":
		v.actions = rule.Publish
	case "subscribe", "SUBSCRIBE":
		v.actions = rule.Subscribe
	case "receive":
		v.actions = rule.Receive
	case "retain":
		v.actions = rule.Retain
	case "will":
		v.actions = rule.Will
	case "connect":
		v.actions = rule.Connect
	case "both", "all", "ALL":
		v.actions = topical
	default:
		return mustBe("publish, subscribe, receive, retain, will, connect, both or all", text)
	}
	v.word = strings.ToLower(v.word)
	return nil
}

// levels is a set of quality of service, a bit for each.
type levels uint8

const everyQoS levels = 0b111

// UnmarshalText reads one level, or one of HiveMQ's words.
func (l *levels) UnmarshalText(text []byte) error {
	words := [...]string{"", "ZERO", "ONE", "ZERO_ONE", "TWO", "ZERO_TWO", "ONE_TWO", "ALL"}
	switch word := string(text); word {
	case "0", "1", "2":
		*l = 1 << (text[0] - '0')
		return nil
	default:
		if i := slices.Index(words[1:], word); i >= 0 {
			*l = levels(i + 1)
			return nil
		}
	}
	return mustBe("0, 1 or 2", text)
}

// retainWord says whether a published message is a retained one.
type retainWord struct{ rule.Tristate }

// UnmarshalText reads a choice.
func (r *retainWord) UnmarshalText(text []byte) (err error) {
	r.Tristate, err = choice(text, "RETAINED", "NOT_RETAINED")
	return err
}

// sharedWord says whether a subscription is a shared one.
type sharedWord struct{ rule.Tristate }

// UnmarshalText reads a choice.
func (s *sharedWord) UnmarshalText(text []byte) (err error) {
	s.Tristate, err = choice(text, "SHARED", "NOT_SHARED")
	return err
}

// tlsWord says whether a connection is over TLS.
type tlsWord struct{ rule.Tristate }

// UnmarshalText reads a choice.
func (e *tlsWord) UnmarshalText(text []byte) (err error) {
	e.Tristate, err = choice(text, "", "")
	return err
}

// choice reads a Tristate, which HiveMQ writes with other words.
func choice(text []byte, yes, no string) (rule.Tristate, error) {
	word := string(text)
	switch {
	case word == "allowed", word == "ALL" && yes != "":
		return rule.Either, nil
	case word == "required", word == yes && yes != "":
		return rule.Required, nil
	case word == "forbidden", word == no && no != "":
		return rule.Forbidden, nil
	}
	return rule.Either, mustBe("allowed, required or forbidden", text)
}

// mustBe is the error for a word that is none of those that are known.
func mustBe(known string, text []byte) error {
	return fmt.Errorf("must be %s, not %.60q", known, text)
}

// access is what a default says.
type access string

// Choices is what a default may say.
func (access) Choices() []string { return []string{"allow", "deny"} }

// window is a span of time as it is written.
type window struct {
	// Days on which it opens, such as mon or mon-fri; absent: every day.
	Days config.Many[string] `yaml:"days"`
	// From and To are times of day, HH:MM.
	From string `yaml:"from"`
	To   string `yaml:"to"`
	// Zone is a name of the IANA time zone database; absent: UTC.
	Zone string `yaml:"zone"`
	// NotBefore and NotAfter are moments in RFC 3339.
	NotBefore string `yaml:"not_before"`
	NotAfter  string `yaml:"not_after"`
}

func (w window) compile() (rule.Window, error) {
	return rule.NewWindow(rule.WindowSpec{
		Days: w.Days, From: w.From, To: w.To, Zone: w.Zone, NotBefore: w.NotBefore, NotAfter: w.NotAfter,
	})
}

// groupName refuses what can't be the name of a share (MQTT 5.0, 4.8.2).
func groupName(name string) error {
	if name == "" || name != rule.AnyGroup && strings.ContainsAny(name, "/+#") {
		return errors.New("must be the name of a group, or # for any")
	}
	return nil
}
