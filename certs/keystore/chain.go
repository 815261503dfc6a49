package keystore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
)

// Sizes of RSA keys, in bits. crypto/tls of a client accepts no larger one.
const (
	minRSA = 2048
	maxRSA = 8192
)

// public is what every public key of the standard library has.
type public interface{ Equal(crypto.PublicKey) bool }

// judge returns key as a signer, if it is of an accepted type and size.
func judge(key crypto.PrivateKey) (crypto.Signer, error) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if bits := k.N.BitLen(); bits < minRSA || bits > maxRSA {
			return nil, fmt.Errorf("RSA key has %d bits: %d to %d are accepted", bits, minRSA, maxRSA)
		}
		return k, nil
	case *ecdsa.PrivateKey:
		switch k.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return k, nil
		}
		return nil, fmt.Errorf("curve %s is not accepted: P-256, P-384 and P-521 are", k.Curve.Params().Name)
	case ed25519.PrivateKey:
		return k, nil
	}
	return nil, errors.New("type of the private key is not accepted: RSA, ECDSA and Ed25519 are")
}

// KeyType is "RSA", "ECDSA" or "Ed25519".
func (p *Pair) KeyType() string {
	switch p.Key.(type) {
	case *rsa.PrivateKey:
		return "RSA"
	case *ecdsa.PrivateKey:
		return "ECDSA"
	}
	return "Ed25519"
}

// pair opens k and finds its chain. The notes are findings.
func (c *contents) pair(k *keyEntry, file string) (*Pair, []string, error) {
	if c.damaged != "" {
		return nil, nil, errors.New(c.damaged)
	}
	key, err := k.open()
	if err != nil {
		return nil, nil, err
	}
	signer, err := judge(key)
	if err != nil {
		return nil, nil, err
	}
	pool, notes, err := c.pool(k)
	if err != nil {
		return nil, nil, err
	}
	chain, rest, err := order(pool, signer.Public().(public))
	if err != nil {
		return nil, nil, err
	}
	// With several keys the rest is the chains of the others.
	if len(c.keys) == 1 {
		for _, x := range rest {
			notes = append(notes, fmt.Sprintf("certificate %.100q is not in the chain of the key and is left out", x.Subject.String()))
		}
	}
	return &Pair{Chain: chain, Key: signer, File: file, Alias: k.alias, Format: c.format, Legacy: c.legacy || k.legacy, outside: first(c.outside, k.outside)}, notes, nil
}

// pool parses the certificates that may belong to k.
func (c *contents) pool(k *keyEntry) (all []*x509.Certificate, notes []string, err error) {
	ders := k.chain
	if c.format != JKS {
		for _, e := range c.certs {
			ders = append(ders, e.der)
		}
	}
	if len(ders) == 0 {
		return nil, nil, errors.New("no certificate in it")
	}
	seen := make(map[string]bool)
	for i, der := range ders {
		if seen[string(der)] {
			continue
		}
		seen[string(der)] = true
		x, err := x509.ParseCertificate(der)
		if err != nil {
			notes = append(notes, fmt.Sprintf("certificate %d can't be read and is left out: %v", i+1, err))
			continue
		}
		all = append(all, x)
	}
	if len(all) == 0 {
		return nil, nil, errors.New(notes[0])
	}
	return all, notes, nil
}

// order finds the leaf, which is the first certificate for key, and from there
// the issuers. The rest is what belongs to no chain of it.
func order(pool []*x509.Certificate, key public) (chain, rest []*x509.Certificate, err error) {
	used := make([]bool, len(pool))
	next := func(fits func(*x509.Certificate) bool) bool {
		for i, x := range pool {
			if !used[i] && fits(x) {
				used[i] = true
				chain = append(chain, x)
				return true
			}
		}
		return false
	}
	if !next(func(x *x509.Certificate) bool { return key.Equal(x.PublicKey) }) {
		return nil, nil, errors.New("private key belongs to none of the certificates")
	}
	leaf := chain[0]
	for _, x := range pool {
		if leaf.IsCA && x != leaf && issued(leaf, x) {
			return nil, nil, fmt.Errorf("private key is that of the issuer %.100q, not of the leaf", leaf.Subject.String())
		}
	}
	for {
		last := chain[len(chain)-1]
		if bytes.Equal(last.RawIssuer, last.RawSubject) {
			break // its own issuer
		}
		if !next(func(x *x509.Certificate) bool { return issued(x, last) }) {
			break
		}
		if len(chain) > maxChain {
			return nil, nil, fmt.Errorf("chain has more than %d certificates", maxChain)
		}
	}
	for i, x := range pool {
		if !used[i] {
			rest = append(rest, x)
		}
	}
	return chain, rest, nil
}

// issued reports whether issuer's key signed c.
func issued(issuer, c *x509.Certificate) bool {
	if !bytes.Equal(issuer.RawSubject, c.RawIssuer) {
		return false
	}
	err := c.CheckSignatureFrom(issuer)
	var insecure x509.InsecureAlgorithmError
	// SHA-1 is the verifier's to refuse; a chain cut off here would tell it less.
	return err == nil || errors.As(err, &insecure)
}
