package config

import (
	"errors"

	"sallyport/internal/suites"
)

// Protocols is what of TLS t asks for; fips is that of the configuration. The error
// tells of names that this build doesn't know, not of a choice that leaves nothing;
// Check tells of both.
func (t *TLS) Protocols(fips bool) (suites.Choice, error) {
	choice, wrong := t.named(fips)
	var all []error
	for _, w := range wrong {
		all = append(all, errors.New(w.Path()+": "+w.Text))
	}
	return choice, errors.Join(all...)
}

// protocols is Protocols with every mistake, at its place.
func (t *TLS) protocols(fips bool) (suites.Choice, []suites.Wrong) {
	choice, wrong := t.named(fips)
	if len(wrong) == 0 {
		_, wrong = choice.Set()
	}
	return choice, wrong
}

// named looks up the names in t.
func (t *TLS) named(fips bool) (suites.Choice, []suites.Wrong) {
	c := suites.Choice{RequirePostQuantum: t.RequirePostQuantum, Legacy: t.Legacy, FIPS: fips}
	var wrong []suites.Wrong
	note := func(key string, i int, err error) {
		if err != nil {
			wrong = append(wrong, suites.Wrong{Key: key, Index: i, Text: err.Error()})
		}
	}
	var err error
	c.MinVersion, err = suites.ParseVersion(string(t.MinVersion))
	note("min_version", -1, err)
	c.MaxVersion, err = suites.ParseVersion(string(t.MaxVersion))
	note("max_version", -1, err)
	for i, name := range t.CipherSuites {
		s, err := suites.Parse(name)
		note("cipher_suites", i, err)
		c.CipherSuites = append(c.CipherSuites, s.ID)
	}
	for i, name := range t.Groups {
		g, err := suites.ParseGroup(name)
		note("groups", i, err)
		c.Groups = append(c.Groups, g.ID)
	}
	return c, wrong
}
