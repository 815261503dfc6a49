package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"time"

	"sallyport"
	"sallyport/config"
	"sallyport/security"
	"sallyport/security/expect"
)

// whoFlags describe a client on the command line.
type whoFlags struct {
	ClientID string            `name:"client-id" short:"i" required:"" group:"who" placeholder:"ID" help:"The client identifier."`
	User     string            `name:"user" short:"u" group:"who" placeholder:"NAME" help:"The user name; without one the client sends none."`
	Cert     string            `name:"cert" group:"who" placeholder:"FILE" help:"The client's certificate and its chain, PEM."`
	Address  string            `name:"address" group:"who" placeholder:"IP" help:"Where the client comes from."`
	Listener string            `name:"listener" group:"who" placeholder:"NAME" help:"The listener that it comes by; needed where there are several."`
	TLS      bool              `name:"tls" group:"who" help:"Of several listeners, the one with TLS."`
	Groups   []string          `name:"group" group:"who" sep:"none" placeholder:"GROUP" help:"A group that its authenticator would give it; may be repeated."`
	Roles    []string          `name:"role" group:"who" sep:"none" placeholder:"ROLE" help:"A role that its authenticator would give it; may be repeated."`
	Attrs    map[string]string `name:"attr" group:"who" mapsep:"none" placeholder:"KEY=VALUE" help:"An attribute that its authenticator would give it; may be repeated."`
	Claims   string            `name:"claims" group:"who" placeholder:"JSON" help:"The claims of its token, as a JSON object."`
	Password bool              `name:"password-stdin" group:"who" help:"Check the password too: the first line of standard input."`
}

// who is the client that the flags describe.
func (f *whoFlags) who(stdin io.Reader) (expect.Who, error) {
	w := expect.Who{
		ClientID: f.ClientID, User: f.User, Certificate: f.Cert, Listener: f.Listener, TLS: f.TLS,
		Groups: f.Groups, Roles: f.Roles, Attributes: f.Attrs,
	}
	if f.Address != "" {
		if err := w.Address.UnmarshalText([]byte(f.Address)); err != nil {
			return w, usageError("", "--address %v", err)
		}
	}
	if f.Claims != "" {
		if err := w.Claims.UnmarshalText([]byte(f.Claims)); err != nil {
			return w, usageError("", "--claims %v", err)
		}
	}
	if err := w.Check(); err != nil {
		return w, usageError("", "%v", err)
	}
	if f.Password {
		password, err := firstLine(stdin)
		if err != nil {
			return w, err
		}
		w.HasPassword, w.Password = true, password
	}
	return w, nil
}

// explainCmd is "sallyport explain".
type explainCmd struct {
	Config string `short:"c" required:"" placeholder:"FILE" help:"Configuration to ask: sallyport.yaml or mosquitto.conf."`

	whoFlags

	Action string `arg:"" enum:"publish,subscribe,receive,connect" help:"One of ${enum}."`
	Topic  string `arg:"" optional:"" help:"The topic; for subscribe a filter, also $$share/GROUP/FILTER. None for connect."`

	QoS    uint8  `short:"q" name:"qos" default:"0" placeholder:"QOS" help:"Quality of service (${default})."`
	Retain bool   `short:"r" help:"The message is published as a retained one, or received as one."`
	Will   bool   `help:"What is published is a will."`
	At     string `placeholder:"TIME" help:"When, such as 2026-03-01T08:30:00Z; otherwise now."`
	JSON   bool   `name:"json" help:"Print JSON."`
}

// Help shows examples.
func (*explainCmd) Help() string {
	return `Prints whether a broker with this configuration would allow it, and why: what each authenticator and each rule says, in order, and what would have to change for the opposite answer. No broker has to run, and no port is opened.

Examples:

    sallyport explain -c sallyport.yaml -i meter-17 -u meter-17 publish meters/meter-17/kwh --qos 1
    sallyport explain -c sallyport.yaml -i app -u alice --address 192.0.2.7 subscribe '$share/workers/jobs/#'
    sallyport explain -c /etc/mosquitto/mosquitto.conf -i cam -u cam receive door/state --json
    sallyport explain -c sallyport.yaml -i dev-1 --cert dev-1.pem --listener tls-8883 connect

Exit codes: 0 allowed, 3 refused, 1 invalid configuration, 2 wrong command line.`
}

// Run answers and explains.
func (c *explainCmd) Run(e *env) error {
	who, q, err := c.question(e.stdin)
	if err != nil {
		return err
	}
	cfg, err := loadQuietly(e, c.Config)
	if err != nil {
		return err
	}
	j, err := sallyport.NewJudge(cfg)
	if err != nil {
		return &failure{what: c.Config + " can't be asked", why: err, hint: `run "sallyport check -c ` + c.Config + `"`}
	}
	x, err := j.Explain(e.ctx, who, q)
	switch {
	case errors.Is(err, sallyport.ErrListener):
		return &failure{what: "explain", why: err, hint: "--listener NAME says which", code: exitUsage}
	case err != nil: // such as a certificate that can't be read
		return &failure{what: "explain", why: err, code: exitUsage}
	}
	if c.JSON {
		err = printJSON(e.stdout, x)
	} else {
		err = writeExplained(e.stdout, x)
	}
	if err != nil {
		return &failure{what: "print the explanation", why: err}
	}
	if !x.Allowed {
		return errRefused
	}
	return nil
}

// errRefused ends a command whose answer, which was printed, is a refusal.
var errRefused = &failure{code: exitRefused}

func (c *explainCmd) question(stdin io.Reader) (who expect.Who, q security.Request, err error) {
	action, err := expect.ParseAction(c.Action)
	if err != nil {
		return who, q, usageError("", "%v", err)
	}
	var at time.Time
	if c.At != "" {
		if at, err = expect.ParseTime(c.At); err != nil {
			return who, q, usageError("", "--at %v", err)
		}
	}
	q, err = expect.Ask{Action: action, Topic: c.Topic, QoS: c.QoS, Retain: c.Retain, Will: c.Will, At: at}.Request()
	if err != nil {
		return who, q, usageError(`run "sallyport explain --help"`, "%s %s: %v", c.Action, c.Topic, err)
	}
	who, err = c.who(stdin)
	return who, q, err
}

// loadQuietly reads a configuration in either format, without its warnings,
// which "sallyport check" tells.
func loadQuietly(e *env, path string) (*config.Config, error) {
	quiet := *e
	quiet.stderr = io.Discard
	return (&serveCmd{Config: path}).load(&quiet)
}

// printJSON writes v for people and programs.
func printJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	if err := out.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(sanitizeJSON(b.Bytes()))
	return err
}
