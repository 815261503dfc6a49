package config

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"sallyport/internal/rawkey"
)

// aKey is what no message may hold, in any of its forms.
var aKey = bytes.Repeat([]byte{0xc0, 0xff, 0xee, 0x42}, 8)

// shell is the command that runs a line; it skips where there is no such shell.
func shell(t *testing.T, line string) []string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("no /bin/sh")
	}
	return []string{"/bin/sh", "-c", line}
}

// keyFile writes a file that holds text.
func keyFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAKeyIsReadFromEachPlaceInEachForm(t *testing.T) {
	digits := hex.EncodeToString(aKey)
	for name, text := range map[string]string{
		"digits": digits, "capital digits": strings.ToUpper(digits), "white space around it": " \t" + digits + "\r\n\n",
		"base64":                 base64.StdEncoding.EncodeToString(aKey) + "\n",
		"base64 without padding": base64.RawStdEncoding.EncodeToString(aKey),
		"base64 of URLs":         base64.URLEncoding.EncodeToString(aKey),
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("STORE_KEY", text)
			path := keyFile(t, text)
			places := []Secret{{File: path}, {Env: "STORE_KEY"}}
			if runtime.GOOS != "windows" {
				places = append(places, Secret{Command: []string{"/bin/cat", path}})
			}
			for _, s := range places {
				if key, err := (&Encryption{Key: s}).ReadKey(t.Context()); err != nil || !bytes.Equal(key, aKey) {
					t.Errorf("%+v gives %x, %v, want %x", s, key, err, aKey)
				}
			}
		})
	}
}

func TestAKeyThatIsNoneIsRefusedWithoutItsText(t *testing.T) {
	digits := hex.EncodeToString(aKey)
	for name, tt := range map[string]struct{ text, want string }{
		"a digit short":      {digits[:63], "32 bytes"},
		"a byte long":        {digits + "c0", "32 bytes"},
		"31 bytes in base64": {base64.StdEncoding.EncodeToString(aKey[:31]), "32 bytes"},
		"a pass phrase":      {"correct horse battery staple", "32 bytes"},
		"two keys":           {digits + "\n" + digits, "32 bytes"},
		"nothing":            {" \n", "is empty"},
		"too much":           {strings.Repeat(digits, 65), "longer than 4096 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("STORE_KEY", tt.text)
			path := keyFile(t, tt.text)
			places := []Secret{{File: path}, {Env: "STORE_KEY"}}
			if runtime.GOOS != "windows" {
				places = append(places, Secret{Command: []string{"/bin/cat", path}})
			}
			for _, s := range places {
				key, err := (&Encryption{Key: s}).ReadKey(t.Context())
				if err == nil || key != nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%+v gives %x, %v, want a refusal that says %q", s, key, err, tt.want)
				} else if strings.Contains(err.Error(), "c0ffee") || strings.Contains(err.Error(), "horse") || strings.Contains(err.Error(), "wP/uQ") {
					t.Errorf("%+v: the message holds the key: %v", s, err)
				}
			}
		})
	}
}

func TestASecretThatCannotBeReadSaysWhereItWasSought(t *testing.T) {
	for name, tt := range map[string]struct {
		s    Secret
		want string
	}{
		"no way":                {Secret{}, "needs one of"},
		"two ways":              {Secret{File: "a", Env: "B"}, "needs one of"},
		"no such file":          {Secret{File: "/nowhere/key"}, "/nowhere/key: there is no such file"},
		"a folder":              {Secret{File: t.TempDir()}, "is a folder"},
		"no such variable":      {Secret{Env: "SALLYPORT_NO_SUCH"}, "environment variable SALLYPORT_NO_SUCH: is not set"},
		"no such program":       {Secret{Command: []string{filepath.Join(t.TempDir(), "none")}}, "can't be run"},
		"a program that fails":  {Secret{Command: shell(t, "echo c0ffee; echo c0ffee >&2; exit 3")}, "command /bin/sh: failed: exit status 3"},
		"a program without end": {Secret{Command: shell(t, "echo c0ffee; exec sleep 60")}, "did not end in time"},
		"endless output":        {Secret{Command: shell(t, "while :; do echo c0ffee; done")}, "longer than 4096 bytes"},
		"a child that stays":    {Secret{Command: shell(t, "sleep 3 & echo c0ffee")}, "goes on"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			if name == "a program without end" {
				ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
			}
			defer cancel()
			text, err := tt.s.Read(ctx)
			if err == nil || text != nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "c0ffee") {
				t.Errorf("Read = %q, %v, want an error that says %q and no secret", text, err, tt.want)
			}
		})
	}
}

func TestACommandGetsNothingFromTheEnvironment(t *testing.T) {
	t.Setenv("SALLYPORT_PRIVATE", "yes")
	text, err := Secret{Command: shell(t, "echo \"got <$SALLYPORT_PRIVATE> <$HOME> <$1>\"; cat")}.Read(t.Context())
	if err != nil || string(text) != "got <> <> <>" {
		t.Errorf("Read = %q, %v, want an empty environment and an empty input", text, err)
	}
}

// storageText is a configuration with these lines under storage.
func storageText(lines string) string {
	return "listeners: [{address: \"127.0.0.1:1883\"}]\nstorage:\n  type: disk\n  dir: store\n" + lines
}

func TestOnlyAConfigurationOfOnesOwnNamesACommand(t *testing.T) {
	shell(t, "") // skips where files have no modes
	path := filepath.Join(t.TempDir(), "sallyport.yaml")
	for _, tt := range []struct {
		name, program string
		mode          os.FileMode
		want          string
	}{
		{"a private file", "/bin/cat", 0o600, ""},
		{"a file that others read", "/bin/cat", 0o644, ""},
		{"a file that a group writes", "/bin/cat", 0o664, "has mode 0664"},
		{"a file that everybody writes", "/bin/cat", 0o602, "has mode 0602"},
		{"a program that is sought", "cat", 0o600, "by its absolute path"},
		{"a program that is not there", "/bin/nowhere", 0o600, "is no program"},
		{"a program that is none", "/etc/passwd", 0o600, "is no program"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(storageText("  encryption: {key: {command: ["+tt.program+"]}}\n")), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			_, err := Load(path)
			if tt.want == "" && err != nil {
				t.Errorf("refused: %v", err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), "storage.encryption.key.command: ") || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Load: %v, want a refusal that says %q", err, tt.want)
			}
		})
	}
}

const keyHex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff"

func TestDecodeKey(t *testing.T) {
	want, err := hex.DecodeString(keyHex)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		keyHex, "\r\n\t " + strings.ToUpper(keyHex) + " \n",
		base64.StdEncoding.EncodeToString(want) + "\n", base64.RawStdEncoding.EncodeToString(want),
	} {
		if got, err := DecodeKey([]byte(text)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q: %x, %v", text, got, err)
		}
	}
	for _, text := range []string{"", keyHex[1:], keyHex + "0", "g" + keyHex[1:], base64.StdEncoding.EncodeToString(want[1:]), base64.StdEncoding.EncodeToString(append(want, 1))} {
		got, err := DecodeKey([]byte(text))
		if err == nil {
			t.Errorf("%q: %x", text, got)
		} else if text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%v holds the text", err)
		}
	}
}

func FuzzDecodeKey(f *testing.F) {
	f.Add([]byte(keyHex))
	f.Add([]byte(base64.StdEncoding.EncodeToString(make([]byte, rawkey.Size))))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, err := DecodeKey(text)
		if err != nil {
			if key != nil {
				t.Errorf("%q: %x with %v", text, key, err)
			}
			return
		}
		for _, again := range []string{hex.EncodeToString(key), base64.StdEncoding.EncodeToString(key)} {
			if got, err := DecodeKey([]byte(again)); err != nil || !bytes.Equal(got, key) {
				t.Errorf("%q, then %q: %v", text, again, err)
			}
		}
	})
}
