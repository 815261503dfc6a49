package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"sallyport/internal/regular"
)

// unreadable says why path can't be read as a file, "" if it can.
func unreadable(path string) string {
	f, _, err := regular.Open(path)
	if err != nil {
		return fileError(err)
	}
	_ = f.Close() // nothing was written
	return ""
}

// fileError is what a person needs of err, without the path that the message names anyway.
func fileError(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such file"
	case errors.Is(err, fs.ErrPermission):
		return "may not be read by this user"
	}
	var pe *fs.PathError
	if errors.Is(err, regular.ErrKind) && errors.As(err, &pe) {
		if info, err := os.Stat(pe.Path); err == nil && info.IsDir() {
			return "is a folder, not a file"
		}
		return regular.ErrKind.Error()
	}
	if errors.As(err, &pe) {
		return "can't be read: " + pe.Err.Error()
	}
	return "can't be read: " + err.Error()
}

// notWritableIn says why no file can be made at path, as far as its folder tells.
func notWritableIn(path string) string {
	info, err := os.Stat(filepath.Dir(path))
	if err != nil || !info.IsDir() {
		return fmt.Sprintf("the folder of %s does not exist", printable(path))
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return printable(path) + " is a folder"
	}
	return ""
}

// looseMode describes the permissions of a file with secrets when others than
// its owner have some; "" when they don't or the platform has none.
func looseMode(path string) string {
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS == "windows" || info.Mode().Perm()&0o077 == 0 {
		return ""
	}
	return fmt.Sprintf("%s holds secrets and has mode %04o; chmod 600 keeps others out", printable(path), info.Mode().Perm())
}

// Files is every file that c was read from or names to be read, each once:
// what a reload reads again, so not the key of the store. Folders that an importer looked through are among
// them.
func (c *Config) Files() []string {
	var out []string
	seen := map[string]bool{"": true}
	add := func(paths ...string) {
		for _, p := range paths {
			if !seen[p] {
				seen[p] = true
				out = append(out, p)
			}
		}
	}
	add(c.File)
	for _, s := range c.Sources {
		add(s.Path)
	}
	for _, a := range c.Authenticators {
		add(a.File)
		if a.JWT != nil {
			for _, p := range a.JWT.files() {
				add(*p)
			}
		}
	}
	for _, p := range c.Policies {
		add(p.File)
	}
	for _, l := range c.Listeners {
		if t := l.TLS; t != nil {
			for _, p := range t.paths() {
				add(watched(*p)...)
			}
		}
	}
	return out
}
