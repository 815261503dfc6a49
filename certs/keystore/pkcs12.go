package keystore

import (
	"crypto"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// The forms of RFC 7292, sections 4 and 5.
type (
	pfx struct {
		Version  int
		AuthSafe contentInfo
		MAC      macData `asn1:"optional"`
	}
	contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"tag:0,explicit,optional"`
	}
	macData struct {
		Digest struct {
			Algorithm pkix.AlgorithmIdentifier
			Value     []byte
		}
		Salt       []byte
		Iterations int `asn1:"optional,default:1"`
	}
	encryptedData struct {
		Version int
		Content struct {
			Type      asn1.ObjectIdentifier
			Algorithm pkix.AlgorithmIdentifier
			Data      []byte `asn1:"tag:0,optional"`
		}
		Unprotected asn1.RawValue `asn1:"tag:1,optional"`
	}
	safeBag struct {
		Type       asn1.ObjectIdentifier
		Value      asn1.RawValue  `asn1:"tag:0,explicit"`
		Attributes []bagAttribute `asn1:"set,optional"`
	}
	bagAttribute struct {
		Type   asn1.ObjectIdentifier
		Values asn1.RawValue `asn1:"set"`
	}
)

// p12 is a PKCS#12 store that is being opened.
type p12 struct {
	passwords
	contents
	file pfx
	// safes are the AuthenticatedSafe as it lies in the file, which the MAC is over.
	safes []byte
	wide  []byte // store password as a BMPString
	// opened says that the store password has opened an encrypted safe.
	opened bool
}

// openPKCS12 reads a PKCS#12 store (RFC 7292), DER only. A store without MAC is
// taken, as is PEM: only what is encrypted needs the password then.
func openPKCS12(data []byte, p passwords) (*contents, error) {
	s := &p12{passwords: p, wide: bmp(p.store)}
	s.format, s.contents.budget = PKCS12, p.budget
	if err := s.parse(data); err != nil {
		return nil, err
	}
	switch mac, err := s.verify(); {
	case err != nil:
		return nil, err
	case !mac && p.store != nil:
		s.problem("store has no MAC: nothing tells whether it was changed")
	}
	if err := s.read(); err != nil {
		return nil, err
	}
	return &s.contents, nil
}

func (s *p12) parse(data []byte) error {
	if err := unmarshal(data, &s.file); err != nil {
		// Indefinite lengths are BER, which a few old writers use.
		return fmt.Errorf("PKCS#12 is damaged or not in DER: %w", err)
	}
	if s.file.Version != 3 {
		return fmt.Errorf("PKCS#12 version %d is not supported: 3 is", s.file.Version)
	}
	if !s.file.AuthSafe.Type.Equal(rsadsi(1, 7, 1)) {
		return errors.New("PKCS#12 is sealed with a public key, which is not supported: a password is")
	}
	if err := unmarshal(s.file.AuthSafe.Content.Bytes, &s.safes); err != nil {
		return fmt.Errorf("PKCS#12 is damaged: %w", err)
	}
	return nil
}

// verify checks the MAC; false is none.
func (s *p12) verify() (bool, error) {
	m := &s.file.MAC
	if len(m.Digest.Algorithm.Algorithm) == 0 {
		return false, nil
	}
	if s.store == nil {
		return false, fmt.Errorf("PKCS#12 store has a MAC: %w", ErrNoPassword)
	}
	s.outside = macOutside(m.Digest.Algorithm)
	sum, err := s.mac(s.wide)
	if err != nil {
		return false, err
	}
	if hmac.Equal(sum, m.Digest.Value) {
		return true, nil
	}
	if len(s.store) == 0 {
		// Some write the empty password as no bytes at all, without its terminator.
		if sum, err = s.mac(nil); err != nil {
			return false, err
		}
		if hmac.Equal(sum, m.Digest.Value) {
			s.wide = nil
			return true, nil
		}
	}
	// A password that opens what is encrypted is the right one.
	if _ = s.read(); s.opened { // whatever else is wrong with it, the MAC is the error
		return false, errors.New("PKCS#12 is damaged: its MAC is wrong, the password is right")
	}
	return false, fmt.Errorf("%w, or the PKCS#12 store is damaged", ErrPassword)
}

// mac computes the MAC with a password: RFC 7292, section 5.1 and appendix B;
// RFC 9579 for PBMAC1.
func (s *p12) mac(wide []byte) ([]byte, error) {
	m := &s.file.MAC
	algorithm := m.Digest.Algorithm
	if algorithm.Algorithm.Equal(rsadsi(1, 5, 14)) {
		return s.pbmac1(algorithm.Parameters.FullBytes)
	}
	var h func() hash.Hash
	switch a := algorithm.Algorithm; {
	case a.Equal(oid(1, 3, 14, 3, 2, 26)):
		h, s.legacy = sha1.New, true
	case a.Equal(oid(2, 16, 840, 1, 101, 3, 4, 2, 4)):
		h = sha256.New224
	case a.Equal(oid(2, 16, 840, 1, 101, 3, 4, 2, 1)):
		h = sha256.New
	case a.Equal(oid(2, 16, 840, 1, 101, 3, 4, 2, 2)):
		h = sha512.New384
	case a.Equal(oid(2, 16, 840, 1, 101, 3, 4, 2, 3)):
		h = sha512.New
	default:
		return nil, fmt.Errorf("MAC algorithm %s of PKCS#12 is not supported: SHA-1 and SHA-2 are", a)
	}
	key, err := deriveWide(h, 3, m.Salt, wide, m.Iterations, h().Size(), s.passwords.budget)
	if err != nil {
		return nil, fmt.Errorf("MAC of PKCS#12: %w", err)
	}
	return sum(h, key, s.safes), nil
}

func (s *p12) pbmac1(parameters []byte) ([]byte, error) {
	var p struct{ KDF, MAC pkix.AlgorithmIdentifier }
	if err := unmarshal(parameters, &p); err != nil {
		return nil, fmt.Errorf("parameters of PBMAC1: %w", err)
	}
	h := prf(p.MAC.Algorithm)
	if len(p.MAC.Algorithm) == 0 || h == nil {
		return nil, errors.New("hash of PBMAC1 is not supported")
	}
	if h().Size() == sha1.Size {
		s.legacy = true
		if err := approved("a MAC with SHA-1"); err != nil {
			return nil, err
		}
	}
	if !p.KDF.Algorithm.Equal(rsadsi(1, 5, 12)) {
		return nil, fmt.Errorf("key derivation %s of PBMAC1 is not supported: PBKDF2 is", p.KDF.Algorithm)
	}
	derive, err := kdfPBKDF2(p.KDF.Parameters.FullBytes, 0, s.passwords.budget)
	if err != nil {
		return nil, fmt.Errorf("PBMAC1: %w", err)
	}
	key, err := derive(s.store)
	if err != nil {
		return nil, fmt.Errorf("PBMAC1: %w", err)
	}
	return sum(h, key, s.safes), nil
}

func sum(h func() hash.Hash, key, data []byte) []byte {
	m := hmac.New(h, key)
	m.Write(data)
	return m.Sum(nil)
}

// read walks the safes and their bags.
func (s *p12) read() error {
	var safes []contentInfo
	if err := unmarshal(s.safes, &safes); err != nil {
		return fmt.Errorf("PKCS#12 is damaged: %w", err)
	}
	for i := range safes {
		bags, err := s.open(&safes[i])
		if err != nil {
			return err
		}
		for j := range bags {
			if len(s.keys)+len(s.certs) >= maxEntries {
				return fmt.Errorf("more than %d entries", maxEntries)
			}
			s.add(&bags[j])
		}
	}
	return nil
}

// open returns the bags of one safe.
func (s *p12) open(safe *contentInfo) ([]safeBag, error) {
	var data []byte
	var bags []safeBag
	switch {
	case safe.Type.Equal(rsadsi(1, 7, 1)):
		if err := unmarshal(safe.Content.Bytes, &data); err != nil {
			return nil, fmt.Errorf("PKCS#12 is damaged: %w", err)
		}
		if err := unmarshal(data, &bags); err != nil {
			return nil, fmt.Errorf("PKCS#12 is damaged: %w", err)
		}
		return bags, nil
	case safe.Type.Equal(rsadsi(1, 7, 6)):
	default:
		return nil, fmt.Errorf("PKCS#12 has a part that is not encrypted with a password (%s), which is not supported", safe.Type)
	}
	var e encryptedData
	if err := unmarshal(safe.Content.Bytes, &e); err != nil {
		return nil, fmt.Errorf("PKCS#12 is damaged: %w", err)
	}
	if s.store == nil {
		return nil, fmt.Errorf("PKCS#12 store is encrypted: %w", ErrNoPassword)
	}
	c, err := schemeOf(e.Content.Algorithm, s.passwords.budget)
	if err != nil {
		return nil, err
	}
	s.legacy, s.outside = s.legacy || c.legacy, first(s.outside, schemeOutside(e.Content.Algorithm))
	if data, err = c.decrypt(e.Content.Data, s.store, s.wide); err != nil {
		return nil, err
	}
	if unmarshal(data, &bags) != nil {
		return nil, errOpens // its padding fits once in 256 times
	}
	s.opened = true
	return bags, nil
}

// add takes one bag. Revocation lists and secrets are not ours.
func (s *p12) add(bag *safeBag) {
	name := friendlyName(bag)
	value := bag.Value.Bytes
	bagType := func(last int) bool { return bag.Type.Equal(rsadsi(1, 12, 10, 1, last)) }
	switch {
	case bagType(1):
		s.addKey(keyEntry{alias: name, open: func() (crypto.PrivateKey, error) { return parseKey("PRIVATE KEY", value) }})
	case bagType(2):
		s.addKey(keyEntry{alias: name, encrypted: true, legacy: legacyKey(value), outside: keyOutside(value),
			open: func() (crypto.PrivateKey, error) { return decryptKey(value, s.key, s.passwords.budget) }})
	case bagType(3):
		s.addCertificate(value, name, bag.has(javaTrusted))
	case bagType(6):
		s.problem("entries within an entry are left out")
	}
}

// addKey names keys without a name as Java does.
func (s *p12) addKey(k keyEntry) {
	if k.alias == "" {
		k.alias = strconv.Itoa(len(s.keys) + 1)
	}
	s.keys = append(s.keys, k)
}

func (s *p12) addCertificate(der []byte, name string, trusted bool) {
	var c struct {
		Type asn1.ObjectIdentifier
		Data asn1.RawValue `asn1:"tag:0,explicit"`
	}
	name = entryName(name, len(s.certs)+1)
	var x509DER []byte
	if unmarshal(der, &c) != nil || !c.Type.Equal(rsadsi(1, 9, 22, 1)) || unmarshal(c.Data.Bytes, &x509DER) != nil {
		s.problem("%s is not an X.509 certificate and is left out", name)
		return
	}
	s.certs = append(s.certs, certEntry{name: name, der: x509DER, trusted: trusted})
}

// entryName is what people call a certificate by.
func entryName(alias string, n int) string {
	if alias == "" {
		return fmt.Sprintf("certificate %d", n)
	}
	return fmt.Sprintf("entry %.100q", alias)
}

// javaTrusted is the attribute by which Java marks trust anchors.
var javaTrusted = asn1.ObjectIdentifier{2, 16, 840, 1, 113894, 746875, 1, 1}

func (b *safeBag) has(attribute asn1.ObjectIdentifier) bool {
	for _, a := range b.Attributes {
		if a.Type.Equal(attribute) {
			return true
		}
	}
	return false
}

// friendlyName is a BMPString (RFC 2985, 5.5.1); none, or another thing, is "".
func friendlyName(bag *safeBag) string {
	for _, a := range bag.Attributes {
		if !a.Type.Equal(rsadsi(1, 9, 20)) {
			continue
		}
		var v asn1.RawValue
		if _, err := asn1.Unmarshal(a.Values.Bytes, &v); err != nil || v.Tag != asn1.TagBMPString || len(v.Bytes)%2 != 0 {
			return ""
		}
		units := make([]uint16, 0, len(v.Bytes)/2)
		for i := 0; i < len(v.Bytes); i += 2 {
			units = append(units, uint16(v.Bytes[i])<<8|uint16(v.Bytes[i+1]))
		}
		return string(utf16.Decode(units))
	}
	return ""
}

// bmp is a password as RFC 7292, B.1 has it: UTF-16, big-endian, with a
// terminator. What is not UTF-8 counts as Latin-1, as OpenSSL has it.
func bmp(password []byte) []byte {
	var runes []rune
	if utf8.Valid(password) {
		runes = []rune(string(password))
	} else {
		for _, b := range password {
			runes = append(runes, rune(b))
		}
	}
	out := make([]byte, 0, 2*len(runes)+2)
	for _, u := range utf16.Encode(runes) {
		out = append(out, byte(u>>8), byte(u))
	}
	return append(out, 0, 0)
}
