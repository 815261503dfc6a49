package main

import (
	"fmt"

	"sallyport"
	"sallyport/config"
)

// checkCmd validates a configuration file.
type checkCmd struct {
	Config string `short:"c" required:"" placeholder:"FILE" help:"Configuration to validate: sallyport.yaml or mosquitto.conf."`
}

// Help shows examples.
func (checkCmd) Help() string {
	return `Examples:
  sallyport check -c sallyport.yaml
  sallyport check -c /etc/mosquitto/mosquitto.conf

Prints every mistake as file:line:column: key: what is wrong, the risks of each
listener, what each TLS listener speaks, and what is open: who gets in without
credentials, which policies allow everything, which are only asked and not obeyed.
Exit 1 if the broker would not start with it.`
}

// Run checks the file and everything it names.
func (c *checkCmd) Run(e *env) error {
	s := serveCmd{Config: c.Config}
	cfg, err := s.load(e)
	if err != nil {
		return err
	}
	refused := 0
	for _, r := range config.Risks(cfg) {
		switch {
		case s.foreign: // load has said it: a foreign file can't accept by name
		case r.Accepted:
			fmt.Fprintf(e.stderr, "risk: %s\n", r.Error())
		default:
			refused++
			fmt.Fprintf(e.stderr, "refused: %s\n", r.Error())
		}
	}
	found, err := sallyport.Check(cfg)
	for _, w := range found.Warnings {
		fmt.Fprintf(e.stderr, "warning: %s\n", w)
	}
	unfit := err == sallyport.ErrFIPS // nothing else is wrong
	if err != nil && !unfit {
		return s.invalid(err)
	}
	if refused > 0 {
		return &failure{what: c.Config, why: fmt.Errorf("%d risks that it does not accept by name", refused)}
	}
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		fmt.Fprintf(e.stdout, "listener %s: %s on %s, authenticators %v, policies %v\n", l.Name, l.Transport, l.Address, l.Authenticators, l.Policies)
	}
	for _, text := range found.TLS {
		fmt.Fprintf(e.stdout, "tls: %s\n", text)
	}
	if st := &cfg.Storage; st.Type == config.StorageDisk {
		fmt.Fprintf(e.stdout, "storage: disk in %s, durability %s, encrypted %t\n", st.Dir, st.Durability, st.Encryption != nil)
	}
	for _, text := range found.Open {
		fmt.Fprintf(e.stdout, "open: %s\n", text)
	}
	for _, text := range found.Shadow {
		fmt.Fprintf(e.stdout, "shadow: %s\n", text)
	}
	if unfit {
		return &failure{what: "a start would be refused", why: err, hint: "the file itself is valid; docs/fips.md describes both ways"}
	}
	fmt.Fprintf(e.stdout, "%s is valid\n", c.Config)
	return nil
}
