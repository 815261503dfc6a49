package main

import (
	"fmt"
	"time"

	"sallyport/packet"
	"sallyport/tests/crash"
)

const readerName = "reader"

// readRetained is a fresh client that asks for every retained topic and records
// what it gets. It waits longer only for a topic that should hold something.
func (r *run) readRetained() error {
	c, err := dial(r.addr, packet.V5)
	if err != nil {
		return err
	}
	defer func() { _ = c.nc.Close() }()
	hello := &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: readerName}
	hello.Props.ReceiveMaximum = 65535
	hello.Props.Mark(packet.PropReceiveMaximum)
	if ack, err := c.connect(hello); err != nil || ack.Code != packet.Success {
		return fmt.Errorf("the reader of retained messages is not let in: %v", err)
	}
	r.record(crash.Event{Kind: crash.Reading, Client: readerName})
	c.out = packet.AppendSubscribe(c.out, c.v, &packet.Subscribe{
		PacketID: 1, Filters: []packet.Subscription{{Filter: "crash/keep/#", QoS: 1, RetainAsPublished: false}},
	})
	if err := c.flush(); err != nil {
		return err
	}
	seen := map[string]bool{}
	quiet := time.Now().Add(answerTimeout) // until SUBACK
	missing := r.missing(seen)
	for patience := time.Now().Add(r.opt.quiet); ; {
		for {
			h, body, found, err := c.frame()
			if err != nil {
				return err
			}
			if !found {
				break
			}
			switch h.Type {
			case packet.SUBACK:
				quiet = time.Now().Add(100 * time.Millisecond)
			case packet.PUBLISH:
				quiet = time.Now().Add(100 * time.Millisecond)
				if err := r.takeRetained(c, h, body, seen); err != nil {
					return err
				}
				missing = r.missing(seen)
			}
		}
		if err := c.flush(); err != nil {
			return err
		}
		now := time.Now()
		if now.After(quiet) && (missing == 0 || now.After(patience)) {
			break
		}
		if err := c.fill(now.Add(20 * time.Millisecond)); err != nil {
			return err
		}
	}
	for _, topic := range r.retainedTopics() {
		if !seen[topic] {
			r.record(crash.Event{Kind: crash.Read, Client: readerName, Topic: topic})
		}
	}
	_ = c.goodbye(packet.Success) // it has what it wanted
	return nil
}

// missing is how many topics must hold something and have not brought it.
func (r *run) missing(seen map[string]bool) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, topic := range r.retainedTopics() {
		if !seen[topic] && !r.judge.MayBeAbsent(readerName, topic) {
			n++
		}
	}
	return n
}

func (r *run) takeRetained(c *conn, h packet.Header, body []byte, seen map[string]bool) error {
	var m packet.Publish
	if err := packet.DecodePublish(c.v, h.Flags, body, packet.Limits{}, &m); err != nil {
		return err
	}
	if m.QoS == 1 {
		c.out = packet.AppendBareAck(c.out, packet.PUBACK, m.PacketID)
	}
	if !m.Retain {
		return nil // published just now
	}
	topic := string(m.Topic)
	id, err := readPayload(m.Payload)
	switch {
	case err != nil:
		r.record(crash.Event{Kind: crash.Fault, Client: readerName, Topic: topic, Msg: id, Note: "retained on " + topic + ": " + err.Error()})
	case seen[topic]:
		r.record(crash.Event{Kind: crash.Fault, Client: readerName, Topic: topic, Msg: id, Note: "retained twice on " + topic})
	default:
		r.record(crash.Event{Kind: crash.Read, Client: readerName, Topic: topic, Msg: id})
	}
	seen[topic] = true
	return nil
}

// retainedTopics are all that publishers retain messages on.
func (r *run) retainedTopics() []string {
	var all []string
	for i := range keepTopics {
		all = append(all, keepTopic(i))
	}
	for _, p := range r.publishers {
		for i := range ownTopics {
			all = append(all, ownTopic(p.name, i))
		}
	}
	return all
}
