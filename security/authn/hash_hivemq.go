package authn

import (
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// hivemqIterations is what HiveMQ's File RBAC extension took before it wrote the count.
const hivemqIterations = 100

// parseHiveMQ reads the passwords of HiveMQ's File RBAC extension, salt:iterations:hash
// or, from before, salt:hash, with salt and hash in base64. It is PBKDF2-HMAC-SHA512
// with a key of 64 bytes, as $7$ is, and that is how it is written from then on.
func parseHiveMQ(s string, lim Limits) (hash, error) {
	h := hash{algorithm: PBKDF2SHA512, params: Params{Iterations: hivemqIterations}}
	salt, sum, _ := strings.Cut(s, ":")
	if count, rest, three := strings.Cut(sum, ":"); three {
		n, err := parseNumber(count, 31)
		if err != nil {
			return h, errHashForm
		}
		h.params.Iterations, sum = int(n), rest
	}
	if strings.Contains(salt, "$") || strings.Contains(sum, ":") {
		return h, errHashForm
	}
	if h.setBytes(base64.StdEncoding, salt, sum, sha512.Size, sha512.Size) != nil {
		return h, errHashForm // it may be a plain password, of which even lengths are not told
	}
	return h, h.checkParams(lim)
}

// parseESE reads $ese-sha512$iterations$salt$hash, our spelling of what the Enterprise
// Security Extension keeps in four columns of its table of users where the algorithm
// is SHA512.
func (h *hash) parseESE(fields []string, lim Limits) error {
	if len(fields) != 5 {
		return errors.New("ese-sha512: must be $ese-sha512$iterations$salt$hash")
	}
	n, err := parseNumber(fields[2], 31)
	if err != nil {
		return fmt.Errorf("iterations: %w", err)
	}
	h.params.Iterations = int(n)
	if err := h.checkParams(lim); err != nil {
		return err
	}
	return h.setBytes(base64.StdEncoding, fields[3], fields[4], sha512.Size, sha512.Size)
}

// deriveESE is SHA-512 over salt and password, and then over the digest until there
// were as many digests as iterations.
func (h *hash) deriveESE(password []byte) []byte {
	d := sha512.New()
	d.Write(h.salt)
	d.Write(password)
	sum := d.Sum(nil)
	for range h.params.Iterations - 1 {
		next := sha512.Sum512(sum)
		sum = next[:]
	}
	return sum
}

// ESE encodes a password of HiveMQ's Enterprise Security Extension, as the columns of
// its table of users hold it: salt and hash in base64. Only SHA512 is known.
func ESE(algorithm string, iterations int, salt, sum string) (string, error) {
	if algorithm != "SHA512" {
		return "", errors.New("only the algorithm SHA512 is known")
	}
	s, err := ParseStored(fmt.Sprintf("$ese-sha512$%d$%s$%s", iterations, salt, sum), Limits{})
	if err != nil {
		return "", err
	}
	return s.Encode(), nil
}
