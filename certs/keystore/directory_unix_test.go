//go:build unix

package keystore

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestAPipeInTheDirectorysPlaceHangsNobody: it is refused at once.
func TestAPipeInTheDirectorysPlaceHangsNobody(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := (DirectorySource{Path: pipe, Strict: true}).Load(); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("a directory: %v", err)
	}
	if _, _, err := (TrustSource{Path: pipe}).Load(); err == nil {
		t.Error("a trust store: loaded")
	}
}
