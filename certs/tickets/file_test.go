package tickets

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/internal/regular"
)

func put(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "tickets.key")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// inHex is the hexadecimal form of the nth test key.
func inHex(n byte) string { return hex.EncodeToString(fixed(n).secrets[0].secret[:]) }

func TestAFleetsFile(t *testing.T) {
	s := fixed(2).secrets[0].secret
	path := put(t, "# the fleet's\r\n\r\n "+inHex(1)+"\r\n"+base64.StdEncoding.EncodeToString(s[:])+"\n#"+inHex(4)+"\n"+strings.ToUpper(inHex(3)))
	r, warnings, err := Load(path, time.Now())
	if err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	if got, want := r.IDs(), fixed(1, 2, 3).IDs(); !slices.Equal(got, want) {
		t.Errorf("IDs = %v, want %v", got, want)
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	line := inHex(1) + "\n"
	var nine strings.Builder
	for n := range byte(MaxKeys + 1) {
		nine.WriteString(inHex(n+1) + "\n")
	}
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "no key"},
		{"comments alone", "# " + line, "no key"},
		{"a key that is cut off", line + inHex(2)[:43], "line 2: the key must be 32 bytes"},
		{"a key with a sign too many", "0" + line, "line 1: the key must be 32 bytes"},
		{"a key with a word behind it", inHex(1) + " # old\n", "line 1: the key must be 32 bytes"},
		{"garbage", "\x00\xff\xfe" + line, "line 1: the key must be 32 bytes"},
		{"a private key", "-----BEGIN PRIVATE KEY-----\n", "line 1: the key must be 32 bytes"},
		{"the same key twice", line + "\n" + strings.ToUpper(line), "line 3 repeats the key of line 1"},
		{"zeros", strings.Repeat("0", 64), "line 1: the key is one byte over and over"},
		{"nine keys", nine.String(), "line 9: more than 8 keys"},
		{"much", strings.Repeat("#", maxFile) + "\n" + line, "larger than 16 KiB"},
	} {
		path := put(t, tt.text)
		r, _, err := Load(path, time.Now())
		if err == nil || r != nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
			continue
		}
		if strings.Contains(err.Error(), inHex(1)[2:20]) || strings.Contains(err.Error(), inHex(2)[2:20]) {
			t.Errorf("%s: the error holds a key: %v", tt.name, err)
		}
		if _, err := Advance(path); err == nil {
			t.Errorf("%s: rotated", tt.name)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != tt.text {
			t.Errorf("%s: the refused file was changed: %v", tt.name, err)
		}
	}
	if _, _, err := Load(filepath.Join(t.TempDir(), "none"), time.Now()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	dir := t.TempDir()
	if _, _, err := Load(dir, time.Now()); !errors.Is(err, regular.ErrKind) && runtime.GOOS != "windows" {
		t.Errorf("a folder: %v", err)
	}
	if _, err := Advance(dir); err == nil {
		t.Error("a folder was rotated")
	}
}

func TestFileWarnings(t *testing.T) {
	path := put(t, inHex(1))
	if runtime.GOOS != "windows" { // whose modes say nothing
		for _, mode := range []fs.FileMode{0o640, 0o604, 0o620} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			_, warnings, err := Load(path, time.Now())
			if err != nil || len(warnings) != 1 || warnings[0].File != path || !warnings[0].Exposed || !strings.Contains(warnings[0].Text, fmt.Sprintf("mode %04o", mode)) {
				t.Errorf("mode %04o: %v, %v", mode, warnings, err)
			}
		}
		if err := os.Chmod(path, 0o602); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Load(path, time.Now()); err == nil || !strings.Contains(err.Error(), "lets anybody change it") {
			t.Errorf("a file that anybody can write: %v", err)
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, warnings, err := Load(path, time.Now().Add(8*24*time.Hour))
	if err != nil || len(warnings) != 1 || warnings[0].Exposed || !strings.Contains(warnings[0].Text, "have not been changed for 8 days") {
		t.Errorf("an old file: %v, %v", warnings, err)
	}
}

// TestAdvance: each key waits before it encrypts, encrypts once, and is kept for
// six turns more.
func TestAdvance(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tickets.key")
	var before []string
	seen := make(map[string]int)
	for turn := range 20 {
		ids, err := Advance(path)
		if err != nil {
			t.Fatal(err)
		}
		r, warnings, err := Load(path, time.Now())
		if err != nil || len(warnings) > 0 || !slices.Equal(r.IDs(), ids) {
			t.Fatalf("turn %d: %v, %v, %v", turn, warnings, err, ids)
		}
		if want := min(turn+2, MaxKeys); len(ids) != want {
			t.Errorf("turn %d: %d keys, want %d", turn, len(ids), want)
		}
		last := len(ids) - 1
		if slices.Contains(before, ids[last]) {
			t.Errorf("turn %d: what waits is not new", turn)
		}
		if turn > 0 {
			if ids[0] != before[len(before)-1] {
				t.Errorf("turn %d: %s encrypts, but %s has waited", turn, ids[0], before[len(before)-1])
			}
			if kept := min(len(before)-1, MaxKeys-2); !slices.Equal(ids[1:1+kept], before[:kept]) {
				t.Errorf("turn %d: %v after %v", turn, ids, before)
			}
		}
		for _, id := range ids {
			seen[id]++
		}
		before = ids
	}
	for id, turns := range seen {
		if turns > MaxKeys {
			t.Errorf("%s stayed for %d turns", id, turns)
		}
	}
}

func TestAdvanceOfAFileByHand(t *testing.T) {
	path := put(t, "# mine\n"+inHex(1)+"\n")
	ids, err := Advance(path)
	if err != nil || len(ids) != 2 || ids[0] != fixed(1).IDs()[0] {
		t.Errorf("one key alone must go on to encrypt, since none has waited: %v, %v", ids, err)
	}
}

// TestAFleetNeverMeetsATicketItCantDecrypt: of a fleet whose brokers read each
// new file at any time before the next, every one knows the key of every other.
func TestAFleetNeverMeetsATicketItCantDecrypt(t *testing.T) {
	present := next(nil)
	for turn := range 12 {
		following := next(present)
		if !slices.Contains(present, following[0]) || !slices.Contains(following, present[0]) {
			t.Fatalf("turn %d: neighbours in time can't decrypt each other's tickets", turn)
		}
		present = following
	}
}

func TestAdvanceKeepsModeOwnerAndLink(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes of Windows say nothing")
	}
	path := filepath.Join(t.TempDir(), "tickets.key")
	if _, err := Advance(path); err != nil {
		t.Fatal(err)
	}
	mode := func() fs.FileMode {
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode()
	}
	if got := mode(); got != 0o600 {
		t.Errorf("a new file has mode %v", got)
	}
	for _, open := range []fs.FileMode{0o644, 0o602} {
		if err := os.Chmod(path, open); err != nil {
			t.Fatal(err)
		}
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Advance(path); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("mode %04o", open)) {
			t.Errorf("mode %v: %v", open, err)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
			t.Errorf("mode %v: the refused file was changed: %v", open, err)
		}
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Advance(link); err != nil {
		t.Fatal(err)
	}
	if got := mode(); got != 0o640 {
		t.Errorf("after the rotation it has mode %v, want 0640", got)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v", err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("beside it: %v, %v", left, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(inHex(1) + "\n# c\n" + inHex(2)))
	f.Add(text(next(next(nil))))
	f.Add([]byte("\xef\xbb\xbf\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		secrets, err := parse(data)
		if err != nil {
			if secrets != nil {
				t.Error("secrets and an error")
			}
			return
		}
		if len(secrets) == 0 || len(secrets) > MaxKeys {
			t.Fatalf("%d secrets", len(secrets))
		}
		again, err := parse(text(secrets))
		if err != nil || !slices.Equal(again, secrets) {
			t.Errorf("what is written of %d secrets reads as %d: %v", len(secrets), len(again), err)
		}
		if _, err := parse(text(next(secrets))); err != nil {
			t.Errorf("the file that follows: %v", err)
		}
	})
}
