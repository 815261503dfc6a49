package script

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// bubbleWorld uses the virtual time of Play.
type bubbleWorld struct{ *fakeWorld }

func (bubbleWorld) Settle()               { synctest.Wait() }
func (bubbleWorld) Sleep(d time.Duration) { time.Sleep(d) }

func TestPlayRunsEveryCaseInVirtualTime(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.txt": "== one\nset max_qos=1\nc1 connects v5\nsleep 100h\n== two\nc1 connects v5\n",
		"b.txt": "== three\nc1 connects v5\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	worlds, withSettings := 0, 0
	Play(t, dir, func(t *testing.T, settings map[string]string) World {
		start := time.Now()
		worlds++
		if settings["max_qos"] == "1" {
			withSettings++
			t.Cleanup(func() {
				if slept := time.Since(start); slept != 100*time.Hour {
					t.Errorf("the script slept %v, want 100h", slept)
				}
			})
		}
		return bubbleWorld{&fakeWorld{answer: broker5}}
	})
	if worlds != 3 || withSettings != 1 {
		t.Errorf("%d worlds, %d with settings, want 3 and 1", worlds, withSettings)
	}
}
