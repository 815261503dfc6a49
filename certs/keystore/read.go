package keystore

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"sallyport/internal/regular"
)

// Digest is a SHA-256 of the names and contents of files. Equal digests mean
// that reading again would find the same.
type Digest [sha256.Size]byte

// String returns d in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// ReadFile reads a regular file of at most limit bytes.
func ReadFile(path string, limit int64) ([]byte, error) {
	data, _, err := readFile(path, limit)
	return data, err
}

func readFile(path string, limit int64) ([]byte, fs.FileInfo, error) {
	f, info, err := regular.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }() // opened for reading: nothing to lose
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, nil, err
	}
	if int64(len(data)) > limit {
		return nil, nil, fmt.Errorf("larger than %d MiB", limit>>20)
	}
	return data, info, nil
}

// WithPath adds the path to errors that don't carry it.
func WithPath(path string, err error) error {
	var onPath *os.PathError
	if errors.As(err, &onPath) {
		return err
	}
	return fmt.Errorf("%s: %w", path, err)
}

// Blocks returns the contents of the PEM blocks of one type.
func Blocks(data []byte, kind string) [][]byte {
	var all [][]byte
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			return all
		}
		if b.Type == kind {
			all = append(all, b.Bytes)
		}
	}
}

// InspectMode returns a warning if others than the owner may read a secret file.
func InspectMode(file string) []Warning {
	info, err := os.Stat(file)
	if err != nil {
		return nil // one that can't be read is an error elsewhere
	}
	return inspectMode(file, info)
}

func inspectMode(file string, info fs.FileInfo) []Warning {
	// Modes of Windows say nothing about access.
	if runtime.GOOS == "windows" || info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	return []Warning{{file, fmt.Sprintf("mode %04o lets others at the key; 0600 is meant", info.Mode().Perm()), true}}
}

// reader reads the files of one source and digests them on the way.
type reader struct {
	sum   hash.Hash
	left  int64 // bytes that may be read yet
	modes []Warning
}

func newReader() *reader { return &reader{sum: sha256.New(), left: maxDirectory} }

func (r *reader) digest() Digest { return Digest(r.sum.Sum(nil)) }

// note puts one part into the digest; parts can't run into each other.
func (r *reader) note(part []byte) {
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(part)))
	r.sum.Write(size[:])
	r.sum.Write(part)
}

// file reads a file; secret ones have their mode judged.
func (r *reader) file(path string, secret bool) ([]byte, error) {
	data, info, err := readFile(path, maxFile)
	if err == nil && int64(len(data)) > r.left {
		err = fmt.Errorf("files of the directory are larger than %d MiB together", maxDirectory>>20)
	}
	if err != nil {
		return nil, WithPath(path, err)
	}
	r.left -= int64(len(data))
	r.note([]byte(filepath.Base(path)))
	r.note(data)
	if secret {
		r.modes = append(r.modes, inspectMode(path, info)...)
	}
	return data, nil
}

// names lists the regular files of a directory in order, links to such among them. Names
// that begin with a dot are left out: they are others' temporary files, and
// what Kubernetes' links lead through.
func names(dir string) ([]string, error) {
	// To open a pipe might take for ever.
	if info, err := os.Stat(dir); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%s: is not a directory", dir)
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }() // opened for reading: nothing to lose
	// Folders and dot files count as well: the bound is on what is held.
	entries, err := d.ReadDir(maxFiles + 1)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if len(entries) > maxFiles {
		return nil, fmt.Errorf("%s: more than %d files", dir, maxFiles)
	}
	var all []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		kind := e.Type()
		if kind&fs.ModeSymlink != 0 {
			kind = 0 // one that leads nowhere fails when it is read
			if info, err := os.Stat(filepath.Join(dir, e.Name())); err == nil {
				kind = info.Mode().Type()
			}
		}
		if kind.IsRegular() {
			all = append(all, e.Name())
		}
	}
	slices.Sort(all) // the same files have the same digest
	return all, nil
}
