package sallyport

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/config"
)

// TestAJudgeLeavesNothingBehind: not when it is closed, and not when there is none.
func TestAJudgeLeavesNothingBehind(t *testing.T) {
	x := startTended(t, time.Now().Add(90*24*time.Hour), time.Hour)
	path := filepath.Join(x.dir, "sallyport.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	asks := strings.Replace(string(text), "crl: clients.crl,", "crl: clients.crl, ocsp: hard_fail, ocsp_stapling: {},", 1)
	broken := strings.Replace(asks, "{name: all, type: allow_all}", "{name: all, type: permissions, file: sallyport.yaml}", 1)
	if asks == string(text) || broken == asks {
		t.Fatalf("the configuration is not what it was:\n%s", text)
	}
	for name, text := range map[string]string{"good": asks, "broken": broken} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) { // a goroutine that goes on fails it
			j, err := NewJudge(cfg)
			if (err == nil) != (name == "good") {
				t.Errorf("%s: %v", name, err)
			}
			if err == nil {
				j.Close()
			}
		})
	}
}
