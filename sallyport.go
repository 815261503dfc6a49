// Package sallyport is the assembly: the only place where the parts of the
// broker meet. It turns a configuration into authenticators, policies, doors
// and an engine, starts them, reloads them as one, and stops them in order.
// It is also the API for embedding.
//
// A world is what a configuration means at one time: chains, policies and key
// material. A reload builds the new world beside the old one, and only when
// all of it is good puts it in the old one's place; live sessions are then
// judged anew. Files are watched by asking the file system each second, not by
// having it tell: see watch.
package sallyport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/certs"
	"sallyport/certs/acme"
	"sallyport/config"
	"sallyport/control"
	"sallyport/internal/turns"
	"sallyport/listener"
	"sallyport/metrics"
	"sallyport/security"
	"sallyport/security/authn"
	"sallyport/security/authn/accounts"
	"sallyport/store"
	"sallyport/store/disk"
)

// Server is a whole broker.
type Server struct {
	log     *slog.Logger
	audit   audit.Log
	logs    *logs
	broker  *broker.Broker
	gate    *security.Gate
	pool    *authn.Pool
	authn   *authn.Service
	right   *authn.Cache // credentials that were right a while ago
	wrong   *authn.Cache // that were wrong a moment ago
	hosts   *authn.Hosts
	doors   []*listener.Listener
	turns   *turns.Turns             // of what is computed for newcomers at all doors
	doorTLS map[string]*certs.Server // by listener, as long as the doors are open
	loops   *broker.Loops            // nil: a goroutine for each connection
	keepers map[string]*acme.Keeper  // of certificates, by their folders; made at the start only
	// challenges are ports for http-01, by those folders, until their keepers have them.
	challenges map[string]net.Listener
	hasPID     bool // New has written pid_file: it is not another broker's

	version       string
	decisions     security.Decisions
	control       *control.Server            // nil without control.socket
	storeOptions  disk.Options               // of storage.type disk
	disk          atomic.Pointer[disk.Store] // the present one; nil: state is in memory
	storeKeys     storeKeys                  // those after that of storeOptions
	strangers     strangers                  // what SCRAM tells those who don't exist
	tending       chan struct{}              // closed when nobody is to open the store again
	accounts      *accounts.Database         // nil: state is in memory
	accountKeeper *accountKeeper             // of accounts
	ctx           context.Context            // ends with Stop
	end           context.CancelFunc
	idle          bool // nothing is asked of the network: for checks

	read    func() (*config.Config, error)
	ticks   <-chan time.Time
	reading sync.Mutex // one ReloadFiles at a time; taken before mu
	watch   watch

	serving sync.WaitGroup

	// ruling is held while the gate's rules are swapped; no other is taken under it.
	ruling sync.Mutex
	ruled  *security.Ruleset // those of the gate; guarded by ruling

	// changing serialises what changes the fields below; it is taken after reading
	// and before mu, and may be held for as long as a reload takes. Whoever changes
	// them holds mu too, which is all that reading them needs.
	changing sync.Mutex

	mu      sync.Mutex // guards the fields below
	cfg     *config.Config
	world   *world
	stopped bool
}

// Options are what an embedder may set beside the configuration.
type Options struct {
	// Log replaces the log that the configuration describes.
	Log *slog.Logger
	// Version is told in $SYS/broker/version.
	Version string
	// Read reads the configuration again, for ReloadFiles and for watching files;
	// nil does without both.
	Read func() (*config.Config, error)
	// Ticks is the clock of watching files, which are looked at when a time comes;
	// nil is a second's ticker.
	Ticks <-chan time.Time
	// Hashing is told true when passwords begin to be hashed, and false when no hash is
	// left to do, one call at a time; nil: nobody.
	Hashing func(working bool)
	// Hashed is called after each hash of a password by the worker that computed it,
	// before its next one: what argon2id takes is garbage then; nil: nothing.
	Hashed func()
}

// ErrRisk says that a listener has a danger that the configuration does not
// accept by name.
var ErrRisk = errors.New("insecure start refused")

// New builds a broker from cfg: it reads what was kept, binds the ports, writes
// pid_file and becomes the user that run_as names. Nobody is served before Start.
func New(cfg *config.Config, opt Options) (*Server, error) {
	if err := errors.Join(cfg.Check(nil).Err(), demandFIPS(cfg)); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, read: opt.Read, ticks: opt.Ticks, version: opt.Version, turns: turns.New(0)}
	s.ctx, s.end = context.WithCancel(context.Background())
	if err := s.openLog(opt); err != nil {
		return nil, err
	}
	s.sayFIPS()
	if err := s.judgeRisks(cfg); err != nil {
		s.logs.close()
		return nil, err
	}
	if err := s.assemble(opt); err != nil {
		s.logs.close()
		return nil, err
	}
	// What is in the store is for those who come, and so read before a port is open.
	// But whoever gives up root needs it for the ports, and must not have it any more
	// when the store is opened: every file there is the user's, and in a folder of a
	// user no name can be trusted. Then clients that come meanwhile have to wait.
	steps := []func() error{s.openEngine, s.openDoors, s.settle}
	if changesUser(cfg.RunAs) {
		steps = []func() error{s.openDoors, s.settle, s.openEngine}
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, errors.Join(err, s.Stop())
		}
	}
	return s, nil
}

// judgeRisks refuses risks that are not accepted and says every accepted one.
func (s *Server) judgeRisks(cfg *config.Config) error {
	var refused []error
	for _, r := range config.Risks(cfg) {
		if !r.Accepted {
			refused = append(refused, fmt.Errorf("%w: %w", ErrRisk, r))
			continue
		}
		s.audit.Record(audit.RiskAccepted, slog.String("listener", r.Listener), slog.String("risk", string(r.Name)), slog.String("text", r.Text))
	}
	return errors.Join(refused...)
}

// assemble builds the world and what keeps it.
func (s *Server) assemble(opt Options) (err error) {
	cfg := s.cfg
	if s.pool, err = newPool(cfg, opt); err != nil {
		return err
	}
	if s.right, err = authn.NewCache(cacheOptions(cfg, cfg.Hashing.CacheTTL)); err != nil {
		return err
	}
	if s.wrong, err = authn.NewCache(cacheOptions(cfg, cfg.Hashing.WrongTTL)); err != nil {
		return err
	}
	s.hosts = authn.NewHosts(authn.HostsOptions{})
	if err := s.makeAccounts(cfg); err != nil {
		s.pool.Close()
		return err
	}
	files := readingOf(cfg)
	w, err := s.build(cfg, nil)
	if err != nil {
		w.discard(nil)
		s.closeAccounts()
		s.pool.Close()
		return err
	}
	w.compared = comparison(cfg, files.sums)
	s.watch.loaded(files)
	s.say(w)
	s.world, s.doorTLS = w, w.tls
	s.authn, err = authn.NewService(authn.ServiceOptions{Pool: s.pool, Chains: w.chains, FailureFloor: cfg.Hashing.AuthFailureFloor, Audit: s.audit})
	if err != nil {
		s.closeAccounts()
		s.pool.Close()
		return err
	}
	s.gate, s.ruled = security.NewGate(w.rules), w.rules
	s.gate.Shadow().Tell(s.tellShadow)
	if err := s.prepareStore(); err != nil {
		s.closeAccounts()
		s.pool.Close()
		s.authn.Close()
		w.close()
		return err
	}
	return nil
}

// openEngine opens the store and makes the engine of what is in it.
func (s *Server) openEngine() error {
	begin := time.Now()
	st, err := s.openStore()
	if err != nil {
		return err
	}
	if err := errors.Join(s.openStrangers(s.cfg, st), s.loadAccounts(st)); err != nil {
		return errors.Join(err, st.Close())
	}
	eo := engineOptions(s.cfg, s.gate, st, s.log, s.engineListeners(s.cfg), s.version)
	eo.Decisions = &s.decisions
	eo.Gone = func(p *security.Principal) bool { return !s.world.keeps(p) }
	if s.accounts != nil {
		eo.Publisher = s.asNow
	}
	s.broker = broker.New(eo)
	s.renewAll()
	s.sayStore(st, begin)
	if swap, ok := st.(*store.Swap); ok {
		s.tending = make(chan struct{})
		s.serving.Go(func() { s.tendStore(swap, s.tending) })
	}
	s.logs.publishTo(s.broker)
	return nil
}

// openDoors binds the ports.
func (s *Server) openDoors() error {
	for i := range s.cfg.Listeners {
		d, err := s.openDoor(s.cfg, i)
		if err != nil {
			return err
		}
		s.doors = append(s.doors, d)
	}
	return s.openChallenges()
}

// settle writes pid_file, which others must not find before the ports are ours,
// and gives up root.
func (s *Server) settle() error {
	if s.cfg.PIDFile != "" {
		if err := writePID(s.cfg.PIDFile); err != nil {
			return fmt.Errorf("pid_file: %w", err)
		}
		s.hasPID = true
	}
	if s.cfg.RunAs == "" && os.Geteuid() == 0 {
		s.log.Warn("running as root: run_as (in a mosquitto.conf: user) names a user to become")
	}
	if err := becomeUser(s.cfg.RunAs); err != nil {
		return fmt.Errorf("run_as: %w", err)
	}
	return nil
}

// Start accepts connections on every listener; it returns at once.
func (s *Server) Start() error {
	if err := s.openControl(s.cfg); err != nil {
		return err
	}
	if err := s.openLoops(); err != nil {
		return err
	}
	if err := s.startACME(); err != nil {
		return err
	}
	s.serving.Go(func() { s.tendTLS(s.ctx.Done()) })
	for i, d := range s.doors {
		name := s.cfg.Listeners[i].Name
		s.serving.Add(1)
		go func() {
			defer s.serving.Done()
			if err := s.serveDoor(d); err != nil {
				s.log.Error("listener ended", "listener", name, "error", err)
			}
		}()
	}
	return nil
}

// Addrs returns the addresses that a listener is bound to, nil for an unknown one.
func (s *Server) Addrs(name string) []net.Addr {
	s.mu.Lock()
	cfg := s.cfg
	s.mu.Unlock()
	for i, d := range s.doors {
		if cfg.Listeners[i].Name == name {
			return d.Addrs()
		}
	}
	return nil
}

// Metrics is what the engine counts.
func (s *Server) Metrics() *metrics.Broker { return s.broker.Metrics() }

// Run starts the broker and stops it when ctx ends. Meanwhile it calls
// ReloadFiles when reload asks for it (SIGHUP) and, if the configuration says
// reload: auto, when files have changed.
func (s *Server) Run(ctx context.Context, reload <-chan struct{}) error {
	if err := s.Start(); err != nil {
		return errors.Join(err, s.Stop())
	}
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		if s.read != nil {
			s.watchFiles(ctx)
		}
	}()
	for {
		select {
		case <-ctx.Done():
			err := s.Stop()
			select {
			case <-watching:
			case <-time.After(time.Second): // a file system that doesn't answer keeps nobody
			}
			return err
		case <-reload:
			_ = s.ReloadFiles() // it has said why not
		}
	}
}

// Stop shuts down in order: no new connection, DISCONNECT to every client,
// wills as configured, then the parts. It can be called more than once.
func (s *Server) Stop() error {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return nil
	}
	s.stopped = true
	s.mu.Unlock()
	s.log.Info("stopping")
	s.end()
	s.changing.Lock() // a reload that is under way ends first, and none comes after it
	last := s.world
	s.changing.Unlock()
	if s.tending != nil {
		close(s.tending)
	}
	s.closeControl()
	s.stopACME()
	for _, d := range s.doors {
		if err := d.Close(); err != nil {
			s.log.Warn("close listener", "error", err)
		}
	}
	timeout := s.cfg.Shutdown.Timeout
	if timeout <= 0 {
		timeout = 8 * time.Second
	}
	if s.broker != nil {
		s.broker.Shutdown(timeout)
	}
	s.pool.Close()
	s.authn.Close()
	s.closeAccounts()
	last.close()
	var err error
	if s.loops != nil {
		err = s.loops.Close()
	}
	if s.broker != nil {
		err = errors.Join(err, s.broker.Close())
	}
	done := make(chan struct{})
	go func() { s.serving.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Second):
	}
	if s.hasPID {
		if e := os.Remove(s.cfg.PIDFile); e != nil && !errors.Is(e, os.ErrNotExist) {
			// After run_as its folder may be root's: no reason to end in failure.
			s.log.Warn("remove pid_file", "error", e)
		}
	}
	s.log.Info("stopped")
	s.logs.close()
	return err
}
