package keystore

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// TrustSource says where a trust store lies.
type TrustSource struct {
	// Path is a PEM file, a PKCS#12 or Java trust store, or a directory whose
	// regular files are looked through for PEM certificates, as Mosquitto's
	// capath is; hashed names are not needed.
	Path string
	// Password is that of a PKCS#12 or Java store.
	Password []byte
}

// Trust is what a trust store holds.
type Trust struct {
	Certificates []*x509.Certificate // at least one; none twice
	Format       Format
	// Legacy says that obsolete algorithms protect the store, as in [Pair].
	Legacy bool
	Digest Digest

	outside string // as in Pair
}

// Load reads the trust store. What of it can't be used is named by a warning and
// doesn't keep the rest from being used; nothing usable at all is an error.
// Errors wrap [ErrPassword] and [ErrNoPassword].
func (s TrustSource) Load() (*Trust, []Warning, error) {
	r := newReader()
	files, unread, err := s.read(r)
	if err != nil {
		return nil, nil, err
	}
	t := &trust{seen: make(map[string]bool), warnings: unread}
	t.Format = PEM
	for _, f := range files {
		if err := t.add(f, s); err != nil {
			return nil, nil, fmt.Errorf("load trust store %s: %w", f.path, err)
		}
	}
	if len(t.Certificates) == 0 {
		return nil, nil, fmt.Errorf("load trust store %s: no certificate in it can be used%s", s.Path, t.why())
	}
	t.Digest = r.digest()
	return &t.Trust, t.warnings, nil
}

// Digest reads the files of s and parses nothing.
func (s TrustSource) Digest() (Digest, error) {
	r := newReader()
	if _, _, err := s.read(r); err != nil {
		return Digest{}, err
	}
	return r.digest(), nil
}

// content is a file that was read.
type content struct {
	path string
	data []byte
	lone bool // the file that was asked for, not one of a directory
}

func (s TrustSource) read(r *reader) ([]content, []Warning, error) {
	if s.Path == "" {
		return nil, nil, errors.New("load trust store: no path is given")
	}
	info, err := os.Stat(s.Path)
	if err != nil {
		return nil, nil, fmt.Errorf("load trust store: %w", err)
	}
	if !info.IsDir() {
		data, err := r.file(s.Path, false)
		if err != nil {
			return nil, nil, fmt.Errorf("load trust store: %w", err)
		}
		return []content{{s.Path, data, true}}, nil, nil
	}
	all, err := names(s.Path)
	if err != nil {
		return nil, nil, fmt.Errorf("load trust store: %w", err)
	}
	var files []content
	var unread []Warning
	for _, name := range all {
		path := filepath.Join(s.Path, name)
		data, err := r.file(path, false)
		if err != nil {
			r.note([]byte(name)) // that it can be read is a change as well
			unread = append(unread, Warning{File: path, Text: "left out: " + err.Error()})
			continue
		}
		files = append(files, content{path: path, data: data})
	}
	return files, unread, nil
}

// trust is a [Trust] that grows.
type trust struct {
	Trust
	seen     map[string]bool
	warnings []Warning
}

func (t *trust) warn(path, format string, args ...any) {
	t.warnings = append(t.warnings, Warning{File: path, Text: fmt.Sprintf(format, args...)})
}

// why is the first finding, for an error.
func (t *trust) why() string {
	if len(t.warnings) == 0 {
		return ""
	}
	return ": " + t.warnings[0].String()
}

func (t *trust) add(f content, s TrustSource) error {
	if !f.lone && !strings.Contains(string(f.data), "-----BEGIN ") {
		return nil // a file of another kind; directories have a README now and then
	}
	c, err := open(f.data, passwords{store: s.Password, key: s.Password, budget: newBudget(maxIterations)})
	if err != nil && !f.lone {
		t.warn(f.path, "left out: %v", err)
		return nil
	}
	if err != nil {
		return err
	}
	if !f.lone && c.format != PEM {
		return nil
	}
	if f.lone {
		t.Format, t.Legacy, t.outside = c.format, c.legacy, c.outside
	}
	if c.format == PEM && s.Password != nil {
		return errors.New("a PEM trust store has no password")
	}
	if c.damaged != "" {
		t.warn(f.path, "%s", c.damaged)
	}
	for _, p := range c.problems {
		t.warn(f.path, "%s", p)
	}
	t.collect(f.path, c)
	return nil
}

// collect takes the trust anchors of one file.
func (t *trust) collect(path string, c *contents) {
	if len(c.keys) > 0 {
		t.warn(path, "%d private keys in it, which a trust store has no use for", len(c.keys))
	}
	// Java marks anchors. Elsewhere all certificates are anchors, unless there is
	// a key: then they are its chain, and to trust a chain's CAs is another decision.
	marked := 0
	for _, e := range c.certs {
		if e.trusted {
			marked++
		}
	}
	plain := c.format == PEM || marked == 0 && len(c.keys) == 0
	for _, e := range c.certs {
		if !e.trusted && !plain {
			t.warn(path, "%s is not marked as trusted and is left out", e.name)
			continue
		}
		x, err := x509.ParseCertificate(e.der)
		if err != nil {
			t.warn(path, "%s is left out: %v", e.name, err)
			continue
		}
		if t.seen[string(x.Raw)] {
			continue
		}
		t.seen[string(x.Raw)] = true
		t.Certificates = append(t.Certificates, x)
	}
}
