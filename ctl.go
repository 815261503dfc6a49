package sallyport

import (
	"fmt"
	"net"
	"os"
	"time"

	"sallyport/config"
	"sallyport/control"
)

// openControl answers on the socket of "sallyport ctl", if cfg names one. It
// runs after run_as, so that the socket is the broker's own user's.
func (s *Server) openControl(cfg *config.Config) error {
	if cfg.Control.Socket == "" {
		return nil
	}
	opened := time.Now()
	o := control.Options{
		Socket: cfg.Control.Socket, UID: uint32(os.Geteuid()), Log: s.log,
		Gate: s.gate, Decisions: &s.decisions, Engine: s.broker,
		Status: func() control.Status { return s.status(opened) },
	}
	if s.read != nil {
		o.Reload = s.ReloadFiles
	}
	if s.disk.Load() != nil {
		o.Store = &keeper{s: s}
	}
	o.Accounts = s.accounts
	c, err := control.Open(o)
	if err != nil {
		return fmt.Errorf("control.socket: %w", err)
	}
	s.control = c
	return nil
}

// closeControl ends what openControl began.
func (s *Server) closeControl() {
	if s.control != nil {
		s.control.Close()
	}
}

// status describes the broker as it is now.
func (s *Server) status(started time.Time) control.Status {
	s.mu.Lock()
	cfg, w := s.cfg, s.world
	s.mu.Unlock()
	m := s.Metrics()
	st := control.Status{
		Version: s.version, Started: started.UTC(), UptimeSeconds: int64(time.Since(started) / time.Second), Configuration: cfg.File,
		Connections: m.Connections.Load(), Sessions: m.Sessions.Load(), Subscriptions: m.Subscriptions.Load(),
		Store: s.storeState(),
	}
	st.Authenticators = authenticatorStates(cfg, w)
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		ls := control.ListenerStatus{
			Name: l.Name, Transport: string(l.Transport), Addresses: texts(s.doors[i].Addrs()),
			Policies: append([]string{}, l.Policies...), Shadow: l.Shadow,
		}
		if srv := w.tls[l.Name]; srv != nil {
			ls.Certificates, ls.Lists, ls.Staples = certificateStates(srv), listStates(srv), stapleStates(srv)
			if l.TLS.ACME != nil {
				ls.ACME = acmeState(s.keepers[l.TLS.ACME.Storage])
			}
		}
		st.Listeners = append(st.Listeners, ls)
	}
	return st
}

// authenticatorStates is how the authenticators do, in the order of the configuration.
func authenticatorStates(cfg *config.Config, w *world) []control.AuthenticatorStatus {
	var list []control.AuthenticatorStatus
	for _, a := range cfg.Authenticators {
		l := w.lanes[a.Name]
		if l == nil {
			continue // an all_of: its members count
		}
		x := l.Stats()
		s := control.AuthenticatorStatus{
			Name: x.Name, Accepted: x.Accepted, Refused: x.Refused, NotMine: x.NotMine, Failed: x.Failed, Late: x.Late, Busy: x.Busy,
			Spared: x.Spared, Waiting: x.Queued, Down: x.Down, Error: x.Error, Seconds: x.Seconds, Took: x.Took,
		}
		for _, b := range x.Bounds {
			s.Bounds = append(s.Bounds, b.Seconds())
		}
		list = append(list, s)
	}
	return list
}

func texts(addrs []net.Addr) []string {
	out := make([]string, 0, len(addrs))
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return out
}

// controlWarnings says what would keep the control socket of cfg from opening.
func controlWarnings(cfg *config.Config) []string {
	if cfg.Control.Socket == "" {
		return nil
	}
	if err := control.CheckFolder(cfg.Control.Socket, -1); err != nil {
		return []string{"control.socket: " + err.Error() + "; a start is refused"}
	}
	return nil
}
