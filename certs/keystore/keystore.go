// Package keystore reads the key material of TLS from files: certificate chains
// with their private keys, trust stores, and directories of certificates that
// are chosen by name. It hides the forms that lie on disks: PEM, PKCS#12 and
// Java key stores, told apart by content and never by file name. It makes no
// TLS configuration; package certs does.
//
// Words: a [Pair] is a chain, leaf first, and the key of its leaf; [Trust] is
// what a trust store holds; a [Directory] finds pairs by server name; a
// [Digest] tells whether what was read has changed; a [Warning] is what an
// operator should know although it stops nothing.
//
// Invariants: files, entries, iterations and memory of key derivation are
// bounded before anything is allocated or run for them; no password and no key
// is in an error; what is damaged, ambiguous or weak is refused, not guessed.
// A nil password is none, an empty one is a password.
package keystore

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

var (
	// ErrPassword says that a password doesn't open what it was given for. Where
	// a format can't tell that from damage, the error's text says so.
	ErrPassword = errors.New("wrong password")
	// ErrNoPassword says that something is encrypted and no password was given.
	ErrNoPassword = errors.New("password is missing")
)

// Bounds. The largest real stores are lists of public CAs: 150 certificates, 250 KiB.
const (
	maxFile         = 1 << 20  // bytes of one file
	maxDirectory    = 64 << 20 // bytes of all files of a directory
	maxFiles        = 1000     // of a directory
	maxEntries      = 1000     // keys and certificates of one file
	maxChain        = 20       // certificates
	maxAliasesShown = 20
)

// Format is the form of a store.
type Format string

const (
	PEM    Format = "PEM"
	PKCS12 Format = "PKCS#12"
	JKS    Format = "JKS"
)

// Warning is a finding about a file that stops nothing.
type Warning struct {
	File string
	Text string
	// Exposed says that others than the owner may read a secret.
	Exposed bool
}

// String returns "file: text".
func (w Warning) String() string { return w.File + ": " + w.Text }

// Pair is a certificate chain and the private key of its leaf.
type Pair struct {
	// Chain is the leaf, its issuer, the issuer's issuer, as far as the store has them.
	Chain []*x509.Certificate
	// Key is an *rsa.PrivateKey of 2048 to 8192 bits, an *ecdsa.PrivateKey on
	// P-256, P-384 or P-521, or an ed25519.PrivateKey.
	Key    crypto.Signer
	File   string // of the certificates
	Alias  string // in the store; "" in PEM
	Format Format
	// Legacy says that obsolete algorithms protect the store or the key in it:
	// those of JKS, or RC2, 3DES or a MAC with SHA-1 in PKCS#12.
	Legacy bool
	Digest Digest // of the files that it was read from; zero in a [Directory]

	outside string // what of its protection is outside FIPS 140-3
}

// Leaf returns the first certificate of the chain.
func (p *Pair) Leaf() *x509.Certificate { return p.Chain[0] }

// Certificate returns p as crypto/tls takes it.
func (p *Pair) Certificate() tls.Certificate {
	c := tls.Certificate{PrivateKey: p.Key, Leaf: p.Leaf()}
	for _, x := range p.Chain {
		c.Certificate = append(c.Certificate, x.Raw)
	}
	return c
}

// Source says where a pair lies.
type Source struct {
	File string // PEM, PKCS#12 or JKS
	// KeyFile is a PEM file with the key, where File holds only certificates.
	KeyFile string
	// Password is that of the store, or of an encrypted PEM key.
	Password []byte
	// KeyPassword is that of the private key, where it is unlike the store's.
	KeyPassword []byte
	// Alias is the entry's name (in PKCS#12: friendly name), matched without
	// regard to case, as Java does. It is needed where a store has several keys.
	Alias string
}

// Load reads the pair of s. Errors wrap [ErrPassword] and [ErrNoPassword].
func (s Source) Load() (*Pair, []Warning, error) {
	r := newReader()
	data, keyData, err := s.read(r)
	if err != nil {
		return nil, nil, err
	}
	p, warnings, err := s.parse(data, keyData)
	if err != nil {
		return nil, nil, fmt.Errorf("load key store %s: %w", s.named(), err)
	}
	p.Digest = r.digest()
	return p, append(warnings, r.modes...), nil
}

// Digest reads the files of s and parses nothing.
func (s Source) Digest() (Digest, error) {
	r := newReader()
	if _, _, err := s.read(r); err != nil {
		return Digest{}, err
	}
	return r.digest(), nil
}

func (s Source) named() string {
	if s.KeyFile != "" {
		return s.File + " with key " + s.KeyFile
	}
	return s.File
}

// read returns the contents of both files; the second is nil if there is none.
func (s Source) read(r *reader) (data, keyData []byte, err error) {
	if s.File == "" {
		return nil, nil, errors.New("load key store: no file is named")
	}
	secret := s.KeyFile == "" || s.KeyFile == s.File
	if data, err = r.file(s.File, secret); err != nil {
		return nil, nil, fmt.Errorf("load key store: %w", err)
	}
	if secret {
		return data, nil, nil
	}
	if keyData, err = r.file(s.KeyFile, true); err != nil {
		return nil, nil, fmt.Errorf("load key: %w", err)
	}
	return data, keyData, nil
}

func (s Source) parse(data, keyData []byte) (*Pair, []Warning, error) {
	all, err := open(data, s.passwords(newBudget(maxIterations)))
	if err != nil {
		return nil, nil, err
	}
	if err := s.check(all.format); err != nil {
		return nil, nil, err
	}
	if keyData != nil {
		if err := all.addKeys(keyData, s.passwords(all.budget)); err != nil {
			return nil, nil, err
		}
	}
	k, err := choose(all, s.Alias)
	if err != nil {
		return nil, nil, err
	}
	p, notes, err := all.pair(k, s.File)
	if err != nil {
		return nil, nil, err
	}
	if all.format == PEM && s.Password != nil && !k.encrypted {
		notes = append(notes, "key is not encrypted: the password is not used")
	}
	return p, warnings(s.File, append(all.problems, notes...)), nil
}

// check refuses options that the format has no use for.
func (s Source) check(f Format) error {
	switch {
	case f != PEM && s.KeyFile != "":
		return fmt.Errorf("a %s store holds its key itself; no key file goes with it", f)
	case f == PEM && s.Alias != "":
		return errors.New("PEM has no aliases")
	case f == PEM && s.KeyPassword != nil:
		return errors.New("PEM has no password besides that of the key")
	}
	return nil
}

func (s Source) passwords(b *budget) passwords {
	p := passwords{store: s.Password, key: s.KeyPassword, budget: b}
	if p.key == nil {
		p.key = p.store
	}
	return p
}

// passwords is what opens a file, and how much work that may be.
type passwords struct {
	store, key []byte // nil is none
	budget     *budget
}

// contents is what a file holds, before anything is decided about it.
type contents struct {
	format   Format
	keys     []keyEntry
	certs    []certEntry // without those of JKS chains
	problems []string
	legacy   bool   // obsolete algorithms protect it
	outside  string // what of its protection is outside FIPS 140-3
	damaged  string // what can't be read of it; a pair is not made of the rest
	budget   *budget
}

// keyEntry is a private key that is decrypted when it is wanted.
type keyEntry struct {
	alias     string
	encrypted bool
	legacy    bool
	outside   string   // as in contents
	chain     [][]byte // its own, in JKS; elsewhere it is found among all certificates
	open      func() (crypto.PrivateKey, error)
}

type certEntry struct {
	name    string // for people
	der     []byte
	trusted bool // marked as a trust anchor
}

func (c *contents) problem(format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

// open tells the format by content.
func open(data []byte, p passwords) (*contents, error) {
	switch {
	case bytes.HasPrefix(data, jksMagic):
		return openJKS(data, p)
	case bytes.HasPrefix(data, jceksMagic):
		return nil, errors.New("JCEKS stores are not supported: convert it with keytool -importkeystore -deststoretype PKCS12")
	case len(data) > 1 && data[0] == 0x30 && data[1] >= 0x80: // a SEQUENCE of 128 bytes or more: no text
		return openPKCS12(data, p)
	case bytes.Contains(data, []byte("-----BEGIN ")):
		return openPEM(data, p)
	case len(data) == 0:
		return nil, errors.New("file is empty")
	}
	return nil, errors.New("is neither PEM nor PKCS#12 nor a Java key store")
}

// choose returns the key that alias names; "" is the only one.
func choose(c *contents, alias string) (*keyEntry, error) {
	switch {
	case len(c.keys) == 0:
		return nil, errors.New("no private key in it")
	case alias == "" && len(c.keys) == 1:
		return &c.keys[0], nil
	case alias == "" && c.format == PEM:
		return nil, fmt.Errorf("%d private keys in it; one is meant", len(c.keys))
	case alias == "":
		return nil, fmt.Errorf("%d private keys in it, an alias has to choose: %s", len(c.keys), c.aliases())
	}
	for _, same := range []func(a, b string) bool{func(a, b string) bool { return a == b }, strings.EqualFold} {
		i := slices.IndexFunc(c.keys, func(k keyEntry) bool { return same(k.alias, alias) })
		if i < 0 {
			continue
		}
		if slices.ContainsFunc(c.keys[i+1:], func(k keyEntry) bool { return same(k.alias, alias) }) {
			return nil, fmt.Errorf("alias %q names several keys", alias)
		}
		return &c.keys[i], nil
	}
	return nil, fmt.Errorf("no private key has the alias %q; there are: %s", alias, c.aliases())
}

// aliases lists those of the keys.
func (c *contents) aliases() string {
	var b strings.Builder
	for i, k := range c.keys {
		if i == maxAliasesShown {
			fmt.Fprintf(&b, " and %d more", len(c.keys)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.QuoteToGraphic(k.alias))
	}
	return b.String()
}

func warnings(file string, texts []string) []Warning {
	var all []Warning
	for _, t := range texts {
		all = append(all, Warning{File: file, Text: t})
	}
	return all
}
