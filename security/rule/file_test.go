package rule

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules")
	if _, _, err := ReadFile(path, 4); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	for _, tt := range []struct {
		name, content string
		mode          fs.FileMode
		exposed, err  string
	}{
		{"a file of its owner", "1234", 0o600, "", ""},
		{"a file that others can read", "1234", 0o644, "", ""},
		{"a file that its group can write", "1234", 0o664, "0664", ""},
		{"a file that all can write", "", 0o602, "0602", ""},
		{"a file above the limit", "12345", 0o600, "", "larger than 4 bytes"},
	} {
		if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, tt.mode); err != nil {
			t.Fatal(err)
		}
		data, exposed, err := ReadFile(path, 4)
		if tt.err != "" {
			if err == nil || data != nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %q, %v, want an error %q", tt.name, data, err, tt.err)
			}
			continue
		}
		if runtime.GOOS == "windows" {
			tt.exposed = ""
		}
		if err != nil || string(data) != tt.content || exposed != tt.exposed {
			t.Errorf("%s: %q, exposed %q, %v, want exposed %q", tt.name, data, exposed, err, tt.exposed)
		}
	}
}
