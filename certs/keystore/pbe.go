package keystore

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/fips140"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"hash"
	"math/big"

	"sallyport/internal/scrypt"
)

// Bounds of key derivation. Writers use 2,048 to 1,000,000 iterations of PBKDF2,
// and scrypt with N=16384, r=8, p=1 (16 MiB).
const (
	maxIterations          = 10_000_000  // of all derivations of one file together: seconds
	maxDirectoryIterations = 100_000_000 // of all files of a directory
	maxScryptMemory        = 64 << 20    // bytes, 128*N*r
	maxScryptWork          = 1 << 21     // N*r*p: seconds
)

// budget is the work that a file may still cause. A bound on each count alone
// would let a store with a thousand entries take a thousand times as long.
type budget struct{ left int }

func newBudget(iterations int) *budget { return &budget{iterations} }

// spend takes count iterations, each times over.
func (b *budget) spend(count, times int) error {
	if count < 1 {
		return errors.New("iteration count of the key derivation is not positive")
	}
	if count > b.left/times {
		return fmt.Errorf("key derivation asks for too much work: %d iterations, with %d allowed to what is left of the file", count, b.left/times)
	}
	b.left -= count * times
	return nil
}

// approved is an error where FIPS 140-3 is enforced (GODEBUG=fips140=only), in
// which case what is not of it panics somewhere in the standard library.
func approved(what string) error {
	if fips140.Enforced() {
		return fmt.Errorf("%s is outside of FIPS 140-3, which is enforced", what)
	}
	return nil
}

func oid(last ...int) asn1.ObjectIdentifier { return last }

// names of algorithms: RFC 8018, appendix C; RFC 7292, appendix C; RFC 7914,
// section 7; the AES ones of NIST.
func rsadsi(last ...int) asn1.ObjectIdentifier {
	return append(oid(1, 2, 840, 113549), last...)
}

func isPBES2(a asn1.ObjectIdentifier) bool { return a.Equal(rsadsi(1, 5, 13)) }

// prf returns the hash of an HMAC; no name is SHA-1 (RFC 8018, A.2).
func prf(a asn1.ObjectIdentifier) func() hash.Hash {
	switch {
	case len(a) == 0, a.Equal(rsadsi(2, 7)):
		return sha1.New
	case a.Equal(rsadsi(2, 8)):
		return sha256.New224
	case a.Equal(rsadsi(2, 9)):
		return sha256.New
	case a.Equal(rsadsi(2, 10)):
		return sha512.New384
	case a.Equal(rsadsi(2, 11)):
		return sha512.New
	}
	return nil
}

// scheme is a cipher and how its key comes from a password.
type scheme struct {
	legacy bool
	// block derives; the passwords are in the form that the scheme takes.
	block func(password []byte) (b cipher.Block, iv []byte, err error)
	// wide says that the password is a BMPString (RFC 7292, B.1), not UTF-8.
	wide bool
}

// schemeOf reads an algorithm identifier and derives nothing.
func schemeOf(a pkix.AlgorithmIdentifier, b *budget) (*scheme, error) {
	if isPBES2(a.Algorithm) {
		return pbes2(a.Parameters.FullBytes, b)
	}
	for _, s := range []struct {
		last     int // under pkcs-12PbeIds
		keyBytes int
		cipher   func(key []byte) (cipher.Block, error)
	}{
		{3, 24, des.NewTripleDESCipher},
		{4, 16, des2},
		{5, 16, newRC2},
		{6, 5, newRC2},
	} {
		if a.Algorithm.Equal(rsadsi(1, 12, 1, s.last)) {
			return pkcs12PBE(a.Parameters.FullBytes, s.keyBytes, s.cipher, b)
		}
	}
	return nil, fmt.Errorf("encryption algorithm %s is not supported: PBES2 is, and in PKCS#12 RC2 and 3DES", a.Algorithm)
}

// des2 is 3DES with two keys.
func des2(key []byte) (cipher.Block, error) {
	return des.NewTripleDESCipher(append(bytes.Clone(key), key[:8]...))
}

// pkcs12PBE is RFC 7292, appendix C.
func pkcs12PBE(parameters []byte, keyBytes int, newCipher func([]byte) (cipher.Block, error), b *budget) (*scheme, error) {
	var p struct {
		Salt       []byte
		Iterations int
	}
	if err := unmarshal(parameters, &p); err != nil {
		return nil, fmt.Errorf("parameters of the encryption: %w", err)
	}
	return &scheme{legacy: true, wide: true, block: func(password []byte) (cipher.Block, []byte, error) {
		key, err := deriveWide(sha1.New, 1, p.Salt, password, p.Iterations, keyBytes, b)
		if err != nil {
			return nil, nil, err
		}
		c, err := newCipher(key)
		if err != nil {
			return nil, nil, err
		}
		iv, err := deriveWide(sha1.New, 2, p.Salt, password, p.Iterations, c.BlockSize(), b)
		return c, iv, err
	}}, nil
}

// pbes2 is RFC 8018, 6.2 and A.4, with PBKDF2 or scrypt and AES in CBC mode.
func pbes2(parameters []byte, b *budget) (*scheme, error) {
	var p struct{ KDF, Cipher pkix.AlgorithmIdentifier }
	if err := unmarshal(parameters, &p); err != nil {
		return nil, fmt.Errorf("parameters of PBES2: %w", err)
	}
	var keyBytes int
	for last, n := range map[int]int{2: 16, 22: 24, 42: 32} {
		if p.Cipher.Algorithm.Equal(oid(2, 16, 840, 1, 101, 3, 4, 1, last)) {
			keyBytes = n
		}
	}
	if keyBytes == 0 {
		return nil, fmt.Errorf("cipher %s of PBES2 is not supported: AES-128, AES-192 and AES-256 in CBC mode are", p.Cipher.Algorithm)
	}
	var iv []byte
	if err := unmarshal(p.Cipher.Parameters.FullBytes, &iv); err != nil || len(iv) != aes.BlockSize {
		return nil, errors.New("initialization vector of PBES2 is malformed")
	}
	derive, err := kdf(p.KDF, keyBytes, b)
	if err != nil {
		return nil, err
	}
	return &scheme{block: func(password []byte) (cipher.Block, []byte, error) {
		key, err := derive(password)
		if err != nil {
			return nil, nil, err
		}
		c, err := aes.NewCipher(key)
		return c, iv, err
	}}, nil
}

// kdf reads a key derivation function of PBES2 or PBMAC1 and runs nothing.
func kdf(a pkix.AlgorithmIdentifier, keyBytes int, b *budget) (func(password []byte) ([]byte, error), error) {
	switch {
	case a.Algorithm.Equal(rsadsi(1, 5, 12)):
		return kdfPBKDF2(a.Parameters.FullBytes, keyBytes, b)
	case a.Algorithm.Equal(oid(1, 3, 6, 1, 4, 1, 11591, 4, 11)):
		return kdfScrypt(a.Parameters.FullBytes, keyBytes, b)
	}
	return nil, fmt.Errorf("key derivation %s is not supported: PBKDF2 and scrypt are", a.Algorithm)
}

// kdfPBKDF2 is RFC 8018, A.2. A keyBytes of 0 is for a file that has to say
// itself how long the key is.
func kdfPBKDF2(parameters []byte, keyBytes int, b *budget) (func(password []byte) ([]byte, error), error) {
	p, err := parsePBKDF2(parameters)
	if err != nil {
		return nil, fmt.Errorf("parameters of PBKDF2: %w", err)
	}
	h := prf(p.PRF.Algorithm)
	if h == nil {
		return nil, fmt.Errorf("hash %s of PBKDF2 is not supported", p.PRF.Algorithm)
	}
	switch {
	case keyBytes == 0 && (p.KeyBytes < 20 || p.KeyBytes > sha512.Size): // RFC 9579: a key of no length would make no MAC
		return nil, fmt.Errorf("key of %d bytes: 20 to %d are accepted", p.KeyBytes, sha512.Size)
	case keyBytes == 0:
		keyBytes = p.KeyBytes
	case p.KeyBytes != 0 && p.KeyBytes != keyBytes:
		return nil, fmt.Errorf("key length of PBKDF2 is %d bytes, that of the cipher %d", p.KeyBytes, keyBytes)
	}
	return func(password []byte) ([]byte, error) {
		size := h().Size()
		if err := b.spend(p.Iterations, (keyBytes+size-1)/size); err != nil {
			return nil, err
		}
		return pbkdf2.Key(h, string(password), p.Salt, p.Iterations, keyBytes)
	}, nil
}

// paramsPBKDF2 are PBKDF2-params of RFC 8018, A.2.
type paramsPBKDF2 struct {
	Salt       []byte
	Iterations int
	KeyBytes   int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

func parsePBKDF2(der []byte) (p paramsPBKDF2, err error) { return p, unmarshal(der, &p) }

// kdfScrypt is RFC 7914, 7.1.
func kdfScrypt(parameters []byte, keyBytes int, b *budget) (func(password []byte) ([]byte, error), error) {
	var p struct {
		Salt     []byte
		N, R, P  int
		KeyBytes int `asn1:"optional"`
	}
	if err := unmarshal(parameters, &p); err != nil {
		return nil, fmt.Errorf("parameters of scrypt: %w", err)
	}
	switch {
	case p.N < 2 || p.R < 1 || p.P < 1:
		return nil, errors.New("parameters of scrypt are not positive")
	case p.N > maxScryptMemory/128/p.R:
		return nil, fmt.Errorf("scrypt asks for too much memory: %d MiB are allowed", maxScryptMemory>>20)
	case p.P > maxScryptWork/(p.N*p.R):
		return nil, errors.New("scrypt asks for too much work")
	case p.KeyBytes != 0 && p.KeyBytes != keyBytes:
		return nil, fmt.Errorf("key length of scrypt is %d bytes, that of the cipher %d", p.KeyBytes, keyBytes)
	}
	return func(password []byte) ([]byte, error) {
		// A step over 128*r bytes costs about as much as 2*r iterations of PBKDF2.
		if err := b.spend(p.N*p.R*p.P, 2); err != nil {
			return nil, err
		}
		if err := approved("scrypt"); err != nil {
			return nil, err
		}
		return scrypt.Key(password, p.Salt, scrypt.Cost{N: p.N, R: p.R, P: p.P}, keyBytes)
	}, nil
}

// deriveWide is the key derivation of RFC 7292, B.2: size bytes for purpose id
// (1 a key, 2 an initialization vector, 3 a MAC key).
func deriveWide(newHash func() hash.Hash, id byte, salt, password []byte, iterations, size int, b *budget) ([]byte, error) {
	h := newHash()
	v := h.BlockSize()
	if err := b.spend(iterations, (size+h.Size()-1)/h.Size()); err != nil {
		return nil, err
	}
	if err := approved("the key derivation of PKCS#12"); err != nil {
		return nil, err
	}
	in := append(repeat(salt, v), repeat(password, v)...)
	diversifier := bytes.Repeat([]byte{id}, v)
	modulus := new(big.Int).Lsh(big.NewInt(1), uint(8*v))
	var out []byte
	for {
		h.Reset()
		h.Write(diversifier)
		h.Write(in)
		a := h.Sum(nil)
		for range iterations - 1 {
			h.Reset()
			h.Write(a)
			a = h.Sum(a[:0])
		}
		out = append(out, a...)
		if len(out) >= size {
			return out[:size], nil
		}
		// Each block of the input grows by B+1, B being what was just made.
		add := new(big.Int).SetBytes(repeat(a, v)[:v])
		add.Add(add, big.NewInt(1))
		for i := 0; i < len(in); i += v {
			n := new(big.Int).SetBytes(in[i : i+v])
			n.Add(n, add).Mod(n, modulus).FillBytes(in[i : i+v])
		}
	}
}

// repeat returns copies of b, cut to the next multiple of v; nothing of nothing.
func repeat(b []byte, v int) []byte {
	size := v * ((len(b) + v - 1) / v)
	out := make([]byte, 0, size+len(b))
	for len(out) < size {
		out = append(out, b...)
	}
	return out[:size:size]
}

// decrypt opens data with the password, which is in UTF-8; wide is the same as a
// BMPString. Padding that is wrong is [ErrPassword].
func (s *scheme) decrypt(data, password, wide []byte) ([]byte, error) {
	if s.wide {
		password = wide
	}
	c, iv, err := s.block(password)
	if err != nil {
		return nil, err
	}
	size := c.BlockSize()
	if len(data) == 0 || len(data)%size != 0 {
		return nil, errors.New("encrypted part is damaged: not whole blocks")
	}
	plain := make([]byte, len(data))
	cipher.NewCBCDecrypter(c, iv).CryptBlocks(plain, data)
	pad := int(plain[len(plain)-1])
	if pad == 0 || pad > size || !bytes.HasSuffix(plain, bytes.Repeat([]byte{byte(pad)}, pad)) {
		return nil, errOpens
	}
	return plain[:len(plain)-pad], nil
}

// errOpens is a decryption without an integrity check that came to nothing.
var errOpens = fmt.Errorf("%w, or the encrypted part is damaged", ErrPassword)

// encryptedKey is EncryptedPrivateKeyInfo of RFC 5958, section 3.
type encryptedKey struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

// legacyKey reports whether der is encrypted with an obsolete algorithm.
func legacyKey(der []byte) bool {
	var e encryptedKey
	return unmarshal(der, &e) == nil && !isPBES2(e.Algorithm.Algorithm)
}

// decryptKey opens an EncryptedPrivateKeyInfo.
func decryptKey(der, password []byte, b *budget) (crypto.PrivateKey, error) {
	var e encryptedKey
	if err := unmarshal(der, &e); err != nil {
		return nil, fmt.Errorf("encrypted private key is malformed: %w", err)
	}
	if password == nil {
		return nil, fmt.Errorf("private key is encrypted: %w", ErrNoPassword)
	}
	s, err := schemeOf(e.Algorithm, b)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	plain, err := s.decrypt(e.Data, password, bmp(password))
	if errors.Is(err, ErrPassword) && s.wide && len(password) == 0 {
		plain, err = s.decrypt(e.Data, nil, nil) // some write the empty password without its terminator
	}
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	var form struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
		Rest      asn1.RawValue `asn1:"optional"`
		Public    asn1.RawValue `asn1:"optional"`
	}
	if err := unmarshal(plain, &form); err != nil {
		// Padding fits a wrong password once in 256 times. What asn1 has to say
		// about such bytes helps nobody.
		return nil, fmt.Errorf("private key: %w", errOpens)
	}
	key, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	return key, nil
}

// unmarshal reads exactly one value.
func unmarshal(der []byte, into any) error {
	rest, err := asn1.Unmarshal(der, into)
	if err == nil && len(rest) > 0 {
		err = errors.New("data behind its end")
	}
	return err
}
