package script_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/broker"
	"sallyport/config"
	"sallyport/security"
	"sallyport/store"
	"sallyport/tests/script"
	"sallyport/topic"
)

// brokerWorld is a whole broker in a bubble of virtual time: engine, gate and
// store are the real ones, the policy and the accounts are doubles.
type brokerWorld struct{ broker *broker.Broker }

func newBrokerWorld(t *testing.T, settings map[string]string) script.World {
	t.Helper()
	return newWorld(t, settings, store.NewMemory())
}

// newWorld is newBrokerWorld over a store.
func newWorld(t *testing.T, settings map[string]string, kept store.Store) script.World {
	t.Helper()
	return brokerWorld{startBroker(t, settings, broker.Options{Store: kept})}
}

// startBroker starts the broker that a case's settings describe, over o. It ends
// with the test.
func startBroker(t *testing.T, settings map[string]string, o broker.Options) *broker.Broker {
	t.Helper()
	o.Version, o.ResponseInformation = "test", settings["response_info"]
	w := &setup{
		options:  o,
		listener: broker.Listener{Name: "main", AllowEmptyClientID: true, Limits: shippedLimits()},
		accounts: &accounts{},
	}
	for key, value := range settings {
		if err := w.set(key, value); err != nil {
			t.Fatalf("set %s=%s: %v", key, value, err)
		}
	}
	w.listener.Auth = w.accounts
	if w.accounts.method != "" {
		w.listener.Enhanced = w.accounts
	}
	w.options.Listeners = map[string]*broker.Listener{"main": &w.listener}
	w.options.Gate = security.NewGate(&security.Ruleset{ByListener: map[string][]security.Policy{"main": {&w.policy}}})
	b := broker.New(w.options)
	t.Cleanup(func() {
		b.Shutdown(time.Minute)
		if err := b.Close(); err != nil {
			t.Errorf("close the broker: %v", err)
		}
		if n := b.Metrics().Panics.Load(); n != 0 {
			t.Errorf("%d panics", n)
		}
	})
	return b
}

// shippedLimits are the limits of a listener whose configuration names none.
func shippedLimits() broker.Limits {
	l := config.Defaults().Limits
	return broker.Limits{
		ConnectTimeout: l.ConnectTimeout, WriteTimeout: l.WriteTimeout, KeepAliveMax: l.KeepAliveMax,
		PacketUnauthenticated: int(l.PacketSizeUnauthenticated), Packet: int(l.PacketSize),
		Topic:         topic.Limits{Bytes: l.TopicBytes, Levels: l.TopicLevels},
		ClientIDBytes: l.ClientIDBytes, UserProperties: l.UserProperties, Subscriptions: l.Subscriptions,
		FiltersPerPacket: l.FiltersPerSubscribe, ReceiveMaximum: l.ReceiveMaximum, Inflight: int(l.Inflight),
		QueueMessages: l.QueueMessages, QueueBytes: int(l.QueueBytes), OutputBytes: int(l.OutputBytes),
		TopicAlias: l.TopicAlias, TopicAliasOut: l.TopicAliasOut, MaxQoS: l.QoS,
		SessionExpiry: uint32(l.SessionExpiry / time.Second), MessageBytes: int(l.MessageSize),
	}
}

// setup is a broker that a case's settings describe.
type setup struct {
	options  broker.Options
	listener broker.Listener
	accounts *accounts
	policy   policy
}

func (w *setup) set(key, value string) error {
	lim := &w.listener.Limits
	switch key {
	case "user":
		return w.accounts.add(value)
	case "moved":
		return w.accounts.move(value)
	case "auth_method":
		w.accounts.method = value
	case "deny_publish":
		w.policy.publish = append(w.policy.publish, value)
	case "deny_subscribe":
		w.policy.subscribe = append(w.policy.subscribe, value)
	case "response_info":
	case "overlapping":
		return choice(value, "merge", &w.options.MergeOverlapping)
	case "no_subscribers":
		return choice(value, "tell", &w.options.TellNoSubscribers)
	case "denied":
		return choice(value, "disconnect", &w.listener.DisconnectDenied)
	case "shared_redeliver":
		return choice(value, "disconnect", &w.options.RedeliverOnDisconnect)
	case "store":
		fails := false
		if err := choice(value, "fails", &fails); err != nil {
			return err
		}
		w.options.Store = failingStore{w.options.Store}
	case "reason_strings":
		return choice(value, "true", &w.options.ReasonStrings)
	case "retained_messages":
		return number(value, func(n int) { w.options.RetainedMessages = int64(n) })
	case "retain_available":
		return choice(value, "false", &w.options.NoRetain)
	case "shared_available":
		return choice(value, "false", &w.options.NoShared)
	case "wildcard_available":
		return choice(value, "false", &w.options.NoWildcards)
	case "sub_id_available":
		return choice(value, "false", &w.options.NoSubscriptionIDs)
	case "max_qos":
		return number(value, func(n int) { lim.MaxQoS = byte(n) })
	case "receive_maximum":
		return number(value, func(n int) { lim.ReceiveMaximum = uint16(n) })
	case "topic_alias_maximum":
		return number(value, func(n int) { lim.TopicAlias = uint16(n) })
	case "max_keepalive":
		return number(value, func(n int) { lim.KeepAliveMax = uint16(n) })
	case "max_client_id":
		return number(value, func(n int) { lim.ClientIDBytes = n })
	case "max_topic_length":
		return number(value, func(n int) { lim.Topic.Bytes = n })
	default:
		return errors.New("the broker under test has no such setting")
	}
	return nil
}

// choice sets *on when value is the one that may be chosen.
func choice(value, allowed string, on *bool) error {
	if value != allowed {
		return fmt.Errorf("only %q can be set", allowed)
	}
	*on = true
	return nil
}

func number(value string, set func(int)) error {
	n, err := strconv.ParseUint(value, 10, 16)
	if err == nil {
		set(int(n))
	}
	return err
}

// Dial implements script.World.
func (w brokerWorld) Dial(listener string) (script.Peer, error) {
	if listener == "" {
		listener = "main"
	}
	pipe, err := w.broker.Pipe(broker.Info{Listener: listener})
	if err != nil {
		return nil, err
	}
	p := &pipePeer{pipe: pipe}
	go p.pump()
	return p, nil
}

// Settle implements script.World.
func (brokerWorld) Settle() { synctest.Wait() }

// Sleep implements script.World.
func (brokerWorld) Sleep(d time.Duration) { time.Sleep(d) }

// pipePeer collects what the broker sends, since a transcript asks for what
// has arrived and a pipe can only wait.
type pipePeer struct {
	pipe *broker.Pipe

	mu  sync.Mutex // guards the fields below
	got []byte
	end bool
}

// pump ends with the connection.
func (p *pipePeer) pump() {
	buf := make([]byte, 4096)
	for {
		n, err := p.pipe.Read(buf)
		p.mu.Lock()
		p.got = append(p.got, buf[:n]...)
		p.end = err != nil
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Send implements script.Peer.
func (p *pipePeer) Send(b []byte) error {
	_, err := p.pipe.Write(b)
	return err
}

// Recv implements script.Peer.
func (p *pipePeer) Recv() ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.got
	p.got = nil
	if len(b) == 0 && p.end {
		return nil, io.EOF
	}
	return b, nil
}

// Drop implements script.Peer.
func (p *pipePeer) Drop() {
	// The broker may have closed first; then there is nothing left to drop.
	_ = p.pipe.Close()
}

// policy allows everything but what a case denies.
type policy struct{ publish, subscribe []string }

// Decide implements security.Policy.
func (p *policy) Decide(r *security.Request) security.Verdict {
	denies := func(filter string) bool { return false }
	switch r.Action {
	case security.Publish:
		denies = func(filter string) bool { return topic.Match(filter, r.Topic) }
	case security.Subscribe:
		denies = func(filter string) bool { return topic.Covers(filter, r.Topic) }
	}
	rules := p.subscribe
	if r.Action == security.Publish {
		rules = p.publish
	}
	if slices.ContainsFunc(rules, denies) {
		return security.Verdict{Effect: security.Deny, Policy: "script", Rule: "deny " + strings.Join(rules, " ")}
	}
	return security.Verdict{Effect: security.Allow, Policy: "script", Rule: "allow the rest"}
}

// failingStore keeps nothing and says so.
type failingStore struct{ store.Store }

// Commit implements store.Store.
func (failingStore) Commit(_ *store.Batch, done func(error)) {
	go done(errors.New("the disk is full"))
}
