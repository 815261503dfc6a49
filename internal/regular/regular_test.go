package regular

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, link} {
		f, info, err := Open(p)
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		if info.Size() != 7 {
			t.Errorf("%s has %d bytes, want 7", p, info.Size())
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	for _, p := range []string{dir, os.DevNull} {
		if _, _, err := Open(p); !errors.Is(err, ErrKind) {
			t.Errorf("%s: %v, want %v", p, err, ErrKind)
		}
	}
}
