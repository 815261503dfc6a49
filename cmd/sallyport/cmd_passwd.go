package main

import (
	"bytes"
	"crypto/fips140"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"sallyport/config"
	"sallyport/config/mosquitto"
	"sallyport/security/authn"
)

// passwdCmd keeps a password file; its flags are mosquitto_passwd's where that has one.
type passwdCmd struct {
	Create     bool   `short:"c" help:"Make a new file; refused if it holds users, unless --force."`
	Force      bool   `help:"With -c: replace a file that holds users."`
	Delete     bool   `short:"D" help:"Delete the user."`
	Batch      bool   `short:"b" help:"Take the password from the command line, where other users of this machine can see it."`
	Hash       string `short:"H" default:"" enum:",argon2id,sha512-pbkdf2,sha512" placeholder:"NAME" help:"How to store it: argon2id (default; sha512-pbkdf2 with FIPS 140-3), sha512-pbkdf2 ($$7$$) or sha512 ($$6$$, old and weak)."`
	Scram      bool   `help:"Keep a file of SCRAM verifiers, two for each user, instead of passwords: see docs/scram.md."`
	Iterations int    `short:"I" placeholder:"N" help:"Iterations of sha512-pbkdf2, or with --scram of the verifiers (600000)."`
	Upgrade    bool   `short:"U" help:"Hash every plain text password in the file, in place."`
	Generate   bool   `help:"Make a device secret of 128 random bits, print it once, and store one salted SHA-256 of it."`
	List       bool   `help:"List the users and how their passwords are stored."`
	Config     string `placeholder:"FILE" help:"The broker's configuration: with its fips: true only what that accepts is written."`

	PasswordFile string `name:"password-file" placeholder:"FILE" help:"Read the password from a file (first line); - is standard input."`
	PasswordEnv  string `name:"password-env" placeholder:"NAME" help:"Read the password from an environment variable."`

	File     string `arg:"" help:"The password file."`
	User     string `arg:"" optional:"" help:"The user."`
	Password string `arg:"" optional:"" help:"The password, with -b."`

	fips bool // what --config says
}

// Help shows examples.
func (passwdCmd) Help() string {
	return `Examples:
  sallyport passwd passwd alice                 asks for the password, twice
  sallyport passwd --generate passwd meter-17   prints a secret for a device
  sallyport passwd --password-env PW passwd ci  takes it from $PW
  sallyport passwd -D passwd alice              deletes the user
  sallyport passwd -c --scram verifiers alice   for an authenticator of type scram
  sallyport passwd --list passwd

The file is replaced as a whole, with mode 0600. A running broker takes it over
within three seconds; with reload: manual, or a mosquitto.conf, at SIGHUP.`
}

// Run changes or lists the file.
func (c *passwdCmd) Run(e *env) error {
	if err := c.configured(); err != nil {
		return err
	}
	switch {
	case c.Scram:
		return c.runSCRAM(e)
	case c.List:
		return c.list(e)
	case c.Upgrade:
		return c.upgrade()
	case c.User == "":
		return usageError(`run "sallyport passwd --help"`, "passwd needs a user")
	case strings.ContainsAny(c.User, ":\n\r"):
		return usageError("a password file separates names with colons", "a user name can't hold a colon or a line end")
	case c.Delete:
		if err := authn.DeleteUser(c.File, c.User); err != nil {
			return &failure{what: "delete " + c.User + " from " + c.File, why: err}
		}
		return nil
	}
	if err := c.start(); err != nil {
		return err
	}
	if c.Generate {
		return c.generate(e)
	}
	password, err := c.read(e)
	if err != nil {
		return err
	}
	encoded, err := c.hash(password)
	if err != nil {
		return &failure{what: "hash the password", why: err}
	}
	return c.store(encoded)
}

// hash encodes a password, within FIPS 140-3 where the configuration or the process
// says so.
func (c *passwdCmd) hash(password []byte) (string, error) {
	lim := authn.Limits{FIPS: c.fips || fips140.Enabled()}
	algorithm := authn.Algorithm(c.Hash)
	if algorithm == "" {
		algorithm = lim.Preferred()
	}
	return authn.HashWithin(lim, algorithm, password, authn.Params{Iterations: c.Iterations})
}

// configured reads what --config says.
func (c *passwdCmd) configured() error {
	if c.Config == "" {
		return nil
	}
	data, err := config.ReadFile(c.Config)
	switch {
	case err != nil:
		return &failure{what: "read configuration", why: err}
	case mosquitto.Recognise(data):
		return nil // it has no such option
	}
	// Only that key counts: the password file that is being made may be missing still.
	if c.fips, err = config.DemandsFIPS(data, c.Config); err != nil {
		return invalid(c.Config, err)
	}
	return nil
}

// start judges whether the file may be written: with -c it holds no users, or
// --force is given; without, it exists.
func (c *passwdCmd) start() error {
	users, err := authn.Users(c.File)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !c.Create:
		return &failure{what: "open " + c.File, why: fs.ErrNotExist, hint: "-c makes a new password file"}
	case errors.Is(err, fs.ErrNotExist), !c.Create:
		return nil
	case err == nil && len(users) > 0 && !c.Force:
		return &failure{what: "create " + c.File, why: fmt.Errorf("it holds %d users", len(users)), hint: "--force replaces it"}
	case err != nil:
		return &failure{what: "read " + c.File, why: err}
	}
	return nil
}

// store writes the line. Only now, with a password at hand, does -c take the
// old file away.
func (c *passwdCmd) store(encoded string) error {
	if c.Create {
		if err := os.Remove(c.File); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &failure{what: "replace " + c.File, why: err}
		}
	}
	if _, err := authn.SetPassword(c.File, c.User, encoded); err != nil {
		return &failure{what: "store the password of " + c.User, why: err}
	}
	return nil
}

func (c *passwdCmd) generate(e *env) error {
	secret, encoded, err := authn.Generate()
	if err != nil {
		return &failure{what: "make a secret", why: err}
	}
	if err := c.store(encoded); err != nil {
		return err
	}
	fmt.Fprintln(e.stdout, secret)
	return nil
}

// read takes the password from where the flags say, else from the terminal, twice.
func (c *passwdCmd) read(e *env) ([]byte, error) {
	switch {
	case c.Password != "" && !c.Batch:
		return nil, usageError("-b takes it; --password-file, --password-env or the prompt keep it secret", "a password on the command line can be seen by other users of this machine")
	case c.Batch && c.Password != "":
		return []byte(c.Password), nil
	case c.PasswordEnv != "":
		if v := e.getenv(c.PasswordEnv); v != "" {
			return []byte(v), nil
		}
		return nil, &failure{what: "read the password", why: fmt.Errorf("environment variable %s is empty", c.PasswordEnv)}
	case c.PasswordFile == "-":
		return firstLine(e.stdin)
	case c.PasswordFile != "":
		f, err := os.Open(c.PasswordFile)
		if err != nil {
			return nil, &failure{what: "read the password", why: err}
		}
		defer func() { _ = f.Close() }() // opened for reading: nothing to lose
		return firstLine(f)
	case e.askPassword == nil:
		return nil, usageError("use --password-file, --password-env or --generate", "there is no terminal to ask for the password at")
	}
	first, err := e.askPassword("Password: ")
	if err != nil {
		return nil, &failure{what: "read the password", why: err}
	}
	second, err := e.askPassword("Again: ")
	if err != nil {
		return nil, &failure{what: "read the password", why: err}
	}
	if !bytes.Equal(first, second) {
		return nil, &failure{what: "the passwords differ"}
	}
	if len(first) == 0 {
		return nil, &failure{what: "the password is empty"}
	}
	return first, nil
}

// firstLine reads a password of at most 64 KiB.
func firstLine(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, 64<<10))
	if err != nil {
		return nil, &failure{what: "read the password", why: err}
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) == 0 {
		return nil, &failure{what: "the password is empty"}
	}
	return line, nil
}

func (c *passwdCmd) list(e *env) error {
	users, err := authn.Users(c.File)
	if err != nil {
		return &failure{what: "read " + c.File, why: err}
	}
	for _, u := range users {
		how := string(u.Algorithm)
		if how == "" {
			how = "unusable"
		}
		fmt.Fprintf(e.stdout, "%s\t%s\n", u.Name, how)
	}
	return nil
}

// upgrade hashes the plain text passwords of a file, as mosquitto_passwd -U does.
func (c *passwdCmd) upgrade() error {
	data, err := os.ReadFile(c.File)
	if err != nil {
		return &failure{what: "read " + c.File, why: err}
	}
	for n, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSuffix(line, "\r")
		user, password, ok := strings.Cut(line, ":")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		if _, err := authn.ParseStored(password, authn.Limits{}); err == nil || strings.HasPrefix(password, "$") {
			continue // stored as a hash already
		}
		encoded, err := c.hash([]byte(password))
		if err != nil {
			return &failure{what: fmt.Sprintf("%s:%d: hash the password", c.File, n+1), why: err}
		}
		if _, err := authn.SetPassword(c.File, user, encoded); err != nil {
			return &failure{what: fmt.Sprintf("%s:%d: store the password", c.File, n+1), why: err}
		}
	}
	return nil
}
