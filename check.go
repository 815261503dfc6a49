package sallyport

import (
	"errors"
	"log/slog"

	"sallyport/config"
	"sallyport/security/authn"
)

// Check builds everything that cfg names, as a start would, and opens no port.
func Check(cfg *config.Config) error {
	if err := cfg.Check(nil).Err(); err != nil {
		return err
	}
	s := &Server{cfg: cfg, log: slog.New(slog.DiscardHandler)}
	var err error
	s.pool, err = authn.NewPool(authn.PoolOptions{
		Workers: cfg.Hashing.Workers, Memory: int64(cfg.Hashing.Workers) * int64(cfg.Hashing.Memory), Queue: cfg.Hashing.Queue,
	})
	if err != nil {
		return err
	}
	defer s.pool.Close()
	s.cache, err = authn.NewCache(authn.CacheOptions{})
	if err != nil {
		return err
	}
	_, err = s.build(cfg, nil)
	return errors.Join(err)
}
