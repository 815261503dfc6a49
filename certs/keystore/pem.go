package keystore

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// openPEM reads every block of a PEM file (RFC 7468).
func openPEM(data []byte, p passwords) (*contents, error) {
	c := &contents{format: PEM, budget: p.budget}
	begun := strings.Count(string(data), "-----BEGIN ")
	read := 0
	for rest := data; ; read++ {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if len(c.keys)+len(c.certs) >= maxEntries {
			return nil, fmt.Errorf("more than %d entries", maxEntries)
		}
		if err := c.addBlock(b, p); err != nil {
			return nil, err
		}
	}
	switch {
	case read == 0:
		return nil, errors.New("PEM is damaged: no block in it can be read")
	case read < begun:
		// The decoder steps over what it can't read. Half a chain must not pass for one.
		c.damaged = fmt.Sprintf("%d of %d PEM blocks can't be read", begun-read, begun)
	}
	return c, nil
}

func (c *contents) addBlock(b *pem.Block, p passwords) error {
	switch b.Type {
	case "CERTIFICATE":
		c.certs = append(c.certs, certEntry{name: fmt.Sprintf("certificate %d", len(c.certs)+1), der: b.Bytes})
		return nil
	case "TRUSTED CERTIFICATE":
		c.problem("an OpenSSL TRUSTED CERTIFICATE is left out: convert it with openssl x509")
		return nil
	case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
	default:
		if strings.HasSuffix(b.Type, "PRIVATE KEY") {
			c.problem("a key of an unknown kind is left out: %.40q", b.Type)
		}
		return nil // parameters, requests, revocation lists
	}
	if b.Headers["Proc-Type"] != "" || b.Headers["DEK-Info"] != "" {
		// RFC 1421 over an MD5 of the password: neither its secrecy nor its integrity holds.
		return errors.New("key is in OpenSSL's old encrypted form (Proc-Type: 4,ENCRYPTED), which is not supported: " +
			"convert it with openssl pkcs8 -topk8 -in OLD -out NEW")
	}
	k := keyEntry{open: func() (crypto.PrivateKey, error) { return parseKey(b.Type, b.Bytes) }}
	if b.Type == "ENCRYPTED PRIVATE KEY" {
		k.encrypted, k.legacy, k.outside = true, legacyKey(b.Bytes), keyOutside(b.Bytes)
		k.open = func() (crypto.PrivateKey, error) { return decryptKey(b.Bytes, p.key, p.budget) }
	}
	c.keys = append(c.keys, k)
	return nil
}

// addKeys takes the keys of a second PEM file. Its certificates don't count.
func (c *contents) addKeys(data []byte, p passwords) error {
	k, err := open(data, p)
	switch {
	case err != nil:
		return fmt.Errorf("key file: %w", err)
	case k.format != PEM:
		return fmt.Errorf("key file is a %s store, not PEM", k.format)
	case len(k.keys) == 0:
		return errors.New("key file: no private key in it")
	case len(c.keys) > 0:
		return errors.New("a private key is in both files; one is meant")
	}
	c.keys = k.keys
	c.problems = append(c.problems, k.problems...)
	if c.damaged == "" {
		c.damaged = k.damaged
	}
	return nil
}

func parseKey(kind string, der []byte) (key crypto.PrivateKey, err error) {
	switch kind {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(der)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(der)
	default:
		key, err = x509.ParsePKCS8PrivateKey(der)
	}
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	return key, nil
}
