package main

import (
	"errors"
	"fmt"
	"strings"

	"sallyport/store/disk"
)

// storeCmd is "sallyport store": the store of a broker that is stopped.
type storeCmd struct {
	Check     storeCheckCmd  `cmd:"" help:"Read every record and verify every checksum; exit 1 if something is wrong."`
	Stats     storeStatsCmd  `cmd:"" help:"Count sessions, subscriptions and messages, and what they take."`
	Dump      storeDumpCmd   `cmd:"" help:"Print what is in it, as JSON lines."`
	RotateKey storeRotateCmd `cmd:"" name:"rotate-key" help:"Change the key of an encrypted store."`
}

// Help shows examples.
func (*storeCmd) Help() string {
	return `The broker must be stopped. check, stats and dump change no file.

Examples:

    sallyport store check /var/lib/sallyport
    sallyport store stats --key-file /etc/sallyport/store.key /var/lib/sallyport
    sallyport store rotate-key --key-file old.key --new-key-file new.key /var/lib/sallyport

A key file holds 32 bytes as 64 hex digits or as base64:

    (umask 077; openssl rand -hex 32 > store.key)`
}

// storeFlags say which store.
type storeFlags struct {
	KeyFile string `placeholder:"FILE" help:"Read the key of an encrypted store from a file."`
	KeyEnv  string `placeholder:"NAME" help:"Read it from an environment variable."`
	Dir     string `arg:"" help:"The folder of the store."`
}

// inspect opens the store for reading alone.
func (f *storeFlags) inspect(e *env, what string) (*disk.Inspection, error) {
	key, err := readStoreKey(e, "", f.KeyFile, f.KeyEnv)
	if err != nil {
		return nil, err
	}
	i, err := disk.Inspect(disk.Options{Dir: f.Dir, Key: key})
	if err != nil {
		return nil, storeFailure(what, err)
	}
	return i, nil
}

// storeFailure says why a store can't be opened, and what helps.
func storeFailure(what string, err error) *failure {
	f := &failure{what: what, why: err}
	switch {
	case errors.Is(err, disk.ErrLocked):
		f.hint = "is its broker running? stop it first"
	case errors.Is(err, disk.ErrEncrypted):
		f.hint = "--key-file or --key-env names its key"
	case errors.Is(err, disk.ErrWrongKey):
		f.hint = "after rotate-key only the new key opens it"
	case errors.Is(err, disk.ErrNotEncrypted):
		f.hint = "without --key-file and --key-env it is read; to encrypt it, restore a backup with --new-store-key-file"
	}
	return f
}

// problemsShown is how many problems are printed; the others are counted.
const problemsShown = 20

// storeCheckCmd is "sallyport store check".
type storeCheckCmd struct {
	storeFlags
	JSON bool `name:"json" help:"Print JSON."`
}

// storeChecked is the document of "store check --json".
type storeChecked struct {
	Tables       int              `json:"tables"`
	Records      map[string]int64 `json:"records"` // sound ones, by kind
	ProblemCount int              `json:"problem_count"`
	Problems     []string         `json:"problems"` // the first of them
}

// Run reads everything and prints what is wrong.
func (c *storeCheckCmd) Run(e *env) error {
	const what = "check the store"
	i, err := c.inspect(e, what)
	if err != nil {
		return err
	}
	found := storeChecked{Problems: []string{}}
	found.Tables, found.Records, err = i.Check(func(err error) {
		if found.ProblemCount++; len(found.Problems) < problemsShown {
			found.Problems = append(found.Problems, err.Error())
		}
	})
	if err = errors.Join(err, i.Close()); err != nil {
		return &failure{what: what, why: err}
	}
	if err := found.print(e, c.JSON); err != nil {
		return err
	}
	if found.ProblemCount > 0 {
		return &failure{code: exitFailure}
	}
	return nil
}

func (found *storeChecked) print(e *env, asJSON bool) error {
	if asJSON {
		if err := printJSON(e.stdout, found); err != nil {
			return &failure{what: "print the result", why: err}
		}
		return nil
	}
	var p page
	for _, problem := range found.Problems {
		p.line("problem: %s", problem)
	}
	if more := found.ProblemCount - len(found.Problems); more > 0 {
		p.line("and %s more", several(more, "problem"))
	}
	parts := []string{several(found.Tables, "table")}
	for _, k := range []struct{ kind, thing string }{
		{"session", "session"}, {"subscription", "subscription"}, {"queued", "queued message"}, {"will", "will"}, {"retained", "retained message"},
	} {
		parts = append(parts, several(int(found.Records[k.kind]), k.thing))
	}
	p.line("read: %s", strings.Join(parts, ", "))
	if found.ProblemCount == 0 {
		p.line("nothing is wrong")
	} else {
		p.line("%s", several(found.ProblemCount, "problem"))
	}
	return p.print(e)
}

// storeStatsCmd is "sallyport store stats".
type storeStatsCmd struct {
	storeFlags
	JSON bool `name:"json" help:"Print JSON."`
}

// Run counts and prints.
func (c *storeStatsCmd) Run(e *env) error {
	const what = "count what is in the store"
	i, err := c.inspect(e, what)
	if err != nil {
		return err
	}
	st, err := i.Stats()
	if err = errors.Join(err, i.Close()); err != nil {
		return &failure{what: what, why: err, hint: `"sallyport store check" says what is wrong`}
	}
	if c.JSON {
		if err := printJSON(e.stdout, st); err != nil {
			return &failure{what: "print the result", why: err}
		}
		return nil
	}
	var p page
	p.line("%-14s%12s%14s%14s", "", "records", "bytes", "in tables")
	for _, k := range st.Kinds {
		messages := ""
		if k.Messages > 0 {
			messages = "  of " + several(int(k.Messages), "message")
		}
		p.line("%-14s%12d%14d%14d%s", k.Kind, k.Records, k.Bytes, k.OnDisk, messages)
	}
	p.line("files: %d bytes of tables, %d of the log, %d of others", st.TableBytes, st.LogBytes, st.OtherBytes)
	if st.Encrypted {
		p.line("format %d, encrypted; opened %s, the last has number %d", st.Format, several(st.Epochs, "time"), st.Epoch)
	} else {
		p.line("format %d, not encrypted", st.Format)
	}
	return p.print(e)
}

// storeRotateCmd is "sallyport store rotate-key".
type storeRotateCmd struct {
	storeFlags
	NewKeyFile string `placeholder:"FILE" help:"Read the new key from a file."`
	NewKeyEnv  string `placeholder:"NAME" help:"Read it from an environment variable."`
}

// Help says what changes and what does not.
func (*storeRotateCmd) Help() string {
	return `The store's own key, which everything is sealed with, is wrapped with the new key instead of the old one: one small record, whatever the size of the store. If it is interrupted, one of the two keys opens the store.

Whoever has the old key and an older copy of the disk reads that copy, and what was written since with the same store's own key. If a key is known to others, restore a backup into a new store.`
}

// Run changes the key.
func (c *storeRotateCmd) Run(e *env) error {
	old, err := readStoreKey(e, "", c.KeyFile, c.KeyEnv)
	if err != nil {
		return err
	}
	key, err := readStoreKey(e, "new-", c.NewKeyFile, c.NewKeyEnv)
	if err != nil {
		return err
	}
	if old == nil || key == nil {
		return usageError("", "rotate-key needs --key-file or --key-env, and --new-key-file or --new-key-env")
	}
	if err := disk.Rekey(disk.Options{Dir: c.Dir, Key: old}, key); err != nil {
		f := storeFailure("change the key", err)
		if errors.Is(err, disk.ErrLocked) {
			f.hint = "its broker is running, and changes it itself: sallyport ctl -c CONFIG store rotate-key"
		}
		return f
	}
	if _, err := fmt.Fprintln(e.stdout, "the new key opens the store, the old one no more"); err != nil {
		return &failure{what: "print the result", why: err}
	}
	return nil
}
