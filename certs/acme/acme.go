// Package acme obtains a server certificate from an ACME server and renews it
// (RFC 8555), by challenges that the broker answers itself: tls-alpn-01 on a
// TLS listener (RFC 8737), or http-01 on a port of its own.
//
// Words: a [Keeper] keeps one certificate for one list of domains; an attempt
// is one order from its beginning to a certificate or a failure; the storage is
// a folder with the account and the certificate, each with its key.
//
// The protocol is golang.org/x/crypto/acme. Its autocert is not used: that
// orders within handshakes, for any name that a function allows, and renews 30
// days before the end whatever the lifetime, so that a certificate of a shorter
// life is renewed for ever (golang/go#64997).
//
// Invariants: a handshake never waits for the network. There is one attempt at
// a time, and after one that failed the next waits: at least two minutes, twice
// as long each time, about an hour at most, and as long as the server asks for
// (Retry-After), a day at most. A restart doesn't shorten that to nothing. Each
// certificate has a new key. What the server sent is used only if it is of that
// key, for all domains, and neither expired nor of the future; the old
// certificate is served until then, and further if there is no new one, even
// beyond its end: a client that is told "expired" knows more than one that is
// told nothing. What the server says is bounded in bytes and time before
// anything is kept of it, and cleaned before it is logged.
//
// The server is one that the operator has named. It may send us to other URLs,
// which must be https and are verified like its own; redirections are refused.
package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"

	"sallyport/internal/domain"
)

const (
	// LetsEncrypt is the directory of Let's Encrypt, the default.
	LetsEncrypt = acme.LetsEncryptURL
	// Protocol is the ALPN protocol of a tls-alpn-01 challenge (RFC 8737, 6.2).
	Protocol = acme.ALPNProto

	// MaxDomains bounds the names of one certificate, as Let's Encrypt does.
	MaxDomains = 100
)

// Challenge is how it is shown that the domains are ours.
type Challenge string

// The challenges.
const (
	TLSALPN01 Challenge = "tls-alpn-01" // the server connects to port 443
	HTTP01    Challenge = "http-01"     // the server connects to port 80
)

// KeyType is the kind of a certificate's key.
type KeyType string

// The kinds of keys.
const (
	ECDSAP256 KeyType = "ecdsa-p256"
	RSA2048   KeyType = "rsa-2048"
)

// Options say what is to be kept, and how.
type Options struct {
	// Directory is the URL of the server's directory, https; "" is [LetsEncrypt].
	Directory string
	// Domains are the DNS names of the certificate, in ASCII, without wildcards; one at least.
	Domains []string
	// Email is told to the server; may be empty.
	Email string
	// Storage is a folder, made with mode 0700 where it is missing.
	Storage string
	// Challenge is how the domains are shown to be ours; "" is TLSALPN01.
	Challenge Challenge
	// ExternalAccount binds the account to one that the operator has with the
	// CA (RFC 8555, 7.3.4); nil for none.
	ExternalAccount *ExternalAccount
	// AcceptTerms says that the operator accepts the server's terms of service;
	// without it nothing is done.
	AcceptTerms bool
	// Roots verify the server; nil is the system's.
	Roots *x509.CertPool
	// RenewBefore is how long before its end a certificate is renewed; 0 is a
	// third of its life, and half of one that is shorter than ten days.
	RenewBefore time.Duration
	// KeyType is of the certificate's key; "" is ECDSAP256.
	KeyType KeyType
	// Profile is asked for, if the server has several; "" leaves it the choice.
	Profile string
	// Changed is called for each new certificate, on the Keeper's goroutine, and
	// must not call Close; nil for nobody.
	Changed func(*tls.Certificate)
	// Log gets what an operator should know; nil discards it.
	Log *slog.Logger

	// transport replaces the network, in tests.
	transport http.RoundTripper
}

// ExternalAccount names an account with the CA, and proves that it is ours.
type ExternalAccount struct {
	KeyID string
	Key   []byte // of HMAC SHA-256; as the CA gives it, but decoded
}

// Keeper keeps a certificate. It is safe for concurrent use, and owns a
// goroutine between Start and Close, and for HTTP01 the server of challenges.
type Keeper struct {
	options Options
	log     *slog.Logger
	client  *http.Client
	pending pending
	renew   chan struct{} // holds one: an attempt is wanted now
	cert    atomic.Pointer[tls.Certificate]

	// owned by Start and then by run.
	store   *storage
	account *account
	plan    plan

	mu sync.Mutex
	// mu guards the fields below.
	state   State
	cancel  context.CancelFunc
	ended   chan struct{} // closed when run has ended
	lock    io.Closer
	started bool
}

// State is what is known of a Keeper's certificate.
type State struct {
	Directory string
	Domains   []string
	Serial    string // hexadecimal; "" without a certificate
	NotBefore time.Time
	NotAfter  time.Time

	Ordering    bool      // an attempt is under way
	Next        time.Time // when the next begins
	Failures    int       // since the last success
	LastFailure time.Time
	LastSuccess time.Time // of this process
	LastError   string    // of the last failure, cleaned; "" after a success
}

// New checks the options and reads a certificate that is stored; it writes
// nothing and asks nobody. The caller must Close it.
func New(o Options) (*Keeper, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("ACME: %w", err)
	}
	k := &Keeper{options: o, log: o.Log, renew: make(chan struct{}, 1)}
	k.client = o.client()
	k.store = &storage{root: o.Storage, dir: directoryFolder(o.Storage, o.Directory)}
	k.state.Directory, k.state.Domains = o.Directory, slices.Clone(o.Domains)
	if err := k.load(); err != nil {
		return nil, fmt.Errorf("ACME: %w", err)
	}
	return k, nil
}

// complete sets the defaults and refuses what makes no sense.
func (o *Options) complete() error {
	orElse := func(s *string, other string) {
		if *s == "" {
			*s = other
		}
	}
	orElse(&o.Directory, LetsEncrypt)
	orElse((*string)(&o.Challenge), string(TLSALPN01))
	orElse((*string)(&o.KeyType), string(ECDSAP256))
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Changed == nil {
		o.Changed = func(*tls.Certificate) {}
	}
	u, err := url.Parse(o.Directory)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil:
		return errors.New("the directory must be an https URL without credentials")
	case !o.AcceptTerms:
		return errors.New("the server's terms of service are not accepted")
	case o.Storage == "":
		return errors.New("a storage folder is needed")
	case o.Challenge != TLSALPN01 && o.Challenge != HTTP01:
		return fmt.Errorf("there is no challenge %q", clean(string(o.Challenge)))
	case o.KeyType != ECDSAP256 && o.KeyType != RSA2048:
		return fmt.Errorf("there is no key type %q", clean(string(o.KeyType)))
	case o.RenewBefore < 0:
		return errors.New("renewal would be after the end")
	case o.ExternalAccount != nil && (o.ExternalAccount.KeyID == "" || len(o.ExternalAccount.Key) < leastKey):
		return errors.New("an external account needs a key id and a key of 16 bytes at least")
	}
	return o.names()
}

// names checks the domains, and lowers and sorts them: their order means nothing.
func (o *Options) names() error {
	if len(o.Domains) == 0 || len(o.Domains) > MaxDomains {
		return fmt.Errorf("there must be 1 to %d domains, not %d", MaxDomains, len(o.Domains))
	}
	domains := make([]string, len(o.Domains))
	for i, d := range o.Domains {
		if problem := domain.Check(d); problem != "" {
			return fmt.Errorf("domain %q %s", clean(d), problem)
		}
		domains[i] = strings.ToLower(d)
	}
	slices.Sort(domains)
	if len(slices.Compact(slices.Clone(domains))) < len(domains) {
		return errors.New("a domain is named twice")
	}
	o.Domains = domains
	return nil
}

// Start takes the storage for this Keeper alone and begins to keep the
// certificate, until ctx ends or Close is called. The error tells of the folder:
// it can't be made or written, others can write to it, or somebody else uses it.
// It may succeed once.
//
// port is where challenges of HTTP01 are answered, which port 80 of each domain
// leads to; nil with other challenges. It is the Keeper's from then on, and closed
// by Close.
func (k *Keeper) Start(ctx context.Context, port net.Listener) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.started:
		return errors.New("ACME: started twice, or after the end")
	case (k.options.Challenge == HTTP01) != (port != nil):
		return errors.New("ACME: http-01, and no other challenge, needs a listener")
	}
	lock, err := k.store.take()
	if err != nil {
		return fmt.Errorf("ACME: %w", err)
	}
	// Whoever had the folder may have renewed the certificate since New.
	if err := k.loadLocked(); err != nil {
		_ = lock.Close() // the failure before it is the one to report
		return fmt.Errorf("ACME: %w", err)
	}
	k.lock, k.started, k.ended = lock, true, make(chan struct{})
	ctx, k.cancel = context.WithCancel(ctx)
	stop := k.serveHTTP(port)
	go func() {
		defer close(k.ended)
		defer stop()
		k.run(ctx)
	}()
	return nil
}

// Close ends the attempt under way and gives the storage back. Certificate
// still answers, so that handshakes go on while another Keeper takes over.
func (k *Keeper) Close() {
	k.mu.Lock()
	begun := k.cancel != nil
	if begun {
		k.cancel()
	}
	k.started = true // and can't be any more
	k.mu.Unlock()
	if !begun {
		return
	}
	<-k.ended
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.lock != nil {
		_ = k.lock.Close() // nothing was written to it
		k.lock = nil
	}
}

// Renew asks for a new certificate now, whatever is due and however often it
// has failed; an attempt under way is not repeated.
func (k *Keeper) Renew() {
	select {
	case k.renew <- struct{}{}:
	default: // one is wanted already
	}
}

// State returns what is known now.
func (k *Keeper) State() State {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.state
	s.Domains = slices.Clone(s.Domains)
	return s
}

// note changes the state.
func (k *Keeper) note(change func(*State)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(&k.state)
}

// File is where the certificate is stored.
func (k *Keeper) File() string { return k.store.path(certificateFile) }

// Leaf returns the present certificate, nil if there is none; it must not be changed.
func (k *Keeper) Leaf() *tls.Certificate { return k.cert.Load() }

// Certificate answers a handshake that is no challenge: it returns the present
// certificate. Without one it returns nothing and no error, for which crypto/tls
// sends the alert unrecognized_name if Config.Certificates is empty too. It is
// meant for tls.Config.GetCertificate, and never waits.
func (k *Keeper) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return k.cert.Load(), nil
}
