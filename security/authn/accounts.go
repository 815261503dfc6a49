package authn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"

	"sallyport/internal/regular"
)

// FileError is a mistake in a file, with its place. Text holds no secret.
type FileError struct {
	File string
	Line int // from 1; 0 for the whole file
	Text string
}

// Error is file:line: text.
func (e *FileError) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Text
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text)
}

// Warning is what an operator should know about a file that was accepted.
type Warning struct {
	File string
	Text string
	// Exposed says that others than the owner may read or write the file; with
	// strict_files the caller refuses it.
	Exposed bool
}

// Accounts is a password file as it was read: immutable, made by Passwords.Load
// and put to use by Passwords.Swap.
type Accounts struct {
	byName   map[string]hash
	dearest  hash          // the guessable one with the greatest cost: the decoy
	cost     time.Duration // measured of dearest; 0 if no password is guessable
	warnings []Warning
}

// Warnings is what the caller should log.
func (a *Accounts) Warnings() []Warning { return a.warnings }

// Len is the number of users.
func (a *Accounts) Len() int { return len(a.byName) }

// readAccounts opens and parses a password file within the limits.
func readAccounts(path string, lim Limits) (*Accounts, error) {
	f, st, err := regular.Open(path)
	if errors.Is(err, regular.ErrKind) {
		return nil, &FileError{File: path, Text: regular.ErrKind.Error()}
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() // opened for reading: nothing to lose
	data, err := io.ReadAll(io.LimitReader(f, lim.FileBytes+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > lim.FileBytes {
		return nil, &FileError{File: path, Text: fmt.Sprintf("is larger than %d bytes", lim.FileBytes)}
	}
	a, err := parseAccounts(path, data, lim)
	if err != nil {
		return nil, err
	}
	if mode := st.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		a.warnings = append(a.warnings, Warning{
			File: path, Exposed: true,
			Text: fmt.Sprintf("mode %04o lets others than the owner at password hashes; make it 0600", mode),
		})
	}
	return a, nil
}

// maxMistakes bounds how many mistakes of one file are told.
const maxMistakes = 100

// parseAccounts reads lines of user:encoded. Blank lines and lines that begin
// with # are skipped, blanks around a user name are not part of it, as in
// Mosquitto. The error joins a *FileError for each line that is wrong.
func parseAccounts(path string, data []byte, lim Limits) (*Accounts, error) {
	a := &Accounts{byName: map[string]hash{}}
	var best uint64
	var mistakes []error
	EachPassword(data, lim, func(n int, user string, s Stored, err error) bool {
		switch {
		case err != nil && len(mistakes) == maxMistakes:
			mistakes = append(mistakes, &FileError{path, n, "is wrong too, and maybe more lines are"})
			return false
		case err != nil:
			mistakes = append(mistakes, &FileError{path, n, err.Error()})
			return true
		}
		a.byName[user] = s.h
		if w := s.Work(); w > best {
			best, a.dearest = w, s.h
		}
		return true
	})
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	if len(a.byName) == 0 {
		a.warnings = append(a.warnings, Warning{File: path, Text: "holds no user: everyone is refused"})
	}
	return a, nil
}

// EachPassword reads the lines of a password file and yields each user, or what is
// wrong with a line, until yield says that it is enough. Lines count from 1. No error
// holds a salt, a hash or a password.
func EachPassword(data []byte, lim Limits, yield func(line int, user string, s Stored, err error) bool) {
	lim = lim.withDefaults()
	lines := map[string]int{}
	for n := 1; len(data) > 0; n++ {
		line, rest, _ := bytes.Cut(data, []byte{'\n'})
		data = rest
		user, h, err := parseAccount(line, lines, lim)
		if user != "" {
			lines[user] = n
		}
		if (user != "" || err != nil) && !yield(n, user, Stored{h}, err) {
			return
		}
	}
}

// parseAccount reads one line; lines are the users of those before it. The
// user is empty for blank lines, comments and mistakes.
func parseAccount(line []byte, lines map[string]int, lim Limits) (user string, h hash, err error) {
	if len(line) > lim.LineBytes {
		return "", h, fmt.Errorf("line is longer than %d bytes", lim.LineBytes)
	}
	user, encoded, ok := splitLine(string(line))
	if !ok {
		return "", h, nil
	}
	if err := checkUserName(user); err != nil {
		return "", h, err
	}
	if first, dup := lines[user]; dup {
		return "", h, fmt.Errorf("user %q is already on line %d", user, first)
	}
	if h, err = parseHash(encoded, lim); err == nil && lim.FIPS {
		err = h.outsideFIPS()
	}
	if err != nil {
		return "", hash{}, fmt.Errorf("user %q: %w", user, err)
	}
	return user, h, nil
}

const blanks = " \t\r\v\f"

// splitLine takes a line apart; ok is false for blank lines and comments.
func splitLine(line string) (user, encoded string, ok bool) {
	if strings.HasPrefix(line, "#") {
		return "", "", false
	}
	line = strings.Trim(line, blanks)
	if line == "" {
		return "", "", false
	}
	user, encoded, _ = strings.Cut(line, ":")
	return strings.Trim(user, blanks), strings.Trim(encoded, blanks), true
}

// checkUserName holds a name against what a password file can carry.
func checkUserName(user string) error {
	switch {
	case user == "":
		return fmt.Errorf("user name is missing")
	case len(user) > 1024:
		return fmt.Errorf("user name is longer than 1024 bytes")
	case !utf8.ValidString(user):
		return fmt.Errorf("user name is not UTF-8")
	case user[0] == '#':
		return fmt.Errorf("user name begins with #, which makes the line a comment")
	case strings.Contains(user, ":"):
		return fmt.Errorf("user name contains a colon")
	case strings.Trim(user, blanks) != user:
		return fmt.Errorf("user name begins or ends with a blank")
	}
	for _, r := range user {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return fmt.Errorf("user name contains a control character")
		}
	}
	return nil
}
