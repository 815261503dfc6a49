package broker

import (
	"log/slog"
	"strings"

	"sallyport/audit"
	"sallyport/packet"
	"sallyport/security"
)

// refusal is one refused request of a client: what the operator's log and the
// client are told beside the reason code. The zero refusal says nothing.
type refusal struct{ id string }

// idsPerSecond bounds how many refusals of one connection get an identifier, so
// that a flood of one client's doesn't push out what others were told.
const idsPerSecond = 16

// refusals is what a connection that is refused something needs, so that a flood
// of refusals is no flood of log lines and identifiers.
type refusals struct {
	denied   int // publishes denied since the last log line
	deniedAt int64
	ids      int // identifiers made in the second since idsAt
	idsAt    int64
}

// refusal keeps a refused request, if the configuration wants that.
func (c *Conn) refusal(q security.Request, v security.Verdict) refusal {
	if !c.b.opt.DenyIDs {
		return refusal{}
	}
	n := &c.sender().refused
	if now := c.b.now(); n.idsAt == 0 || now-n.idsAt >= 1e9 {
		n.idsAt, n.ids = now, 0
	}
	if n.ids >= idsPerSecond {
		return refusal{}
	}
	n.ids++
	q.Principal = c.principal.Load()
	return refusal{c.b.opt.Decisions.Keep(q, v)}
}

// attrs is the verdict as log attributes, after more.
func (r refusal) attrs(v security.Verdict, more ...slog.Attr) []slog.Attr {
	out := verdictAttrs(v, more...)
	if r.id != "" {
		out = append(out, slog.String("decision", r.id))
	}
	return out
}

// tell is the reason string for the client of these refusals, empty where it
// gets none: before MQTT 5, and where it asked for none (3.1.2.11.7).
func (c *Conn) tell(refused ...refusal) string {
	if c.version != packet.V5 || !c.problemInfo {
		return ""
	}
	var ids []string
	for _, r := range refused {
		if r.id != "" {
			ids = append(ids, r.id)
		}
	}
	if len(ids) == 0 {
		return ""
	}
	return "not authorized, decision " + strings.Join(ids, ", ")
}

// refusePublish counts and logs a refused message. reason is for the client; an
// error ends the connection, as configured.
func (c *Conn) refusePublish(p *packet.Publish, name string, v security.Verdict) (reason string, err error) {
	c.b.metrics.PublishDenied.Add(1)
	r := c.refusal(security.Request{Action: security.Publish, Topic: name, QoS: p.QoS, Retain: p.Retain}, v)
	n := &c.sender().refused
	n.denied++
	if n.deniedAt == 0 || c.turn.now-n.deniedAt > 1e9 {
		// One line a second and connection: a flood of refusals must not become a flood of log.
		c.b.audit.Record(audit.PublishDenied, c.who(r.attrs(v, slog.String("topic", strings.Clone(name)),
			slog.Int("qos", int(p.QoS)), slog.Bool("retain", p.Retain), slog.Int("repeated", n.denied-1))...)...)
		n.denied, n.deniedAt = 0, c.turn.now
	}
	reason = c.tell(r)
	if c.lis.DisconnectDenied {
		return reason, &leave{ending{code: packet.NotAuthorized, reason: "publish denied", notify: true, say: reason}}
	}
	return reason, nil
}

// denyPublish refuses a message as configured.
func (c *Conn) denyPublish(p *packet.Publish, name string, v security.Verdict) error {
	reason, err := c.refusePublish(p, name, v)
	if err != nil {
		return err
	}
	// 3.1.1 can't say no: acknowledged and dropped (MQTT-3.3.5-2).
	c.finishPublish(p, c.ackCode(packet.NotAuthorized), reason)
	return nil
}
