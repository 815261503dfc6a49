package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"sallyport/internal/scram"
	"sallyport/security/authn"
	"sallyport/security/authn/challenge"
)

// runSCRAM keeps a file of SCRAM verifiers.
func (c *passwdCmd) runSCRAM(e *env) error {
	if c.Hash != "" || c.Upgrade {
		return usageError("", "--scram goes with neither -H nor -U")
	}
	if c.List {
		return c.listSCRAM(e)
	}
	if c.User == "" {
		return usageError(`run "sallyport passwd --help"`, "passwd needs a user")
	}
	if err := challenge.CheckName(c.User); err != nil {
		return usageError("", "%v", err)
	}
	if c.Delete {
		if err := challenge.DeleteUser(c.File, c.User); err != nil {
			return &failure{what: "delete " + c.User + " from " + c.File, why: err}
		}
		return nil
	}
	if err := c.startSCRAM(); err != nil {
		return err
	}
	var password []byte
	secret := ""
	var err error
	if c.Generate {
		if secret, _, err = authn.Generate(); err != nil {
			return &failure{what: "make a secret", why: err}
		}
		password = []byte(secret)
	} else if password, err = c.read(e); err != nil {
		return err
	}
	if err := c.storeSCRAM(string(password)); err != nil {
		return err
	}
	if c.Generate {
		fmt.Fprintln(e.stdout, secret)
	}
	return nil
}

// storeSCRAM writes the user's verifiers, one for each hash.
func (c *passwdCmd) storeSCRAM(password string) error {
	var verifiers []*scram.Verifier
	for _, h := range []scram.Hash{scram.SHA256, scram.SHA512} {
		salt := make([]byte, scram.MinSalt)
		rand.Read(salt)
		v, err := scram.NewVerifier(h, password, salt, c.Iterations)
		if errors.Is(err, scram.ErrIterations) {
			return usageError("", "-I must be from %d to %d with --scram", scram.MinIterations, scram.MaxIterations)
		}
		if err != nil {
			return &failure{what: "make a verifier", why: err}
		}
		verifiers = append(verifiers, v)
	}
	if c.Create {
		if err := os.Remove(c.File); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &failure{what: "replace " + c.File, why: err}
		}
	}
	if err := challenge.SetVerifiers(c.File, c.User, verifiers...); err != nil {
		return &failure{what: "store the verifiers of " + c.User, why: err}
	}
	return nil
}

// startSCRAM judges whether the file may be written, as start does. A password file is
// not: the broker would refuse what is left.
func (c *passwdCmd) startSCRAM() error {
	users, err := challenge.Users(c.File)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !c.Create:
		return &failure{what: "open " + c.File, why: fs.ErrNotExist, hint: "-c makes a new file"}
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return &failure{what: "read " + c.File, why: err}
	case c.Create && len(users) > 0 && !c.Force:
		return &failure{what: "create " + c.File, why: fmt.Errorf("it holds %d users", len(users)), hint: "--force replaces it"}
	case c.Create:
		return nil
	}
	for _, u := range users {
		if u.Hash == 0 {
			return &failure{what: "change " + c.File, why: fmt.Errorf("what it has for %s is no SCRAM verifier", u.Name), hint: "verifiers are kept in a file of their own"}
		}
	}
	return nil
}

func (c *passwdCmd) listSCRAM(e *env) error {
	users, err := challenge.Users(c.File)
	if err != nil {
		return &failure{what: "read " + c.File, why: err}
	}
	for _, u := range users {
		how := "unusable"
		if u.Hash != 0 {
			how = fmt.Sprintf("%s\t%d", u.Hash, u.Iterations)
		}
		fmt.Fprintf(e.stdout, "%s\t%s\n", u.Name, how)
	}
	return nil
}
