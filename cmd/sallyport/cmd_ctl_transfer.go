package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"sallyport/control"
)

// ctlUserImportCmd is "sallyport ctl user import".
type ctlUserImportCmd struct {
	File         string `arg:"" help:"The file; - is standard input."`
	Format       string `default:"" enum:",json,csv,mosquitto,mosquitto-2.1,hivemq-file-realm,hivemq-file-rbac,hivemq-file-rbac-plain" placeholder:"FORMAT" help:"json, csv, mosquitto (a password file), hivemq-file-realm, hivemq-file-rbac or hivemq-file-rbac-plain (its credentials.xml, with hashed or plain passwords). By default that of the file's ending, .json or .csv."`
	Mode         string `default:"add" enum:"add,replace" placeholder:"MODE" help:"add (what is there already stays as it is; default) or replace (it becomes what the file says of it; what the file doesn't speak of stays). Nothing is deleted."`
	DryRun       bool   `name:"dry-run" help:"Check the file and tell what would be done."`
	AllowUnknown bool   `name:"allow-unknown" help:"Accounts may name groups and roles that are nowhere: they have nothing until these are made."`
}

// Help shows examples.
func (*ctlUserImportCmd) Help() string {
	return `The whole file is checked before anything is changed; each mistake is told with its line. A plain password in a CSV is hashed first, which takes a while for thousands.

With --mode replace a JSON that was exported with --secrets makes its accounts, groups and roles what they were. A JSON without secrets, and any CSV, takes no password away: one that was given since the export stays in force.

Examples:

    sallyport ctl -c sallyport.yaml user import fleet.csv --dry-run
    sallyport ctl -c sallyport.yaml user import fleet.csv
    sallyport ctl -c sallyport.yaml user import --format mosquitto /etc/mosquitto/passwd
    sallyport ctl -c sallyport.yaml user import --format hivemq-file-rbac credentials.xml --mode replace`
}

// importMost is the largest file, as the broker has it.
const importMost = 32 << 20

// Run imports.
func (x *ctlUserImportCmd) Run(e *env, c *ctlCmd) error {
	format, err := formatOf(x.Format, x.File, "json", "csv")
	if err != nil {
		return err
	}
	data, err := readImport(e, x.File)
	if err != nil {
		return &failure{what: "read " + x.File, why: err}
	}
	q := url.Values{"format": {format}, "mode": {x.Mode}, "dry_run": {strconv.FormatBool(x.DryRun)}, "allow_unknown": {strconv.FormatBool(x.AllowUnknown)}}
	answer, err := x.send(e, c, "/accounts/import?"+q.Encode(), data)
	if err != nil {
		return err
	}
	if c.JSON {
		if _, err := e.stdout.Write(sanitizeJSON(answer)); err != nil {
			return &failure{what: "print the answer", why: err}
		}
		return nil
	}
	var r control.ImportResult
	if err := json.Unmarshal(answer, &r); err != nil {
		return &failure{what: "import", why: fmt.Errorf("the answer is not understood: %w", err), hint: "is the broker of another version?"}
	}
	var p page
	for _, w := range r.Warnings {
		p.line("warning: %s", w)
	}
	for _, kind := range []struct {
		what string
		n    control.Imported
	}{{"user", r.Users}, {"group", r.Groups}, {"role", r.Roles}} {
		if kind.n != (control.Imported{}) {
			p.line("%s: %d added, %d changed, %d as they were, %d left alone", kind.what+"s", kind.n.Added, kind.n.Changed, kind.n.Same, kind.n.Skipped)
		}
	}
	if r.DryRun {
		p.line("nothing was changed: leave --dry-run out to do it")
	}
	return p.print(e)
}

// send uploads the file. Mistakes in it are told as file:line.
func (x *ctlUserImportCmd) send(e *env, c *ctlCmd, path string, data []byte) (json.RawMessage, error) {
	socket, err := c.socket()
	if err != nil {
		return nil, err
	}
	caller, err := control.Dial(socket)
	if err != nil {
		return nil, &failure{what: "import", why: err}
	}
	defer caller.Close()
	ctx, cancel := context.WithTimeout(e.ctx, control.ImportTimeout+answerTimeout)
	defer cancel()
	answer, err := caller.Upload(ctx, path, data)
	if refusal, ok := errors.AsType[*control.Error](err); ok && len(refusal.Problems) > 0 {
		lines := make([]string, 0, len(refusal.Problems))
		for _, m := range refusal.Problems {
			at := x.File
			if m.Line > 0 {
				at += ":" + strconv.Itoa(m.Line)
			}
			lines = append(lines, at+": "+m.Text)
		}
		return nil, &failure{what: "import", why: fmt.Errorf("%w\n%s", refusal, strings.Join(lines, "\n"))}
	}
	if err != nil {
		return nil, ctlFailure("import", socket, err)
	}
	return answer, nil
}

// formatOf is the format that is named, or that of the file's ending.
func formatOf(format, file string, endings ...string) (string, error) {
	ending := strings.TrimPrefix(strings.ToLower(filepath.Ext(file)), ".")
	for _, known := range endings {
		if ending == known {
			format = cmp.Or(format, known)
		}
	}
	if format == "" {
		return "", usageError("--format names it", "it is not known what format %s has", file)
	}
	return format, nil
}

func readImport(e *env, path string) ([]byte, error) {
	in := e.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }() // opened for reading: nothing to lose
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, importMost+1))
	if err == nil && len(data) > importMost {
		err = fmt.Errorf("it is larger than %d MiB: import it in parts", importMost>>20)
	}
	return data, err
}

// ctlUserExportCmd is "sallyport ctl user export".
type ctlUserExportCmd struct {
	File    string `arg:"" optional:"" default:"-" help:"The file to write; - is standard output (default)."`
	Format  string `default:"" enum:",json,csv,mosquitto,mosquitto-2.1" placeholder:"FORMAT" help:"json (everything), csv (accounts), mosquitto or mosquitto-2.1 (a password file, with --secrets). By default that of the file's ending, .json or .csv, else json."`
	Secrets bool   `help:"Write how passwords are kept, too: without, an import of the file can't make an account that has a password."`
	Force   bool   `help:"Replace the file if it is there."`
}

// Help shows examples.
func (*ctlUserExportCmd) Help() string {
	return `Examples:

    sallyport ctl -c sallyport.yaml user export accounts.csv
    sallyport ctl -c sallyport.yaml user export --secrets accounts.json
    sallyport ctl -c sallyport.yaml user export --secrets --format mosquitto passwd

The file has its name when it is whole, with mode 0600.`
}

// Run exports.
func (x *ctlUserExportCmd) Run(e *env, c *ctlCmd) error {
	format, err := formatOf(x.Format, x.File, "json", "csv")
	if err != nil {
		format = "json"
	}
	method := "GET"
	if x.Secrets {
		method = "POST"
	}
	path := "/accounts/export?format=" + url.QueryEscape(format)
	if strings.HasPrefix(format, "mosquitto") {
		if !x.Secrets {
			return usageError("--secrets writes it", "a password file without passwords is none")
		}
		if err := x.warn(e, c, path); err != nil {
			return err
		}
	}
	socket, err := c.socket()
	if err != nil {
		return err
	}
	caller, err := control.Dial(socket)
	if err != nil {
		return &failure{what: "export", why: err}
	}
	defer caller.Close()
	in, err := caller.Stream(e.ctx, method, path)
	if err != nil {
		return ctlFailure("export", socket, err)
	}
	defer func() { _ = in.Close() }() // it was read
	if err := x.write(e, in); err != nil {
		f := &failure{what: "export", why: err}
		if inner, ok := errors.AsType[*failure](err); ok {
			f.hint = inner.hint
		}
		return f
	}
	return nil
}

// warn tells what a password file can't say.
func (x *ctlUserExportCmd) warn(e *env, c *ctlCmd, path string) error {
	quiet := *c
	quiet.JSON = false
	var r control.ExportResult
	if _, err := quiet.call(e, "export", "POST", path+"&dry_run=true", nil, &r); err != nil {
		return err
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(e.stderr, "warning: %s\n", sanitize(w))
	}
	return nil
}

// write copies the document into the file; to a terminal, made harmless.
func (x *ctlUserExportCmd) write(e *env, in io.Reader) error {
	if x.File == "-" && e.stdoutTTY {
		data, err := io.ReadAll(in)
		if err == nil {
			_, err = io.WriteString(e.stdout, sanitize(string(data)))
		}
		return err
	}
	if x.File == "-" {
		_, err := io.Copy(e.stdout, in)
		return err
	}
	out, err := createOutput(x.File, x.Force)
	if err != nil {
		return err
	}
	if _, err = io.Copy(out, in); err == nil {
		err = out.finish()
	}
	if err != nil {
		return errors.Join(err, out.discard())
	}
	return nil
}
