package sallyport

import (
	"sallyport/config"
	"sallyport/security/authn"
)

// Check builds everything that cfg names, as a start would, and opens no port.
// The warnings are about files that would be used all the same.
func Check(cfg *config.Config) (warnings []string, err error) {
	if err := cfg.Check(nil).Err(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg}
	if s.pool, err = newPool(cfg); err != nil {
		return nil, err
	}
	defer s.pool.Close()
	if s.cache, err = authn.NewCache(authn.CacheOptions{}); err != nil {
		return nil, err
	}
	w, err := s.build(cfg, nil)
	for _, x := range w.warnings {
		if !x.exposed { // the modes of files are judged by config.Warnings
			warnings = append(warnings, x.file+": "+x.text)
		}
	}
	return warnings, err
}

// newPool makes the workers that hash passwords.
func newPool(cfg *config.Config) (*authn.Pool, error) {
	h := cfg.Hashing
	return authn.NewPool(authn.PoolOptions{Workers: h.Workers, Memory: int64(h.Workers) * int64(h.Memory), Queue: h.Queue})
}
