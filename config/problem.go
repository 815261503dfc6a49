package config

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// Bounds of what one file can make us print and collect.
const (
	maxProblems  = 100
	maxCollected = 10 * maxProblems
)

// Pos is a place in a file. Both numbers count from 1; zero means unknown.
type Pos struct{ Line, Column int }

// Located is a value that remembers where in its file it stood. DecodeYAML
// fills it wherever it appears, so that a later stage can name the line of,
// say, each rule.
type Located[T any] struct {
	Value T
	Pos
}

// locate takes the position and yields the place to decode into.
func (l *Located[T]) locate(p Pos) any {
	l.Pos = p
	return &l.Value
}

type locator interface{ locate(Pos) any }

// Problem is one mistake in a configuration file.
type Problem struct {
	File         string // as the operator named it
	Line, Column int    // from 1; 0 is unknown
	Key          string // path of the key, such as listeners[0].tls.key; may be empty
	Text         string // what is wrong, without a full stop
	Lacks        string // the file that is missing or can't be read, if that is it
}

// Error renders p as file:line:column: key: text, leaving out what is unknown.
func (p Problem) Error() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(printable(p.File))
		b.WriteByte(':')
	}
	if p.Line > 0 {
		fmt.Fprintf(&b, "%d:", p.Line)
		if p.Column > 0 {
			fmt.Fprintf(&b, "%d:", p.Column)
		}
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	if p.Key != "" {
		b.WriteString(printable(p.Key))
		b.WriteString(": ")
	}
	b.WriteString(p.Text)
	return b.String()
}

// Problems is every mistake that was found, in the order of the file. It is
// an error when it is not empty; use Err to get a plain nil otherwise.
type Problems []Problem

// Error renders one problem per line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Err returns ps as an error, nil if there are none.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// Full reports whether so much is wrong that nothing more needs to be collected.
func (ps Problems) Full() bool { return len(ps) >= maxCollected }

// Sort orders ps by file, line and column, and cuts what exceeds a hundred.
func (ps Problems) Sort() Problems {
	sort.SliceStable(ps, func(i, j int) bool {
		a, b := ps[i], ps[j]
		if a.File != b.File {
			return a.File < b.File
		}
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Column < b.Column
	})
	if len(ps) > maxProblems {
		ps = append(ps[:maxProblems:maxProblems], Problem{File: ps[0].File, Text: "and more"})
	}
	return ps
}

// printable quotes s when a terminal could take it for something else.
func printable(s string) string {
	if q := strconv.Quote(s); q[1:len(q)-1] != s {
		return q
	}
	return s
}

// excerpt quotes at most the first 60 bytes of s for a message.
func excerpt(s string) string {
	if len(s) > 60 {
		return strconv.Quote(strings.ToValidUTF8(s[:60], "")) + "..."
	}
	return strconv.Quote(s)
}
