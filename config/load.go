package config

import (
	"fmt"
	"io"
	"net"
	"path/filepath"

	"sallyport/internal/regular"
)

// Load reads the native configuration file at path and checks it. The error
// is a Problems with every mistake, or says why the file could not be read.
// Relative paths inside the file are made relative to its folder.
func Load(path string) (*Config, error) {
	data, err := ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(data, path)
}

// Parse is Load for data that was read from path already.
func Parse(data []byte, path string) (*Config, error) {
	c := Defaults()
	places, problems := decodeYAML(data, path, c)
	c.File, c.origin = path, places
	c.Sources = []Source{{path, SumOf(data)}}
	if places == nil { // not YAML: nothing to check
		return nil, problems.Err()
	}
	c.Complete(filepath.Dir(path))
	problems = append(problems, c.Check(c.place)...)
	if len(problems) > 0 {
		return nil, problems.once().Sort().Err()
	}
	return c, nil
}

// DemandsFIPS is fips of the configuration in data, which may name files that are not
// there yet: only its form is checked.
func DemandsFIPS(data []byte, path string) (bool, error) {
	c := Defaults()
	_, problems := decodeYAML(data, path, c)
	return c.FIPS, problems.Err()
}

// ReadFile reads the file at path, which must be a regular one of at most
// 1 MiB. The error is a Problems that names the file.
func ReadFile(path string) ([]byte, error) {
	f, _, err := regular.Open(path)
	if err != nil {
		return nil, Problems{{File: path, Text: fileError(err), Lacks: path}}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, Problems{{File: path, Text: fileError(err)}}
	}
	if len(data) > maxFileBytes {
		return nil, Problems{{File: path, Text: fmt.Sprintf("the file is larger than %d bytes", maxFileBytes)}}
	}
	return data, nil
}

// place is where the value of key stands in the file that c was read from.
func (c *Config) place(key string) (string, Pos) { return c.File, c.origin.find(key) }

// Wrong is err about the value of key, such as authenticators[0].prepare[1], with its
// place in the file that c was read from.
func (c *Config) Wrong(key string, err error) Problem {
	file, pos := c.place(key)
	return Problem{File: file, Line: pos.Line, Column: pos.Column, Key: key, Text: err.Error()}
}

// Complete fills in what follows from other values: names of listeners,
// realms, and relative paths, which it bases on dir. Load and the importers call it.
func (c *Config) Complete(dir string) {
	base := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	for i := range c.Listeners {
		l := &c.Listeners[i]
		if l.Name == "" {
			l.Name = l.defaultName()
		}
		if l.Transport == Unix {
			base(&l.Address)
		}
		if t := l.TLS; t != nil {
			for _, p := range t.paths() {
				base(p)
			}
			if a := t.ACME; a != nil {
				base(&a.Storage)
			}
		}
	}
	for i := range c.Authenticators {
		a := &c.Authenticators[i]
		base(&a.File)
		if a.JWT != nil {
			for _, p := range a.JWT.files() {
				base(p)
			}
		}
		if a.Realm == "" && a.Type == Scram && a.File == "" {
			a.Realm = "accounts" // the account database's
		} else if a.Realm == "" && a.Type != Anonymous && a.Type != AllOfThem {
			a.Realm = a.Name
			if a.Type == AccountDatabase {
				a.Realm = DefaultAccountsRealm
			}
		}
	}
	for i := range c.Policies {
		base(&c.Policies[i].File)
	}
	base(&c.Log.File)
	base(&c.Control.Socket)
	base(&c.PIDFile)
	base(&c.Storage.Dir)
	if e := c.Storage.Encryption; e != nil {
		base(&e.Key.File)
	}
}

func (l *Listener) defaultName() string {
	if l.Transport == Unix {
		return "unix-" + filepath.Base(l.Address)
	}
	_, port, err := net.SplitHostPort(l.Address)
	if err != nil {
		port = "?"
	}
	return string(l.Transport) + "-" + port
}

// once drops a later problem that stands at the same place and key as an
// earlier one: a value that could not be read was left at its default, about
// which nothing more needs to be said.
func (ps Problems) once() Problems {
	seen := map[Problem]bool{}
	out := ps[:0]
	for _, p := range ps {
		place := p
		place.Text, place.Lacks = "", ""
		if seen[place] {
			continue
		}
		seen[place] = true
		out = append(out, p)
	}
	return out
}
