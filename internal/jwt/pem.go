package jwt

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// ParsePEM reads public keys and certificates in PEM, of at most [MaxKeyFile] bytes,
// and binds each to the kid and to the algorithms, if there are any. Of a certificate
// only the key counts: whoever put the file there vouches for it, until they take it
// away. A private key is refused, as is any block that is something else or doesn't
// end.
func ParsePEM(data []byte, id string, algorithms ...Algorithm) ([]Key, error) {
	if len(data) > MaxKeyFile {
		return nil, fmt.Errorf("longer than %d bytes", MaxKeyFile)
	}
	begun := bytes.Count(data, []byte("-----BEGIN"))
	if begun > MaxKeys {
		return nil, fmt.Errorf("more than %d keys", MaxKeys)
	}
	var keys []Key
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		k, err := parseBlock(block, id, algorithms)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", len(keys)+1, err)
		}
		keys = append(keys, k)
	}
	switch {
	case begun == 0:
		return nil, errors.New("no PEM")
	case len(keys) != begun: // the decoder skips what it can't read
		return nil, errors.New("PEM that is cut off or broken")
	}
	return keys, nil
}

func parseBlock(b *pem.Block, id string, algorithms []Algorithm) (Key, error) {
	var material any
	var err error
	switch {
	case b.Type == "PUBLIC KEY":
		material, err = x509.ParsePKIXPublicKey(b.Bytes)
	case b.Type == "RSA PUBLIC KEY":
		material, err = x509.ParsePKCS1PublicKey(b.Bytes)
	case b.Type == "CERTIFICATE":
		var c *x509.Certificate
		if c, err = x509.ParseCertificate(b.Bytes); err == nil {
			material = c.PublicKey
		}
	case strings.HasSuffix(b.Type, "PRIVATE KEY"):
		return Key{}, errors.New("a private key: only the public one belongs here")
	default:
		return Key{}, errors.New("neither a public key nor a certificate")
	}
	if err != nil {
		return Key{}, fmt.Errorf("a public key that can't be read: %w", err)
	}
	return newKey(material, id, algorithms)
}
