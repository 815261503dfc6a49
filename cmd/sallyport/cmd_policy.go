package main

import (
	"fmt"

	"sallyport"
	"sallyport/security/expect"
)

// policyCmd is "sallyport policy": what people ask of policies as a whole.
type policyCmd struct {
	Test policyTestCmd `cmd:"" help:"Hold a configuration against a table of expectations; exit 1 on a difference."`
	Diff policyDiffCmd `cmd:"" help:"List what another policy changes for whom; exit 1 if it changes anything."`
}

// openJudge builds what is at path: a configuration of either format, or one
// policy file. What can't be built ends the command with exitUsage.
func openJudge(e *env, path string) (*sallyport.Judge, error) {
	kind, err := sallyport.PolicyKind(path)
	if err != nil {
		return nil, &failure{what: "read " + path, why: err, code: exitUsage}
	}
	if kind != "" {
		j, err := sallyport.JudgePolicy(path, kind)
		if err != nil {
			return nil, &failure{what: path + " is not valid", why: fmt.Errorf("\n%w", err), code: exitUsage}
		}
		return j, nil
	}
	cfg, err := loadQuietly(e, path)
	if err != nil {
		return nil, &failure{what: "load " + path, why: err, hint: `run "sallyport check -c ` + path + `"`, code: exitUsage}
	}
	j, err := sallyport.NewJudge(cfg)
	if err != nil {
		return nil, &failure{what: path + " is not valid", why: fmt.Errorf("\n%w", err), hint: `run "sallyport check -c ` + path + `"`, code: exitUsage}
	}
	return j, nil
}

// policyTestCmd is "sallyport policy test".
type policyTestCmd struct {
	Config string `short:"c" placeholder:"FILE" help:"Configuration, or one policy file, to test; otherwise the one that the table names."`
	JSON   bool   `name:"json" help:"Print JSON."`
	File   string `arg:"" help:"The table of expectations."`
}

// Help shows examples.
func (*policyTestCmd) Help() string {
	return `The table is YAML: who there is, and what each is expected to be allowed.

    config: sallyport.yaml
    identities:
      meter: {client_id: meter-17, user: meter-17}
    tests:
      - {who: meter, publish: meters/meter-17/kwh, qos: 1, allowed: true}
      - {who: meter, subscribe: ["#", payroll/x], allowed: false}

Examples:

    sallyport policy test expectations.yaml
    sallyport policy test -c sallyport.yaml expectations.yaml --json

Exit codes: 0 all as expected, 1 something differs, 2 a file is not valid.`
}

// tested is the document of "policy test --json".
type tested struct {
	Expectations int          `json:"expectations"`
	Differences  []unexpected `json:"differences"`
}

// unexpected is an answer that is not the expected one.
type unexpected struct {
	Name     string            `json:"name,omitempty"`
	File     string            `json:"file"`
	Line     int               `json:"line"`
	Who      string            `json:"who"`
	Expected bool              `json:"expected"` // to be allowed
	Answer   *expect.Explained `json:"answer"`
}

// Run asks for each expectation and prints what differs.
func (c *policyTestCmd) Run(e *env) error {
	table, err := expect.ReadTable(c.File)
	if err != nil {
		return &failure{what: c.File + " is not valid", why: fmt.Errorf("\n%w", err), hint: "docs/explain.md describes the table", code: exitUsage}
	}
	path := c.Config
	if path == "" {
		path = table.Config
	}
	if path == "" {
		return usageError("-c FILE, or config: FILE in the table", "%s names no configuration", c.File)
	}
	j, err := openJudge(e, path)
	if err != nil {
		return err
	}
	result := tested{Expectations: len(table.Expectations), Differences: []unexpected{}}
	for i := range table.Expectations {
		x := &table.Expectations[i]
		answer, err := j.Explain(e.ctx, x.Who, x.Request)
		if err != nil {
			return &failure{what: fmt.Sprintf("%s:%d", x.File, x.Line), why: err, code: exitUsage}
		}
		if answer.Allowed != x.Allowed {
			result.Differences = append(result.Differences, unexpected{x.Name, x.File, x.Line, x.WhoName, x.Allowed, answer})
		}
	}
	if err := c.print(e, &result); err != nil {
		return &failure{what: "print the result", why: err}
	}
	if len(result.Differences) > 0 {
		return &failure{code: exitFailure}
	}
	return nil
}

func (c *policyTestCmd) print(e *env, result *tested) error {
	if c.JSON {
		return printJSON(e.stdout, result)
	}
	var p page
	for _, d := range result.Differences {
		name := ""
		if d.Name != "" {
			name = d.Name + ": "
		}
		expected, is := "allowed", "refused"
		if !d.Expected {
			expected, is = is, expected
		}
		p.line("%s:%d: %s%s: %s: expected %s, is %s by %s", d.File, d.Line, name, d.Who, d.Answer.Request.Text, expected, is, d.Answer.Why())
	}
	p.line("%s, %d not met", several(result.Expectations, "expectation"), len(result.Differences))
	_, err := fmt.Fprint(e.stdout, p.String())
	return err
}
