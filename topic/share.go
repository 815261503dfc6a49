package topic

import (
	"fmt"
	"strings"

	"sallyport/internal/text"
)

const share = "$share"

// SplitShare splits "$share/group/filter" (MQTT 5.0, 4.8.2). shared is false
// for an ordinary filter (rest is then filter itself).
//
// An error wraps ErrShare: the group is missing, empty, holds a wildcard
// (MQTT-4.8.2-1, MQTT-4.8.2-2) or is not clean text, or no filter follows it.
// "$share" without a slash is refused too: it can only be a slip. What follows
// the group is a filter like any other, also when it begins with $share; it is
// not looked into and goes to CheckFilter.
func SplitShare(filter string) (group, rest string, shared bool, err error) {
	first, rest, more := cutLevel(filter)
	if first != share {
		return "", filter, false, nil
	}
	if !more {
		return "", "", true, fmt.Errorf("%w: no group", ErrShare)
	}
	group, rest, _ = cutLevel(rest)
	switch {
	case group == "":
		return "", "", true, fmt.Errorf("%w: empty group", ErrShare)
	case strings.ContainsAny(group, "+#"):
		return "", "", true, fmt.Errorf("%w: wildcard in the group", ErrShare)
	case !text.Clean(group):
		return "", "", true, fmt.Errorf("%w: group is not clean text", ErrShare)
	case rest == "":
		return "", "", true, fmt.Errorf("%w: no filter", ErrShare)
	}
	return group, rest, true, nil
}
