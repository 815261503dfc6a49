package jwt

import (
	"errors"
	"fmt"
	"slices"
)

// KeySet is the keys that vouch for tokens. It doesn't change.
type KeySet struct {
	keys []Key
}

// NewKeySet returns a set of at least one and at most [MaxKeys] keys. Keys may share
// a kid (RFC 7517 4.5), at most 8 do: each that has the algorithm is tried.
func NewKeySet(keys ...Key) (*KeySet, error) {
	if len(keys) == 0 {
		return nil, errors.New("no key")
	}
	if len(keys) > MaxKeys {
		return nil, fmt.Errorf("more than %d keys", MaxKeys)
	}
	same := make(map[string]int)
	for _, k := range keys {
		if k.material == nil {
			return nil, errors.New("a key of nothing")
		}
		if same[k.id]++; k.id != "" && same[k.id] > maxTries {
			return nil, fmt.Errorf("more than %d keys with the kid %q", maxTries, k.id)
		}
	}
	return &KeySet{keys: slices.Clone(keys)}, nil
}

// Keys returns the keys of the set.
func (s *KeySet) Keys() []Key { return slices.Clone(s.keys) }

// Has reports whether the key with the thumbprint is in the set. What a key that
// left has vouched for is over.
func (s *KeySet) Has(t Thumbprint) bool {
	return slices.ContainsFunc(s.keys, func(k Key) bool { return k.thumbprint == t })
}

// candidates returns the keys that may have made a signature: those that have the
// algorithm and, if the token names a key, are called that or nothing. A key without
// a kid, as in a PEM file, is meant by every name.
func (s *KeySet) candidates(h header) ([]Key, error) {
	if s == nil { // as a Verifier that New didn't make has none
		return nil, refuse(UnknownKey, "no keys")
	}
	var known bool // the algorithm is one of ours
	var all []Key
	for _, k := range s.keys {
		if !slices.Contains(k.algorithms, h.alg) {
			continue
		}
		known = true
		if !h.named || k.id == "" || k.id == h.kid {
			all = append(all, k)
		}
	}
	switch {
	case !known:
		return nil, refuse(BadAlgorithm, "alg is none that a key has")
	case len(all) == 0:
		return nil, refuse(UnknownKey, "kid names no key that has the algorithm")
	case len(all) > maxTries:
		return nil, refuse(UnknownKey, "more than %d keys may be meant: the token must name one by kid", maxTries)
	}
	return all, nil
}

// verify returns the key that made the signature.
func (s *KeySet) verify(h header, signed, signature []byte) (Key, error) {
	all, err := s.candidates(h)
	if err != nil {
		return Key{}, err
	}
	for _, k := range all {
		if verifySignature(h.alg, k.material, signed, signature) {
			return k, nil
		}
	}
	return Key{}, refuse(BadSignature, "no key of ours made the signature")
}
