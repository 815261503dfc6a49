package authn

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// errHashForm names no part of the input: it may hold a hash.
var errHashForm = errors.New("password is not in a known form: $argon2id$, $7$, $6$, $s256$, $2b$, $scrypt$, $ese-sha512$ or HiveMQ's salt:iterations:hash")

// parseHash reads the text form within the limits. Errors hold no salt and no hash.
func parseHash(s string, lim Limits) (hash, error) {
	var h hash
	if len(s) > maxEncoded {
		return h, errHashForm
	}
	if strings.Contains(s, ":") {
		return parseHiveMQ(s, lim)
	}
	switch fields := strings.Split(s, "$"); {
	case len(fields) < 4 || fields[0] != "":
		return h, errHashForm
	case fields[1] == "argon2id":
		return parsePHC(fields, lim)
	case foreignAlgorithm(fields[1]) != "":
		h.algorithm = foreignAlgorithm(fields[1])
		if lim.FIPS { // whatever the rest is
			return h, h.outsideFIPS()
		}
		return h, h.parseForeign(fields, lim)
	case fields[1] == "7" && len(fields) == 5:
		h.algorithm = PBKDF2SHA512
		n, err := parseNumber(fields[2], 31)
		if err != nil {
			return h, fmt.Errorf("iterations: %w", err)
		}
		h.params.Iterations = int(n)
		if err := h.checkParams(lim); err != nil {
			return h, err
		}
		return h, h.setBytes(base64.StdEncoding, fields[3], fields[4], sha512.Size, sha512.Size)
	case fields[1] == "6" && len(fields) == 4:
		h.algorithm = SHA512
		return h, h.setBytes(base64.StdEncoding, fields[2], fields[3], sha512.Size, sha512.Size)
	case fields[1] == "s256" && len(fields) == 4:
		h.algorithm = GeneratedSecret
		if err := h.setBytes(base64.StdEncoding, fields[2], fields[3], sha256.Size, sha256.Size); err != nil {
			return h, err
		}
		if len(h.salt) != secretSalt {
			return h, fmt.Errorf("salt must have %d bytes, not %d", secretSalt, len(h.salt))
		}
		return h, nil
	default:
		return h, unread(fields[1], lim)
	}
}

// parsePHC reads $argon2id$v=19$m=..,t=..,p=..$salt$hash: the PHC string
// format, in the parameter order that it prescribes.
func parsePHC(fields []string, lim Limits) (hash, error) {
	h := hash{algorithm: Argon2id}
	if len(fields) != 6 {
		return h, errors.New("argon2id: must be $argon2id$v=19$m=..,t=..,p=..$salt$hash")
	}
	if fields[2] != "v="+strconv.Itoa(argon2.Version) {
		return h, fmt.Errorf("argon2id: only v=%d is supported", argon2.Version)
	}
	values, err := parseCosts("argon2id", fields[3], [3]string{"m=", "t=", "p="}, [3]int{32, 32, 8})
	if err != nil {
		return h, err
	}
	h.params = Params{Memory: uint32(values[0]), Time: uint32(values[1]), Lanes: uint8(values[2])}
	if err := h.checkParams(lim); err != nil {
		return h, err
	}
	return h, h.setBytes(base64.RawStdEncoding, fields[4], fields[5], minArgonSum, maxArgonSum)
}

// parseNumber reads a decimal number in its only form: no sign, no leading zero.
func parseNumber(s string, bits int) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, errors.New("is not a number in range")
	}
	return n, nil
}

// setBytes decodes salt and sum and checks their sizes.
func (h *hash) setBytes(enc *base64.Encoding, salt, sum string, minSum, maxSum int) error {
	var err error
	if h.salt, err = decodeBase64(enc, salt); err != nil {
		return errors.New("salt is not base64")
	}
	if len(h.salt) < minSalt || len(h.salt) > maxSalt {
		return fmt.Errorf("salt must have %d to %d bytes, not %d", minSalt, maxSalt, len(h.salt))
	}
	if h.sum, err = decodeBase64(enc, sum); err != nil {
		return errors.New("hash is not base64")
	}
	if len(h.sum) < minSum || len(h.sum) > maxSum {
		return fmt.Errorf("hash has %d bytes, which is not the algorithm's length", len(h.sum))
	}
	return nil
}

// decodeBase64 takes the canonical form only: the library skips line breaks
// and, unless strict, ignores stray bits.
func decodeBase64(enc *base64.Encoding, s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("line break")
	}
	return enc.Strict().DecodeString(s)
}
