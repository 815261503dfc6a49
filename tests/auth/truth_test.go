package auth

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"sallyport/security"
	"sallyport/security/authn"
)

var update = flag.Bool("update", false, "write the table into docs/authentication.md")

// states are those of the account under a client's name; each is also the name.
var states = []string{"none", "active", "disabled", "locked", "early", "ended"}

// credential is what a client presents.
type credential struct {
	name string
	// What the parts of it are: absent, right, or wrong.
	password, certificate, token, scram quality
	stranger                            bool // with a user name that nobody knows
	otherCertificate                    bool // of another device, good in itself
}

type quality uint8

const (
	absent quality = iota
	right
	wrong
)

var credentials = []credential{
	{name: "nothing"},
	{name: "right password", password: right},
	{name: "wrong password", password: wrong},
	{name: "password of nobody", password: right, stranger: true},
	{name: "certificate", certificate: right},
	{name: "certificate, right password", certificate: right, password: right},
	{name: "certificate, wrong password", certificate: right, password: wrong},
	{name: "another's certificate, right password", certificate: right, password: right, otherCertificate: true},
	{name: "good token", token: right},
	{name: "expired token", token: wrong},
	{name: "SCRAM", scram: right},
	{name: "SCRAM, wrong password", scram: wrong},
}

// kind is a kind of member.
type kind string

const (
	file    kind = "password_file"
	account kind = "accounts"
	cert    kind = "certificate"
	jwt     kind = "jwt"
	scrams  kind = "scram"
	guests  kind = "anonymous"
)

// link is a member of a chain in the table: one kind, or several as an all_of.
type link struct {
	all  []kind
	down bool              // who would know can't be asked
	next bool              // on_error: next
	rule authn.AccountRule // for accounts and scram always required
}

func one(k kind) link { return link{all: []kind{k}} }

func (l link) String() string {
	var names []string
	for _, k := range l.all {
		names = append(names, "`"+string(k)+"`")
	}
	s := strings.Join(names, " and ")
	if l.rule == authn.AccountRequired {
		s += " with `account: required`"
	}
	if l.rule == authn.AccountIgnored {
		s += " with `account: ignored`"
	}
	if l.down {
		s += " (down)"
	}
	if l.next {
		s += " with `on_error: next`"
	}
	return s
}

var chains = [][]link{
	{one(file), one(guests)},
	{one(account)},
	{one(cert), one(account)},
	{{all: []kind{cert}, rule: authn.AccountRequired}},
	{{all: []kind{cert}, rule: authn.AccountIgnored}},
	{{all: []kind{cert, account}}},
	{one(jwt), one(account)},
	{one(scrams), one(account)},
	{{all: []kind{account}, down: true}, one(cert)},
	{{all: []kind{account}, down: true, next: true}, one(cert)},
	{{all: []kind{jwt}, down: true}, one(account)},
	{{all: []kind{jwt}, down: true, next: true}, one(account)},
	{{all: []kind{scrams}, down: true}, one(account)},
	{{all: []kind{cert, account}, down: true, next: true}, one(file)},
}

// TestTruth asks real members, and holds each answer to what the rules say.
func TestTruth(t *testing.T) {
	w := newWorld(t)
	var page strings.Builder
	for _, chain := range chains {
		var parts []string
		for _, l := range chain {
			parts = append(parts, l.String())
		}
		fmt.Fprintf(&page, "\n%s:\n\n| | %s |\n|---|%s\n", strings.Join(parts, ", then "), strings.Join(headings(), " | "), strings.Repeat("---|", len(states)))
		svc := w.service(t, chain)
		for _, c := range credentials {
			cells := make([]string, len(states))
			for i, state := range states {
				got, want := w.ask(t, svc, c, state), expected(chain, c, state)
				if got != want {
					t.Errorf("%s: %s, account %s: %s, want %s", strings.Join(parts, ", then "), c.name, state, got, want)
				}
				cells[i] = got
			}
			fmt.Fprintf(&page, "| %s | %s |\n", c.name, strings.Join(cells, " | "))
		}
	}
	hold(t, "truth", page.String())
}

func headings() []string {
	words := map[string]string{"none": "no account", "early": "not valid yet", "ended": "not valid any more"}
	var list []string
	for _, s := range states {
		if w := words[s]; w != "" {
			s = w
		}
		list = append(list, s)
	}
	return list
}

const page = "../../docs/authentication.md"

// hold compares the part of the page between two marks with text, or writes it.
func hold(t *testing.T, mark, text string) {
	t.Helper()
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+mark+": go test ./tests/auth -update -->\n", "<!-- end of "+mark+" -->\n"
	before, rest, ok := strings.Cut(string(data), begin)
	was, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no part %s", page, mark)
	}
	if was == text {
		return
	}
	if !*update {
		t.Errorf("%s is stale: go test ./tests/auth -update writes it anew", page)
		return
	}
	if err := os.WriteFile(page, []byte(before+begin+text+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// answers in the table.
const (
	yes         = "yes"
	no          = "0x86"
	unavailable = "0x88"
	noMethod    = "0x8C"
)

func word(p *security.Principal, err error) string {
	switch {
	case p != nil:
		return yes
	case errors.Is(err, authn.ErrUnavailable):
		return unavailable
	}
	return no
}

// verdict is what one kind of member says, by the rules alone.
type verdict uint8

const (
	notMine verdict = iota
	accepts
	refuses
	unsure
)

// says is what a kind says of a credential.
func says(k kind, c credential, state string) verdict {
	grade := func(q quality) verdict {
		return [...]verdict{notMine, accepts, refuses}[q]
	}
	switch k {
	case file: // has every name of the table
		if c.stranger {
			return notMine
		}
		return grade(c.password)
	case account:
		if c.stranger || state == "none" {
			return notMine
		}
		return grade(c.password)
	case cert:
		return grade(c.certificate)
	case jwt:
		return grade(c.token)
	case guests:
		if c.password == absent && c.token == absent && c.scram == absent {
			return accepts
		}
	}
	return notMine
}

// expected walks a chain by the rules.
func expected(chain []link, c credential, state string) string {
	if c.scram != absent {
		return expectedSCRAM(chain, c, state)
	}
	for _, l := range chain {
		v := together(l, c, state)
		switch {
		case v == unsure && !l.next:
			return unavailable
		case v == refuses:
			return no
		case v == accepts:
			if passes(l, c, state) {
				return yes
			}
			return no
		}
	}
	return no
}

// together is what the kinds of a link say as one.
func together(l link, c credential, state string) verdict {
	if l.down {
		// The one that is down is the last of a link; those before it are asked first.
		for _, k := range l.all[:len(l.all)-1] {
			if says(k, c, state) == refuses {
				return refuses
			}
		}
		return unsure
	}
	mine, strange := 0, 0
	for _, k := range l.all {
		switch says(k, c, state) {
		case refuses:
			return refuses
		case notMine:
			strange++
		case accepts:
			mine++
		}
	}
	switch {
	case mine == 0:
		return notMine
	case strange > 0, len(l.all) > 1 && c.otherCertificate:
		return refuses
	}
	return accepts
}

// passes is what the account makes of whom a link accepts.
func passes(l link, c credential, state string) bool {
	last := l.all[len(l.all)-1]
	if last == guests || l.rule == authn.AccountIgnored {
		return true
	}
	if c.otherCertificate && l.all[0] == cert {
		state = "active" // the certificate is of another device, whose account is well
	}
	required := l.rule == authn.AccountRequired || last == account || last == scrams
	return state == "active" || state == "none" && !required
}

// expectedSCRAM: the method's member alone is asked, whatever else there is.
func expectedSCRAM(chain []link, c credential, state string) string {
	for _, l := range chain {
		if len(l.all) == 1 && l.all[0] == scrams {
			switch {
			case l.down:
				return unavailable
			case c.scram == right && state == "active":
				return yes
			}
			return no
		}
	}
	return noMethod
}
