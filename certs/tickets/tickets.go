// Package tickets makes the keys of TLS session tickets, so that a session is
// resumed only where a fresh handshake would have come to the same.
//
// Words: a [Ring] holds secrets, the first of which encrypts while all decrypt;
// a [Scope] says for whom a ticket is; a [Binding] keeps the keys that both make
// in configurations of crypto/tls. A ring is the process's own ([New]: a new
// secret every 24 h, each forgotten after 7 days) or a fleet's ([Load]: what a
// file says, which [Advance] moves on).
//
// Every key is HKDF-SHA256 of a secret, with the scope as info. So tickets of
// another listener, another trust store, another server certificate or other
// rules can't be decrypted, whichever broker of the fleet made them, and their
// clients begin anew. No two scopes need secrets of their own.
//
// What crypto/tls of Go 1.26 does, and what follows:
//
//   - Of GetConfigForClient's configuration its own keys count if it has any, else
//     the keys of the configuration that was asked: then a ticket of one crosses
//     to its siblings. Clone copies keys, also those that it made by itself. So
//     every configuration that serves handshakes is bound, and the one that is
//     asked should have SessionTicketsDisabled: nothing is left to inherit, and a
//     configuration that was forgotten fails its handshakes.
//   - On resumption neither VerifyPeerCertificate nor (TLS 1.3) GetCertificate is
//     called, and the name that the client asks for is not compared. What depends
//     on them must be in VerifyConnection, GetConfigForClient, or the scope.
//   - A client certificate's chain is held against ClientCAs and its dates again
//     (since early 2026, CVE-2025-68121), but not its signatures, nor revocation.
//   - A ticket is good for 7 days. TLS 1.2 counts them from the full handshake
//     also when it renews the ticket. TLS 1.3 counts anew with every resumption: a
//     client that comes back each week need never prove its key again, until its
//     certificate ends, VerifyConnection refuses, or the scope changes.
//   - The age is by the clock of whoever decrypts. A broker of the fleet whose clock
//     is behind takes the ticket as new, one that is ahead refuses it early.
package tickets

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/internal/rawkey"
)

const (
	// Period is how long a ring's own secret encrypts.
	Period = 24 * time.Hour
	// Life is how long it decrypts, from when it was made.
	Life = 7 * 24 * time.Hour
	// MaxKeys bounds the secrets of a ring, and of a file: one that encrypts, one
	// that waits, and the six of a week before.
	MaxKeys = 8
)

// secret is what keys are derived from.
type secret [rawkey.Size]byte

// derive makes a key of n bytes, 32 at most, for what info says.
func (s *secret) derive(info string, n int) []byte {
	key, err := hkdf.Key(sha256.New, s[:], nil, info, n)
	if err != nil {
		panic("tickets: HKDF refuses a fixed length: " + err.Error())
	}
	return key
}

// id tells secrets apart and gives nothing away.
func (s *secret) id() string { return hex.EncodeToString(s.derive("sallyport ticket secret id", 4)) }

// fresh is a new secret.
func fresh() (s secret) {
	_, _ = rand.Read(s[:]) // never fails: it ends the program instead
	return s
}

type dated struct {
	secret secret
	made   time.Duration // since the ring began
}

// Ring holds the secrets of tickets. It is safe for concurrent use.
type Ring struct {
	now   func() time.Time
	began time.Time // keeps the monotonic clock: setting the wall clock moves nothing
	fleet bool      // the secrets are a file's, and no time ends them

	due        atomic.Int64  // when Rotate has something to do, a time.Duration since the ring began
	generation atomic.Uint64 // changes whenever the secrets do

	mu      sync.Mutex // guards the field below
	secrets []dated    // the newest first
}

// New returns a ring with a random secret. now is the clock; nil is time.Now.
func New(now func() time.Time) *Ring {
	if now == nil {
		now = time.Now
	}
	r := &Ring{now: now, began: now()}
	r.Rotate()
	return r
}

// Rotate does what time demands of a ring of its own: a new secret when the last is
// [Period] old, and an end, overwritten, to each that is [Life] old. It reports
// whether the secrets changed. [Binding.Refresh] calls it; who wants secrets to
// end on time also while nobody connects calls it as well.
func (r *Ring) Rotate() bool {
	since := r.now().Sub(r.began)
	if r.fleet || r.generation.Load() > 0 && since < time.Duration(r.due.Load()) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.generation.Load() > 0 && since < time.Duration(r.due.Load()) {
		return false // somebody else did it meanwhile
	}
	kept := make([]dated, 0, MaxKeys) // made anew: the old array is overwritten whole
	if len(r.secrets) == 0 || since-r.secrets[0].made >= Period {
		kept = append(kept, dated{fresh(), since})
	}
	for _, s := range r.secrets {
		if since-s.made < Life && len(kept) < MaxKeys {
			kept = append(kept, s)
		}
	}
	clear(r.secrets)
	r.secrets = kept
	r.due.Store(int64(min(kept[0].made+Period, kept[len(kept)-1].made+Life)))
	r.generation.Add(1)
	return true
}

// IDs names the secrets, the one that encrypts first, so that brokers of a fleet
// can be compared: eight hexadecimal digits each, from which nothing follows.
func (r *Ring) IDs() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := make([]string, 0, len(r.secrets))
	for i := range r.secrets {
		ids = append(ids, r.secrets[i].secret.id())
	}
	return ids
}

// Format implements fmt.Formatter: no verb shows a secret.
func (r *Ring) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprint(f, "ticket keys ", r.IDs()) // fmt ignores its errors too
}

// keys derives the keys of a scope, and tells of which generation they are.
func (r *Ring) keys(s Scope) (keys [][32]byte, generation uint64) {
	info := s.info()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.secrets {
		keys = append(keys, [32]byte(r.secrets[i].secret.derive(info, 32)))
	}
	return keys, r.generation.Load()
}

// Scope is what a ticket's session was begun under. Two scopes that differ in any
// part share no key.
type Scope struct {
	// Listener is its name, the same on every broker of a fleet. A binding without
	// one shares its keys with nobody.
	Listener string
	// Server tells the server certificates of a listener apart, where the client's
	// SNI chooses: any text, such as the certificate's name in the configuration.
	Server string
	// Trust is what client certificates are verified with; see [TrustOf].
	Trust [sha256.Size]byte
	// ClientAuth is whether they are asked for.
	ClientAuth tls.ClientAuthType
	// Rules are what else a fresh handshake would be held to, such as versions,
	// suites and groups, in a form that is equal exactly when they are.
	Rules string
}

// TrustOf digests trust anchors. Neither order nor repetition counts.
func TrustOf(anchors []*x509.Certificate) [sha256.Size]byte {
	sums := make([]string, 0, len(anchors))
	for _, c := range anchors {
		sum := sha256.Sum256(c.Raw)
		sums = append(sums, string(sum[:]))
	}
	slices.Sort(sums)
	all := sha256.New()
	for _, sum := range slices.Compact(sums) {
		all.Write([]byte(sum))
	}
	return [sha256.Size]byte(all.Sum(nil))
}

// info writes each part after its length: parts can't run into each other.
func (s Scope) info() string {
	b := []byte("sallyport session ticket key 1")
	for _, part := range []string{s.Listener, s.Server, string(s.Trust[:]), strconv.Itoa(int(s.ClientAuth)), s.Rules} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
		b = append(b, part...)
	}
	return string(b)
}
