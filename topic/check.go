package topic

import (
	"errors"
	"strings"

	"sallyport/internal/text"
)

// maxBytes is what the length field of an MQTT string can say. MQTT-4.7.3-3
const maxBytes = 65535

// Limits bounds names and filters.
type Limits struct {
	Bytes  int // at most; 0 is 65535
	Levels int // at most; 0 is no limit
}

// Why a name, a filter or a shared subscription is refused. The errors that
// CheckName, CheckFilter and SplitShare return are these or wrap them; none
// repeats the text that was refused, which belongs to the peer.
var (
	ErrEmpty    = errors.New("topic is empty")
	ErrTooLong  = errors.New("topic is longer than the limit")
	ErrTooDeep  = errors.New("topic has more levels than the limit")
	ErrText     = errors.New("topic is not UTF-8 without control characters and noncharacters")
	ErrWildcard = errors.New("topic has a wildcard where none may stand")
	ErrShare    = errors.New("shared subscription is malformed")
)

// CheckName reports why name may not be published to, nil if it may: it is
// empty (MQTT-4.7.3-1), beyond lim, not clean text (MQTT-4.7.3-2, 1.5.4), or
// holds a wildcard (MQTT-3.3.2-2).
func CheckName(name string, lim Limits) error {
	if err := checkText(name, lim); err != nil {
		return err
	}
	if strings.IndexByte(name, '+') >= 0 || strings.IndexByte(name, '#') >= 0 {
		return ErrWildcard
	}
	return nil
}

// CheckFilter reports why filter (without $share) is not a topic filter: it is
// empty, beyond lim, not clean text, or has a "#" that is not the whole of the
// last level (MQTT-4.7.1-1) or a "+" that is not a whole level (MQTT-4.7.1-2).
func CheckFilter(filter string, lim Limits) error {
	if err := checkText(filter, lim); err != nil {
		return err
	}
	for more := true; more; {
		var level string
		level, filter, more = cutLevel(filter)
		if level == single || level == multi && !more {
			continue
		}
		if strings.ContainsAny(level, "+#") {
			return ErrWildcard
		}
	}
	return nil
}

// checkText holds what names and filters have in common. The length comes
// first: all later work is bounded by it.
func checkText(s string, lim Limits) error {
	limit := maxBytes
	if lim.Bytes > 0 {
		limit = min(limit, lim.Bytes)
	}
	switch {
	case s == "":
		return ErrEmpty
	case len(s) > limit:
		return ErrTooLong
	case lim.Levels > 0 && levels(s) > lim.Levels:
		return ErrTooDeep
	case !text.Clean(s):
		return ErrText
	}
	return nil
}
