package challenge

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"sallyport/internal/regular"
	"sallyport/internal/scram"
	"sallyport/security/authn"
)

// Bounds of a file of verifiers.
const (
	MaxFile = 32 << 20 // bytes
	MaxLine = 4096     // bytes
	MaxName = 1024     // bytes

	maxMistakes = 100 // that are told of one file
)

// FileOptions is what a File is made of.
type FileOptions struct {
	Path       string
	AllowEmpty bool // a reload may leave no user
	Iterations int  // that nobody is told; another count is a warning. 0 is scram.DefaultIterations
}

// File is a file of verifiers: lines of name:verifier, in the form of RFC 5803 that
// sallyport passwd --scram writes, a user's each with another hash. Its content is
// swapped as a whole; it is safe for concurrent use.
type File struct {
	opts  FileOptions
	table atomic.Pointer[numbered]

	swapping sync.Mutex // one Swap at a time
}

type numbered struct {
	*Table
	number uint64
}

// Table is a file as it was read: immutable.
type Table struct {
	users    map[string]*keys
	warnings []authn.Warning
}

// keys are the verifiers of one user, nil where there is none.
type keys struct{ sha256, sha512 *scram.Verifier }

func (k *keys) of(h scram.Hash) **scram.Verifier {
	if h == scram.SHA512 {
		return &k.sha512
	}
	return &k.sha256
}

// OpenFile reads the file.
func OpenFile(o FileOptions) (*File, []authn.Warning, error) {
	if o.Iterations == 0 {
		o.Iterations = scram.DefaultIterations
	}
	t, err := readTable(o)
	if err != nil {
		return nil, nil, err
	}
	f := &File{opts: o}
	f.table.Store(&numbered{t, 1})
	return f, t.warnings, nil
}

// Load reads the file as it is now, for Swap. A file that had users and has none any
// more is authn.ErrEmpty, unless AllowEmpty says that it is meant.
func (f *File) Load() (*Table, error) {
	t, err := readTable(f.opts)
	if err != nil {
		return nil, err
	}
	if t.Len() == 0 && f.Len() > 0 && !f.opts.AllowEmpty {
		return nil, fmt.Errorf("%s: %w", f.opts.Path, authn.ErrEmpty)
	}
	return t, nil
}

// Swap puts a table to use and says who is to be judged anew.
func (f *File) Swap(t *Table) authn.Changes {
	f.swapping.Lock()
	defer f.swapping.Unlock()
	old := f.table.Load()
	f.table.Store(&numbered{t, old.number + 1})
	return compare(old.Table, t)
}

// Since is what changed from another file, whose place f takes, to f.
func (f *File) Since(old *File) authn.Changes {
	return compare(old.table.Load().Table, f.table.Load().Table)
}

// Lookup is Options.Lookup.
func (f *File) Lookup(name string, h scram.Hash) (v *scram.Verifier, known bool, err error) {
	k := f.table.Load().users[name]
	if k == nil {
		return nil, false, nil
	}
	v = *k.of(h)
	return v, v != nil, nil
}

// Generation grows with each Swap.
func (f *File) Generation() uint64 { return f.table.Load().number }

// Len is the number of users.
func (f *File) Len() int { return f.table.Load().Len() }

// Len is the number of users.
func (t *Table) Len() int { return len(t.users) }

// Warnings is what the caller should log.
func (t *Table) Warnings() []authn.Warning { return t.warnings }

// compare names the users of old of whose verifiers one is gone or another one in t.
func compare(old, t *Table) authn.Changes {
	var c authn.Changes
	for name, was := range old.users {
		is, there := t.users[name]
		switch {
		case !there:
			c.Removed = append(c.Removed, name)
		case differ(was.sha256, is.sha256) || differ(was.sha512, is.sha512):
			c.Changed = append(c.Changed, name)
		}
	}
	slices.Sort(c.Removed)
	slices.Sort(c.Changed)
	return c
}

// differ reports whether was is not there any more as it was. One that is new changes
// nothing for who is connected.
func differ(was, is *scram.Verifier) bool {
	return was != nil && (is == nil || was.Encode() != is.Encode())
}

func readTable(o FileOptions) (*Table, error) {
	f, st, err := regular.Open(o.Path)
	if errors.Is(err, regular.ErrKind) {
		return nil, &authn.FileError{File: o.Path, Text: regular.ErrKind.Error()}
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() // opened for reading: nothing to lose
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxFile {
		return nil, &authn.FileError{File: o.Path, Text: fmt.Sprintf("is larger than %d bytes", MaxFile)}
	}
	t, err := parseTable(o, data)
	if err != nil {
		return nil, err
	}
	if mode := st.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		t.warnings = append(t.warnings, authn.Warning{
			File: o.Path, Exposed: true,
			Text: fmt.Sprintf("mode %04o lets others than the owner at the verifiers of passwords; make it 0600", mode),
		})
	}
	return t, nil
}

// parseTable reads lines of name:verifier. Blank lines and lines that begin with # are
// skipped. The error joins an *authn.FileError for each line that is wrong.
func parseTable(o FileOptions, data []byte) (*Table, error) {
	t := &Table{users: map[string]*keys{}}
	var mistakes []error
	other := 0 // a line with another iteration count
	for n := 1; len(data) > 0; n++ {
		line, rest, _ := bytes.Cut(data, []byte{'\n'})
		data = rest
		v, err := t.add(line)
		if err != nil {
			mistakes = append(mistakes, &authn.FileError{File: o.Path, Line: n, Text: err.Error()})
		}
		if len(mistakes) == maxMistakes {
			break
		}
		if v != nil && (v.Iterations != o.Iterations || len(v.Salt) != scram.MinSalt) && other == 0 {
			other = n
		}
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	if t.Len() == 0 {
		t.warnings = append(t.warnings, authn.Warning{File: o.Path, Text: "holds no user: everyone is refused"})
	}
	if other != 0 {
		t.warnings = append(t.warnings, authn.Warning{File: o.Path, Text: fmt.Sprintf(
			"line %d and maybe others: a salt that is not of %d bytes, or not %d iterations (iterations says how many), tells strangers that the user exists",
			other, scram.MinSalt, o.Iterations)})
	}
	return t, nil
}

// add takes one line; v is nil for blank lines, comments and mistakes.
func (t *Table) add(line []byte) (v *scram.Verifier, err error) {
	if len(line) > MaxLine {
		return nil, fmt.Errorf("line is longer than %d bytes", MaxLine)
	}
	name, encoded, ok := splitLine(line)
	if !ok {
		return nil, nil
	}
	if err := CheckName(name); err != nil {
		return nil, err
	}
	if v, err = scram.ParseVerifier(encoded); err != nil {
		return nil, fmt.Errorf("user %q: not a verifier of SCRAM-SHA-256 or SCRAM-SHA-512, as sallyport passwd --scram writes it", name)
	}
	k := t.users[name]
	if k == nil {
		k = &keys{}
		t.users[name] = k
	}
	at := k.of(v.Hash)
	if *at != nil {
		return nil, fmt.Errorf("user %q has two verifiers of %s", name, v.Hash)
	}
	*at = v
	return v, nil
}

// splitLine takes a line apart; ok is false for blank lines and comments.
func splitLine(line []byte) (name, encoded string, ok bool) {
	s := strings.TrimSuffix(string(line), "\r")
	if s == "" || s[0] == '#' {
		return "", "", false
	}
	name, encoded, _ = strings.Cut(s, ":")
	return name, encoded, true
}

// CheckName holds a name against what a file of verifiers can carry. A name that
// SASLprep changes is refused, since what it becomes is looked up, and never it.
func CheckName(name string) error {
	switch prepared, ok := scram.Prepare(name); {
	case name == "":
		return errors.New("user name is missing")
	case len(name) > MaxName:
		return fmt.Errorf("user name is longer than %d bytes", MaxName)
	case name[0] == '#':
		return errors.New("user name begins with #, which makes the line a comment")
	case strings.Contains(name, ":"):
		return errors.New("user name contains a colon")
	case strings.Trim(name, " ") != name:
		return errors.New("user name begins or ends with a blank")
	case !ok:
		return errors.New("user name can't be used with SCRAM: SASLprep refuses it")
	case prepared != name:
		return fmt.Errorf("user name can't be used with SCRAM as it is written: SASLprep makes it %q", prepared)
	}
	return nil
}
