package topic

import "strings"

const (
	single = "+" // the level that matches any one level
	multi  = "#" // the last level that matches all that is left
)

// cutLevel splits off the first level of s. more is false for the last level;
// "a/" has two levels, the second one empty.
func cutLevel(s string) (level, rest string, more bool) {
	if i := strings.IndexByte(s, '/'); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// levels counts the levels of s.
func levels(s string) int { return strings.Count(s, "/") + 1 }

// isDollar reports whether s, a name or its first level, is out of reach for a
// wildcard at the first level. MQTT-4.7.2-1
func isDollar(s string) bool { return s != "" && s[0] == '$' }
