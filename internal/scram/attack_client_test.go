package scram

import (
	"errors"
	"strings"
	"testing"
)

func TestClientRefuses(t *testing.T) {
	salt := ",s=W22ZaJ0SNY7soEsUEjb6gQ=="
	for name, tt := range map[string]struct {
		message string
		want    error
	}{
		"empty":                      {"", ErrMalformed},
		"huge":                       {"r=" + whole + salt + ",i=4096,x=" + strings.Repeat("x", MaxMessage), ErrTooLong},
		"nonce of another":           {"r=x" + whole + salt + ",i=4096", ErrNonce},
		"our nonce at the end":       {"r=" + serverPart + clientPart + salt + ",i=4096", ErrNonce},
		"our nonce alone":            {"r=" + clientPart + salt + ",i=4096", ErrNonce},
		"few bytes of the server's":  {"r=" + clientPart + "1234567" + salt + ",i=4096", ErrNonce},
		"nonce cut short":            {"r=" + clientPart[:19] + salt + ",i=4096", ErrNonce},
		"nonce too long":             {"r=" + whole + strings.Repeat("x", 2*MaxNonce) + salt + ",i=4096", ErrMalformed},
		"too few iterations":         {"r=" + whole + salt + ",i=4095", ErrIterations},
		"one iteration":              {"r=" + whole + salt + ",i=1", ErrIterations},
		"no iterations":              {"r=" + whole + salt + ",i=0", ErrIterations},
		"more than we pay for":       {"r=" + whole + salt + ",i=2000001", ErrIterations},
		"very many iterations":       {"r=" + whole + salt + ",i=4294967296", ErrIterations},
		"iterations beyond integers": {"r=" + whole + salt + ",i=" + strings.Repeat("9", 40), ErrIterations},
		"negative iterations":        {"r=" + whole + salt + ",i=-4096", ErrIterations},
		"iterations with a sign":     {"r=" + whole + salt + ",i=+4096", ErrIterations},
		"iterations with a zero":     {"r=" + whole + salt + ",i=04096", ErrIterations},
		"short salt":                 {"r=" + whole + ",s=" + encode(counting(15)) + ",i=4096", ErrSalt},
		"long salt":                  {"r=" + whole + ",s=" + encode(counting(65)) + ",i=4096", ErrSalt},
		"empty salt":                 {"r=" + whole + ",s=,i=4096", ErrMalformed},
		"salt without padding":       {"r=" + whole + strings.TrimRight(salt, "=") + ",i=4096", ErrMalformed},
		"salt before nonce":          {salt[1:] + ",r=" + whole + ",i=4096", ErrMalformed},
		"iterations twice":           {"r=" + whole + salt + ",i=4096,i=1", ErrMalformed},
		"salt twice":                 {"r=" + whole + salt + salt + ",i=4096", ErrMalformed},
		"mandatory extension":        {"m=1,r=" + whole + salt + ",i=4096", ErrExtension},
		"mandatory extension later":  {"r=" + whole + salt + ",i=4096,m=1", ErrExtension},
		"signature at once":          {vectors[0].messages[3], ErrMalformed},
		"error at once":              {"e=invalid-proof", ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			c := client(t, nil)
			if _, err := c.First(); err != nil {
				t.Fatal(err)
			}
			if m, done, err := c.Next([]byte(tt.message)); !errors.Is(err, tt.want) || m != nil || done {
				t.Errorf("Next(%.80q) = %q, %v, %v, want %v", tt.message, m, done, err, tt.want)
			}
			if m, done, err := c.Next([]byte(vectors[0].messages[1])); err != ErrState || m != nil || done {
				t.Errorf("after that: %q, %v, %v", m, done, err)
			}
		})
	}
}

func TestClientRefusesServersThatDoNotKnowIt(t *testing.T) {
	signature := vectors[0].messages[3]
	raw, _ := decode(signature[2:])
	raw[0] ^= 0x80
	for name, tt := range map[string]struct {
		message string
		want    error
	}{
		"empty":                  {"", ErrMalformed},
		"one bit":                {"v=" + encode(raw), ErrSignature},
		"of another exchange":    {vectors[1].messages[3], ErrSignature},
		"half":                   {"v=" + encode(raw[:16]), ErrSignature},
		"empty signature":        {"v=", ErrMalformed},
		"padding missing":        {strings.TrimRight(signature, "="), ErrMalformed},
		"twice":                  {signature + "," + signature, ErrMalformed},
		"after an extension":     {"x=1," + signature, ErrMalformed},
		"mandatory extension":    {signature + ",m=1", ErrExtension},
		"error":                  {"e=invalid-proof", ServerError("invalid-proof")},
		"error of its own":       {"e=\x1b[2J", ServerError("other-error")},
		"error and signature":    {"e=invalid-proof," + signature, ErrMalformed},
		"signature and error":    {signature + ",e=invalid-proof", ErrMalformed},
		"another server's first": {vectors[0].messages[1], ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			c := client(t, nil)
			if _, err := c.First(); err != nil {
				t.Fatal(err)
			}
			if _, _, err := c.Next([]byte(vectors[0].messages[1])); err != nil {
				t.Fatal(err)
			}
			if _, done, err := c.Next([]byte(tt.message)); !errors.Is(err, tt.want) || done {
				t.Errorf("Next(%q): %v, %v, want %v", tt.message, done, err, tt.want)
			}
			if _, done, err := c.Next([]byte(signature)); err != ErrState || done || c.Salted() != nil {
				t.Errorf("after that: %v, %v", done, err)
			}
		})
	}
}
