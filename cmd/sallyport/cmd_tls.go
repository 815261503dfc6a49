package main

import (
	"strings"

	"sallyport/internal/suites"
)

// tlsCmd is "sallyport tls".
type tlsCmd struct {
	Suites    tlsSuitesCmd    `cmd:"" help:"List the versions, cipher suites and groups of this build."`
	TicketKey tlsTicketKeyCmd `cmd:"" name:"ticket-key" help:"Make or rotate the session ticket keys of a fleet."`
}

// tlsSuitesCmd is "sallyport tls suites".
type tlsSuitesCmd struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// Help explains the columns.
func (tlsSuitesCmd) Help() string {
	return `The names are for tls.cipher_suites, tls.groups and tls.min_version of a listener.
Each suite stands with its versions of TLS, the keys that the server's certificate
may have, and OpenSSL's name; what is legacy is accepted with tls.legacy: true only,
and never unless it is named.`
}

// builtTLS is the document of "tls suites --json".
type builtTLS struct {
	Versions []builtVersion `json:"versions"` // ascending
	Suites   []builtSuite   `json:"suites"`   // legacy ones last
	Groups   []builtGroup   `json:"groups"`   // in order of preference
}

type builtVersion struct {
	Version string `json:"version"` // such as "1.2"
	Legacy  bool   `json:"legacy"`
}

type builtSuite struct {
	Name           string   `json:"name"` // IANA's
	JSSE           string   `json:"jsse"`
	OpenSSL        string   `json:"openssl"`
	Versions       []string `json:"versions"`
	Keys           []string `json:"keys"` // of the server's certificate
	ForwardSecrecy bool     `json:"forward_secrecy"`
	Legacy         string   `json:"legacy"` // why; "" if it is not
	FIPS           bool     `json:"fips"`
}

type builtGroup struct {
	Name    string   `json:"name"` // IANA's
	Aliases []string `json:"aliases"`
	Hybrid  bool     `json:"hybrid"` // post-quantum and classic in one
	FIPS    bool     `json:"fips"`
}

// describeTLS is what this build speaks.
func describeTLS() builtTLS {
	var b builtTLS
	for _, v := range suites.Versions() {
		text := suites.VersionText(v)
		b.Versions = append(b.Versions, builtVersion{text, text < "1.2"})
	}
	for _, s := range suites.All() {
		x := builtSuite{Name: s.Name, JSSE: s.JSSE, OpenSSL: s.OpenSSL, ForwardSecrecy: s.Forward, Legacy: s.Legacy, FIPS: s.FIPS}
		for _, v := range s.Versions {
			x.Versions = append(x.Versions, suites.VersionText(v))
		}
		for _, k := range s.Keys {
			x.Keys = append(x.Keys, string(k))
		}
		b.Suites = append(b.Suites, x)
	}
	for _, g := range suites.Groups() {
		b.Groups = append(b.Groups, builtGroup{g.Name, append([]string{}, g.Aliases...), g.Hybrid, g.FIPS})
	}
	return b
}

// Run prints the lists.
func (c *tlsSuitesCmd) Run(e *env) error {
	b := describeTLS()
	if c.JSON {
		if err := printJSON(e.stdout, b); err != nil {
			return &failure{what: "print the list", why: err}
		}
		return nil
	}
	var p page
	p.line("versions:")
	for _, v := range b.Versions {
		if v.Legacy {
			p.line("  %s  legacy: broken (RFC 8996)", v.Version)
		} else {
			p.line("  %s", v.Version)
		}
	}
	p.line("cipher suites:")
	for _, s := range b.Suites {
		versions := s.Versions[0]
		if last := s.Versions[len(s.Versions)-1]; last != versions {
			versions += "-" + last
		}
		text := strings.TrimRight(pad(s.Name, 46)+pad(versions, 9)+pad(strings.Join(s.Keys, ","), 19)+s.OpenSSL, " ")
		if s.JSSE != s.Name {
			text += ", JSSE " + s.JSSE
		}
		if s.Legacy != "" {
			text += "; legacy: " + s.Legacy
		}
		p.line("  %s", text)
	}
	p.line("groups, in order of preference:")
	for _, g := range b.Groups {
		text := pad(g.Name, 20) + strings.Join(g.Aliases, ", ")
		if g.Hybrid {
			text += "hybrid, TLS 1.3 only"
		}
		p.line("  %s", strings.TrimRight(text, " "))
	}
	return p.print(e)
}

// pad fills s with spaces to n columns.
func pad(s string, n int) string { return s + strings.Repeat(" ", max(n-len(s), 1)) }
