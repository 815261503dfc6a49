package topic

import "strings"

// The names below "a/" are contiguous in the order of bytes: they lie between
// "a/" and "a0", since 0 follows the slash. So do all names that begin with $:
// between "$" and "%". That lets a scan leap over what its filter can't match.
const (
	afterSlash  = "0"
	afterDollar = "%"
)

// firstMatch returns a string that no name which filter matches comes before:
// the literal levels at its beginning.
func firstMatch(filter string) string {
	end := 0
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = cutLevel(rest)
		if level == single {
			break
		}
		if level == multi && !more {
			return strings.TrimSuffix(filter[:end], "/") // a/# begins with a
		}
		end = len(filter) - len(rest)
	}
	return filter[:end]
}

// nextMatch returns a string, at or after name, so that no name which filter
// matches lies strictly between name and it; ok is false if filter matches no
// name after this one. name need not be one that filter matches.
func nextMatch(filter, name string) (next string, ok bool) {
	var (
		at   = 0  // name[at:] and filter are what is still to be compared
		plus = -1 // name[:plus] ends with the last level that a + of filter took
	)
	// beyond is the way out when nothing more can begin with name[:at]: the
	// literal levels can't vary, so the last + before them has to.
	beyond := func() (string, bool) {
		if plus < 0 {
			return "", false
		}
		return name[:plus] + afterSlash, true
	}
	for first := true; ; first = false {
		want, filterRest, filterMore := cutLevel(filter)
		have, _, nameMore := cutLevel(name[at:])
		end := at + len(have)
		wild := want == single || want == multi && !filterMore
		switch {
		case first && wild && isDollar(have):
			return afterDollar, true // MQTT-4.7.2-1
		case wild && want == multi:
			return name, true // all that follows below name[:at] matches
		case wild:
			if !nameMore {
				return name, true
			}
			plus = end
			if !filterMore {
				return beyond() // all that is deeper
			}
		case want == have && filterMore:
			if !nameMore {
				return name + "/", true
			}
		case want == have:
			return beyond()
		default:
			if next := nextLiteral(name[:at]+want, filterRest, filterMore, name); next != "" {
				return next, true
			}
			return beyond()
		}
		filter, at = filterRest, end+1
	}
}

// nextLiteral returns the first string after name among those that filter can
// match where its literal level ends at path: path itself, if filter may end
// there, and path with a slash, if it may go on. It is empty if both are before
// name.
func nextLiteral(path, filterRest string, filterMore bool, name string) string {
	if (!filterMore || filterRest == multi) && path > name {
		return path
	}
	if filterMore {
		if deeper := path + "/"; deeper > name {
			return deeper
		}
	}
	return ""
}
