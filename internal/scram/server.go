package scram

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ServerOptions say whom a Server knows, and what channel it stands on.
type ServerOptions struct {
	Method Method

	// Lookup finds the verifier of a name, which SASLprep has prepared; known
	// is false for nobody, and for one who has no verifier of this hash. An
	// error ends the exchange: a store that is down says nothing about a user.
	// Whether an account is disabled or expired is better judged after the
	// proof, so that who does not know the password does not learn it.
	Lookup func(name string) (v *Verifier, known bool, err error)

	// Secret makes the salts of those who do not exist: MinSecret bytes or
	// more, the same for as long as the accounts live.
	Secret []byte

	// Iterations are told to those who do not exist: what new verifiers have.
	// A user whose verifier has another count, or a salt of another length
	// than MinSalt, can be told from nobody. 0 is DefaultIterations.
	Iterations int

	// Binding is the channel's: a -PLUS method needs it. With a method that is
	// not, it says that -PLUS is offered to this client, and a client that
	// was led to believe otherwise is refused. Nil where -PLUS is not offered.
	Binding *Binding

	Rand io.Reader // crypto/rand if nil
}

// Server is the server's side of one exchange. It belongs to one connection
// and is not safe for concurrent use. The zero Server refuses.
type Server struct {
	options  ServerOptions
	step     step
	nonce    string // our part, then the whole
	first    *clientFirst
	sent     string // our first message
	name     string // prepared
	verifier *Verifier
	known    bool
}

// step is what a Server or a Client waits for.
type step int

const (
	over step = iota // or never begun
	begin
	awaitFirst
	awaitFinal
	succeeded
)

// NewServer begins an exchange.
func NewServer(o ServerOptions) (*Server, error) {
	if o.Iterations == 0 {
		o.Iterations = DefaultIterations
	}
	switch {
	case o.Method.Hash.size() == 0:
		return nil, errors.New("scram: no such method")
	case o.Lookup == nil || len(o.Secret) < MinSecret:
		return nil, errors.New("scram: server without users or with too short a secret")
	case o.Iterations < MinIterations || o.Iterations > MaxIterations:
		return nil, ErrIterations
	case o.Method.Plus && o.Binding == nil:
		return nil, errors.New("scram: -PLUS without a channel to bind to")
	}
	if err := o.Binding.check(); err != nil {
		return nil, err
	}
	nonce, err := newNonce(o.Rand)
	if err != nil {
		return nil, err
	}
	return &Server{options: o, step: awaitFirst, nonce: nonce}, nil
}

func newNonce(r io.Reader) (string, error) {
	if r == nil {
		r = rand.Reader
	}
	b := make([]byte, ownNonce)
	if _, err := io.ReadFull(r, b); err != nil {
		return "", fmt.Errorf("scram: nonce: %w", err)
	}
	return encode(b), nil
}

// Next takes a message of the client's and gives the reply. With done the
// client has proved who it is, and reply is the proof that goes back. An error
// is final, has no reply, and is one of this package's (errors.Is) or Lookup's.
func (s *Server) Next(message []byte) (reply []byte, done bool, err error) {
	now := s.step
	s.step = over // unless all goes well
	switch now {
	case awaitFirst:
		if reply, err = s.takeFirst(message); err == nil {
			s.step = awaitFinal
		}
	case awaitFinal:
		if reply, err = s.takeFinal(message); err == nil {
			s.step, done = succeeded, true
		}
	default:
		err = ErrState
	}
	return reply, done, err
}

// Name is who the client has proved to be, prepared by SASLprep; "" until the
// exchange has succeeded.
func (s *Server) Name() string {
	if s.step != succeeded {
		return ""
	}
	return s.name
}

// Claimed is who the client says that it is, proved or not: for an audit log.
// It is "" until a first message was understood.
func (s *Server) Claimed() string { return s.name }

func (s *Server) takeFirst(message []byte) ([]byte, error) {
	m, err := parseClientFirst(message)
	if err != nil {
		return nil, err
	}
	if err := s.checkFlag(m); err != nil {
		return nil, err
	}
	name, ok := prepare(m.name)
	if !ok {
		return nil, ErrName
	}
	s.name = name
	if m.authzID != "" {
		if authzID, ok := prepare(m.authzID); !ok || authzID != name {
			return nil, ErrAuthzID
		}
	}
	if err := s.lookup(); err != nil {
		return nil, err
	}
	s.first = m
	s.nonce = m.nonce + s.nonce
	s.sent = "r=" + s.nonce + ",s=" + encode(s.verifier.Salt) + ",i=" + strconv.Itoa(s.verifier.Iterations)
	return []byte(s.sent), nil
}

// checkFlag is RFC 5802, section 6: p= goes with -PLUS and with nothing else,
// and y is the truth only where -PLUS is not offered.
func (s *Server) checkFlag(m *clientFirst) error {
	switch {
	case m.bound != s.options.Method.Plus:
		if !m.bound && m.flag == "y" {
			return ErrDowngrade
		}
		return ErrBinding
	case m.bound && m.flag != s.options.Binding.Type:
		return ErrBindingType
	case m.flag == "y" && !m.bound && s.options.Binding != nil:
		return ErrDowngrade
	}
	return nil
}

// lookup finds the verifier to go on with. Nobody's is made in any case, so
// that the same work is done for those who exist.
func (s *Server) lookup() error {
	nobody := s.nobody()
	v, known, err := s.options.Lookup(s.name)
	if err != nil {
		return fmt.Errorf("scram: look up verifier: %w", err)
	}
	if s.known = known && v != nil && v.Hash == s.options.Method.Hash; !s.known {
		v = nobody
	}
	s.verifier = v
	return v.check()
}

// nobody is a verifier for a name that does not exist: always the same one, and
// made so that no client key fits it.
func (s *Server) nobody() *Verifier {
	h := s.options.Method.Hash
	derive := func(label string) []byte {
		return h.mac(s.options.Secret, label+"\x00"+h.String()+"\x00"+s.name)
	}
	salt := hmac.New(sha256.New, s.options.Secret)
	salt.Write([]byte("salt\x00" + h.String() + "\x00" + s.name))
	return &Verifier{
		Hash:       h,
		Salt:       salt.Sum(nil)[:MinSalt],
		Iterations: s.options.Iterations,
		StoredKey:  derive("stored key"),
		ServerKey:  derive("server key"),
	}
}

func (s *Server) takeFinal(message []byte) ([]byte, error) {
	m, err := parseClientFinal(message)
	if err != nil {
		return nil, err
	}
	want := []byte(s.first.gs2)
	if s.options.Method.Plus {
		want = append(want, s.options.Binding.Data...)
	}
	if !equal(m.binding, want) {
		return nil, ErrBinding
	}
	if !equal([]byte(m.nonce), []byte(s.nonce)) {
		return nil, ErrNonce
	}
	h := s.options.Method.Hash
	if len(m.proof) != h.size() {
		return nil, ErrMalformed
	}
	auth := strings.Join([]string{s.first.bare, s.sent, m.without}, ",")
	key := make([]byte, h.size())
	subtle.XORBytes(key, m.proof, h.mac(s.verifier.StoredKey, auth))
	proved := equal(h.sum(key), s.verifier.StoredKey)
	signature := h.mac(s.verifier.ServerKey, auth)
	if !proved || !s.known {
		return nil, ErrProof
	}
	return []byte("v=" + encode(signature)), nil
}
