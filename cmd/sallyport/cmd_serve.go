package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"sallyport"
	"sallyport/config"
	"sallyport/config/mosquitto"
)

// serveCmd runs a broker from a configuration file.
type serveCmd struct {
	Config  string `short:"c" required:"" placeholder:"FILE" help:"Configuration: sallyport.yaml or mosquitto.conf, recognised by content."`
	Port    int    `short:"p" placeholder:"PORT" help:"Port of the default listener (mosquitto.conf)."`
	Verbose bool   `short:"v" help:"Log everything."`

	foreign bool // load found a mosquitto.conf
}

// Help shows examples.
func (serveCmd) Help() string {
	return `Examples:
  sallyport serve -c sallyport.yaml
  sallyport serve -c /etc/mosquitto/mosquitto.conf -v

Configuration, passwords, permissions and certificates are read again when they
change (a mosquitto.conf and its files: on SIGHUP only); a mistake in any of them
leaves all as it was. SIGTERM and SIGINT stop in order.`
}

// Run serves until the process is told to stop.
func (c *serveCmd) Run(e *env) error {
	cfg, err := c.load(e)
	if err != nil {
		return err
	}
	return serve(e, cfg, func() (*config.Config, error) { return c.load(e) }, func() {})
}

// load reads the configuration, whichever format it has, and says its warnings.
func (c *serveCmd) load(e *env) (cfg *config.Config, err error) {
	data, err := config.ReadFile(c.Config)
	if err != nil {
		return nil, &failure{what: "read configuration", why: err}
	}
	if c.foreign = mosquitto.Recognise(data); c.foreign {
		cfg, warnings, err := mosquitto.Read(c.Config, mosquitto.Options{Port: c.Port, Verbose: c.Verbose})
		for _, w := range warnings {
			fmt.Fprintf(e.stderr, "warning: %s\n", w)
		}
		if err != nil {
			return nil, c.invalid(err)
		}
		return cfg, nil
	}
	if c.Port != 0 {
		return nil, usageError("a sallyport.yaml names its ports itself", "-p is for a mosquitto.conf")
	}
	if cfg, err = config.Load(c.Config); err != nil {
		return nil, c.invalid(err)
	}
	for _, w := range cfg.Warnings() {
		fmt.Fprintf(e.stderr, "warning: %s\n", w.Error())
	}
	if c.Verbose {
		cfg.Log.Level = config.LogDebug
	}
	return cfg, nil
}

// invalid is invalid with the page that describes the format of the file.
func (c *serveCmd) invalid(err error) error {
	f := invalid(c.Config, err)
	if c.foreign {
		f.hint = "docs/mosquitto.md lists the options that are understood"
	}
	return f
}

// invalid shows every mistake of a configuration on a line of its own.
func invalid(path string, err error) *failure {
	return &failure{what: path + " is not valid", why: fmt.Errorf("\n%w", err), hint: "every key is described in docs/configuration.md"}
}

// serve runs cfg until the context ends; read gives the configuration again on
// SIGHUP, and bound is called once the ports are the broker's.
func serve(e *env, cfg *config.Config, read func() (*config.Config, error), bound func()) error {
	// Before anybody can see that the broker listens: until then SIGHUP ends the process.
	reload := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	tuneMemory(ctx)
	onHangup(ctx, func() {
		select {
		case reload <- struct{}{}:
		default: // one is waiting already
		}
	})
	workers := cfg.Hashing.AtOnce(runtime.GOMAXPROCS(0))
	s, err := sallyport.New(cfg, sallyport.Options{Version: "sallyport version " + readVersion().Version, Read: read,
		Hashing: spareProcessors(workers), Hashed: collectHashes(workers)})
	if err != nil {
		f := &failure{what: "start", why: err}
		switch {
		case errors.Is(err, sallyport.ErrRisk):
			f.hint = "name the risk under accept_risk of that listener if you mean it, or secure the listener"
		case errors.Is(err, sallyport.ErrFIPS):
			f.hint = "docs/fips.md describes both, and what each of them is worth"
		case errors.Is(err, sallyport.ErrStoreInUse):
			f.hint = "stop the other broker, or give this one a storage.dir of its own"
		case errors.Is(err, syscall.EADDRINUSE):
			f.hint = "another program, perhaps another broker, has that port; stop it or change address"
		}
		return f
	}
	bound()
	if err := s.Run(ctx, reload); err != nil {
		return &failure{what: "serve", why: err}
	}
	return nil
}

// onHangup calls f at each SIGHUP until ctx ends.
func onHangup(ctx context.Context, f func()) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, hangup)
	go func() {
		defer signal.Stop(hup)
		for {
			select {
			case <-hup:
				f()
			case <-ctx.Done():
				return
			}
		}
	}()
}
