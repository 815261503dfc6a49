package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"sallyport/bench"
	"sallyport/client"
	"sallyport/packet"
)

// benchCmd is "sallyport bench".
type benchCmd struct {
	Scenario string `arg:"" optional:"" default:"p2p" enum:"p2p,fan-in,fan-out,connect,idle,subscriptions,retained,offline,queues" help:"One of ${enum} (${default})."`

	serverFlags
	credentialFlags

	Self        bool     `help:"Load a broker started inside this process; its CPU can't be told from the load's."`
	Version     string   `short:"V" name:"protocol-version" enum:"mqttv31,mqttv311,mqttv5,31,311,5" default:"mqttv5" placeholder:"VERSION" help:"mqttv31, mqttv311 or mqttv5 (${default})."`
	Users       int      `group:"login" placeholder:"N" help:"With %d in the user name: use N names in turn (as many as clients), all with the same password."`
	TLSResume   bool     `name:"tls-resume" group:"tls" help:"Resume TLS sessions (scenario connect)."`
	TLSCurve    []string `name:"tls-curve" group:"tls" enum:"x25519,p256,p384,x25519mlkem768" placeholder:"NAME" help:"Agree on keys with these groups only: x25519, p256, p384 or x25519mlkem768."`
	TopicPrefix string   `name:"topic-prefix" default:"demo/bench" placeholder:"TOPIC" help:"Where the topics of the run lie (${default})."`
	PID         int      `name:"pid" placeholder:"PID" help:"The broker's process: report its CPU and memory (Linux)."`
	JSON        bool     `name:"json" help:"Print the report as JSON."`

	QoS         byte          `short:"q" name:"qos" group:"load" default:"0" placeholder:"QOS" help:"Quality of service (${default}; offline, queues: 1)."`
	Payload     int           `group:"load" default:"64" placeholder:"BYTES" help:"Payload (${default}, at least 28)."`
	Window      int           `group:"load" default:"64" placeholder:"N" help:"Messages of one publisher under way (${default})."`
	Rate        float64       `group:"load" placeholder:"N" help:"Messages (connect: connections) per second in all; without it the loop is closed."`
	Duration    time.Duration `group:"load" default:"10s" placeholder:"TIME" help:"How long to measure, or to hold idle connections (${default})."`
	Warmup      time.Duration `group:"load" default:"1s" placeholder:"TIME" help:"Time before measuring (${default})."`
	Messages    int           `group:"load" placeholder:"N" help:"Messages of each publisher, in place of a duration."`
	Pairs       int           `group:"load" default:"10" placeholder:"N" help:"Pairs of p2p (${default})."`
	Publishers  int           `group:"load" default:"100" placeholder:"N" help:"Publishers of fan-in and queues (${default})."`
	Subscribers int           `group:"load" default:"100" placeholder:"N" help:"Subscribers of fan-out and subscriptions, sessions of queues (${default})."`
	Connections int           `group:"load" default:"1000" placeholder:"N" help:"Connections of connect and idle (${default})."`
	Clients     int           `group:"load" placeholder:"N" help:"N clients reconnect in turn, after each has connected once unmeasured (connect; else every connection is a new client)."`
	SlopeFrom   int           `name:"slope-from" group:"load" placeholder:"N" help:"Memory per connection is the growth from N connections on (idle; a quarter of them)."`
	Concurrency int           `group:"load" default:"32" placeholder:"N" help:"Connections being opened at a time (${default})."`
	Topics      int           `group:"load" default:"1" placeholder:"N" help:"Topics that a publisher sends to in rotation (${default})."`
	Fresh       int           `group:"load" placeholder:"PERCENT" help:"Send this share of the messages to topics that were never used before, with --topics."`
	Churn       float64       `group:"load" placeholder:"N" help:"Subscribe and unsubscribe N times a second on other connections meanwhile."`
	Kept        bool          `group:"load" help:"Subscribers have sessions that outlive their connections (p2p, fan-in, fan-out)."`
	Settle      time.Duration `group:"load" default:"1s" placeholder:"TIME" help:"Leave the broker alone before its memory is read (${default}; needs --pid)."`
	Count       int           `group:"load" default:"10000" placeholder:"N" help:"Subscriptions, retained or queued messages (${default})."`
}

// Help shows examples.
func (*benchCmd) Help() string {
	return `Every message is verified: nothing may be lost, doubled or out of order, or the exit code is 1. Topics lie under --topic-prefix; the user needs the right to publish and subscribe there.

Examples:

    sallyport bench --self
    sallyport bench p2p -h localhost --pid $(pidof mosquitto) --pairs 50 -q 1
    sallyport bench p2p -h localhost -u load-%d --password-env PW --topics 1000 --fresh 10 --churn 100
    sallyport bench fan-out -h localhost --subscribers 1000 --rate 100 --duration 30s
    sallyport bench connect -h localhost --clients 100 --connections 5000
    sallyport bench connect -h localhost --cafile ca.pem --tls-curve x25519 --tls-resume --clients 100
    sallyport bench idle -h localhost --slope-from 5000 --connections 19000 --pid 4711
    sallyport bench retained -h localhost -u load --password-env PW --count 200000 --json

With --pid the report has the broker's CPU time, user and system, and its memory; the generator's own CPU is always in it, with a warning when the generator had no core left. docs/bench.md explains every figure.

With --rate a latency runs from the moment a message was due, so that a stall counts for all it delayed; without it, from sending.`
}

// curves is the value of --tls-curve. Which of several comes first is Go's choice.
func (c *benchCmd) curves() (all []tls.CurveID) {
	for _, name := range c.TLSCurve {
		switch name {
		case "x25519":
			all = append(all, tls.X25519)
		case "p256":
			all = append(all, tls.CurveP256)
		case "p384":
			all = append(all, tls.CurveP384)
		case "x25519mlkem768":
			all = append(all, tls.X25519MLKEM768)
		}
	}
	return all
}

// Run measures and prints the report.
func (c *benchCmd) Run(e *env) error {
	o, err := c.options(e)
	if err != nil {
		return err
	}
	stop, err := c.server(e, &o)
	if err != nil {
		return err
	}
	defer stop()
	if !c.JSON {
		o.Progress = func(s string) { fmt.Fprintln(e.stderr, s) }
	}
	report, err := bench.Run(e.ctx, o)
	if err != nil && e.ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if err != nil {
		return &failure{what: "bench " + c.Scenario, why: err, hint: c.hintFor(err)}
	}
	if c.JSON {
		out := json.NewEncoder(e.stdout)
		out.SetIndent("", "  ")
		err = out.Encode(report)
	} else {
		err = report.WriteText(e.stdout)
	}
	if err != nil {
		return &failure{what: "print the report", why: err}
	}
	if !report.OK() {
		return &failure{what: "bench " + c.Scenario, why: errors.New("messages were lost, doubled, out of order or refused")}
	}
	return nil
}

func (c *benchCmd) options(e *env) (bench.Options, error) {
	version := (&connectFlags{Version: c.Version}).protocol()
	hello := packet.Connect{Version: version}
	if err := c.credentialFlags.apply(e, &hello); err != nil {
		return bench.Options{}, err
	}
	qos := c.QoS
	if (c.Scenario == bench.Offline || c.Scenario == bench.Queues) && qos == 0 {
		qos = 1
	}
	if strings.Count(hello.Username, "%d") == 0 && c.Users > 0 {
		return bench.Options{}, usageError("example: -u load-%d --users 200", "--users needs %%d in the user name")
	}
	return bench.Options{
		Users: c.Users, Clients: c.Clients, SlopeFrom: c.SlopeFrom, Fresh: c.Fresh, Churn: c.Churn, Kept: c.Kept, Settle: c.Settle, Self: c.Self,
		Scenario: c.Scenario, Version: version, QoS: qos,
		Username: hello.Username, Password: hello.Password, TopicPrefix: c.TopicPrefix,
		Payload: c.Payload, Window: c.Window, Rate: c.Rate, Duration: c.Duration, Warmup: c.Warmup, Messages: c.Messages,
		Pairs: c.Pairs, Publishers: c.Publishers, Subscribers: c.Subscribers,
		Connections: c.Connections, Concurrency: c.Concurrency, Count: c.Count, Topics: c.Topics, PID: c.PID,
	}, nil
}

// server settles which broker is loaded: one the user has named, or the one
// inside; stop ends the latter.
func (c *benchCmd) server(e *env, o *bench.Options) (stop func(), err error) {
	named := c.Host != "" || c.Unix != ""
	if c.Self == named {
		return nil, usageError("bench -h HOST loads that broker, bench --self one of its own", "name one broker to load")
	}
	if c.Self {
		return c.startSelf(e, o)
	}
	target, err := c.target(o.Version)
	if err != nil {
		return nil, err
	}
	if target.TLS == nil && (c.TLSResume || len(c.TLSCurve) > 0) {
		return nil, usageError("add --cafile FILE, or --tls", "--tls-resume and --tls-curve need TLS")
	}
	if target.TLS != nil {
		target.TLS.CurvePreferences = c.curves()
		target.TLS.ClientSessionCache = bench.Forgetful{}
	}
	if c.TLSResume {
		target.TLS.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	}
	o.Dial = target.Dial
	if target.Transport == client.TCP {
		o.Plain = target.Address
	}
	return func() {}, nil
}

func (c *benchCmd) startSelf(e *env, o *bench.Options) (stop func(), err error) {
	if e.selfBroker == nil {
		return nil, &failure{what: "bench --self", why: errors.New("this build has no broker in it")}
	}
	if c.PID != 0 || c.secure() || c.WS {
		return nil, usageError("", "--self speaks plain MQTT inside this process: no --pid, TLS or --ws")
	}
	addr, stop, err := e.selfBroker()
	if err != nil {
		return nil, &failure{what: "start a broker for --self", why: err}
	}
	o.Dial, o.Plain = client.Target{Transport: client.TCP, Address: addr}.Dial, addr
	return stop, nil
}
