// Command sallyport is the MQTT broker and its tools, in one binary.
//
// Every command is a struct in a file of its own, cmd_<verb>.go: its fields are
// the flags, its Run method the work. This file only holds the grammar and the
// way from a command line to an exit code.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // windows of time have zones, also where the system has none

	"sallyport/bench"

	"github.com/alecthomas/kong"
	"golang.org/x/term"
)

// grammar is the command line. A command's struct stands in its own file.
type grammar struct {
	Help        helpFlag    `help:"Show help; after a command, that command's help."`
	VersionFlag versionFlag `name:"version" help:"Print the version and exit."`

	Quickstart quickstartCmd `cmd:"" help:"Make keys, a user and a configuration once, then serve."`
	Serve      serveCmd      `cmd:"" help:"Run a broker from a configuration file."`
	Check      checkCmd      `cmd:"" help:"Validate a configuration file; exit 1 if it is invalid."`
	Explain    explainCmd    `cmd:"" help:"Tell whether a client may do something, and why."`
	Ctl        ctlCmd        `cmd:"" help:"Speak to a running broker: status, reload, explain, accounts, sessions and more."`
	Policy     policyCmd     `cmd:"" help:"Test what a policy allows; compare two."`
	Passwd     passwdCmd     `cmd:"" help:"Keep a password file."`
	Store      storeCmd      `cmd:"" help:"Check, count, print or rekey the store of a stopped broker."`
	Backup     backupCmd     `cmd:"" help:"Write what a broker keeps into one file, while it runs."`
	Restore    restoreCmd    `cmd:"" help:"Make a store of a backup."`
	Pub        pubCmd        `cmd:"" help:"Publish messages (flags as mosquitto_pub)."`
	Sub        subCmd        `cmd:"" help:"Subscribe and print messages (flags as mosquitto_sub)."`
	Bench      benchCmd      `cmd:"" help:"Load any MQTT broker, verify and measure."`
	TLS        tlsCmd        `cmd:"" name:"tls" help:"What this build speaks of TLS, and session ticket keys."`
	Version    versionCmd    `cmd:"" help:"Print the version, the platform and the revision."`
}

// description heads the help of the whole command.
const description = `Sallyport, an MQTT broker that lets nobody in unasked.

Exit codes: 0 done, 1 failed, invalid or different, 2 wrong command line, 3 refused (explain), 27 timed out.`

// env is what a command may touch of the world outside: tests pass their own.
type env struct {
	ctx    context.Context // ends at SIGINT or SIGTERM
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	getenv func(string) string
	// askPassword reads a line from the terminal without echo; nil when there
	// is no terminal to ask at.
	askPassword func(prompt string) ([]byte, error)
	stdoutTTY   bool // stdout is a terminal: what it is sent must be harmless
	stderrTTY   bool // stderr is: long work shows progress there
	// selfBroker starts a broker inside the process, for bench --self.
	selfBroker bench.SelfBroker
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	e := &env{
		ctx:        ctx,
		stdin:      os.Stdin,
		stdout:     os.Stdout,
		stderr:     os.Stderr,
		getenv:     os.Getenv,
		stdoutTTY:  term.IsTerminal(int(os.Stdout.Fd())),
		stderrTTY:  term.IsTerminal(int(os.Stderr.Fd())),
		selfBroker: newSelfBroker(),
	}
	if term.IsTerminal(int(os.Stdin.Fd())) {
		e.askPassword = func(prompt string) ([]byte, error) {
			return promptPassword(int(os.Stdin.Fd()), os.Stderr, prompt)
		}
	}
	os.Exit(run(e, os.Args[1:]))
}

// run executes one command line and returns its exit code.
func run(e *env, args []string) int {
	if len(args) == 0 {
		args = []string{"--help"}
	}
	// Kong ends help and version through Exit; nothing may follow them.
	code, exited := exitOK, false
	parser, err := newParser(e, func(c int) { code, exited = c, true })
	if err != nil {
		report(e.stderr, err)
		return exitFailure
	}
	ctx, err := parser.Parse(args)
	if exited {
		return code
	}
	if err == nil {
		err = ctx.Run(e)
	} else {
		err = parseFailure(err)
	}
	if err != nil {
		report(e.stderr, err)
	}
	return exitCode(err)
}

func newParser(e *env, exit func(int)) (*kong.Kong, error) {
	return kong.New(&grammar{},
		kong.Name("sallyport"),
		kong.Description(description),
		kong.Writers(e.stdout, e.stderr),
		kong.Exit(exit),
		kong.NoDefaultHelp(), // its -h is the host, as with mosquitto's tools
		kong.ConfigureHelp(kong.HelpOptions{NoExpandSubcommands: true, Compact: true, FlagsLast: true, WrapUpperBound: 100}),
		// A payload or password may begin with a dash.
		kong.WithHyphenPrefixedParameters(true),
		kong.ExplicitGroups(flagGroups()),
		kong.PostBuild(func(k *kong.Kong) error {
			for _, f := range k.Model.Flags {
				if f.Name == "help" {
					k.Model.HelpFlag = f
				}
			}
			return nil
		}),
	)
}

// parseFailure turns what the parser found wrong into a usage error.
func parseFailure(err error) error {
	hint := `run "sallyport --help"`
	if pe, ok := errors.AsType[*kong.ParseError](err); ok && pe.Context != nil {
		if cmd := pe.Context.Selected(); cmd != nil {
			path := cmd.Name
			for up := cmd.Parent; up != nil && up.Type == kong.CommandNode; up = up.Parent {
				path = up.Name + " " + path
			}
			hint = `run "sallyport ` + path + ` --help"`
		}
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	return &failure{what: "command line", why: err, hint: hint, code: exitUsage}
}

// errExit stops the parser after help or version was printed.
var errExit = errors.New("exit")

// helpFlag is --help without a short form.
type helpFlag bool

// BeforeReset prints the help of the command at hand, before anything that is
// missing from the command line can be complained about.
func (helpFlag) BeforeReset(ctx *kong.Context) error {
	if err := ctx.PrintUsage(false); err != nil {
		return err
	}
	ctx.Kong.Exit(exitOK)
	return errExit
}

// versionFlag is --version, as every GNU tool has it.
type versionFlag bool

// BeforeReset prints the version.
func (versionFlag) BeforeReset(ctx *kong.Context) error {
	printVersion(ctx.Stdout, false)
	ctx.Kong.Exit(exitOK)
	return errExit
}

// promptPassword asks at a terminal, without echo.
func promptPassword(fd int, w io.Writer, prompt string) ([]byte, error) {
	io.WriteString(w, prompt)
	password, err := term.ReadPassword(fd)
	io.WriteString(w, "\n")
	return password, err
}
