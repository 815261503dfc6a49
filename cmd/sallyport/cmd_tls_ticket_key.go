package main

import (
	"fmt"

	"sallyport/certs/tickets"
)

// tlsTicketKeyCmd is "sallyport tls ticket-key".
type tlsTicketKeyCmd struct {
	File string `arg:"" placeholder:"FILE" help:"The file of the keys; it is made if it isn't there."`
}

// Help says how a fleet rotates.
func (tlsTicketKeyCmd) Help() string {
	return `Example, as a cron job on one machine every 24 h:
  sallyport tls ticket-key /etc/sallyport/tickets.key

A fleet of brokers that share the file resume each other's TLS sessions. Each run
moves the file on by one turn: the key that has waited in the last line begins to
encrypt, those before it go on to decrypt, and a new one waits in its place. So copy
the file to every broker before the next run; in between, brokers with the old file
and brokers with the new one understand each other's tickets. At most 8 keys are
kept, which at a run a day is 7 days for each.

Printed are the ids of the keys, by which the files of two brokers can be compared;
no key follows from an id. Whoever has a key can make tickets, and so pose as any
client, also as one with a certificate, and can read recorded connections of TLS 1.2
that had a ticket. After a leak remove the file, run this once, and copy the new file
to every broker: no ticket of before is taken any more.`
}

// Run rotates the keys.
func (c *tlsTicketKeyCmd) Run(e *env) error {
	ids, err := tickets.Advance(c.File)
	if err != nil {
		return &failure{what: "rotate session ticket keys", why: err}
	}
	last := len(ids) - 1
	fmt.Fprintf(e.stdout, "%s: %d keys; %s encrypts, %s waits\n", plain(c.File), len(ids), ids[0], ids[last])
	return nil
}
