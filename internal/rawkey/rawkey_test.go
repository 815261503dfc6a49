package rawkey

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
)

func TestDecode(t *testing.T) {
	key := make([]byte, Size)
	for i := range key {
		key[i] = byte(0xff - i)
	}
	for name, text := range map[string]string{
		"hexadecimal":           hex.EncodeToString(key),
		"hexadecimal, capitals": strings.ToUpper(hex.EncodeToString(key)),
		"base64":                base64.StdEncoding.EncodeToString(key),
		"base64 without end":    base64.RawStdEncoding.EncodeToString(key),
		"base64 of URLs":        base64.URLEncoding.EncodeToString(key),
		"with white space":      " \t" + hex.EncodeToString(key) + "\r\n",
	} {
		if got, err := Decode([]byte(text)); err != nil || !bytes.Equal(got, key) {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}
}

// TestNoPartOfAKeyIsAKey: whatever is left of a key that was cut off is refused,
// also where it has the length of another form.
func TestNoPartOfAKeyIsAKey(t *testing.T) {
	key := bytes.Repeat([]byte{0xac, 0x04}, Size/2)
	for _, text := range []string{hex.EncodeToString(key), base64.StdEncoding.EncodeToString(key)} {
		for n := range len(text) - 1 { // without its last sign base64 is whole: only padding is lost
			if _, err := Decode([]byte(text[:n])); err == nil {
				t.Errorf("%d of %d signs pass for a key", n, len(text))
			}
		}
	}
	for _, bad := range []string{"", "key", strings.Repeat("g", 64), strings.Repeat("a", 66), strings.Repeat("+", 44)} {
		if _, err := Decode([]byte(bad)); err == nil || bad != "" && strings.Contains(err.Error(), "\""+bad) {
			t.Errorf("Decode(%q): %v", bad, err)
		}
	}
}
