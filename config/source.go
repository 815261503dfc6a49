package config

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"

	"sallyport/internal/regular"
)

// Source is a file that a configuration was read from, or a folder that was
// looked through for such files.
type Source struct {
	Path string // of a folder it ends in a separator
	Sum  Sum    // of what was read
}

// Sum identifies the content of a file (SHA-256). No file has the zero Sum.
type Sum [sha256.Size]byte

// SumOf is the Sum of a file with this content.
func SumOf(data []byte) Sum { return sha256.Sum256(data) }

// maxSummed bounds how much of a file ReadSum reads; each reader has a lower bound of its own.
const maxSummed = 1 << 28

// ReadSum is the Sum of the regular file at path as it is now, or, for a path
// that ends in a separator, of the names in that folder. It fails on all else,
// and above 256 MiB.
func ReadSum(path string) (Sum, error) {
	h := sha256.New()
	if os.IsPathSeparator(path[len(path)-1]) {
		entries, err := os.ReadDir(path)
		if err != nil {
			return Sum{}, err
		}
		for _, e := range entries {
			fmt.Fprintf(h, "%s\x00", e.Name()) // a hash takes everything
		}
		return Sum(h.Sum(nil)), nil
	}
	f, _, err := regular.Open(path)
	if err != nil {
		return Sum{}, err
	}
	defer f.Close() // opened for reading: nothing to lose
	n, err := io.Copy(h, io.LimitReader(f, maxSummed+1))
	if err != nil {
		return Sum{}, err
	}
	if n > maxSummed {
		return Sum{}, fmt.Errorf("%s is larger than %d bytes", path, maxSummed)
	}
	return Sum(h.Sum(nil)), nil
}
