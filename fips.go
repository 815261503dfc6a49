package sallyport

import (
	"crypto/fips140"
	"errors"
	"time"

	"sallyport/config"
	"sallyport/security/authn"
)

// ErrFIPS says that the configuration demands Go's FIPS 140-3 module, which is not
// active in this process.
var ErrFIPS = errors.New("fips: true, and Go's FIPS 140-3 module is not active in this process: " +
	"start it with GODEBUG=fips140=on in its environment, or build it with GOFIPS140=v1.0.0 CGO_ENABLED=0 go build ./cmd/sallyport")

// latest is the version of a module that is the toolchain's own code, not a frozen
// copy that a laboratory has seen.
const latest = "latest"

// demandFIPS refuses a process without the module where cfg demands it. The module has
// tested itself when the process began; if that had failed, it would not be here.
func demandFIPS(cfg *config.Config) error {
	if cfg.FIPS && !fips140.Enabled() {
		return ErrFIPS
	}
	return nil
}

// fipsWarnings is what is true of a process with the module and easily overlooked.
func fipsWarnings(cfg *config.Config) []string {
	if !cfg.FIPS || !fips140.Enabled() {
		return nil
	}
	var all []string
	if fips140.Version() == latest {
		all = append(all, "the FIPS 140-3 module of this build is that of the Go toolchain, of no version that was or will be validated: build with GOFIPS140=v1.0.0")
	}
	if fips140.Enforced() {
		all = append(all, "GODEBUG=fips140=only is Go's mode for tests and not supported here: what is no approved service fails in unexpected places; use fips140=on")
	}
	return all
}

// sayFIPS logs which module is active.
func (s *Server) sayFIPS() {
	if !s.cfg.FIPS {
		return
	}
	s.log.Info("FIPS 140-3 module active", "version", fips140.Version(), "enforced", fips140.Enforced())
	for _, text := range fipsWarnings(s.cfg) {
		s.log.Warn(text)
	}
}

// cacheOptions is how credentials are remembered: with FIPS 140-3 not at all, so
// that each is checked as its hash says.
func cacheOptions(cfg *config.Config, ttl time.Duration) authn.CacheOptions {
	if cfg.FIPS {
		return authn.CacheOptions{}
	}
	return authn.CacheOptions{Entries: cfg.Hashing.CacheEntries, TTL: ttl}
}
