package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"sallyport/packet"
)

// maxPassword is what CONNECT can carry, in bytes.
const maxPassword = 65535

// apply puts user name and password into c.
func (f *credentialFlags) apply(e *env, c *packet.Connect) error {
	if f.Username != "" {
		c.HasUsername, c.Username = true, f.Username
	}
	password, given, err := f.password(e)
	if err != nil || !given {
		return err
	}
	if len(password) > maxPassword {
		return usageError("", "the password is longer than 65,535 bytes")
	}
	if !c.HasUsername && c.Version != packet.V5 { // MQTT-3.1.2-22
		return usageError("add -u NAME", "a password needs a user name before MQTT 5")
	}
	c.HasPassword, c.Password = true, password
	return nil
}

// password reads the password from the one source that was named.
func (f *credentialFlags) password(e *env) (password []byte, given bool, err error) {
	switch {
	case f.PasswordFile != "":
		password, err = readPasswordFile(e, f.PasswordFile)
	case f.PasswordEnv != "":
		password = []byte(e.getenv(f.PasswordEnv))
		if len(password) == 0 {
			err = &failure{what: "--password-env", why: fmt.Errorf("%s is not set", f.PasswordEnv), code: exitUsage}
		}
	case f.PasswordPrompt:
		if e.askPassword == nil {
			return nil, false, usageError("use --password-file", "--password-prompt needs a terminal")
		}
		if password, err = e.askPassword("Password: "); err != nil {
			err = &failure{what: "read the password", why: err}
		}
	case f.Password != "":
		password = []byte(f.Password)
	default:
		return nil, false, nil
	}
	return password, err == nil, err
}

// readPasswordFile returns the first line of the file.
func readPasswordFile(e *env, path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, &failure{what: "read --password-file", why: err}
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && runtime.GOOS != "windows" && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		fmt.Fprintf(e.stderr, "warning: others can read %s: chmod 600 it\n", path)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxPassword+2))
	if err != nil {
		return nil, &failure{what: "read --password-file", why: err}
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) == 0 {
		return nil, &failure{what: "read --password-file " + path, why: errors.New("its first line is empty")}
	}
	return line, nil
}

// randomID is a client identifier that nobody guesses, within the 23
// characters that every server takes (MQTT-3.1.3-5) unless the prefix is long.
func randomID(prefix string) string {
	if prefix == "" {
		prefix = "sp-"
	}
	return prefix + rand.Text()[:20]
}
