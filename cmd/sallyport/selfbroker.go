package main

import (
	"io"
	"log/slog"
	"time"

	"sallyport"
	"sallyport/bench"
	"sallyport/config"
)

// newSelfBroker returns what bench --self starts: a broker on loopback that
// lets everybody in and allows everything, so that the figures are the engine's.
func newSelfBroker() bench.SelfBroker {
	return func() (string, func(), error) {
		cfg := config.Defaults()
		var l config.Listener
		l.SetDefaults()
		l.Name, l.Address = "bench", "127.0.0.1:0"
		l.Authenticators, l.Policies = []string{"anonymous"}, []string{"all"}
		cfg.Listeners = []config.Listener{l}
		cfg.Authenticators = []config.Authenticator{{Name: "anonymous", Type: config.Anonymous}}
		cfg.Policies = []config.Policy{{Name: "all", Type: config.AllowAll}}
		cfg.Limits.SessionsPerPrincipal = 0
		cfg.SysInterval = 0
		cfg.Limits.ConnectTimeout = time.Minute
		log := slog.New(slog.NewTextHandler(io.Discard, nil))
		s, err := sallyport.New(cfg, sallyport.Options{Log: log})
		if err != nil {
			return "", nil, err
		}
		if err := s.Start(); err != nil {
			return "", nil, err
		}
		stop := func() { _ = s.Stop() } // the benchmark is over: its result stands
		return s.Addrs("bench")[0].String(), stop, nil
	}
}
