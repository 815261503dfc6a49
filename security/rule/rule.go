package rule

import (
	"sallyport/security"
	"sallyport/topic"
)

// Actions is a set of what a rule speaks about.
//
// A request has aspects, and a rule is about it if they have one in common. A
// publication has Publish, with Retain if it is a retained one and Will if it is
// a will; a subscription has Subscribe; a delivery has Receive and Subscribe, so
// that to allow or deny subscribing is to allow or deny receiving.
type Actions uint8

// The actions.
const (
	Connect Actions = 1 << iota
	Publish
	Subscribe
	Receive
	Retain // to publish retained messages
	Will   // to leave a will
)

// Tristate is what a rule asks of a yes-or-no property.
type Tristate uint8

// The choices; the zero value asks nothing.
const (
	Either Tristate = iota
	Required
	Forbidden
)

// Fits reports whether the property may be as it is.
func (t Tristate) Fits(is bool) bool { return t == Either || (t == Required) == is }

// AnyGroup among a rule's groups is every share name.
const AnyGroup = "#"

// Rule is one compiled permission. It is immutable once in a Set.
type Rule struct {
	Effect  security.Effect
	Actions Actions
	Topic   topic.Pattern // zero where Actions is only Connect
	QoS     uint8         // a bit for each QoS; 0 is all
	Retain  Tristate      // whether a published message is retained
	Shared  Tristate      // whether a subscription is shared
	Groups  []string      // share names; empty or AnyGroup: all
	When    *When         // nil: always
	// Optional says that the rule is silent where one of its placeholders has no
	// value. Else a deny whose placeholder has no usable value denies.
	Optional bool
	File     string
	Line     int
	Text     string // as verdicts show it
}
