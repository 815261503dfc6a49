package config

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestTheFolderOfAStore(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("folders have no modes there")
	}
	mkdir := func(mode os.FileMode) func(dir string) error {
		return func(dir string) error {
			if err := os.Mkdir(dir, mode); err != nil {
				return err
			}
			return os.Chmod(dir, mode)
		}
	}
	for _, tt := range []struct {
		name    string
		make    func(dir string) error
		want    string // why it is refused
		warning string
		strict  string // why it is refused with strict_files
	}{
		{"it need not be there", func(string) error { return nil }, "", "", ""},
		{"a private one", mkdir(0o700), "", "", ""},
		{"one that others can list", mkdir(0o755), "", "mode 0755; chmod 700", "mode 0755; chmod 700"},
		{"one that others can walk through", mkdir(0o711), "", "mode 0711", "mode 0711"},
		{"one that a group can write to", mkdir(0o770), "others can write", "", "others can write"},
		{"one that everybody can write to", mkdir(0o777), "others can write", "", "others can write"},
		{"a link to a folder", func(dir string) error { return os.Symlink(t.TempDir(), dir) }, "symbolic link", "", "symbolic link"},
		{"a link to nothing", func(dir string) error { return os.Symlink("/nowhere", dir) }, "symbolic link", "", "symbolic link"},
		{"a file", func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, "is a file", "", "is a file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			home := t.TempDir()
			if err := tt.make(filepath.Join(home, "store")); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(home, "sallyport.yaml")
			for text, want := range map[string]string{storageText(""): tt.want, storageText("") + "strict_files: true\n": tt.strict} {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				c, err := Load(path)
				switch {
				case want == "" && err != nil:
					t.Errorf("refused: %v", err)
				case want != "" && (err == nil || !strings.Contains(err.Error(), ":4:8: storage.dir: ") || !strings.Contains(err.Error(), want)):
					t.Errorf("Load: %v, want a refusal of storage.dir that says %q", err, want)
				}
				if err != nil || strings.Contains(text, "strict") {
					continue
				}
				if got := c.Warnings().Error(); strings.Contains(got, "storage.dir") != (tt.warning != "") || !strings.Contains(got, tt.warning) {
					t.Errorf("warnings %q, want %q about storage.dir", got, tt.warning)
				}
			}
		})
	}
}

func TestAKeyFileThatOthersReadIsTold(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no modes there")
	}
	home := t.TempDir()
	key, path := filepath.Join(home, "store.key"), filepath.Join(home, "sallyport.yaml")
	text := storageText("  encryption: {key: {file: store.key}}\n")
	for _, err := range []error{os.WriteFile(key, nil, 0o640), os.Chmod(key, 0o640), os.WriteFile(path, []byte(text), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Warnings().Error(); !strings.Contains(got, "storage.encryption.key.file: ") || !strings.Contains(got, "0640") {
		t.Errorf("warnings %q, want one about the key", got)
	}
	if err := os.WriteFile(path, []byte(text+"strict_files: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "storage.encryption.key.file: ") {
		t.Errorf("Load with strict_files: %v, want a refusal of the key", err)
	}
	for _, file := range c.Files() {
		if file == key {
			t.Error("a reload reads the key of the store")
		}
	}
}
