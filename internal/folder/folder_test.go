package folder

import (
	"path/filepath"
	"runtime"
	"testing"
)

func TestSync(t *testing.T) {
	dir := t.TempDir()
	if err := Sync(dir); err != nil {
		t.Error(err)
	}
	if err := Sync(filepath.Join(dir, "none")); (err == nil) != (runtime.GOOS == "windows") {
		t.Errorf("a folder that is not there: %v", err)
	}
}
