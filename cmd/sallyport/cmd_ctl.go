package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sallyport/config"
	"sallyport/config/mosquitto"
	"sallyport/control"
)

// ctlCmd speaks to a running broker.
type ctlCmd struct {
	Config string `short:"c" placeholder:"FILE" help:"The broker's configuration, which names the socket."`
	Socket string `placeholder:"PATH" help:"The broker's control socket itself."`
	JSON   bool   `name:"json" help:"Print the answer as JSON."`

	Status   ctlStatusCmd   `cmd:"" help:"Tell version, listeners, and what is connected."`
	Reload   ctlReloadCmd   `cmd:"" help:"Read all files again; tell what is wrong with them, or return once they are in force."`
	Explain  ctlExplainCmd  `cmd:"" help:"Tell whether a client may do something, or why it was refused."`
	Client   ctlClientCmd   `cmd:"" help:"Tell who a client is."`
	Retained ctlRetainedCmd `cmd:"" help:"Remove retained messages."`
	Shadow   ctlShadowCmd   `cmd:"" help:"Tell what the shadow policies would answer otherwise."`
	Session  ctlSessionCmd  `cmd:"" help:"End connections, and sessions."`
	Store    ctlStoreCmd    `cmd:"" help:"Change the key of the store."`
	User     ctlUserCmd     `cmd:"" help:"Accounts of users and devices."`
	Group    ctlGroupCmd    `cmd:"" help:"Groups of accounts."`
	Role     ctlRoleCmd     `cmd:"" help:"Roles of accounts and groups, and their permissions."`
}

// Help shows examples.
func (*ctlCmd) Help() string {
	return `Speaks to a running broker by the Unix socket that its configuration names (control: {socket: PATH}). The socket admits the broker's own user and root.

Examples:

    sallyport ctl -c sallyport.yaml status
    sallyport ctl -c sallyport.yaml reload
    sallyport ctl -c sallyport.yaml explain meter-17 publish meters/meter-17/kwh --qos 1
    sallyport ctl -c sallyport.yaml explain K3MZQ7PA
    sallyport ctl -c sallyport.yaml retained purge --published-by alice --dry-run
    sallyport ctl -c sallyport.yaml session end --user alice
    sallyport ctl -c sallyport.yaml store rotate-key
    sallyport ctl --socket /run/sallyport/control.sock shadow --json

Exit codes: 0 done, or allowed; 1 failed; 2 wrong command line; 3 refused (explain); 27 no answer in time.`
}

// answerTimeout is how long an answer may take: a little longer than the broker
// itself gives its work.
const answerTimeout = 150 * time.Second

// call asks the broker: out is what the answer is decoded into. With --json the
// answer is printed, and printed is true.
func (c *ctlCmd) call(e *env, what, method, path string, body, out any) (printed bool, err error) {
	socket, err := c.socket()
	if err != nil {
		return false, err
	}
	caller, err := control.Dial(socket)
	if err != nil {
		return false, &failure{what: what, why: err}
	}
	defer caller.Close()
	ctx, cancel := context.WithTimeout(e.ctx, answerTimeout)
	defer cancel()
	data, err := caller.Do(ctx, method, path, body)
	if err != nil {
		return false, ctlFailure(what, socket, err)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return false, &failure{what: what, why: fmt.Errorf("the answer is not understood: %w", err), hint: "is the broker of another version?"}
	}
	if !c.JSON {
		return false, nil
	}
	if _, err := e.stdout.Write(sanitizeJSON(data)); err != nil {
		return true, &failure{what: "print the answer", why: err}
	}
	return true, nil
}

// socket is the path of the socket that the command line names. A configuration
// with mistakes will do: that may be why the broker is asked.
func (c *ctlCmd) socket() (string, error) {
	switch {
	case c.Socket != "" && c.Config != "":
		return "", usageError("", "both -c and --socket say where the broker is")
	case c.Socket != "":
		return c.Socket, nil
	case c.Config == "":
		return "", usageError("-c names the broker's configuration, --socket its control socket", "no broker")
	}
	data, err := config.ReadFile(c.Config)
	if err != nil {
		return "", &failure{what: "read configuration", why: err}
	}
	none := &failure{what: c.Config, why: errors.New("names no control socket"), hint: "add control: {socket: control.sock} and start the broker again"}
	if mosquitto.Recognise(data) {
		none.hint = "a mosquitto.conf has no place for one: a sallyport.yaml has"
		return "", none
	}
	cfg := config.Defaults()
	err = config.DecodeYAML(data, c.Config, cfg)
	if cfg.Control.Socket == "" {
		if err != nil {
			f := invalid(c.Config, err)
			f.hint = "--socket PATH finds the broker all the same"
			return "", f
		}
		return "", none
	}
	cfg.Complete(filepath.Dir(c.Config))
	return cfg.Control.Socket, nil
}

// ctlFailure puts why there is no answer, or one that refuses, into words.
func ctlFailure(what, socket string, err error) error {
	if e, ok := errors.AsType[*control.Error](err); ok {
		return apiFailure(what, e)
	}
	f := &failure{what: what, why: fmt.Errorf("socket %s: %w", socket, err)}
	const who = "the socket admits the broker's own user and root"
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return timeoutError(what)
	case errors.Is(err, fs.ErrNotExist):
		f.why, f.hint = fmt.Errorf("there is no socket %s", socket), "is the broker running, and does its configuration have control: {socket: ...}?"
	case errors.Is(err, syscall.ECONNREFUSED):
		f.why, f.hint = fmt.Errorf("nobody answers at %s", socket), "is the broker running?"
	case errors.Is(err, fs.ErrPermission):
		f.why, f.hint = fmt.Errorf("socket %s: permission denied", socket), who
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		f.why, f.hint = fmt.Errorf("the broker closed the connection to %s", socket), who
	}
	return f
}

// apiFailure is an answer that refuses.
func apiFailure(what string, e *control.Error) error {
	f := &failure{what: what, why: e}
	if e.Status == http.StatusBadRequest {
		f.code = exitUsage
	}
	switch e.Code {
	case "no_client":
		f.hint = `"sallyport explain" tells of one that is not there; of an account POST /explain of the API, with who`
	case "in_use":
		f.hint = "--force takes it from all who have it"
	}
	if len(e.Problems) > 0 {
		lines := make([]string, 0, len(e.Problems))
		for _, p := range e.Problems {
			lines = append(lines, p.String())
		}
		f.why = fmt.Errorf("%w\n%s", e, strings.Join(lines, "\n"))
		f.hint = "the broker goes on with what it had"
	}
	return f
}

// ctlStatusCmd is "sallyport ctl status".
type ctlStatusCmd struct{}

// Run prints the status.
func (*ctlStatusCmd) Run(e *env, c *ctlCmd) error {
	var st control.Status
	if printed, err := c.call(e, "status", "GET", "/status", nil, &st); printed || err != nil {
		return err
	}
	var p page
	p.line("%s, up %s", st.Version, (time.Duration(st.UptimeSeconds) * time.Second).String())
	p.line("configuration %s, policy generation %d", st.Configuration, st.PolicyGeneration)
	p.line("%d connections, %d sessions, %d subscriptions", st.Connections, st.Sessions, st.Subscriptions)
	p.line("store: %s", st.Store)
	for _, l := range st.Listeners {
		p.line("listener %s: %s on %s, policies %s", l.Name, l.Transport, strings.Join(l.Addresses, " "), listOr(l.Policies, "none"))
		if len(l.Shadow) > 0 {
			p.line("  shadow policies %s", strings.Join(l.Shadow, " "))
		}
		p.tls(&l)
	}
	for _, a := range st.Authenticators {
		p.authenticator(&a)
	}
	if st.ShadowDifferences > 0 {
		p.line("%d requests that shadow policies would answer otherwise: sallyport ctl shadow", st.ShadowDifferences)
	}
	return p.print(e)
}

// tls tells of the certificates of a listener, their status and revocation lists.
func (p *page) tls(l *control.ListenerStatus) {
	for _, c := range l.Certificates {
		p.line("  %s certificate %s, serial %s, until %s", strings.ReplaceAll(c.Use, "_", " "), c.Subject, c.Serial, c.NotAfter.Format(time.RFC3339))
	}
	for _, r := range l.Lists {
		p.line("  revocation list %s: %s, %d entries, next update %s%s", r.Source, r.Issuer, r.Entries, timeOr(r.NextUpdate, "never"), because(r.Error))
	}
	if a := l.ACME; a != nil {
		p.line("  ACME: %s from %s, until %s, next attempt %s, %d failures%s", strings.Join(a.Domains, " "), a.Directory,
			timeOr(a.NotAfter, "-"), timeOr(a.Next, "-"), a.Failures, because(a.Error))
	}
	for _, s := range l.Staples {
		p.line("  OCSP status of %s, serial %s: %s, until %s%s", s.Certificate, s.Serial, s.Status, timeOr(s.Expires, "-"), because(s.Error))
	}
}

// authenticator tells how one does.
func (p *page) authenticator(a *control.AuthenticatorStatus) {
	answers, state := uint64(0), ""
	for _, n := range a.Took {
		answers += n
	}
	mean := time.Duration(0)
	if answers > 0 {
		mean = time.Duration(a.Seconds / float64(answers) * float64(time.Second)).Round(10 * time.Microsecond)
	}
	if a.Down {
		state = ", DOWN: its clients are answered that the server is unavailable"
	}
	p.line("authenticator %s: %d accepted, %d refused, %d not its own, %d failed (%d late), %d found no place, %d not asked, %s on average%s%s",
		a.Name, a.Accepted, a.Refused, a.NotMine, a.Failed, a.Late, a.Busy, a.Spared, mean, state, because(a.Error))
}

func timeOr(t time.Time, none string) string {
	if t.IsZero() {
		return none
	}
	return t.Format(time.RFC3339)
}

func because(err string) string {
	if err == "" {
		return ""
	}
	return " (" + err + ")"
}

func listOr(list []string, none string) string {
	if len(list) == 0 {
		return none
	}
	return strings.Join(list, " ")
}

// print writes the page.
func (p *page) print(e *env) error {
	if _, err := io.WriteString(e.stdout, p.String()); err != nil {
		return &failure{what: "print the answer", why: err}
	}
	return nil
}

// ctlReloadCmd is "sallyport ctl reload".
type ctlReloadCmd struct{}

// Run reloads.
func (*ctlReloadCmd) Run(e *env, c *ctlCmd) error {
	var r control.ReloadResult
	if printed, err := c.call(e, "reload", "POST", "/reload", nil, &r); printed || err != nil {
		return err
	}
	var p page
	p.line("reloaded: the rules of now are in force, and nothing decided before happens any more")
	return p.print(e)
}
