package backup

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// An encrypted backup begins with a head: magic, the version of this form, 32 random
// bytes, and a code of authentication, by which a wrong key is told from damage. Of the
// user's key and those random bytes comes the key of this one backup. The archive
// follows in chunks of 64 KiB, the last one shorter, each sealed with AES-256-GCM: its
// nonce is its number and whether it is the last. So none can be changed, moved or
// left out, and the end can't be cut off.

// KeySize is the length of a user's key.
const KeySize = 32

// What an encrypted backup, or a key for one, is refused for.
var (
	ErrKeySize      = fmt.Errorf("a key of a backup has %d bytes", KeySize)
	ErrWrongKey     = errors.New("the key is not the backup's, or the beginning of the file was changed")
	ErrEncrypted    = errors.New("the backup is encrypted, and no key was given")
	ErrNotEncrypted = errors.New("a key was given, and the backup is not encrypted")
)

const (
	magic       = "sallyport-backup-sealed\n"
	sealVersion = 1
	saltSize    = 32
	headSize    = len(magic) + 1 + saltSize + sha256.Size
	chunkSize   = 64 << 10
	tagSize     = 16
)

// keys makes the cipher of a backup, and the code of authentication of its head.
func keys(key, head []byte) (cipher.AEAD, []byte, error) {
	if len(key) != KeySize {
		return nil, nil, ErrKeySize
	}
	salt := head[len(magic)+1:]
	k, err := hkdf.Key(sha256.New, key, salt, "sallyport backup: chunks", KeySize)
	if err != nil {
		return nil, nil, err
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, nil, err
	}
	if k, err = hkdf.Key(sha256.New, key, salt, "sallyport backup: head", KeySize); err != nil {
		return nil, nil, err
	}
	code := hmac.New(sha256.New, k)
	code.Write(head)
	return aead, code.Sum(nil), nil
}

// nonce is that of a chunk.
func nonce(n uint64, last bool) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 3, 12), n)
	if last {
		return append(b, 1)
	}
	return append(b, 0)
}

// Sealer encrypts what is written to it. Only Close writes the last chunk.
type Sealer struct {
	w    io.Writer
	aead cipher.AEAD
	n    uint64
	buf  []byte // what is not yet sealed, at most a chunk
	out  []byte
}

// NewSealer encrypts for w.
func NewSealer(w io.Writer, key []byte) (*Sealer, error) {
	salt := make([]byte, saltSize)
	rand.Read(salt)
	return newSealer(w, key, salt)
}

func newSealer(w io.Writer, key, salt []byte) (*Sealer, error) {
	head := append(append(make([]byte, 0, headSize), magic...), sealVersion)
	head = append(head, salt...)
	aead, code, err := keys(key, head)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(append(head, code...)); err != nil {
		return nil, err
	}
	return &Sealer{w: w, aead: aead, buf: make([]byte, 0, chunkSize), out: make([]byte, 0, chunkSize+tagSize)}, nil
}

// Write implements io.Writer.
func (s *Sealer) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if len(s.buf) == chunkSize { // something follows: it was not the last
			if err := s.flush(false); err != nil {
				return n, err
			}
		}
		k := min(len(p), chunkSize-len(s.buf))
		s.buf = append(s.buf, p[:k]...)
		p, n = p[k:], n+k
	}
	return n, nil
}

// Close writes the last chunk. It does not close what is written to.
func (s *Sealer) Close() error { return s.flush(true) }

func (s *Sealer) flush(last bool) error {
	s.out = s.aead.Seal(s.out[:0], nonce(s.n, last), s.buf, nil)
	s.n++
	s.buf = s.buf[:0]
	_, err := s.w.Write(s.out)
	return err
}

// Open is the archive in a file: decrypted if it is encrypted, which a key must say.
// So nobody can put a backup of his own in the place of an encrypted one.
func Open(r io.Reader, key []byte) (io.Reader, error) {
	in := bufio.NewReaderSize(r, 32<<10)
	head, err := in.Peek(len(magic))
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch sealed := string(head) == magic; {
	case !sealed && key == nil:
		return in, nil
	case !sealed:
		return nil, ErrNotEncrypted
	case key == nil:
		return nil, ErrEncrypted
	}
	whole := make([]byte, headSize)
	switch _, err := io.ReadFull(in, whole); {
	case err == io.ErrUnexpectedEOF:
		return nil, ErrTruncated
	case err != nil:
		return nil, err
	case whole[len(magic)] > sealVersion:
		return nil, fmt.Errorf("%w: its encryption has version %d, this version knows versions up to %d", ErrNewer, whole[len(magic)], sealVersion)
	}
	aead, code, err := keys(key, whole[:headSize-sha256.Size])
	if err != nil {
		return nil, err
	}
	if whole[len(magic)] != sealVersion || !hmac.Equal(code, whole[headSize-sha256.Size:]) {
		return nil, ErrWrongKey
	}
	return &opener{r: in, aead: aead, sealed: make([]byte, chunkSize+tagSize), buf: make([]byte, 0, chunkSize)}, nil
}

// opener reads an encrypted archive.
type opener struct {
	r      *bufio.Reader
	aead   cipher.AEAD
	n      uint64
	sealed []byte
	buf    []byte
	rest   []byte // of buf: what was not yet read
	err    error  // what comes after rest
}

// Read implements io.Reader.
func (o *opener) Read(p []byte) (int, error) {
	for len(o.rest) == 0 && o.err == nil && len(p) > 0 {
		o.err = o.chunk()
	}
	if n := copy(p, o.rest); n > 0 || len(p) == 0 {
		o.rest = o.rest[n:]
		return n, nil
	}
	return 0, o.err
}

// chunk reads the next chunk; io.EOF says that it is the last.
func (o *opener) chunk() error {
	n, err := io.ReadFull(o.r, o.sealed)
	last := err == io.ErrUnexpectedEOF
	switch {
	case err == io.EOF:
		return ErrTruncated
	case err != nil && !last:
		return err
	case !last:
		_, err := o.r.Peek(1)
		if err != nil && err != io.EOF {
			return err
		}
		last = err == io.EOF
	}
	out, err := o.aead.Open(o.buf[:0], nonce(o.n, last), o.sealed[:n], nil)
	if err != nil && last {
		// A chunk in the middle that is the last one now, whole or in part.
		return fmt.Errorf("%w, or damaged at its end", ErrTruncated)
	}
	if err != nil {
		return fmt.Errorf("%w: block %d is not what was encrypted", ErrDamaged, o.n)
	}
	o.n++
	o.rest = out
	if last {
		return io.EOF
	}
	return nil
}
