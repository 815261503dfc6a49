package sallyport

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"sallyport/config"
	"sallyport/internal/jwt"
	"sallyport/security/authn/token"
	"sallyport/security/rule"
)

// buildTokens makes an authenticator of type jwt of the keys as they are now.
func (s *Server) buildTokens(w *world, a config.Authenticator) (*token.Authenticator, error) {
	j := a.JWT
	if j == nil {
		return nil, fmt.Errorf("authenticator %s: has no section jwt", a.Name)
	}
	o := token.Options{
		Name: a.Name, Types: j.Types, Skew: j.Leeway, MaxAge: j.MaxAge, NoExpiry: j.NoExpiry,
		Bound: j.Bound == config.BoundCertificate, ClientID: j.ClientID, NoOAUTHBEARER: !j.OAUTHBEARER,
		Mapping: token.Mapping{
			Name: j.NameClaim, Groups: j.Groups, Roles: j.Roles, Attributes: j.Attributes, Permissions: j.Permissions,
			All: j.KeepClaims == nil,
		},
	}
	switch j.From {
	case config.TokenInUsername:
		o.From = token.Username
	case config.TokenInBoth:
		o.From = token.Either
	}
	if j.KeepClaims != nil {
		o.Mapping.Keep = *j.KeepClaims
	}
	var errs []error
	for i := range j.Issuers {
		x := &j.Issuers[i]
		keys, err := s.readKeys(w, x)
		if err != nil {
			errs = append(errs, fmt.Errorf("authenticator %s: %w", a.Name, err))
			continue
		}
		o.Issuers = append(o.Issuers, token.Issuer{
			Realm: j.RealmOf(i, a.Realm), Name: x.Issuer, Audiences: x.Audiences, Keys: keys, NoIssuer: x.NoIssuer, NoAudience: x.NoAudience,
		})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	t, err := token.New(o)
	if err != nil {
		return nil, fmt.Errorf("authenticator %s: %w", a.Name, err)
	}
	w.tokens = append(w.tokens, t)
	return t, nil
}

// readKeys reads the keys of an issuer. None is an error, at a start and at a reload.
func (s *Server) readKeys(w *world, x *config.TokenIssuer) (*jwt.KeySet, error) {
	var all []jwt.Key
	for i := range x.Keys {
		k := &x.Keys[i]
		keys, err := s.readKey(w, k)
		if err != nil {
			return nil, fmt.Errorf("issuer %q, keys[%d]: %w", x.Issuer, i, err)
		}
		if s.cfg.FIPS {
			for _, key := range keys {
				if !key.Approved() {
					return nil, fmt.Errorf("%s: %v is outside FIPS 140-3: an RSA key of an odd length", k.File, key)
				}
			}
		}
		all = append(all, keys...)
	}
	set, err := jwt.NewKeySet(all...)
	if err != nil {
		return nil, fmt.Errorf("keys of issuer %q: %w", x.Issuer, err)
	}
	return set, nil
}

func (s *Server) readKey(w *world, k *config.TokenKey) ([]jwt.Key, error) {
	if k.Secret != nil {
		key, err := s.readSecret(k)
		return []jwt.Key{key}, err
	}
	data, exposed, err := rule.ReadFile(k.File, jwt.MaxKeyFile)
	if err != nil {
		return nil, err
	}
	if exposed != "" {
		w.warnings = append(w.warnings, warning{k.File, "mode " + exposed + " lets others than the owner change whose tokens are accepted", true})
	}
	if !bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		keys, err := jwt.ParsePEM(data, k.ID, k.Names()...)
		switch {
		case err == nil:
			return keys, nil
		case bytes.Contains(data, []byte("-----BEGIN")):
			return nil, fmt.Errorf("%s: %w", k.File, err)
		}
		return nil, fmt.Errorf("%s: neither a JWK set nor public keys in PEM: %w", k.File, err)
	}
	return readJWKS(w, k, data)
}

// readJWKS reads a set, in which each key has its own kid.
func readJWKS(w *world, k *config.TokenKey, data []byte) ([]jwt.Key, error) {
	if k.ID != "" {
		return nil, fmt.Errorf("%s: is a JWK set, in which each key has a kid of its own: id is for PEM and secrets", k.File)
	}
	keys, warnings, err := jwt.ParseJWKS(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.File, err)
	}
	for _, x := range warnings {
		w.warnings = append(w.warnings, warning{k.File, string(x), false})
	}
	var all []jwt.Key
	for _, key := range keys {
		if key.Secret() {
			if mode := readableByOthers(k.File); mode != "" {
				w.warnings = append(w.warnings, warning{k.File, "holds secrets and has mode " + mode + "; chmod 600 keeps others out", true})
			}
		}
		if len(k.Algorithms) > 0 {
			only, ok := key.Only(k.Names()...)
			if !ok {
				w.warnings = append(w.warnings, warning{k.File, fmt.Sprintf("%v is not used: it can't do %s", key, strings.Join(k.Algorithms, ", ")), false})
				continue
			}
			key = only
		}
		all = append(all, key)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: holds no key that verifies tokens", k.File)
	}
	return all, nil
}

// readSecret reads a secret. Nothing of an error is from it.
func (s *Server) readSecret(k *config.TokenKey) (jwt.Key, error) {
	data, err := k.Secret.Read(s.ctx)
	if err != nil {
		return jwt.Key{}, fmt.Errorf("secret of tokens: %w", err)
	}
	if k.Encoding == config.EncodingBase64 {
		plain := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(string(data), "="))
		if data, err = base64.RawStdEncoding.DecodeString(plain); err != nil {
			return jwt.Key{}, errors.New("secret of tokens: is not base64")
		}
	}
	key, err := jwt.SecretKey(data, k.ID, k.Names()...)
	if err != nil {
		return jwt.Key{}, fmt.Errorf("secret of tokens: %w", err)
	}
	return key, nil
}

// readableByOthers is the mode of a file that others than its owner can read.
func readableByOthers(path string) string {
	info, err := os.Stat(path)
	if err != nil || runtime.GOOS == "windows" || info.Mode().Perm()&0o077 == 0 {
		return ""
	}
	return fmt.Sprintf("%04o", info.Mode().Perm())
}
