package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"sallyport/client"
	"sallyport/packet"
)

// subCmd is "sallyport sub".
type subCmd struct {
	connectFlags

	Topics      []string `short:"t" name:"topic" sep:"none" placeholder:"FILTER" help:"Topic filter to subscribe to; may be repeated."`
	Unsubscribe []string `short:"U" sep:"none" placeholder:"FILTER" help:"Unsubscribe this filter of a kept session; may be repeated."`
	QoS         byte     `short:"q" name:"qos" enum:"0,1,2" default:"0" placeholder:"QOS" help:"Largest quality of service wanted (${default})."`
	NoClean     bool     `short:"c" name:"disable-clean-session" help:"Keep the session; needs --id."`
	Count       int      `short:"C" placeholder:"N" help:"Exit after N messages."`
	ExitOnAck   bool     `short:"E" name:"exit-after-subscribe" help:"Exit once the subscriptions are acknowledged."`

	Verbose      bool   `short:"v" help:"Print the topic before each message."`
	Format       string `short:"F" placeholder:"FORMAT" help:"Print as the format says: %t topic, %p payload, %x hex, %q QoS, %r retain, %m packet id, %l length, %U seconds since 1970, %I time, %j JSON, %P user properties; %% a percent sign."`
	JSON         bool   `name:"json" help:"Print one JSON object for each message (as -F %j)."`
	NoEOL        bool   `short:"N" name:"no-eol" help:"No newline after a message."`
	Raw          bool   `help:"Print control characters to a terminal as they are."`
	NoRetained   bool   `short:"R" name:"no-retained" help:"Skip retained messages sent for the subscription."`
	RetainedOnly bool   `name:"retained-only" help:"Exit at the first message that is not retained."`

	RetainAsPublished bool `name:"retain-as-published" help:"Keep the retain flag of the publisher (MQTT 5)."`
	RetainHandling    byte `name:"retain-handling" enum:"0,1,2" default:"0" placeholder:"N" help:"Retained messages: 0 always, 1 for a new subscription, 2 never (MQTT 5)."`
	NoLocal           bool `name:"no-local" help:"Leave out what this client publishes itself (MQTT 5)."`

	acknowledged chan struct{} // closed when --exit-after-subscribe is fulfilled
}

// Help shows examples.
func (*subCmd) Help() string {
	return `Examples:

    sallyport sub -v -t 'demo/#'
    sallyport sub --cafile ca.pem -u alice --password-file alice.pw -t demo/a -q 1
    sallyport sub -L mqtts://alice@broker.example/demo/# --password-prompt --json
    sallyport sub -t demo/a -C 1 -W 10 || echo "nothing came"
    sallyport sub -c -i archive -q 2 -t 'demo/#' -F '%I %t %p' >> log

Exit codes: 0 done, 1 failed, 2 wrong command line, 27 nothing more within --timeout.`
}

// Reconnection: the first wait, doubled up to the last.
const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// errCounted ends the command in success.
var errCounted = errors.New("all messages received")

// Run subscribes and prints.
func (c *subCmd) Run(e *env) error {
	if err := c.check(); err != nil {
		return err
	}
	p, err := c.printer(e)
	if err != nil {
		return err
	}
	ctx, cancel := c.limit(e.ctx)
	defer cancel()
	c.acknowledged = make(chan struct{})
	finished := make(chan error, 1)
	cl, err := c.dial(e, !c.NoClean, func(m *client.Message) error {
		err := c.take(p, m)
		if err != nil {
			finished <- err // sent once: no message follows
			return client.ErrStop
		}
		return nil
	})
	if err != nil {
		return err
	}
	defer cl.Close()
	if _, err := c.join(ctx, cl); err != nil {
		return err
	}
	if err := c.subscribe(ctx, e, cl); err != nil {
		return c.leave(cl, err) // in order: an interruption must not publish the will
	}
	for {
		select {
		case err := <-finished:
			return c.leave(cl, err)
		case <-ctx.Done():
			return c.leave(cl, timedOut(ctx))
		case <-c.acknowledged:
			return c.leave(cl, nil)
		case <-cl.Done():
		}
		// What ended the command may have ended the connection.
		select {
		case err := <-finished:
			return c.leave(cl, err)
		default:
		}
		if err := c.reconnect(ctx, e, cl); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

func (c *subCmd) check() error {
	if err := c.applyURL(); err != nil {
		return err
	}
	if len(c.Topics) == 0 && c.topic != "" {
		c.Topics = []string{c.topic}
	}
	v5 := c.protocol() == packet.V5
	switch {
	case len(c.Topics) == 0 && len(c.Unsubscribe) == 0:
		return usageError("add -t FILTER, as in -t 'demo/#'", "no topic to subscribe to")
	case c.Count < 0:
		return usageError("", "--count is positive")
	case c.NoRetained && c.RetainedOnly:
		return usageError("", "--no-retained and --retained-only exclude each other")
	case c.JSON && c.Format != "":
		return usageError("", "--json and --format exclude each other")
	case !v5 && (c.RetainAsPublished || c.RetainHandling != 0 || c.NoLocal):
		return usageError("add -V mqttv5", "--retain-as-published, --retain-handling and --no-local need MQTT 5")
	}
	return nil
}

// printer is how messages are printed, by the flags.
func (c *subCmd) printer(e *env) (*printer, error) {
	format := c.Format
	switch {
	case c.JSON:
		format = "%j"
	case format == "" && c.Verbose:
		format = "%t %p"
	case format == "":
		format = "%p"
	}
	parts, err := parseFormat(format)
	if err != nil {
		return nil, usageError("see sallyport sub --help", "--format: %v", err)
	}
	return &printer{out: bufio.NewWriter(e.stdout), parts: parts, eol: !c.NoEOL, sanitize: e.stdoutTTY && !c.Raw, now: time.Now}, nil
}

// take prints one message; an error is the end of the command.
func (c *subCmd) take(p *printer, m *client.Message) error {
	if c.NoRetained && m.Retain {
		return nil
	}
	if c.RetainedOnly && !m.Retain {
		return errCounted
	}
	if err := p.print(m); err != nil {
		return &failure{what: "print a message", why: err}
	}
	p.printed++
	if c.Count > 0 && p.printed >= c.Count {
		return errCounted
	}
	return nil
}

// subscribe sends the subscriptions. A connection that is lost meanwhile is no
// error here: Run notices it.
func (c *subCmd) subscribe(ctx context.Context, e *env, cl *client.Client) error {
	if len(c.Unsubscribe) > 0 {
		u := packet.Unsubscribe{Filters: c.Unsubscribe, User: c.Props.unsubscribe.User}
		if _, err := cl.Unsubscribe(ctx, u); err != nil {
			return c.unlessLost(ctx, "unsubscribe", err)
		}
	}
	if len(c.Topics) == 0 {
		c.acknowledge()
		return nil
	}
	s := packet.Subscribe{SubID: c.Props.subscribe.SubscriptionID, User: c.Props.subscribe.User}
	for _, filter := range c.Topics {
		s.Filters = append(s.Filters, packet.Subscription{Filter: filter, QoS: c.QoS, NoLocal: c.NoLocal,
			RetainAsPublished: c.RetainAsPublished, RetainHandling: c.RetainHandling})
	}
	ack, err := cl.Subscribe(ctx, s)
	if err != nil {
		return c.unlessLost(ctx, "subscribe", err)
	}
	refused := 0
	for i, code := range ack.Codes {
		if code < 0x80 {
			continue
		}
		refused++
		c.warn(e, strings.TrimSuffix(fmt.Sprintf("subscription to %s refused: %s (0x%02x) %s", c.Topics[i], code, byte(code), ack.Reason), " "))
	}
	if refused == len(ack.Codes) {
		return &failure{what: "subscribe to " + strings.Join(c.Topics, ", "), why: errors.New("the server refused"),
			hint: "this user may not be allowed to read these topics"}
	}
	c.acknowledge()
	return nil
}

// acknowledge ends the command if that was all that was wanted.
func (c *subCmd) acknowledge() {
	if c.ExitOnAck {
		close(c.acknowledged) // once: the command ends
	}
}

// unlessLost is nil for what Run deals with: a lost connection, an interrupt.
func (c *subCmd) unlessLost(ctx context.Context, what string, err error) error {
	switch {
	case ctx.Err() != nil:
		return timedOut(ctx)
	case errors.Is(err, client.ErrNotConnected):
		return nil
	}
	return c.explain(ctx, what, err)
}

// reconnect joins again after a loss, as long as that makes sense: a refusal
// that will be the same the next time ends the command.
func (c *subCmd) reconnect(ctx context.Context, e *env, cl *client.Client) error {
	lost := cl.Err()
	if final(lost) {
		return c.explain(ctx, "stay connected to "+c.where(), lost)
	}
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		c.warn(e, fmt.Sprintf("connection to %s lost: %v; trying again in %v", c.where(), lost, wait))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return timedOut(ctx)
		}
		ack, err := cl.Connect(ctx)
		if err == nil {
			if ack.SessionPresent {
				return nil
			}
			return c.subscribe(ctx, e, cl)
		}
		if final(err) {
			return c.explain(ctx, "connect to "+c.where(), err)
		}
		lost = err
	}
}

// final reports whether the server gave a reason that waiting doesn't cure, or is one
// that can't prove who it is. A
// session that was taken over is one: two clients would fight for ever.
func final(err error) bool {
	re, ok := errors.AsType[*client.ReasonError](err)
	if !ok {
		return errors.Is(err, client.ErrUnproved)
	}
	if re.Version != packet.V5 {
		return re.Code != packet.V3ServerUnavailable
	}
	switch re.Code {
	case packet.ServerUnavailable, packet.ServerBusy, packet.ServerShuttingDown, packet.KeepAliveTimeout,
		packet.ConnectionRateExceeded, packet.MaximumConnectTime, packet.MessageRateTooHigh, packet.QuotaExceeded:
		return false
	}
	return true
}

// leave disconnects and turns the reason into the command's result.
func (c *subCmd) leave(cl *client.Client, why error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err := cl.Disconnect(ctx, c.disconnectPacket())
	switch {
	case errors.Is(why, errCounted):
		return nil
	case why == nil && err != nil:
		return &failure{what: "disconnect", why: err}
	}
	return why
}
