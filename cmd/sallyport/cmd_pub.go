package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"sallyport/client"
	"sallyport/packet"
)

// maxPayload is what a PUBLISH can hold at most, in bytes.
const maxPayload = 268435455

// pubCmd is "sallyport pub".
type pubCmd struct {
	connectFlags

	Topic       string  `short:"t" placeholder:"TOPIC" help:"Topic to publish to."`
	Message     *string `short:"m" xor:"payload" placeholder:"TEXT" help:"Send TEXT."`
	File        string  `short:"f" xor:"payload" placeholder:"FILE" help:"Send the content of FILE."`
	StdinLine   bool    `short:"l" name:"stdin-line" xor:"payload" help:"Send each line of standard input as a message."`
	Null        bool    `short:"n" name:"null-message" xor:"payload" help:"Send an empty message (with -r: clear what is retained)."`
	StdinFile   bool    `short:"s" name:"stdin-file" xor:"payload" help:"Send standard input as one message."`
	QoS         byte    `short:"q" name:"qos" enum:"0,1,2" default:"0" placeholder:"QOS" help:"Quality of service (${default})."`
	Retain      bool    `short:"r" help:"Retain the message."`
	NoClean     bool    `short:"c" name:"disable-clean-session" help:"Keep the session; needs --id."`
	Repeat      int     `default:"1" placeholder:"N" help:"Send the message N times (-m, -f, -n, -s)."`
	RepeatDelay float64 `name:"repeat-delay" placeholder:"SECONDS" help:"Wait between repetitions."`
}

// Help shows examples.
func (*pubCmd) Help() string {
	return `Examples:

    sallyport pub -t demo/hello -m "good morning"
    sallyport pub -L mqtts://alice@broker.example/demo/hello --password-prompt -m hi
    sallyport pub --cafile ca.pem -u alice --password-file alice.pw -t demo/a -q 1 -m 21.5
    sallyport pub --scram -u alice --password-file alice.pw -t demo/a -m 21.5
    sallyport pub -V mqttv5 -D publish user-property unit celsius -t demo/a -m 21.5
    sallyport pub --cafile ca.pem --cert dev.pem --key dev.key -t demo/log -l < lines.txt`
}

// Run publishes.
func (c *pubCmd) Run(e *env) error {
	if err := c.check(); err != nil {
		return err
	}
	ctx, cancel := c.limit(e.ctx)
	defer cancel()
	cl, err := c.dial(e, !c.NoClean, nil)
	if err != nil {
		return err
	}
	defer cl.Close()
	// Before connecting: a missing file is no reason to disturb a server.
	payload, err := c.payload(e)
	if err != nil {
		return err
	}
	if _, err := c.join(ctx, cl); err != nil {
		return err
	}
	if c.StdinLine {
		err = c.publishLines(ctx, e, cl)
	} else {
		err = c.publishRepeated(ctx, cl, payload)
	}
	if err != nil {
		return c.explain(ctx, "publish to "+c.Topic, err)
	}
	if err := cl.Disconnect(ctx, c.disconnectPacket()); err != nil {
		return c.explain(ctx, "disconnect", err)
	}
	return nil
}

func (c *pubCmd) check() error {
	if err := c.applyURL(); err != nil {
		return err
	}
	if c.Topic == "" {
		c.Topic = c.topic
	}
	switch {
	case c.Topic == "":
		return usageError("add -t TOPIC", "no topic to publish to")
	case strings.ContainsAny(c.Topic, "+#"):
		return usageError("wildcards are for subscriptions", "topic %q holds a wildcard", c.Topic)
	case c.Message == nil && c.File == "" && !c.StdinLine && !c.StdinFile && !c.Null:
		return usageError("add one of -m TEXT, -f FILE, -l, -s, -n", "no message to publish")
	case c.Repeat < 1 || c.RepeatDelay < 0:
		return usageError("", "--repeat is at least 1 and --repeat-delay not negative")
	case c.StdinLine && c.Repeat > 1:
		return usageError("", "--repeat does not go with -l")
	}
	return nil
}

// payload is the one message of -m, -f, -n or -s.
func (c *pubCmd) payload(e *env) ([]byte, error) {
	switch {
	case c.Message != nil:
		return []byte(*c.Message), nil
	case c.StdinFile:
		return readBounded(e.stdin, "standard input")
	case c.File != "":
		f, err := os.Open(c.File)
		if err != nil {
			return nil, &failure{what: "read the message", why: err}
		}
		defer f.Close()
		return readBounded(f, c.File)
	}
	return nil, nil
}

func readBounded(r io.Reader, name string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxPayload+1))
	if err == nil && len(b) > maxPayload {
		err = errors.New("larger than the 268,435,455 bytes of a packet")
	}
	if err != nil {
		return nil, &failure{what: "read " + name, why: err}
	}
	return b, nil
}

func (c *pubCmd) message(payload []byte) client.Message {
	p := &c.Props.publish
	return client.Message{
		Topic: c.Topic, Payload: payload, QoS: c.QoS, Retain: c.Retain, Alias: c.Props.alias,
		PayloadUTF8: p.PayloadFormat == 1, HasExpiry: p.Has(packet.PropMessageExpiry), Expiry: p.MessageExpiry,
		ContentType: p.ContentType, ResponseTopic: p.ResponseTopic, CorrelationData: p.CorrelationData, User: p.User,
	}
}

func (c *pubCmd) publishRepeated(ctx context.Context, cl *client.Client, payload []byte) error {
	for i := range c.Repeat {
		if i > 0 && c.RepeatDelay > 0 {
			select {
			case <-time.After(time.Duration(c.RepeatDelay * float64(time.Second))):
			case <-cl.Done():
				return orNotConnected(cl.Err())
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := publishOne(ctx, cl, c.message(payload)); err != nil {
			return err
		}
	}
	return nil
}

// publishOne waits for the acknowledgement, or for the end of the connection:
// this tool does not reconnect.
func publishOne(ctx context.Context, cl *client.Client, m client.Message) error {
	p, err := cl.Start(ctx, m)
	if err != nil {
		return err
	}
	return await(ctx, cl, p)
}

func await(ctx context.Context, cl *client.Client, p *client.Pending) error {
	select {
	case <-p.Done():
		_, err := p.Wait(ctx)
		return err
	case <-cl.Done():
		return orNotConnected(cl.Err())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// inputLine is a line of standard input, or the error that ended it.
type inputLine struct {
	text []byte
	err  error
}

// publishLines keeps several lines under way at QoS 1 and 2; their order is kept.
func (c *pubCmd) publishLines(ctx context.Context, e *env, cl *client.Client) error {
	var waiting []*client.Pending
	lines := readLines(ctx, e.stdin)
	for n := 1; ; n++ {
		var line inputLine
		select {
		case line = <-lines:
		case <-cl.Done():
			return orNotConnected(cl.Err())
		case <-ctx.Done():
			return ctx.Err()
		}
		if line.err == io.EOF {
			break
		}
		if line.err != nil {
			return fmt.Errorf("line %d: %w", n, line.err)
		}
		p, err := cl.Start(ctx, c.message(line.text))
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if c.QoS == 0 {
			continue
		}
		if waiting = append(waiting, p); len(waiting) >= client.DefaultMaxInflight {
			if err := await(ctx, cl, waiting[0]); err != nil {
				return err
			}
			waiting = waiting[1:]
		}
	}
	for _, p := range waiting {
		if err := await(ctx, cl, p); err != nil {
			return err
		}
	}
	return nil
}

// readLines reads on a goroutine of its own, since a read of standard input
// can't be interrupted; the last value holds an error, io.EOF at the end.
func readLines(ctx context.Context, r io.Reader) <-chan inputLine {
	lines := make(chan inputLine, 16)
	go func() {
		in := bufio.NewReaderSize(r, 64<<10)
		for {
			text, err := readLine(in)
			select {
			case lines <- inputLine{text, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return lines
}

// readLine returns the next line without its newline, bounded by what a packet holds.
func readLine(r *bufio.Reader) (line []byte, err error) {
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxPayload:
			return nil, errors.New("longer than the 268,435,455 bytes of a packet")
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && len(line) > 0, err == nil:
			return bytes.TrimSuffix(line, []byte("\n")), nil
		default:
			return nil, err
		}
	}
}

func orNotConnected(err error) error {
	if err == nil {
		return client.ErrNotConnected
	}
	return err
}

// isLoopback reports whether host can only be this machine.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
