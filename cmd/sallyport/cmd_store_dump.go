package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"sallyport/session"
	"sallyport/store/disk"
)

// storeDumpCmd is "sallyport store dump".
type storeDumpCmd struct {
	storeFlags
	Payload bool `help:"With payloads and properties of messages, as base64."`
}

// Help describes the lines.
func (*storeDumpCmd) Help() string {
	return `One JSON object a line: kind is session, subscription, queued, incoming, will, retained, publisher or item, of which the value is not shown. A record that can't be read is told of on standard error, and the exit code is 1 then.

Examples:

    sallyport store dump /var/lib/sallyport | jq 'select(.kind == "session")'
    sallyport store dump --payload --key-env STORE_KEY /var/lib/sallyport > store.jsonl`
}

// dumped is one line.
type dumped struct {
	Kind              string       `json:"kind"`
	Client            string       `json:"client,omitempty"`
	Expiry            uint32       `json:"expiry,omitempty"` // seconds
	Owner             *dumpedOwner `json:"owner,omitempty"`
	Filter            string       `json:"filter,omitempty"`
	NoLocal           bool         `json:"no_local,omitempty"`
	RetainAsPublished bool         `json:"retain_as_published,omitempty"`
	RetainHandling    byte         `json:"retain_handling,omitempty"`
	SubscriptionIDs   []uint32     `json:"subscription_ids,omitempty"`
	Seq               uint64       `json:"seq,omitempty"`
	PacketID          uint16       `json:"packet_id,omitempty"`
	Awaits            string       `json:"awaits,omitempty"` // an acknowledgement
	Share             string       `json:"share,omitempty"`
	Topic             string       `json:"topic,omitempty"`
	QoS               *byte        `json:"qos,omitempty"`
	Retain            bool         `json:"retain,omitempty"`
	Bytes             *int         `json:"bytes,omitempty"` // of the payload
	Expires           *time.Time   `json:"expires,omitempty"`
	Due               *time.Time   `json:"due,omitempty"`
	Publisher         *dumpedOwner `json:"publisher,omitempty"`
	Payload           []byte       `json:"payload,omitempty"`
	Properties        []byte       `json:"properties,omitempty"`
	Table             string       `json:"table,omitempty"` // of an item, as Name
	Name              string       `json:"name,omitempty"`
}

// dumpedOwner is who has a session, or has published a message. Attributes, claims
// and certificates are left out.
type dumpedOwner struct {
	Client string `json:"client,omitempty"`
	Realm  string `json:"realm,omitempty"`
	User   string `json:"user,omitempty"`
}

func dumpOwner(o *session.Origin) *dumpedOwner {
	if o == nil {
		return nil
	}
	return &dumpedOwner{Client: o.ClientID, Realm: o.Realm, User: o.Name}
}

// Run prints the records.
func (c *storeDumpCmd) Run(e *env) error {
	const what = "dump the store"
	i, err := c.inspect(e, what)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(e.stdout, 64<<10)
	var line bytes.Buffer
	enc := json.NewEncoder(&line)
	enc.SetEscapeHTML(false)
	unread := 0
	err = i.Each(func(r *disk.Record) error {
		if e.ctx.Err() != nil {
			return errors.New("interrupted")
		}
		d := c.line(r)
		if d == nil {
			return nil
		}
		line.Reset()
		if err := enc.Encode(d); err != nil {
			return err
		}
		_, err := out.Write(sanitizeJSON(line.Bytes()))
		return err
	}, func(err error) {
		if unread++; unread <= problemsShown {
			fmt.Fprintf(e.stderr, "problem: %s\n", plain(err.Error()))
		}
	})
	if err = errors.Join(err, out.Flush(), i.Close()); err != nil {
		return &failure{what: what, why: err}
	}
	if unread > 0 {
		return &failure{what: what, why: errors.New(several(unread, "problem")), hint: `"sallyport store check" says more`}
	}
	return nil
}

// line is a record as it is printed; nil if it is part of another's line.
func (c *storeDumpCmd) line(r *disk.Record) *dumped {
	d := &dumped{Kind: r.Kind, Client: r.Client, Expiry: r.Expiry, Owner: dumpOwner(r.Owner), Seq: r.Seq, PacketID: r.PacketID, SubscriptionIDs: r.SubIDs, Share: r.Share}
	switch r.Kind {
	case "flight", "message":
		return nil
	case "subscription":
		d.Filter, d.QoS = r.Sub.Filter, &r.Sub.QoS
		d.NoLocal, d.RetainAsPublished, d.RetainHandling = r.Sub.NoLocal, r.Sub.RetainAsPublished, r.Sub.RetainHandling
		d.SubscriptionIDs = r.Sub.Via().IDs()
	case "queued":
		c.message(d, r.Message)
		d.QoS, d.Retain = &r.QoS, r.Retain
		if r.PacketID != 0 {
			d.Awaits = awaited(r)
		}
	case "will":
		c.message(d, r.Message)
		due := time.Unix(0, r.At).UTC()
		d.Due = &due
	case "retained":
		c.message(d, r.Message)
	case "item":
		d.Table, d.Name = r.Item.Table, r.Item.Name
	}
	return d
}

// awaited is the acknowledgement that a message in flight waits for.
func awaited(r *disk.Record) string {
	switch {
	case r.State == session.AwaitComp:
		return "PUBCOMP"
	case r.QoS == 2:
		return "PUBREC"
	}
	return "PUBACK"
}

func (c *storeDumpCmd) message(d *dumped, m *session.Message) {
	if m == nil {
		return // its record is a problem that was told of
	}
	size := len(m.Payload)
	d.Topic, d.QoS, d.Retain, d.Bytes, d.Publisher = m.Topic, &m.QoS, m.Retain, &size, dumpOwner(m.Origin)
	if m.Expires != 0 {
		expires := time.Unix(0, m.Expires).UTC()
		d.Expires = &expires
	}
	if c.Payload {
		d.Payload, d.Properties = m.Payload, m.Props
	}
}
