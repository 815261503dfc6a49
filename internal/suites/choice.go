package suites

import (
	"crypto/fips140"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Choice is what a listener shall speak. The zero Choice is TLS 1.2 and 1.3 with
// every suite and group that is not legacy.
type Choice struct {
	MinVersion, MaxVersion uint16 // tls.VersionTLS10 to VersionTLS13; 0 is 1.2 and 1.3
	// CipherSuites are IDs of suites of all versions; empty is every one that is not
	// legacy. Every version between MinVersion and MaxVersion needs one.
	CipherSuites []uint16
	Groups       []tls.CurveID // empty is all
	// RequirePostQuantum demands a hybrid group.
	RequirePostQuantum bool
	// Legacy lets versions below 1.2 and suites with a Legacy of their own be named.
	Legacy bool
	// FIPS leaves out what is outside FIPS 140-3, and refuses it where it is named. A
	// process in FIPS 140-3 mode does so without being asked.
	FIPS bool
}

// Wrong is a mistake in a Choice.
type Wrong struct {
	Key   string // the option's name in the configuration, such as min_version
	Index int    // in the option's list; -1 is the option itself
	Text  string
}

// Path is where the mistake stands, such as groups[1].
func (w Wrong) Path() string {
	if w.Index < 0 {
		return w.Key
	}
	return fmt.Sprintf("%s[%d]", w.Key, w.Index)
}

// Set is what a listener speaks. It is not changed.
type Set struct {
	Versions []uint16 // ascending
	Suites   []Suite  // in the order of [All]
	Groups   []Group  // in crypto/tls's order of preference
	FIPS     bool     // nothing outside FIPS 140-3 is negotiated
}

// Set checks c and returns what follows from it. The Set is to be used only when
// nothing is wrong.
func (c Choice) Set() (*Set, []Wrong) {
	c.FIPS = c.FIPS || fips140.Enabled()
	k := &judge{choice: c, set: &Set{FIPS: c.FIPS}}
	if k.versions(); len(k.wrong) > 0 {
		return nil, k.wrong // every other answer would follow from the mistake
	}
	k.suites()
	k.groups()
	if len(k.wrong) == 0 {
		k.leftovers()
	}
	if len(k.wrong) > 0 {
		return nil, k.wrong
	}
	return k.set, nil
}

// Err is everything that is wrong with c; nil if nothing is.
func (c Choice) Err() error {
	_, wrong := c.Set()
	var all []error
	for _, w := range wrong {
		all = append(all, fmt.Errorf("%s %s", w.Key, w.Text))
	}
	return errors.Join(all...)
}

// judge makes a Set of a Choice.
type judge struct {
	choice Choice
	set    *Set
	wrong  []Wrong
}

func (k *judge) say(key string, index int, format string, args ...any) {
	k.wrong = append(k.wrong, Wrong{key, index, fmt.Sprintf(format, args...)})
}

// outside says of something that it can't be had with FIPS 140-3.
const outside = "%s is outside FIPS 140-3"

func (k *judge) versions() {
	lo, hi := k.choice.MinVersion, k.choice.MaxVersion
	if lo == 0 {
		lo = tls.VersionTLS12
	}
	if hi == 0 {
		hi = tls.VersionTLS13
	}
	known := Versions()
	switch {
	case !slices.Contains(known, lo):
		k.say("min_version", -1, "%s is not accepted", tls.VersionName(lo))
	case !slices.Contains(known, hi):
		k.say("max_version", -1, "%s is not accepted", tls.VersionName(hi))
	case k.choice.FIPS && !VersionInFIPS(lo):
		k.say("min_version", -1, outside, tls.VersionName(lo))
	case k.choice.FIPS && !VersionInFIPS(hi):
		k.say("max_version", -1, outside, tls.VersionName(hi))
	case lo > hi:
		k.say("min_version", -1, "must not be above max_version %s", VersionText(hi))
	case lo < tls.VersionTLS12 && !k.choice.Legacy:
		k.say("min_version", -1, "%s is broken (RFC 8996) and accepted with legacy: true only", tls.VersionName(lo))
	case lo < tls.VersionTLS13 && k.choice.RequirePostQuantum:
		k.say("require_post_quantum", -1, `needs min_version: "1.3": no group of older versions holds against quantum computers`)
	}
	for _, v := range known {
		if lo <= v && v <= hi {
			k.set.Versions = append(k.set.Versions, v)
		}
	}
}

// speaks reports whether one of versions is among those of the set.
func (k *judge) speaks(versions []uint16) bool {
	return slices.ContainsFunc(versions, func(v uint16) bool { return slices.Contains(k.set.Versions, v) })
}

func (k *judge) suites() {
	const key = "cipher_suites"
	all, named := All(), k.choice.CipherSuites
	for i, id := range named {
		at := slices.IndexFunc(all, func(s Suite) bool { return s.ID == id })
		switch {
		case at < 0:
			k.say(key, i, "%s is not in this build", tls.CipherSuiteName(id))
		case slices.Contains(named[:i], id):
			k.say(key, i, "%s is already in this list", all[at].Name)
		case k.choice.FIPS && !all[at].FIPS:
			k.say(key, i, outside, all[at].Name)
		case all[at].Legacy != "" && !k.choice.Legacy:
			k.say(key, i, "%s is accepted with legacy: true only: %s", all[at].Name, all[at].Legacy)
		case !k.speaks(all[at].Versions):
			k.say(key, i, "%s is of TLS %s, which min_version and max_version exclude", all[at].Name, span(all[at].Versions))
		}
	}
	for _, s := range all {
		switch {
		case k.choice.FIPS && !s.FIPS:
		case len(named) > 0 && slices.Contains(named, s.ID), len(named) == 0 && s.Legacy == "" && k.speaks(s.Versions):
			k.set.Suites = append(k.set.Suites, s)
		}
	}
}

func (k *judge) groups() {
	const key = "groups"
	all, named := Groups(), k.choice.Groups
	newest := k.set.Versions[len(k.set.Versions)-1]
	for i, id := range named {
		at := slices.IndexFunc(all, func(g Group) bool { return g.ID == id })
		switch {
		case at < 0:
			k.say(key, i, "%s is not in this build", GroupName(id))
		case slices.Contains(named[:i], id):
			k.say(key, i, "%s is already in this list", all[at].Name)
		case k.choice.FIPS && !all[at].FIPS:
			k.say(key, i, outside, all[at].Name)
		case all[at].Hybrid && newest < tls.VersionTLS13:
			k.say(key, i, "%s is of TLS 1.3, which max_version excludes", all[at].Name)
		case !all[at].Hybrid && k.choice.RequirePostQuantum:
			k.say(key, i, "%s is no hybrid group, which require_post_quantum demands", all[at].Name)
		}
	}
	for _, g := range all {
		switch {
		case k.choice.FIPS && !g.FIPS:
		case len(named) > 0 && !slices.Contains(named, g.ID):
		case len(named) == 0 && (k.choice.RequirePostQuantum && !g.Hybrid || g.Hybrid && newest < tls.VersionTLS13):
		default:
			k.set.Groups = append(k.set.Groups, g)
		}
	}
}

// leftovers complains where a version is left without a suite or a group.
func (k *judge) leftovers() {
	classic := slices.ContainsFunc(k.set.Groups, func(g Group) bool { return !g.Hybrid })
	for _, v := range k.set.Versions {
		of := k.set.of(v, "")
		switch {
		case len(of) == 0:
			k.say("cipher_suites", -1, "names no suite of %s: add one, or exclude it with %s", tls.VersionName(v), k.without(v))
		case v < tls.VersionTLS13 && !classic && !slices.ContainsFunc(of, func(s Suite) bool { return !s.Forward }):
			k.say("groups", -1, `names only hybrid groups, which %s does not have: add secp256r1, or set min_version: "1.3"`, tls.VersionName(v))
		}
	}
}

// without is the setting that excludes v.
func (k *judge) without(v uint16) string {
	switch {
	case len(k.set.Versions) == 1:
		return "another min_version and max_version"
	case v == k.set.Versions[len(k.set.Versions)-1]:
		return fmt.Sprintf("max_version: %q", VersionText(v-1))
	}
	return fmt.Sprintf("min_version: %q", VersionText(v+1))
}

// of lists the suites that serve version v with a key; "" is any key.
func (s *Set) of(v uint16, key Key) []Suite {
	var list []Suite
	for _, x := range s.Suites {
		if slices.Contains(x.Versions, v) && (key == "" || slices.Contains(x.Keys, key)) {
			list = append(list, x)
		}
	}
	return list
}

// For lists the suites that a certificate with this kind of key can serve.
func (s *Set) For(key Key) []Suite {
	return slices.DeleteFunc(slices.Clone(s.Suites), func(x Suite) bool { return !slices.Contains(x.Keys, key) })
}

// Fits reports, as an error, a version that nothing is left for with a certificate
// of this kind of key.
func (s *Set) Fits(key Key) error {
	if key == "" {
		return errors.New("the certificate's kind of key is not one of TLS: RSA, ECDSA and Ed25519 are")
	}
	for _, v := range s.Versions {
		if key == Ed25519 && v < tls.VersionTLS12 {
			return fmt.Errorf(`a certificate with an Ed25519 key can't serve %s: set min_version: "1.2"`, tls.VersionName(v))
		}
		if len(s.of(v, key)) == 0 {
			return fmt.Errorf("cipher_suites names no suite of %s that a certificate with an %s key can serve", tls.VersionName(v), key)
		}
	}
	return nil
}

// Legacy lists what of the set is legacy, with the reason.
func (s *Set) Legacy() []string {
	var list []string
	for _, v := range s.Versions {
		if v < tls.VersionTLS12 {
			list = append(list, tls.VersionName(v)+" (RFC 8996)")
		}
	}
	for _, x := range s.Suites {
		if x.Legacy != "" {
			list = append(list, x.Name+" ("+x.Legacy+")")
		}
	}
	return list
}

// Unwanted lists the suites of TLS 1.3 that a client may bring about and is refused
// for, once the handshake has shown it.
func (s *Set) Unwanted() []Suite {
	if !slices.Contains(s.Versions, tls.VersionTLS13) {
		return nil
	}
	return slices.DeleteFunc(All(), func(x Suite) bool {
		return x.Versions[0] != tls.VersionTLS13 || s.has(x.ID) || s.FIPS && !x.FIPS
	})
}

func (s *Set) has(id uint16) bool {
	return slices.ContainsFunc(s.Suites, func(x Suite) bool { return x.ID == id })
}

// Apply makes c negotiate what s has. The caller has to call Permits as well.
func (s *Set) Apply(c *tls.Config) {
	c.MinVersion, c.MaxVersion = s.Versions[0], s.Versions[len(s.Versions)-1]
	// Never nil: crypto/tls would add what GODEBUG says.
	c.CipherSuites, c.CurvePreferences = []uint16{}, []tls.CurveID{}
	for _, x := range s.Suites {
		if x.Versions[0] < tls.VersionTLS13 {
			c.CipherSuites = append(c.CipherSuites, x.ID)
		}
	}
	for _, g := range s.Groups {
		c.CurvePreferences = append(c.CurvePreferences, g.ID)
	}
}

// ErrNotAccepted is what every refusal of [Set.Permits] wraps.
var ErrNotAccepted = errors.New("is not accepted")

// Permits refuses a handshake that came to something else than s has: a suite of
// TLS 1.3, or what a session was begun with that is resumed under other rules.
func (s *Set) Permits(n Negotiated) error {
	if !slices.Contains(s.Versions, n.Version) {
		return fmt.Errorf("%s %w", tls.VersionName(n.Version), ErrNotAccepted)
	}
	at := slices.IndexFunc(s.Suites, func(x Suite) bool { return x.ID == n.Suite })
	if at < 0 {
		return fmt.Errorf("cipher suite %s %w", tls.CipherSuiteName(n.Suite), ErrNotAccepted)
	}
	if !s.Suites[at].Forward && n.Group == 0 {
		return nil // its keys come from the certificate's, without a group
	}
	if !slices.ContainsFunc(s.Groups, func(g Group) bool { return g.ID == n.Group }) {
		return fmt.Errorf("group %s %w", GroupName(n.Group), ErrNotAccepted)
	}
	return nil
}

// span is "1.0 to 1.2", or one version.
func span(versions []uint16) string {
	first, last := VersionText(versions[0]), VersionText(versions[len(versions)-1])
	if first == last {
		return first
	}
	return first + " to " + last
}

// Names lists the IANA names of suites.
func Names(list []Suite) string {
	var names []string
	for _, s := range list {
		names = append(names, s.Name)
	}
	return strings.Join(names, ", ")
}
