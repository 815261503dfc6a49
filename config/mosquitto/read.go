package mosquitto

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"unicode/utf8"

	"sallyport/config"
)

// Bounds of include_dir, and of what one file can make us say.
const (
	maxWarnings      = 1000
	maxIncluded      = 1000
	maxIncludedBytes = 8 << 20
)

// Options are the flags of mosquitto that change its configuration.
type Options struct {
	// Port replaces the port of the default listener, as -p does; 0 keeps it.
	// Like there, it has no effect when the file defines its listeners.
	Port int
	// Verbose logs everything, as -v does, whatever log_type says.
	Verbose bool
}

// Warning is something that an operator should know about a file that is used.
type Warning struct {
	File   string
	Line   int    // 0: not about one line
	Option string // may be empty
	Text   string
}

// String renders w as file:line: option: text.
func (w Warning) String() string {
	return config.Problem{File: w.File, Line: w.Line, Key: w.Option, Text: w.Text}.Error()
}

// Read imports the mosquitto.conf at path. The error is a config.Problems
// that names file, line and option of every mistake: unknown options, options
// that Sallyport does not support, bad values, missing files, clashes.
func Read(path string, opts Options) (*config.Config, []Warning, error) {
	data, err := config.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	r := newReader(path, opts)
	r.file(path, data, false)
	c := r.build()
	if err := r.problems.Sort().Err(); err != nil {
		return nil, r.warnings, err
	}
	return c, r.warnings, nil
}

// line is one option as it stands in a file.
type line struct {
	file string
	n    int
	name string
	rest string // after the name and its space; blanks at the ends removed
}

// reader collects what the lines say.
type reader struct {
	path     string
	opts     Options
	problems config.Problems
	warnings []Warning

	perListener   bool
	securityLine  *line // the first option with a security setting
	listenerLine  *line // the first listener, port or bind_address
	global        security
	standard      *door // Mosquitto's default listener
	doors         []*door
	current       *door
	settings      settings
	options       map[string]func(*reader, line)
	known         func(name string) bool
	sources       []config.Source
	included      int
	includedBytes int
}

func newReader(path string, opts Options) *reader {
	r := &reader{path: path, opts: opts, standard: newDoor(line{file: path})}
	r.current = r.standard
	r.settings = newSettings()
	r.options, r.known = options(), known()
	return r
}

func (r *reader) wrong(l line, format string, args ...any) {
	if r.problems.Full() {
		return
	}
	r.problems = append(r.problems, config.Problem{File: l.file, Line: l.n, Key: l.name, Text: fmt.Sprintf(format, args...)})
}

func (r *reader) warn(l line, format string, args ...any) {
	if len(r.warnings) >= maxWarnings {
		return
	}
	r.warnings = append(r.warnings, Warning{File: l.file, Line: l.n, Option: l.name, Text: fmt.Sprintf(format, args...)})
}

// file applies every line of a file. In each file options belong to the
// default listener until its first listener line.
func (r *reader) file(path string, data []byte, included bool) {
	r.sources = append(r.sources, config.Source{Path: path, Sum: config.SumOf(data)})
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		r.wrong(line{file: path}, "the file is not UTF-8 text")
		return
	}
	outer := r.current
	r.current = r.standard
	n := 0
	for text := range strings.Lines(string(data)) {
		n++
		if l, ok := parseLine(text); ok {
			l.file, l.n = path, n
			r.apply(l, included)
		}
	}
	r.current = outer
}

// parseLine splits one line; comments and blank lines are not ok. As in
// Mosquitto, spaces before the name are skipped and # begins a comment only in the first column.
func parseLine(text string) (line, bool) {
	if strings.HasPrefix(text, "#") {
		return line{}, false
	}
	text = strings.TrimLeft(strings.TrimRight(text, "\r\n"), " ")
	name, rest, _ := strings.Cut(text, " ")
	if strings.Trim(text, " \t") == "" {
		return line{}, false
	}
	return line{name: name, rest: strings.Trim(rest, " \t")}, true
}

func (r *reader) apply(l line, included bool) {
	if l.name == "include_dir" {
		r.include(l, included)
		return
	}
	apply, ok := r.options[l.name]
	switch {
	case ok:
		apply(r, l)
	case strings.HasPrefix(l.name, "#"):
		l.name = ""
		r.wrong(l, "a comment must begin in the first column")
	case r.known(l.name):
		r.wrong(l, "this option of Mosquitto is not supported")
	default:
		r.wrong(l, "unknown option")
	}
}

// include reads the *.conf files of a folder in the order of their bytes.
func (r *reader) include(l line, included bool) {
	if included {
		r.warn(l, "is ignored: as in Mosquitto, only the main file includes others")
		return
	}
	if l.rest == "" {
		r.wrong(l, "has no value")
		return
	}
	dir := l.rest
	names, err := r.includable(dir)
	if err != nil {
		r.wrong(l, "the folder %s can't be read", shown(l.rest))
		return
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		data, err := config.ReadFile(path)
		if err != nil {
			r.wrong(l, "%v", err)
			continue
		}
		r.included++
		r.includedBytes += len(data)
		if r.included > maxIncluded || r.includedBytes > maxIncludedBytes {
			r.wrong(l, "includes more than %d files or %d bytes", maxIncluded, maxIncludedBytes)
			return
		}
		r.file(path, data, true)
	}
}

// includable lists the *.conf files of a folder in the order of their bytes.
func (r *reader) includable(dir string) ([]string, error) {
	// Summed before it is read, so that what comes in between is a change.
	folder := filepath.Clean(dir) + string(filepath.Separator)
	sum, err := config.ReadSum(folder)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	r.sources = append(r.sources, config.Source{Path: folder, Sum: sum})
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".conf") {
			names = append(names, e.Name())
		}
	}
	sort.Strings(names)
	return names, nil
}
