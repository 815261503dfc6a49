package script_test

import (
	"errors"
	"strings"
	"time"

	"sallyport/broker"
	"sallyport/security"
	"sallyport/security/authn"
)

// accounts is who may connect: the users of a case, anybody without
// credentials, and whoever answers the challenge of its method.
type accounts struct {
	passwords map[string]string
	method    string
	moved     map[string]*security.Redirect // users whom another server serves
}

var errWrong = errors.New("wrong credentials")

func (a *accounts) add(pair string) error {
	name, password, ok := strings.Cut(pair, ":")
	if !ok {
		return errors.New("want name:password")
	}
	if a.passwords == nil {
		a.passwords = map[string]string{}
	}
	a.passwords[name] = password
	return nil
}

// move takes name>server for a while, or name>>server for good.
func (a *accounts) move(text string) error {
	name, server, ok := strings.Cut(text, ">")
	if !ok {
		return errors.New("want name>server or name>>server")
	}
	if a.moved == nil {
		a.moved = map[string]*security.Redirect{}
	}
	server, permanent := strings.CutPrefix(server, ">")
	a.moved[name] = &security.Redirect{Server: server, Permanent: permanent}
	return nil
}

// Begin implements broker.Authenticator. The answer comes later and from
// another goroutine, as that of a password file does.
func (a *accounts) Begin(c *authn.Credentials, done func(*security.Principal, error)) (cancel func()) {
	p, err := a.check(c)
	go done(p, err)
	return func() {}
}

func (a *accounts) check(c *authn.Credentials) (*security.Principal, error) {
	if !c.HasUsername && !c.HasPassword {
		return &security.Principal{Realm: "anonymous@" + c.Listener, Method: "anonymous"}, nil
	}
	if r := a.moved[c.Username]; r != nil {
		return nil, r
	}
	if password, known := a.passwords[c.Username]; known && c.HasPassword && password == string(c.Password) {
		return &security.Principal{Realm: "users", Name: c.Username, Method: "script"}, nil
	}
	return nil, errWrong
}

// Epoch implements broker.Authenticator.
func (a *accounts) Epoch() authn.Epoch { return authn.Epoch{} }

// Stands implements broker.Authenticator: no account changes.
func (a *accounts) Stands(*security.Principal) bool { return true }

// FailureFloor implements broker.Authenticator.
func (a *accounts) FailureFloor() time.Duration { return time.Second }

// Exchange implements broker.Enhanced.
func (a *accounts) Exchange(method string, c *authn.Credentials) (broker.Exchange, bool) {
	return &exchange{}, method == a.method
}

// exchange asks with "challenge" and accepts the answer "secret".
type exchange struct{ asked bool }

// Step implements broker.Exchange.
func (x *exchange) Step(data []byte, done func(reply []byte, p *security.Principal, err error)) {
	switch {
	case !x.asked:
		x.asked = true
		go done([]byte("challenge"), nil, nil)
	case string(data) == "secret":
		go done(nil, &security.Principal{Realm: "exchange", Name: "someone", Method: "exchange"}, nil)
	default:
		go done(nil, nil, errWrong)
	}
}
