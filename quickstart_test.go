package sallyport_test

import (
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"sallyport"
	"sallyport/config"
)

func TestQuickstartListensForCtlInItsFolder(t *testing.T) {
	dir := t.TempDir()
	deep := filepath.Join(dir, strings.Repeat("d", config.MaxSocketPath))
	near := filepath.Join(dir, "control.sock")
	if runtime.GOOS == "windows" {
		near = "" // no permissions would keep others out
	}
	for dir, want := range map[string]string{dir: near, deep: ""} {
		q, err := sallyport.PrepareQuickstart(dir)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := q.Load()
		if err != nil {
			t.Fatalf("the configuration in %s: %v", dir, err)
		}
		if cfg.Control.Socket != want || cfg.Reload != config.ReloadAuto {
			t.Errorf("in %s the socket is %q and reload %s, want %q and auto", dir, cfg.Control.Socket, cfg.Reload, want)
		}
		if st := cfg.Storage; st.Type != config.StorageDisk || st.Dir != filepath.Join(dir, "store") || st.Durability != config.DurabilityAlways {
			t.Errorf("in %s the storage is %+v, want a disk there", dir, st)
		}
		found, err := sallyport.Check(cfg)
		if err != nil || len(found.Open) != 0 || len(found.Shadow) != 0 || len(found.Warnings) != 0 {
			t.Errorf("check in %s: %+v, %v; want nothing", dir, found, err)
		}
	}
}
