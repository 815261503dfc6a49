package main

import (
	"errors"
	"fmt"
	"strings"

	"sallyport/client"
	"sallyport/internal/scram"
	"sallyport/packet"

	"github.com/alecthomas/kong"
)

// scramFlag is --scram or --scram=METHOD: a method's name, empty without the flag.
type scramFlag string

// defaultSCRAM works with every broker that has SCRAM at all.
const defaultSCRAM = "SCRAM-SHA-256"

// IsBool lets kong take the flag without a value.
func (*scramFlag) IsBool() bool { return true }

// Decode takes the method, if one follows.
func (f *scramFlag) Decode(ctx *kong.DecodeContext) error {
	*f = defaultSCRAM
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		return nil
	}
	name := ctx.Scan.Pop().String()
	if _, ok := scram.ParseMethod(name); !ok {
		return fmt.Errorf("must be SCRAM-SHA-256, SCRAM-SHA-512, SCRAM-SHA-256-PLUS or SCRAM-SHA-512-PLUS")
	}
	*f = scramFlag(name)
	return nil
}

// authentication is the method of --scram, nil without it. Name and password stay out
// of the CONNECT.
func (f *connectFlags) authentication(e *env, c *packet.Connect) (client.Authentication, error) {
	method := string(f.Scram)
	switch {
	case method == "":
		return nil, nil
	case c.Version != packet.V5:
		return nil, usageError("leave out -V, or say -V mqttv5", "--scram needs MQTT 5")
	case f.Username == "":
		return nil, usageError("add -u NAME", "--scram needs a user name")
	case strings.HasSuffix(method, "-PLUS") && !f.secure():
		return nil, usageError("add --cafile FILE or --tls, or say --scram="+strings.TrimSuffix(method, "-PLUS"), "%s is bound to a TLS connection", method)
	}
	password, given, err := f.password(e)
	if err != nil {
		return nil, err
	}
	if !given {
		return nil, usageError("add --password-file FILE, --password-env NAME or --password-prompt", "--scram needs a password")
	}
	s, err := client.NewSCRAM(client.SCRAMOptions{Method: method, Name: f.Username, Password: string(password)})
	if err != nil {
		return nil, &failure{what: "--scram", why: err, code: exitUsage}
	}
	return s, nil
}

// scramHint is advice about a login by --scram that failed, empty if there is none.
func scramHint(err error) string {
	re, ok := errors.AsType[*client.ReasonError](err)
	switch {
	case ok && re.Packet == packet.CONNACK && re.Code == packet.BadAuthenticationMethod:
		return "the server does not have this method here; there are --scram=SCRAM-SHA-256 and SCRAM-SHA-512, over TLS also SCRAM-SHA-256-PLUS and SCRAM-SHA-512-PLUS"
	case errors.Is(err, scram.ErrIterations):
		return "the server asks for too few iterations to be safe, or for too many to be honest"
	case errors.Is(err, client.ErrUnproved):
		return "it may not be the server that you think: it does not know this user"
	}
	return ""
}
