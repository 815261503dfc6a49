package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"sallyport/security/expect"
)

// policyDiffCmd is "sallyport policy diff".
type policyDiffCmd struct {
	Identities string `required:"" placeholder:"FILE" help:"Who to ask for: YAML with identities, as for policy test."`
	At         string `placeholder:"TIME" help:"When, such as 2026-03-01T08:30:00Z; otherwise now."`
	JSON       bool   `name:"json" help:"Print JSON."`
	Old        string `arg:"" help:"A configuration, a permission file or an acl_file."`
	New        string `arg:"" help:"Another one."`
}

// Help shows examples.
func (*policyDiffCmd) Help() string {
	return `Asks both for everything that their rules tell apart, for each identity: every action, QoS, retained or not, will or not, shared or not. What is printed is complete for rules without when, and each line was answered by the gate itself.

Examples:

    sallyport policy diff permissions.yaml new.yaml --identities who.yaml
    sallyport policy diff /etc/mosquitto/mosquitto.conf sallyport.yaml --identities who.yaml --json

who.yaml:

    identities:
      meter: {client_id: meter-17, user: meter-17}
      app: {client_id: app, user: alice, address: 192.0.2.7, groups: [operators]}

Exit codes: 0 no difference, 1 differences, 2 a file is not valid, or there is too much to compare.`
}

// compared is the document of "policy diff --json".
type compared struct {
	Identities  int                 `json:"identities"`
	Differences []expect.Difference `json:"differences"`
	// Conditional says that rules with conditions took part, which may tell more topics apart.
	Conditional bool `json:"conditional"`
}

// Run compares and prints.
func (c *policyDiffCmd) Run(e *env) error {
	at := time.Now()
	if c.At != "" {
		var err error
		if at, err = expect.ParseTime(c.At); err != nil {
			return usageError("", "--at %v", err)
		}
	}
	who, err := expect.ReadIdentities(c.Identities)
	if err != nil {
		return &failure{what: c.Identities + " is not valid", why: fmt.Errorf("\n%w", err), hint: "docs/explain.md describes it", code: exitUsage}
	}
	result, err := c.compare(e, who, at)
	if err != nil {
		return err
	}
	if c.JSON {
		err = printJSON(e.stdout, result)
	} else {
		err = result.write(e.stdout)
	}
	switch {
	case err != nil:
		return &failure{what: "print the differences", why: err}
	case len(result.Differences) > 0:
		return &failure{code: exitFailure}
	}
	return nil
}

func (c *policyDiffCmd) compare(e *env, who []expect.Identity, at time.Time) (*compared, error) {
	before, err := openJudge(e, c.Old)
	if err != nil {
		return nil, err
	}
	after, err := openJudge(e, c.New)
	if err != nil {
		return nil, err
	}
	comparison := expect.Comparison{At: at.UnixNano()}
	result := &compared{Identities: len(who), Differences: []expect.Difference{}}
	for _, id := range who {
		if err := e.ctx.Err(); err != nil {
			return nil, &failure{what: "compare", why: errors.New("interrupted")}
		}
		wrong := func(file string, err error) error {
			f := &failure{what: fmt.Sprintf("ask %s for %s (%s:%d)", file, id.Name, c.Identities, id.Line), why: err, code: exitUsage}
			if errors.Is(err, expect.ErrTooMuch) {
				f.what, f.hint = "compare for "+id.Name, "fewer rules for this identity, or fewer identities at a time"
			}
			return f
		}
		x, err := before.Side(e.ctx, id.Who)
		if err != nil {
			return nil, wrong(c.Old, err)
		}
		y, err := after.Side(e.ctx, id.Who)
		if err != nil {
			return nil, wrong(c.New, err)
		}
		found, err := comparison.Compare(&x, &y)
		if err != nil {
			return nil, wrong(c.New, err)
		}
		for _, d := range found {
			d.Identity = id.Name
			result.Differences = append(result.Differences, d)
		}
	}
	result.Conditional = comparison.Conditional
	return result, nil
}

func (r *compared) write(w io.Writer) error {
	var p page
	touched := map[string]bool{}
	for i := range r.Differences {
		d := &r.Differences[i]
		touched[d.Identity] = true
		p.line("%s: %s", d.Identity, expect.DifferenceText(d))
	}
	p.line("%s, for %d of the identities (%d)", several(len(r.Differences), "difference"), len(touched), r.Identities)
	if r.Conditional {
		p.line("rules with conditions (when) took part: where they read the topic there may be more")
	}
	_, err := io.WriteString(w, p.String())
	return err
}
