package backup

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"
)

// Write writes a backup of the files that h names, which open opens. They must not
// change meanwhile. Format is filled in.
func Write(w io.Writer, h Header, open func(name string) (io.ReadCloser, error)) error {
	h.Format, h.Created = Format, h.Created.UTC().Truncate(time.Second)
	if h.Files == nil {
		h.Files = []File{}
	}
	if err := h.check(); err != nil {
		return err
	}
	text, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		return err
	}
	if text = append(text, '\n'); len(text) > maxHeader {
		return fmt.Errorf("the list of files is longer than %d bytes", maxHeader)
	}
	whole := sha256.New()
	a := &archive{tar: tar.NewWriter(io.MultiWriter(w, whole)), at: h.Created, buf: make([]byte, 256<<10)}
	if err := a.add(File{headerName, int64(len(text))}, strings.NewReader(string(text))); err != nil {
		return err
	}
	for _, f := range h.Files {
		if err := a.addFile(f, open); err != nil {
			return err
		}
	}
	if err := a.begin(File{sumsName, sumsSize(a.sums.Len())}); err != nil {
		return err
	}
	_, err = io.WriteString(a.tar, finish(a.sums.String(), whole)) // whole has the head of this entry, too
	return errors.Join(err, a.tar.Close())
}

// archive is what is written.
type archive struct {
	tar  *tar.Writer
	at   time.Time
	sums strings.Builder
	buf  []byte
}

func (a *archive) addFile(f File, open func(string) (io.ReadCloser, error)) error {
	r, err := open(f.Name)
	if err != nil {
		return err
	}
	err = a.add(f, r)
	return errors.Join(err, r.Close())
}

// begin writes the head of an entry.
func (a *archive) begin(f File) error {
	return a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.Name, Size: f.Bytes, Mode: 0o600, ModTime: a.at, Format: tar.FormatUSTAR})
}

// add adds one entry, which must have the size that f says.
func (a *archive) add(f File, r io.Reader) error {
	if err := a.begin(f); err != nil {
		return err
	}
	sum := sha256.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(a.tar, sum)}, io.LimitReader(r, f.Bytes), a.buf)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	if n != f.Bytes {
		return fmt.Errorf("%s has changed: it has %d bytes, not %d", f.Name, n, f.Bytes)
	}
	sumLine(&a.sums, f.Name, sum)
	return nil
}

func sumLine(b *strings.Builder, name string, sum hash.Hash) {
	fmt.Fprintf(b, "%x  %s\n", sum.Sum(nil), name)
}

// The last line of SHA256SUMS, and how long it is.
const (
	wholeLine = "# everything before these lines: %x\n"
	wholeSize = len(wholeLine) - len("%x") + 2*sha256.Size
)

// sumsSize is how long SHA256SUMS is with so many bytes of lines: it fills its last
// block, so that not a byte is left that nobody looks at.
func sumsSize(lines int) int64 {
	return int64(lines+wholeSize+1+block) / block * block
}

// finish is the text of SHA256SUMS. sha256sum passes over lines with a #.
func finish(lines string, whole hash.Hash) string {
	text := lines + fmt.Sprintf(wholeLine, whole.Sum(nil))
	return text + "#" + strings.Repeat(" ", int(sumsSize(len(lines)))-len(text)-2) + "\n"
}
