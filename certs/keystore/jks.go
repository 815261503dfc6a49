package keystore

import (
	"bytes"
	"crypto"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/pavlo-v-chernykh/keystore-go/v4"
)

var (
	jksMagic   = []byte{0xfe, 0xed, 0xfe, 0xed}
	jceksMagic = []byte{0xce, 0xce, 0xce, 0xce}
)

// openJKS reads a Java key store of type JKS. Before the library decodes it, its
// shape is checked: the library allocates what a length in the file says.
func openJKS(data []byte, p passwords) (*contents, error) {
	aliases, err := scanJKS(data)
	if err != nil {
		return nil, fmt.Errorf("JKS is damaged: %w", err)
	}
	if p.store == nil {
		return nil, fmt.Errorf("JKS store has a keyed digest: %w", ErrNoPassword)
	}
	if err := approved("JKS"); err != nil {
		return nil, err
	}
	storePassword, err := latin1(p.store)
	if err != nil {
		return nil, err
	}
	store := keystore.New(keystore.WithCaseExactAliases()) // Java writes them in lower case; others need not
	if err := store.Load(bytes.NewReader(data), storePassword); err != nil {
		// The shape is right, so this can only be the digest over password and contents.
		return nil, fmt.Errorf("%w, or the JKS store is damaged", ErrPassword)
	}
	c := &contents{format: JKS, legacy: true, budget: p.budget}
	for _, alias := range aliases {
		if err := c.addJKS(store, alias, p.key); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *contents) addJKS(store keystore.KeyStore, alias string, password []byte) error {
	if store.IsTrustedCertificateEntry(alias) {
		e, err := store.GetTrustedCertificateEntry(alias)
		if err != nil {
			return err
		}
		c.certs = append(c.certs, certEntry{name: entryName(alias, len(c.certs)+1), der: e.Certificate.Content, trusted: true})
		return nil
	}
	chain, err := store.GetPrivateKeyEntryCertificateChain(alias)
	if err != nil {
		return err
	}
	k := keyEntry{alias: alias, encrypted: true}
	for _, x := range chain {
		k.chain = append(k.chain, x.Content)
	}
	k.open = func() (crypto.PrivateKey, error) {
		encoded, err := latin1(password)
		if err != nil {
			return nil, err
		}
		e, err := store.GetPrivateKeyEntry(alias, encoded)
		if err != nil {
			// The digest over the store was right: it is not damaged.
			return nil, fmt.Errorf("private key %.100q: %w (of the key; it may be unlike the store's)", alias, ErrPassword)
		}
		return parseKey("PRIVATE KEY", e.PrivateKey)
	}
	c.keys = append(c.keys, k)
	return nil
}

// latin1 turns a password from UTF-8 into one byte a character, which is what
// the library takes. Java allows only ASCII at a prompt.
func latin1(password []byte) ([]byte, error) {
	if !utf8.Valid(password) {
		return password, nil
	}
	var out []byte
	for _, r := range string(password) {
		if r > 0xff {
			return nil, errors.New("a password of JKS has characters beyond Latin-1, which is not supported")
		}
		out = append(out, byte(r))
	}
	return out, nil
}

// jksScan walks over the bytes of a store.
type jksScan struct {
	rest []byte
	err  error
}

var errShort = errors.New("a length in it leads beyond its end")

func (s *jksScan) take(n uint64) []byte {
	if s.err == nil && n > uint64(len(s.rest)) {
		s.err = errShort
	}
	if s.err != nil {
		return nil
	}
	b := s.rest[:n]
	s.rest = s.rest[n:]
	return b
}

func (s *jksScan) number(size uint64) uint64 {
	var b [8]byte
	copy(b[8-size:], s.take(size))
	return binary.BigEndian.Uint64(b[:])
}

// scanJKS checks every length of a store and returns its aliases in their order.
func scanJKS(data []byte) ([]string, error) {
	s := &jksScan{rest: data}
	s.take(uint64(len(jksMagic)))
	version, count := s.number(4), s.number(4)
	switch {
	case s.err != nil:
		return nil, s.err
	case version != 1 && version != 2:
		return nil, fmt.Errorf("unknown version %d", version)
	case count > maxEntries:
		return nil, fmt.Errorf("%d entries; at most %d are accepted", count, maxEntries)
	}
	var aliases []string
	seen := make(map[string]bool)
	for range count {
		alias := s.entry(version)
		if s.err != nil {
			return nil, s.err
		}
		if seen[alias] {
			return nil, fmt.Errorf("alias %.100q is there twice", alias)
		}
		seen[alias] = true
		aliases = append(aliases, alias)
	}
	if len(s.rest) != 20 { // SHA-1
		return nil, errors.New("no digest at its end")
	}
	return aliases, nil
}

func (s *jksScan) entry(version uint64) string {
	tag := s.number(4)
	alias := string(s.take(s.number(2)))
	s.take(8) // creation time
	switch {
	case s.err != nil:
	case tag == 1:
		s.key(s.take(s.number(4)))
		chain := s.number(4)
		if s.err == nil && chain > maxChain {
			s.err = fmt.Errorf("a chain of %d certificates; at most %d are accepted", chain, maxChain)
		}
		for i := uint64(0); i < chain && s.err == nil; i++ {
			s.certificate(version)
		}
	case tag == 2:
		s.certificate(version)
	default:
		s.err = fmt.Errorf("unknown kind of entry %d", tag)
	}
	return alias
}

func (s *jksScan) certificate(version uint64) {
	if version == 2 {
		s.take(s.number(2)) // its type
	}
	s.take(s.number(4))
}

// key checks the form of an encrypted key: 20 bytes of salt, the key, 20 bytes of digest.
func (s *jksScan) key(der []byte) {
	if s.err != nil {
		return
	}
	var e struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	if err := unmarshal(der, &e); err != nil {
		s.err = fmt.Errorf("an encrypted key is malformed: %w", err)
		return
	}
	sun := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 42, 2, 17, 1, 1}
	if !e.Algorithm.Algorithm.Equal(sun) || len(e.Data) <= 40 {
		s.err = errors.New("an encrypted key is not in the form of JKS")
	}
}
