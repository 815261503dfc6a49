package revocation

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"

	"sallyport/internal/regular"
)

// Bounds of files with lists.
const (
	maxFile       = 64 << 20 // bytes
	maxListsInAll = 4096
)

// Lists are revocation lists by issuer. They never change.
type Lists struct {
	byIssuer map[string][]*List // by canonical name
	names    map[string]string  // canonical names, by the DER that lists have of them
	all      []*List            // in the order of the files
}

// Load reads lists from files: PEM with one or more X509 CRL blocks, or DER with
// one list. A file without a list, or with one that [ParseList] refuses, is an
// error, as is a block that can't be read: a list that went lost unnoticed would
// let revoked certificates in.
func Load(paths ...string) (*Lists, error) {
	l := newLists()
	for _, path := range paths {
		data, err := readFile(path)
		if err != nil {
			return nil, fmt.Errorf("load CRL: %w", withPath(path, err))
		}
		if err := l.parse(data, path); err != nil {
			return nil, fmt.Errorf("load CRL %s: %w", path, err)
		}
	}
	return l, nil
}

// Parse reads lists as a file of [Load] has them.
func Parse(data []byte, source string) (*Lists, error) {
	l := newLists()
	return l, l.parse(data, source)
}

func newLists() *Lists {
	return &Lists{byIssuer: make(map[string][]*List), names: make(map[string]string)}
}

func (l *Lists) parse(data []byte, source string) error {
	ders, err := split(data)
	if err != nil {
		return err
	}
	for i, der := range ders {
		list, err := ParseList(der, source)
		if err != nil {
			return fmt.Errorf("list %d: %w", i+1, err)
		}
		if len(l.all) == maxListsInAll {
			return fmt.Errorf("more than %d lists", maxListsInAll)
		}
		l.all = append(l.all, list)
		l.byIssuer[list.issuer] = append(l.byIssuer[list.issuer], list)
		l.names[string(list.head.RawIssuer)] = list.issuer
	}
	return nil
}

const blockType = "X509 CRL"

// split returns the lists of a file in DER, one at least.
func split(data []byte) ([][]byte, error) {
	if len(data) > 0 && data[0] == 0x30 { // SEQUENCE
		return [][]byte{data}, nil
	}
	begun := bytes.Count(data, []byte("-----BEGIN "+blockType+"-----"))
	var all [][]byte
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			break
		}
		if b.Type == blockType {
			all = append(all, b.Bytes)
		}
	}
	switch {
	case begun == 0:
		return nil, errors.New("no PEM revocation list in it, nor one in DER")
	case len(all) != begun:
		return nil, fmt.Errorf("%d of %d PEM blocks can't be read", begun-len(all), begun)
	}
	return all, nil
}

// readFile reads a regular file of at most maxFile bytes.
func readFile(path string) ([]byte, error) {
	f, _, err := regular.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // opened for reading: nothing to lose
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("larger than %d MiB", maxFile>>20)
	}
	return data, nil
}

// withPath adds the path to errors that don't carry it.
func withPath(path string, err error) error {
	var onPath *os.PathError
	if errors.As(err, &onPath) {
		return err
	}
	return fmt.Errorf("%s: %w", path, err)
}
