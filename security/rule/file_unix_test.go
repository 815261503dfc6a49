//go:build unix

package rule

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestReadFileRefusesWhatIsNoFileAndWaitsForNobody(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skipf("no pipe: %v", err)
	}
	for _, path := range []string{pipe, filepath.Dir(pipe), "/dev/null"} {
		done := make(chan error, 1)
		go func() {
			_, _, err := ReadFile(path, 4)
			done <- err
		}()
		select {
		case err := <-done:
			if err == nil || !strings.Contains(err.Error(), "not a regular file") {
				t.Errorf("%s: %v, want that it is not a regular file", path, err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: it waits for a writer", path)
		}
	}
}
