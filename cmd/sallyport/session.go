package main

import (
	"context"
	"errors"
	"fmt"

	"sallyport/client"
	"sallyport/packet"
)

// dial makes the client of the flags, not yet connected.
func (f *connectFlags) dial(e *env, cleanStart bool, onMessage func(*client.Message) error) (*client.Client, error) {
	hello, err := f.connect(e, cleanStart)
	if err != nil {
		return nil, err
	}
	target, err := f.target(hello.Version)
	if err != nil {
		return nil, err
	}
	if hello.HasPassword && !f.secure() && f.Unix == "" && !isLoopback(f.host()) {
		f.warn(e, "user name and password travel in clear text; use --tls or --cafile")
	}
	if f.Insecure {
		f.warn(e, "--insecure: the server's certificate is not checked")
	}
	o := client.Options{Dial: target.Dial, Connect: hello, OnMessage: onMessage, MaxPacketSize: maxPacket, Authentication: f.auth}
	if hello.Props.Has(packet.PropMaximumPacketSize) {
		o.MaxPacketSize = int(hello.Props.MaximumPacketSize)
	}
	if f.Debug {
		o.Trace = func(sent bool, t packet.Type, n int) {
			verb := "received"
			if sent {
				verb = "sent"
			}
			fmt.Fprintf(e.stderr, "%s %s %s (%d bytes)\n", hello.ClientID, verb, t, n)
		}
	}
	return client.New(o), nil
}

// maxPacket is the largest packet of MQTT, in bytes: the tools take what the
// server lets through.
const maxPacket = 268435455 + 5

// join connects and says what went wrong in a user's words.
func (f *connectFlags) join(ctx context.Context, c *client.Client) (*packet.Connack, error) {
	ack, err := c.Connect(ctx)
	if err == nil {
		return ack, nil
	}
	return ack, f.explain(ctx, "connect to "+f.where(), err)
}

// explain turns an error of the connection into a failure of the command.
func (f *connectFlags) explain(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		if timeout := timedOut(ctx); timeout != nil {
			return timeout
		}
		err = errors.New("interrupted")
	}
	return &failure{what: what, why: err, hint: f.hintFor(err)}
}

// timedOut is the failure of a context that --timeout has ended, nil for one
// that the user has.
func timedOut(ctx context.Context) error {
	if timeout, ok := errors.AsType[*failure](context.Cause(ctx)); ok {
		return timeout
	}
	return nil
}

// where names the server for messages.
func (f *serverFlags) where() string {
	t, err := f.target(packet.V311)
	if err != nil {
		return f.host()
	}
	return t.Address
}

func (f *connectFlags) warn(e *env, text string) {
	if !f.Quiet {
		fmt.Fprintf(e.stderr, "warning: %s\n", sanitize(text))
	}
}

// disconnectPacket is the DISCONNECT with the properties of -D disconnect.
func (f *connectFlags) disconnectPacket() *packet.Disconnect {
	return &packet.Disconnect{Props: f.Props.disconnect}
}
