package sallyport

import (
	"errors"
	"testing"
	"time"

	"sallyport/config"
)

// TestNothingIsRememberedWithFIPS: every right password is checked by its own hash.
func TestNothingIsRememberedWithFIPS(t *testing.T) {
	cfg := config.Defaults()
	if o := cacheOptions(cfg, cfg.Hashing.CacheTTL); o.Entries != 10_000 || o.TTL != 5*time.Minute {
		t.Errorf("without: %+v", o)
	}
	cfg.FIPS = true
	if o := cacheOptions(cfg, cfg.Hashing.CacheTTL); o.Entries != 0 || o.TTL != 0 {
		t.Errorf("with: %+v", o)
	}
}

// TestAStartWithoutTheModuleIsRefused: this process has none.
func TestAStartWithoutTheModuleIsRefused(t *testing.T) {
	cfg := config.Defaults()
	cfg.FIPS = true
	cfg.Listeners = []config.Listener{{Name: "door", Transport: config.TCP, Address: "127.0.0.1:0", V3RefusalCode: 5}}
	if _, err := New(cfg, Options{}); !errors.Is(err, ErrFIPS) {
		t.Errorf("New: %v, want %v", err, ErrFIPS)
	}
	cfg.FIPS = false
	if err := demandFIPS(cfg); err != nil {
		t.Errorf("without the demand: %v", err)
	}
}
