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
)

// Visitor is told what is in a backup, while it is read. Nothing of it counts until
// Read has returned without an error.
type Visitor struct {
	Begin func(*Header) error         // nil: nothing
	File  func(File, io.Reader) error // nil: nothing; what it leaves is skipped
}

// Read reads a backup to its end, and verifies all of it.
func Read(r io.Reader, v Visitor) (*Header, error) {
	in := &reading{stream: &stream{r: r, whole: sha256.New(), until: -1}}
	in.tar = tar.NewReader(in.stream)
	h, err := in.header()
	if err != nil {
		return nil, err
	}
	if v.Begin != nil {
		if err := v.Begin(h); err != nil {
			return nil, err
		}
	}
	for _, f := range h.Files {
		if err := in.file(f, v.File); err != nil {
			return nil, err
		}
	}
	return h, in.end()
}

// reading is an archive that is read.
type reading struct {
	stream *stream
	tar    *tar.Reader
	sums   strings.Builder
}

// stream counts what is read, and sums it up as far as the checksums go.
type stream struct {
	r     io.Reader
	n     int64
	whole hash.Hash
	until int64 // where they begin; -1 while nobody knows
	err   error // other than the end
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	summed := int64(n)
	if s.until >= 0 {
		summed = min(summed, max(s.until-s.n, 0))
	}
	s.whole.Write(p[:summed])
	s.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// broken says what an error of the archive means.
func (in *reading) broken(err error) error {
	switch {
	case in.stream.err != nil:
		return in.stream.err // of what it is read from
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ErrTruncated
	default:
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
}

// next goes to the next entry, which has to be a plain file of this name.
func (in *reading) next(name string) (int64, error) {
	h, err := in.tar.Next()
	if err != nil {
		return 0, in.broken(err)
	}
	if h.Name != name || h.Typeflag != tar.TypeReg || h.Format != tar.FormatUSTAR || h.Linkname != "" || len(h.PAXRecords) > 0 || h.Size < 0 {
		return 0, fmt.Errorf("%w: there is something else where %s should be", ErrDamaged, name)
	}
	return h.Size, nil
}

func (in *reading) header() (*Header, error) {
	size, err := in.next(headerName)
	switch {
	case err != nil && in.stream.err == nil:
		return nil, ErrForeign
	case err != nil:
		return nil, err
	case size > maxHeader:
		return nil, fmt.Errorf("%w: its list of files has %d bytes, at most %d are accepted", ErrDamaged, size, maxHeader)
	}
	sum := sha256.New()
	text, err := io.ReadAll(io.TeeReader(in.tar, sum)) // grows as it comes
	if err != nil {
		return nil, in.broken(err)
	}
	sumLine(&in.sums, headerName, sum)
	var first struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(text, &first); err != nil || first.Format < 1 {
		return nil, fmt.Errorf("%w: %s is not understood", ErrDamaged, headerName)
	}
	if first.Format > Format {
		return nil, fmt.Errorf("%w: its format is %d, this version knows formats up to %d", ErrNewer, first.Format, Format)
	}
	h := new(Header)
	if err := json.Unmarshal(text, h); err != nil {
		return nil, fmt.Errorf("%w: %s is not understood", ErrDamaged, headerName)
	}
	if err := h.check(); err != nil {
		return nil, err
	}
	until := span(size) + block // with the head of their own entry
	for _, f := range h.Files {
		until += span(f.Bytes)
	}
	in.stream.until = until
	return h, nil
}

func (in *reading) file(f File, visit func(File, io.Reader) error) error {
	size, err := in.next(f.Name)
	if err != nil {
		return err
	}
	if size != f.Bytes {
		return fmt.Errorf("%w: %s has %d bytes, and should have %d", ErrDamaged, f.Name, size, f.Bytes)
	}
	sum := sha256.New()
	content := &content{r: io.TeeReader(in.tar, sum)}
	if visit != nil {
		if err := visit(f, content); content.err == nil && err != nil {
			return err // its own
		}
	}
	if content.err == nil {
		_, content.err = io.Copy(io.Discard, content.r)
	}
	if content.err != nil {
		return in.broken(content.err)
	}
	sumLine(&in.sums, f.Name, sum)
	return nil
}

// content remembers an error of what a visitor reads.
type content struct {
	r   io.Reader
	err error
}

func (c *content) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}

// end reads the checksums, and that nothing follows.
func (in *reading) end() error {
	size, err := in.next(sumsName)
	if err != nil {
		return err
	}
	want := finish(in.sums.String(), in.stream.whole)
	if size != int64(len(want)) {
		return fmt.Errorf("%w: %s has %d bytes, and should have %d", ErrDamaged, sumsName, size, len(want))
	}
	got, err := io.ReadAll(in.tar)
	if err != nil {
		return in.broken(err)
	}
	if err := compare(string(got), want); err != nil {
		return err
	}
	switch _, err := in.tar.Next(); {
	case err == nil:
		return errSurplus
	case err != io.EOF || in.stream.err != nil:
		return in.broken(err)
	}
	if total := in.stream.until + size + 2*block; in.stream.n != total {
		return ErrTruncated // the last blocks, which are empty, are not all there
	}
	switch n, err := io.ReadFull(in.stream, make([]byte, 1)); {
	case n > 0:
		return errSurplus
	case err != io.EOF:
		return in.broken(err)
	}
	return nil
}

var errSurplus = fmt.Errorf("%w: something follows its end", ErrDamaged)

// compare tells the first checksum that is another one.
func compare(got, want string) error {
	if got == want {
		return nil
	}
	expected := strings.Split(want, "\n")
	for i, line := range strings.Split(got, "\n") {
		if i >= len(expected) || line == expected[i] {
			continue
		}
		if _, name, ok := strings.Cut(expected[i], "  "); ok && name != "" && !strings.HasPrefix(expected[i], "#") {
			return fmt.Errorf("%w: the checksum of %s does not match", ErrDamaged, name)
		}
		break
	}
	return fmt.Errorf("%w: the checksum of the whole does not match", ErrDamaged)
}
