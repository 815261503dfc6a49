// Package topic is the words of MQTT topics and the one matcher of the
// broker: routing, retained messages and every policy language ask it, so that
// no two parts can disagree about what a filter means.
//
// A name is what a message is published to; a filter is what is subscribed to;
// a level is what stands between two slashes, and may be empty. "+" as a whole
// level matches any one level; "#" as the last whole level matches any number
// of levels, also none, so that a/# matches a (MQTT 5.0 and 3.1.1, 4.7.1).
// Wildcards at the first level never match a name that begins with "$"
// (4.7.2); in this package that is part of what a filter matches, and so of
// covering and overlapping too.
//
// Nothing here unfolds, trims or decodes: names are compared byte by byte
// (4.7.3). CheckName, CheckFilter and SplitShare are the doors: what comes from
// a peer passes them first. The other functions are defined for every string
// and never panic; a wildcard in a place where a filter may not have one is
// there an ordinary character, which no checked name contains, so that a
// malformed filter matches less, never more.
//
//   - Match, Covers, CoversAt and Overlaps compare filters and names.
//   - Pattern is a filter with placeholders for the client's identity.
//   - Tree finds the subscribers of a name among millions of filters.
//   - Names finds the names that one filter matches among millions.
package topic
