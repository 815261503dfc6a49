// Package backup is the form of a backup file. It hides how the files of a store lie
// in one stream, how what was changed or cut off on the way is found, and how a backup
// is encrypted.
//
// A backup is a tar archive of the oldest form (ustar), that anybody can take apart
// and verify: first backup.json, the Header, which names every file and its size; then
// those files; last SHA256SUMS, as sha256sum -c reads it, with one line more, the
// checksum of everything before it. A reader accepts that and nothing else: these
// names in this order with these sizes, plain files, and nothing behind the end.
//
// Checksums find what happened by chance. Who wants to find what somebody has done
// encrypts (seal.go): then every byte is authentic, or the backup is refused.
package backup

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Format is the version of the form that Write writes.
const Format = 1

// What a backup is refused for.
var (
	ErrTruncated = errors.New("the backup is cut off")
	ErrDamaged   = errors.New("the backup is damaged")
	ErrNewer     = errors.New("the backup was made by a newer version of Sallyport")
	ErrForeign   = errors.New("this is no backup of Sallyport's")
)

// Bounds of what a reader accepts.
const (
	maxHeader = 16 << 20
	maxFiles  = 1 << 18
	maxBytes  = 1<<33 - 1 // of one file: what ustar can say
)

// Names of the entries around the files.
const (
	headerName = "backup.json"
	sumsName   = "SHA256SUMS"
)

// Header is what a backup says of itself.
type Header struct {
	Format      int       `json:"format"`
	Created     time.Time `json:"created"`
	Version     string    `json:"version"`      // of the program that made it
	StoreFormat uint32    `json:"store_format"` // of the store in it
	Encrypted   bool      `json:"encrypted"`    // the store in it is, with its own key
	Sessions    int64     `json:"sessions"`
	Retained    int64     `json:"retained"`
	Files       []File    `json:"files"`
}

// File is one file of the store.
type File struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// Bytes is the size of all files.
func (h *Header) Bytes() (n int64) {
	for _, f := range h.Files {
		n += f.Bytes
	}
	return n
}

// names are those that the files of a store have. The lock is none of them.
var names = regexp.MustCompile(`^(\d{6,20}(-\d{3})?\.log|\d{6,20}\.(sst|blob)|(MANIFEST|OPTIONS)-\d{6,20}|marker\.[a-z]([a-z-]{0,30}[a-z])?\.\d{6,20}\.[A-Za-z0-9-]{1,40})$`)

// ValidName reports whether a file of a store may have the name: it is a plain one,
// everywhere.
func ValidName(name string) bool { return len(name) <= 100 && names.MatchString(name) }

// check holds a header against the bounds.
func (h *Header) check() error {
	if len(h.Files) > maxFiles {
		return fmt.Errorf("%w: it names %d files, at most %d are accepted", ErrDamaged, len(h.Files), maxFiles)
	}
	seen := make(map[string]bool, len(h.Files))
	for _, f := range h.Files {
		name := strings.ToLower(f.Name) // on some systems they are one
		switch {
		case !ValidName(f.Name):
			return fmt.Errorf("%w: %q is not the name of a store's file", ErrDamaged, f.Name)
		case seen[name]:
			return fmt.Errorf("%w: it names %s twice", ErrDamaged, f.Name)
		case f.Bytes < 0 || f.Bytes > maxBytes:
			return fmt.Errorf("%w: %s can't have %d bytes", ErrDamaged, f.Name, f.Bytes)
		}
		seen[name] = true
	}
	return nil
}

const block = 512 // of tar

// span is how much of an archive an entry of n bytes takes.
func span(n int64) int64 { return block + (n+block-1)/block*block }
