package keystore

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

// DirectorySource says where certificates lie that clients choose by server name
// (SNI, RFC 6066, section 3).
type DirectorySource struct {
	// Path is a directory. For each pair it holds NAME.crt, NAME.cer or NAME.pem
	// beside NAME.key, or NAME.pem with the key in it, or a store (NAME.p12,
	// NAME.pfx or NAME.jks), each of whose keys is a pair.
	Path string
	// Password is that of all stores and keys that are encrypted.
	Password []byte
	// Default names the file whose pairs serve clients that name no server, or
	// one that no certificate is for; "" is none: such clients are refused.
	Default string
	// Strict says that there shall be no default; both together is an error.
	Strict bool
}

// Directory finds pairs by server name. It is immutable.
type Directory struct {
	Pairs    []*Pair // all, in order of file names
	Digest   Digest
	exact    map[string][]*Pair
	wild     map[string][]*Pair // by what follows the "*."
	fallback []*Pair
}

// Lookup returns the pairs for a server name, one for each type of key: those
// whose certificates have the very name, else those with a wildcard in place of
// its leftmost label (RFC 9525, section 6.3), else the default. Case and a dot
// at the end don't count. No pair and false is to be refused: a client
// that says nothing (""), an address or another name that is unknown or
// malformed, where there is no default. The slice must not be changed.
func (d *Directory) Lookup(serverName string) ([]*Pair, bool) {
	if name, ok := canonical(serverName); ok {
		if pairs := d.exact[name]; len(pairs) > 0 {
			return pairs, true
		}
		if _, parent, ok := strings.Cut(name, "."); ok {
			if pairs := d.wild[parent]; len(pairs) > 0 {
				return pairs, true
			}
		}
	}
	return d.fallback, len(d.fallback) > 0
}

// Load reads every pair. One that can't be read is an error, since clients of
// its name would be refused or get another.
func (s DirectorySource) Load() (*Directory, []Warning, error) {
	if s.Strict && s.Default != "" {
		return nil, nil, errors.New("load certificates: with strict names there is no default certificate")
	}
	r := newReader()
	files, err := s.read(r)
	if err != nil {
		return nil, nil, err
	}
	l := &loading{
		Directory: &Directory{exact: make(map[string][]*Pair), wild: make(map[string][]*Pair)},
		source:    s, files: files, work: maxDirectoryIterations,
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := l.add(name); err != nil {
			return nil, nil, fmt.Errorf("load certificates %s: %w", filepath.Join(s.Path, name), err)
		}
	}
	if err := l.finish(); err != nil {
		return nil, nil, fmt.Errorf("load certificates %s: %w", s.Path, err)
	}
	l.Digest = r.digest()
	return l.Directory, l.warnings, nil
}

// Digest reads the files of s and parses nothing.
func (s DirectorySource) Digest() (Digest, error) {
	r := newReader()
	if _, err := s.read(r); err != nil {
		return Digest{}, err
	}
	return r.digest(), nil
}

func (s DirectorySource) read(r *reader) (map[string][]byte, error) {
	if s.Path == "" {
		return nil, errors.New("load certificates: no directory is named")
	}
	all, err := names(s.Path)
	if err != nil {
		return nil, fmt.Errorf("load certificates: %w", err)
	}
	files := make(map[string][]byte, len(all))
	for _, name := range all {
		if kindOf(name) == kindOther {
			files[name] = nil // only its name counts
			r.note([]byte(name))
			continue
		}
		data, err := r.file(filepath.Join(s.Path, name), false)
		if err != nil {
			return nil, fmt.Errorf("load certificates: %w", err)
		}
		files[name] = data
	}
	return files, nil
}

// kind is what the end of a file's name says about it.
type kind int

const (
	kindOther kind = iota
	kindCertificate
	kindKey
	kindStore
)

func kindOf(name string) kind {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".crt", ".cer", ".pem":
		return kindCertificate
	case ".key":
		return kindKey
	case ".p12", ".pfx", ".jks":
		return kindStore
	}
	return kindOther
}

// loading is a [Directory] that grows.
type loading struct {
	*Directory
	source   DirectorySource
	files    map[string][]byte // by name
	work     int               // iterations that may be run yet
	warnings []Warning
	// needed says that the password was.
	needed bool
}

func (l *loading) warn(name, format string, args ...any) {
	l.warnings = append(l.warnings, Warning{File: filepath.Join(l.source.Path, name), Text: fmt.Sprintf(format, args...)})
}

// add reads one file, a certificate together with its key.
func (l *loading) add(name string) error {
	stem := strings.TrimSuffix(name, filepath.Ext(name))
	switch kindOf(name) {
	case kindOther:
		l.warn(name, "left out: its name is not that of a certificate, a key or a store")
		return nil
	case kindKey:
		for n := range l.files {
			if kindOf(n) == kindCertificate && strings.TrimSuffix(n, filepath.Ext(n)) == stem {
				return nil // read with it
			}
		}
		return fmt.Errorf("no certificate belongs to it: %s.crt or %s.pem is missing", stem, stem)
	}
	granted := min(l.work, maxIterations)
	p := passwords{store: l.source.Password, key: l.source.Password, budget: newBudget(granted)}
	defer func() { l.work -= granted - p.budget.left }()
	c, err := open(l.files[name], p)
	if err != nil {
		return err
	}
	secret := name
	if kindOf(name) == kindCertificate {
		if keyName, data, ok := l.keyOf(stem); ok {
			secret = keyName
			if err := c.addKeys(data, p); err != nil {
				return err
			}
		}
		switch {
		case len(c.keys) == 0 && c.isCA():
			// As in the secrets that cert-manager makes: tls.crt, tls.key, ca.crt.
			l.warn(name, "left out: a CA without a key")
			return nil
		case len(c.keys) == 0:
			return fmt.Errorf("no private key belongs to it: %s.key is missing", stem)
		case len(c.keys) > 1 && c.format == PEM:
			return fmt.Errorf("%d private keys in it; one is meant", len(c.keys))
		}
	}
	if len(c.keys) == 0 {
		return errors.New("no private key in it")
	}
	l.inspect(secret)
	return l.addPairs(name, c)
}

// keyOf returns the file NAME.key, whatever the case of its end.
func (l *loading) keyOf(stem string) (string, []byte, bool) {
	for n, data := range l.files {
		if kindOf(n) == kindKey && strings.TrimSuffix(n, filepath.Ext(n)) == stem {
			return n, data, true
		}
	}
	return "", nil, false
}

func (l *loading) inspect(name string) {
	l.warnings = append(l.warnings, InspectMode(filepath.Join(l.source.Path, name))...)
}

// isCA reports whether the first certificate is that of a CA.
func (c *contents) isCA() bool {
	all, _, err := c.pool(&keyEntry{})
	return err == nil && all[0].IsCA
}

func (l *loading) addPairs(name string, c *contents) error {
	for _, text := range c.problems {
		l.warn(name, "%s", text)
	}
	for i := range c.keys {
		l.needed = l.needed || c.format != PEM || c.keys[i].encrypted
		p, notes, err := c.pair(&c.keys[i], filepath.Join(l.source.Path, name))
		if err != nil {
			return err
		}
		for _, text := range notes {
			l.warn(name, "%s", text)
		}
		if err := l.claim(name, p); err != nil {
			return err
		}
	}
	return nil
}

// claim enters the names of p, by which it is found.
func (l *loading) claim(file string, p *Pair) error {
	l.Pairs = append(l.Pairs, p)
	isDefault := file == l.source.Default && file != ""
	if isDefault {
		for _, q := range l.fallback {
			if q.KeyType() == p.KeyType() {
				return fmt.Errorf("default certificate is ambiguous: several %s keys in it", p.KeyType())
			}
		}
		l.fallback = append(l.fallback, p)
	}
	claimed := 0
	for _, san := range p.Leaf().DNSNames {
		table, name := l.exact, san
		if parent, ok := strings.CutPrefix(san, "*."); ok {
			table, name = l.wild, parent
		}
		name, ok := canonical(name)
		if !ok {
			l.warn(file, "name %.100q in the certificate is left out: it is no host name, or its wildcard is not the whole leftmost label", san)
			continue
		}
		claimed++
		if slices.Contains(table[name], p) {
			continue // it names a host twice
		}
		for _, q := range table[name] {
			if q.KeyType() == p.KeyType() {
				return fmt.Errorf("name %q is also that of %s, with the same type of key (%s)", san, q.File, p.KeyType())
			}
		}
		table[name] = append(table[name], p)
	}
	if claimed == 0 && !isDefault {
		l.warn(file, "certificate has no name that a client could choose it by (DNS names, RFC 9525): it is never used")
	}
	return nil
}

func (l *loading) finish() error {
	if len(l.Pairs) == 0 {
		return errors.New("no certificate with a key in it")
	}
	if l.source.Default != "" && len(l.fallback) == 0 {
		return fmt.Errorf("default certificate %q is not in it", l.source.Default)
	}
	if l.source.Password != nil && !l.needed {
		l.warn("", "nothing in it is encrypted: the password is not used")
	}
	return nil
}

// canonical returns a host name in lower case without a dot at its end. False is
// an address, or what can't be a name in DNS: RFC 1035, 2.3.4, and underscores,
// which many use.
func canonical(name string) (string, bool) {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > 253 {
		return "", false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return "", false
		}
		for i := range len(label) {
			if c := label[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return "", false
			}
		}
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return "", false
	}
	return strings.ToLower(name), true
}
