package challenge

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sallyport/internal/scram"
	"sallyport/security"
	"sallyport/security/authn"
)

// exchange is one login, or one re-authentication.
type exchange struct {
	a           *Authenticator
	server      *scram.Server
	hash        scram.Hash
	hasUsername bool
	username    string // of the CONNECT

	verifier *scram.Verifier // that the exchange runs with; nil for nobody's
	failed   error           // of Lookup
}

// lookup finds who it is about, and remembers what it found for the end.
func (x *exchange) lookup(name string) (*scram.Verifier, bool, error) {
	v, known, err := x.a.o.Lookup(name, x.hash)
	if err != nil {
		x.failed = err
		return nil, false, err
	}
	if known {
		x.verifier = v
	}
	return v, known, nil
}

// Next takes the client's first and its final message. After an error, and after the
// success, the exchange refuses for good.
func (x *exchange) Next(_ context.Context, data []byte) (reply []byte, p *security.Principal, err error) {
	reply, done, err := x.server.Next(data)
	if err != nil {
		return nil, nil, x.refused(err)
	}
	name := x.server.Claimed()
	if x.hasUsername && x.username != name {
		x.server = &scram.Server{} // which refuses
		return nil, nil, x.a.refuse("user name of CONNECT is not the name that SCRAM says: " + shortly(name))
	}
	if !done {
		return reply, nil, nil
	}
	// What was proved is the verifier of the first message: it must still be there.
	was := x.verifier
	version := uint64(0)
	if x.a.o.Version != nil {
		version = x.a.o.Version(name) // first: what changes from here on, the chain sees
	}
	now, known, err := x.a.o.Lookup(name, x.hash)
	switch {
	case err != nil:
		return nil, nil, unavailable(err)
	case !known || now == nil || now.Encode() != was.Encode():
		return nil, nil, x.a.refuse("account changed during the exchange: " + shortly(name))
	}
	p = x.a.principal(name)
	p.Account = version
	return reply, p, nil
}

// refused is why the exchange ended, for the log.
func (x *exchange) refused(err error) error {
	if x.failed != nil {
		return unavailable(x.failed)
	}
	text := strings.TrimPrefix(err.Error(), "scram: ")
	if errors.Is(err, scram.ErrProof) {
		// The client can't tell these two apart; the log may.
		text = "wrong password"
		if x.verifier == nil {
			text = "nobody has a verifier for " + x.hash.String() + " under this name"
		}
	}
	if name := x.server.Claimed(); name != "" {
		text += ": " + shortly(name)
	}
	return x.a.refuse(text)
}

func unavailable(err error) error {
	if errors.Is(err, authn.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", authn.ErrUnavailable, err)
}

// shortly quotes a name that a stranger chose.
func shortly(name string) string {
	const longest = 100
	if len(name) > longest {
		return fmt.Sprintf("%q...", name[:longest])
	}
	return fmt.Sprintf("%q", name)
}
