package authn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"sallyport/internal/folder"
)

// ErrNoUser says that a password file does not have the user.
var ErrNoUser = errors.New("no such user in the password file")

// SetPassword writes user's encoded password (of Hash or Generate) into the
// file at path, which is made if it is missing, and reports whether the user is
// new. Every other line stays as it is, byte for byte. The file is replaced as
// a whole (written beside, synced, renamed), with mode 0600 and its owner kept.
func SetPassword(path, user, encoded string) (added bool, err error) {
	if err := checkUserName(user); err != nil {
		return false, err
	}
	lim := Limits{}.withDefaults()
	if _, err := parseHash(encoded, lim); err != nil {
		return false, err
	}
	if len(user)+1+len(encoded) > lim.LineBytes {
		return false, fmt.Errorf("line would be longer than %d bytes", lim.LineBytes)
	}
	lines, err := readLines(path, lim)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	at, err := findUser(path, lines, user)
	if err != nil {
		return false, err
	}
	if at >= 0 {
		lines[at] = append([]byte(user+":"+encoded), lineEnd(lines[at])...)
		return false, replaceFile(path, bytes.Join(lines, nil))
	}
	if n := len(lines); n > 0 && lineEnd(lines[n-1]) == "" {
		lines[n-1] = append(bytes.Clone(lines[n-1]), '\n')
	}
	lines = append(lines, []byte(user+":"+encoded+"\n"))
	return true, replaceFile(path, bytes.Join(lines, nil))
}

// DeleteUser removes user's line from the file at path; ErrNoUser if there is none.
func DeleteUser(path, user string) error {
	lines, err := readLines(path, Limits{}.withDefaults())
	if err != nil {
		return err
	}
	at, err := findUser(path, lines, user)
	if err != nil {
		return err
	}
	if at < 0 {
		return ErrNoUser
	}
	return replaceFile(path, bytes.Join(append(lines[:at:at], lines[at+1:]...), nil))
}

// User is a line of a password file, without its hash.
type User struct {
	Name      string
	Algorithm Algorithm // empty if the line can't be used by the broker
}

// Users lists the file's users in its order.
func Users(path string) ([]User, error) {
	lim := Limits{}.withDefaults()
	lines, err := readLines(path, lim)
	if err != nil {
		return nil, err
	}
	var users []User
	for _, line := range lines {
		name, encoded, ok := splitLine(string(bytes.TrimRight(line, "\n")))
		if !ok {
			continue
		}
		u := User{Name: name}
		if h, err := parseHash(encoded, lim); err == nil {
			u.Algorithm = h.algorithm
		}
		users = append(users, u)
	}
	return users, nil
}

// ReadLines is the lines of the file at path, with their ends.
func ReadLines(path string) ([][]byte, error) { return readLines(path, Limits{}.withDefaults()) }

// EditLines gives edit the lines of the file at path, with their ends, nil where there is
// no file, and writes what it returns as SetPassword does. An error of edit's is
// returned, and leaves the file alone.
func EditLines(path string, edit func(lines [][]byte) ([][]byte, error)) error {
	lines, err := ReadLines(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && lines == nil {
		lines = [][]byte{}
	}
	if lines, err = edit(lines); err != nil {
		return err
	}
	return replaceFile(path, bytes.Join(lines, nil))
}

// readLines reads a file as lines that keep their ends.
func readLines(path string, lim Limits) ([][]byte, error) {
	f, err := os.Open(path)
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
	lines := bytes.SplitAfter(data, []byte{'\n'})
	if last := len(lines) - 1; len(lines[last]) == 0 {
		lines = lines[:last]
	}
	return lines, nil
}

// findUser is the index of user's line, -1 if there is none. Two lines of one
// user are an error: which of them counts is not for an editor to decide.
func findUser(path string, lines [][]byte, user string) (int, error) {
	at := -1
	for i, line := range lines {
		name, _, ok := splitLine(string(bytes.TrimRight(line, "\n")))
		if !ok || name != user {
			continue
		}
		if at >= 0 {
			return 0, &FileError{path, i + 1, fmt.Sprintf("user %q is already on line %d", user, at+1)}
		}
		at = i
	}
	return at, nil
}

// lineEnd is how a line ends: "\n", "\r\n" or not at all.
func lineEnd(line []byte) string {
	switch {
	case bytes.HasSuffix(line, []byte("\r\n")):
		return "\r\n"
	case bytes.HasSuffix(line, []byte("\n")):
		return "\n"
	}
	return ""
}

// replaceFile puts data in path's place: at any moment the old or the new
// content is there, also after a crash.
func replaceFile(path string, data []byte) (err error) {
	// A link stays a link: what it points to is replaced.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()           // the first error is the one to tell
			_ = os.Remove(tmp.Name()) // likewise
		}
	}()
	if _, err := tmp.Write(data); err != nil {
		return err
	}
	if old, statErr := os.Stat(path); statErr == nil {
		if err := keepOwner(tmp, old); err != nil {
			return fmt.Errorf("keep the owner of %s: %w", path, err)
		}
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return folder.Sync(filepath.Dir(path))
}
