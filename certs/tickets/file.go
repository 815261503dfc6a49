package tickets

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"sallyport/internal/folder"
	"sallyport/internal/owner"
	"sallyport/internal/rawkey"
	"sallyport/internal/regular"
)

// maxFile bounds a fleet's file, in bytes: eight keys, and comments.
const maxFile = 16 << 10

// Warning is a finding about a file that stops nothing.
type Warning struct {
	File string
	Text string
	// Exposed says that others than the owner may read a secret.
	Exposed bool
}

// Load reads a fleet's file. It has a key a line: 32 bytes in 64 hexadecimal digits
// or in base64. The first encrypts, all decrypt; there are at most [MaxKeys].
// Empty lines and those that begin with # are skipped. A key that stands there
// twice or is made of one byte is refused, and so is a file that all the world can
// write: whoever knows a key can make tickets that name any client. No error holds
// a key. now is the time, for the warning about a file that has not been rotated.
func Load(path string, now time.Time) (*Ring, []Warning, error) {
	secrets, info, err := readFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("session ticket keys: %w", err)
	}
	var warnings []Warning
	// Modes of Windows say nothing about access.
	switch mode := info.Mode().Perm(); {
	case runtime.GOOS == "windows":
	case mode&0o002 != 0:
		return nil, nil, fmt.Errorf("session ticket keys: %s: mode %04o lets anybody change it; 0600 is meant", path, mode)
	case mode&0o077 != 0:
		warnings = append(warnings, Warning{path, fmt.Sprintf("mode %04o lets others at the session ticket keys; 0600 is meant", mode), true})
	}
	if age := now.Sub(info.ModTime()); age > Life {
		warnings = append(warnings, Warning{File: path, Text: fmt.Sprintf("session ticket keys have not been changed for %d days; 24 h is meant", age/(24*time.Hour))})
	}
	r := &Ring{now: time.Now, fleet: true}
	for _, s := range secrets {
		r.secrets = append(r.secrets, dated{secret: s})
	}
	clear(secrets)
	r.generation.Store(1)
	return r, warnings, nil
}

func readFile(path string) ([]secret, fs.FileInfo, error) {
	f, info, err := regular.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }() // opened for reading: nothing to lose
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	defer clear(data)
	if err != nil {
		return nil, nil, err
	}
	secrets, err := parse(data)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return secrets, info, nil
}

func parse(data []byte) ([]secret, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("larger than %d KiB", maxFile>>10)
	}
	var secrets []secret
	var lines []int // where each stands
	number := 0
	for line := range bytes.Lines(data) {
		number++
		if line = bytes.TrimSpace(line); len(line) == 0 || line[0] == '#' {
			continue
		}
		key, err := rawkey.Decode(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		s := secret(key)
		clear(key)
		switch first := slices.Index(secrets, s); {
		case first >= 0:
			return nil, fmt.Errorf("line %d repeats the key of line %d", number, lines[first])
		case bytes.Count(s[:], s[:1]) == len(s):
			return nil, fmt.Errorf("line %d: the key is one byte over and over, and not random", number)
		case len(secrets) == MaxKeys:
			return nil, fmt.Errorf("line %d: more than %d keys", number, MaxKeys)
		}
		secrets, lines = append(secrets, s), append(lines, number)
	}
	if len(secrets) == 0 {
		return nil, errors.New("no key in it")
	}
	return secrets, nil
}

// header is what a file that we write begins with.
const header = `# Session ticket keys of a fleet of brokers, made by "sallyport tls ticket-key".
# The first encrypts, all decrypt, and the last waits for its turn.
`

func text(secrets []secret) []byte {
	b := []byte(header)
	for i := range secrets {
		b = append(hex.AppendEncode(b, secrets[i][:]), '\n')
	}
	return b
}

// next is what follows secrets: the last of them, which every broker has had for a
// while, begins to encrypt, and a new one waits in its place. So brokers may read
// the new file at different times, and none meets a ticket that it can't decrypt.
// One alone stays the first, since nothing waits yet. What would be one too many,
// the oldest, is dropped.
func next(secrets []secret) []secret {
	var all []secret
	switch last := len(secrets) - 1; {
	case last < 0:
		all = append(all, fresh())
	case last == 0:
		all = append(all, secrets[0])
	default:
		all = append(append(all, secrets[last]), secrets[:last]...)
	}
	return append(all[:min(len(all), MaxKeys-1)], fresh())
}

// Advance moves a fleet's file on: see [next] for how. A file that isn't there is
// made, mode 0600, with one key that encrypts and one that waits. It is replaced as a
// whole, and owner, group and mode stay; one that gives anything to all the world is
// refused. It returns the ids of the keys, as [Ring.IDs] does.
func Advance(path string) (ids []string, err error) {
	secrets, info, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		info, err = nil, nil
	}
	if err == nil && info != nil {
		path, err = filepath.EvalSymlinks(path) // a link goes on to name the file
	}
	if err != nil {
		return nil, err
	}
	// Not mended in silence: a broker that reads it so would be locked out.
	if info != nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("%s: mode %04o lets anybody at the session ticket keys; 0600 is meant", path, info.Mode().Perm())
	}
	secrets = next(secrets)
	data := text(secrets)
	defer clear(data)
	if err := replaceFile(path, data, info); err != nil {
		return nil, err
	}
	for i := range secrets {
		ids = append(ids, secrets[i].id())
	}
	return ids, nil
}

// replaceFile replaces path by data: after a crash it is either the old file or
// the whole new one. old is what the file was, nil for none.
func replaceFile(path string, data []byte, old fs.FileInfo) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // made with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the failure before it is the one to report
		}
	}()
	if old != nil {
		// A broker that is another user's must still be able to read it.
		if err = owner.Give(f, old); err == nil {
			err = f.Chmod(old.Mode().Perm())
		}
	}
	if err == nil {
		_, err = f.Write(data)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return folder.Sync(dir)
}
