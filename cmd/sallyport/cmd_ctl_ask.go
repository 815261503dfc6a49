package main

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"sallyport/control"
	"sallyport/security/expect"
)

// ctlExplainCmd is "sallyport ctl explain".
type ctlExplainCmd struct {
	Client string `arg:"" name:"client-or-decision" help:"A client's identifier; or, alone, the id of a refusal (deny_reason: id)."`
	Action string `arg:"" optional:"" help:"publish, subscribe, receive or connect."`
	Topic  string `arg:"" optional:"" help:"The topic; for subscribe a filter, also $$share/GROUP/FILTER. None for connect."`

	QoS    uint8  `short:"q" name:"qos" default:"0" placeholder:"QOS" help:"Quality of service (${default})."`
	Retain bool   `short:"r" help:"The message is published as a retained one, or received as one."`
	Will   bool   `help:"What is published is a will."`
	Group  string `placeholder:"NAME" help:"The share name of a shared subscription."`
}

// Help shows examples.
func (*ctlExplainCmd) Help() string {
	return `Asks the running broker about a client that is connected or whose session it keeps: the same rules, the same principal, the same code as when it asks itself.

Examples:

    sallyport ctl -c sallyport.yaml explain meter-17 publish meters/meter-17/kwh --qos 1
    sallyport ctl -c sallyport.yaml explain app subscribe 'jobs/#' --group workers
    sallyport ctl -c sallyport.yaml explain K3MZQ7PA

The last looks up a refusal by the id that the client was told and the log has, and tells what the same request is answered now.

Exit codes: 0 allowed, 3 refused.`
}

// Run asks and prints.
func (x *ctlExplainCmd) Run(e *env, c *ctlCmd) error {
	if x.Action == "" {
		return x.decision(e, c)
	}
	if _, err := expect.ParseAction(x.Action); err != nil {
		return usageError(`run "sallyport ctl explain --help"`, "%s %v", x.Action, err)
	}
	ask := control.ExplainRequest{ClientID: x.Client, Action: x.Action, Topic: x.Topic, QoS: x.QoS, Retain: x.Retain, Will: x.Will, Group: x.Group}
	var r control.ExplainResult
	printed, err := c.call(e, "explain", "POST", "/explain", ask, &r)
	if err == nil && !printed {
		err = x.print(e, &r)
	}
	return allowed(err, r.Allowed)
}

// allowed is err, or that what was printed is a refusal.
func allowed(err error, yes bool) error {
	if err == nil && !yes {
		return errRefused
	}
	return err
}

func (x *ctlExplainCmd) print(e *env, r *control.ExplainResult) error {
	if err := writeExplained(e.stdout, &r.Explained); err != nil {
		return &failure{what: "print the explanation", why: err}
	}
	if r.Online != nil && !*r.Online {
		var p page
		p.line("\nThe client is away: this is its session's owner, as it last connected.")
		return p.print(e)
	}
	return nil
}

// decision explains a refusal of the past.
func (x *ctlExplainCmd) decision(e *env, c *ctlCmd) error {
	if x.QoS != 0 || x.Retain || x.Will || x.Group != "" {
		return usageError(`run "sallyport ctl explain --help"`, "a decision has its own QoS, retain, will and group")
	}
	var r control.DecisionResult
	printed, err := c.call(e, "explain "+x.Client, "GET", control.DecisionPath(x.Client), nil, &r)
	if err == nil && !printed {
		var p page
		p.line("decision %s, %s: %s was refused", r.ID, r.At, r.Now.Request.Text)
		p.line("  because %s", r.Then.Why())
		if r.Changed {
			p.line("Now it would be allowed.\n")
		} else {
			p.line("It still is.\n")
		}
		if err = p.print(e); err == nil {
			err = x.print(e, &r.Now)
		}
	}
	return allowed(err, r.Now.Allowed)
}

// ctlClientCmd is "sallyport ctl client".
type ctlClientCmd struct {
	ID string `arg:"" help:"The client's identifier."`
}

// Run prints who the client is.
func (x *ctlClientCmd) Run(e *env, c *ctlCmd) error {
	var r control.Client
	if printed, err := c.call(e, "client "+x.ID, "GET", control.ClientPath(x.ID), nil, &r); printed || err != nil {
		return err
	}
	var p page
	p.line("%s", clientText(&r.Client))
	where := "online"
	if !r.Online {
		where = "away, its session is kept"
	}
	p.line("%s, %d subscriptions", where, r.Subscriptions)
	if r.Realm != "" || r.Method != "" {
		p.line("realm %s, accepted by %s", r.Realm, r.Method)
	}
	if len(r.Attributes)+len(r.Claims) > 0 {
		p.line("attributes %s, claims %s", listOr(r.Attributes, "none"), listOr(r.Claims, "none"))
	}
	if x := r.Certificate; x != nil {
		p.line("certificate %s, issued by %s, serial %s, until %s", x.Subject, x.Issuer, x.Serial, x.NotAfter.String())
		p.line("  SHA-256 %s", x.SHA256)
		for _, name := range slices.Sorted(maps.Keys(x.Fields)) {
			p.line("  cert.%s: %s", name, strings.Join(x.Fields[name], ", "))
		}
		for _, name := range slices.Sorted(maps.Keys(x.Unreadable)) {
			p.line("  cert.%s can't be told: %s", name, x.Unreadable[name])
		}
	}
	if r.Expires != nil {
		p.line("its credential expires %s", r.Expires.String())
	}
	return p.print(e)
}

// ctlRetainedCmd is "sallyport ctl retained".
type ctlRetainedCmd struct {
	Purge ctlPurgeCmd `cmd:"" help:"Remove the retained messages of a publisher."`
}

// ctlPurgeCmd is "sallyport ctl retained purge".
type ctlPurgeCmd struct {
	PublishedBy *string `name:"published-by" placeholder:"USER" help:"Messages that this user published; an empty one is anonymous clients."`
	Realm       *string `placeholder:"REALM" help:"Only where the user is of this realm."`
	ClientID    *string `name:"client-id" short:"i" placeholder:"ID" help:"Messages that this client published."`
	DryRun      bool    `name:"dry-run" help:"Count them only."`
}

// Run purges.
func (x *ctlPurgeCmd) Run(e *env, c *ctlCmd) error {
	if x.PublishedBy == nil && x.ClientID == nil {
		return usageError("--published-by USER or --client-id ID", "nobody says whose retained messages")
	}
	var r control.PurgeResult
	ask := control.PurgeRequest{PublishedBy: x.PublishedBy, Realm: x.Realm, ClientID: x.ClientID, DryRun: x.DryRun}
	if printed, err := c.call(e, "retained purge", "POST", "/retained/purge", ask, &r); printed || err != nil {
		return err
	}
	done := "removed"
	if r.DryRun {
		done = "would remove"
	}
	var p page
	p.line("%s %s", done, counted(int64(r.Messages), "retained message"))
	return p.print(e)
}

// ctlShadowCmd is "sallyport ctl shadow".
type ctlShadowCmd struct {
	Show  ctlShadowShowCmd  `cmd:"" default:"1" help:"Print the differences, the most frequent first."`
	Reset ctlShadowResetCmd `cmd:"" help:"Forget them and begin to count anew."`
}

// ctlShadowShowCmd is "sallyport ctl shadow show".
type ctlShadowShowCmd struct{}

// Run prints the differences.
func (*ctlShadowShowCmd) Run(e *env, c *ctlCmd) error {
	var r control.ShadowResult
	if printed, err := c.call(e, "shadow", "GET", "/shadow", nil, &r); printed || err != nil {
		return err
	}
	var p page
	p.line("%s that shadow policies would have answered otherwise", counted(r.Total, "request"))
	for _, d := range r.Kinds {
		p.line("%s of user %s, listener %s: judged %s", d.Action, strconv.Quote(d.User), d.Listener, counted(d.Judged, "time"))
		p.line("  now:    %s", verdictText(&d.Live))
		p.line("  shadow: %s", verdictText(&d.Shadow))
		last := "client " + d.ClientID
		if d.Topic != "" {
			last += ", topic " + d.Topic + ", QoS " + strconv.Itoa(int(d.QoS))
		}
		p.line("  last:   %s", last)
	}
	return p.print(e)
}

// counted is a number and what it counts.
func counted(n int64, what string) string {
	text := strconv.FormatInt(n, 10) + " " + what
	if n != 1 && !strings.HasSuffix(what, "s") {
		text += "s"
	}
	return text
}

// ctlShadowResetCmd is "sallyport ctl shadow reset".
type ctlShadowResetCmd struct{}

// Run forgets the differences.
func (*ctlShadowResetCmd) Run(e *env, c *ctlCmd) error {
	var r control.ShadowResetResult
	if printed, err := c.call(e, "shadow reset", "POST", "/shadow/reset", nil, &r); printed || err != nil {
		return err
	}
	var p page
	p.line("forgot %s", counted(r.Forgotten, "difference"))
	return p.print(e)
}
