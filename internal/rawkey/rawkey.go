// Package rawkey reads keys of 32 bytes as people write them.
package rawkey

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
)

// Size is the length of a key in bytes.
const Size = 32

// Decode reads a key of [Size] bytes that is written as 64 hexadecimal digits or in
// base64, with white space around it. No error holds any of it.
func Decode(text []byte) ([]byte, error) {
	text = bytes.TrimSpace(text)
	if isHex(text) {
		// 43 digits that are left of 64 could pass for base64; and of keys in base64
		// one in 10^19 has none but hexadecimal digits.
		if key, err := hex.DecodeString(string(text)); err == nil && len(key) == Size {
			return key, nil
		}
		return nil, errForm()
	}
	for _, form := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if key, err := form.Strict().DecodeString(string(text)); err == nil && len(key) == Size {
			return key, nil
		}
	}
	return nil, errForm()
}

func errForm() error {
	return fmt.Errorf("the key must be %d bytes, written as %d hexadecimal digits or in base64", Size, hex.EncodedLen(Size))
}

func isHex(text []byte) bool {
	return len(bytes.Trim(text, "0123456789abcdefABCDEF")) == 0
}
