// Package suites is what this build speaks of TLS: versions, cipher suites and
// groups, under the names that others give them, and what a listener makes of them.
//
// Words: a [Choice] is what a configuration asks for; its [Set] is what follows
// from it. A suite or version that is only there for old peers is legacy, and
// nothing legacy is in a set whose choice doesn't say so. A hybrid group holds
// against quantum computers too.
//
// crypto/tls takes a list of suites for TLS 1.0 to 1.2 and chooses itself among
// those of TLS 1.3. So a set that lacks some of the latter is held against what
// was negotiated, by [Set.Permits], in every handshake.
package suites

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/fips140"
	"crypto/rsa"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// Key is a kind of key that a certificate has.
type Key string

// The kinds.
const (
	RSA     Key = "RSA"
	ECDSA   Key = "ECDSA"
	Ed25519 Key = "Ed25519"
)

// KeyOf is the kind of a public key, "" for one that TLS has no use for.
func KeyOf(public any) Key {
	switch public.(type) {
	case *rsa.PublicKey:
		return RSA
	case *ecdsa.PublicKey:
		return ECDSA
	case ed25519.PublicKey:
		return Ed25519
	}
	return ""
}

// Suite is a cipher suite of this build.
type Suite struct {
	ID       uint16
	Name     string   // IANA's, TLS Cipher Suites registry
	JSSE     string   // Java's, where SSL_ still begins the oldest
	OpenSSL  string   // as in mosquitto.conf's ciphers and ciphers_tls1.3
	Versions []uint16 // of TLS, ascending
	Keys     []Key    // that the server's certificate may have
	Forward  bool     // a key that is stolen later opens nothing that was recorded
	Legacy   string   // why only legacy: true accepts it; "" if none is needed
	FIPS     bool     // within FIPS 140-3, as crypto/tls has it
}

// Why suites are legacy.
const (
	noForward  = "no forward secrecy"
	rc4        = "RC4 is broken (RFC 7465)"
	tripleDES  = "3DES has blocks of 64 bits (Sweet32)"
	lucky      = "CBC with SHA-256 is open to Lucky 13 here"
	noForward3 = noForward + ", and " + tripleDES
	noForward4 = noForward + ", and " + rc4
)

// All lists the suites of this build, those of TLS 1.3 first and legacy ones last.
// A process in FIPS 140-3 mode negotiates those alone that are within it.
func All() []Suite {
	until12 := []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12}
	only12 := []uint16{tls.VersionTLS12}
	only13 := []uint16{tls.VersionTLS13}
	every, rsaKey, ec := []Key{RSA, ECDSA, Ed25519}, []Key{RSA}, []Key{ECDSA, Ed25519}
	all := []Suite{
		{tls.TLS_AES_128_GCM_SHA256, "TLS_AES_128_GCM_SHA256", "", "TLS_AES_128_GCM_SHA256", only13, every, true, "", true},
		{tls.TLS_AES_256_GCM_SHA384, "TLS_AES_256_GCM_SHA384", "", "TLS_AES_256_GCM_SHA384", only13, every, true, "", true},
		{tls.TLS_CHACHA20_POLY1305_SHA256, "TLS_CHACHA20_POLY1305_SHA256", "", "TLS_CHACHA20_POLY1305_SHA256", only13, every, true, "", false},

		{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "", "ECDHE-ECDSA-AES128-GCM-SHA256", only12, ec, true, "", true},
		{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "", "ECDHE-ECDSA-AES256-GCM-SHA384", only12, ec, true, "", true},
		{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "", "ECDHE-ECDSA-CHACHA20-POLY1305", only12, ec, true, "", false},
		{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "", "ECDHE-RSA-AES128-GCM-SHA256", only12, rsaKey, true, "", true},
		{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "", "ECDHE-RSA-AES256-GCM-SHA384", only12, rsaKey, true, "", true},
		{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "", "ECDHE-RSA-CHACHA20-POLY1305", only12, rsaKey, true, "", false},
		{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", "", "ECDHE-ECDSA-AES128-SHA", until12, ec, true, "", false},
		{tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", "", "ECDHE-ECDSA-AES256-SHA", until12, ec, true, "", false},
		{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "", "ECDHE-RSA-AES128-SHA", until12, rsaKey, true, "", false},
		{tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", "", "ECDHE-RSA-AES256-SHA", until12, rsaKey, true, "", false},

		{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", "", "ECDHE-ECDSA-AES128-SHA256", only12, ec, true, lucky, true},
		{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", "", "ECDHE-RSA-AES128-SHA256", only12, rsaKey, true, lucky, true},
		{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, "TLS_RSA_WITH_AES_128_GCM_SHA256", "", "AES128-GCM-SHA256", only12, rsaKey, false, noForward, false},
		{tls.TLS_RSA_WITH_AES_256_GCM_SHA384, "TLS_RSA_WITH_AES_256_GCM_SHA384", "", "AES256-GCM-SHA384", only12, rsaKey, false, noForward, false},
		{tls.TLS_RSA_WITH_AES_128_CBC_SHA256, "TLS_RSA_WITH_AES_128_CBC_SHA256", "", "AES128-SHA256", only12, rsaKey, false, noForward, false},
		{tls.TLS_RSA_WITH_AES_128_CBC_SHA, "TLS_RSA_WITH_AES_128_CBC_SHA", "", "AES128-SHA", until12, rsaKey, false, noForward, false},
		{tls.TLS_RSA_WITH_AES_256_CBC_SHA, "TLS_RSA_WITH_AES_256_CBC_SHA", "", "AES256-SHA", until12, rsaKey, false, noForward, false},
		{tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA, "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA", "", "ECDHE-RSA-DES-CBC3-SHA", until12, rsaKey, true, tripleDES, false},
		{tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, "TLS_RSA_WITH_3DES_EDE_CBC_SHA", "SSL_RSA_WITH_3DES_EDE_CBC_SHA", "DES-CBC3-SHA", until12, rsaKey, false, noForward3, false},
		{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA, "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA", "", "ECDHE-ECDSA-RC4-SHA", until12, ec, true, rc4, false},
		{tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA, "TLS_ECDHE_RSA_WITH_RC4_128_SHA", "", "ECDHE-RSA-RC4-SHA", until12, rsaKey, true, rc4, false},
		{tls.TLS_RSA_WITH_RC4_128_SHA, "TLS_RSA_WITH_RC4_128_SHA", "SSL_RSA_WITH_RC4_128_SHA", "RC4-SHA", until12, rsaKey, false, noForward4, false},
	}
	for i := range all {
		if all[i].JSSE == "" {
			all[i].JSSE = all[i].Name
		}
	}
	return all
}

// Here reports whether this process can negotiate s: in FIPS 140-3 mode not what is
// outside it.
func (s Suite) Here() bool { return s.FIPS || !fips140.Enabled() }

// Parse finds a suite by IANA's name, Java's or OpenSSL's. IBM's Java writes SSL_
// for TLS_ in all names but those of TLS 1.3, which is taken for the same. The error says what else
// could have been named.
func Parse(name string) (Suite, error) {
	all := All()
	for _, s := range all {
		old := s.Versions[0] < tls.VersionTLS13 && name == "SSL_"+strings.TrimPrefix(s.Name, "TLS_")
		if name == s.Name || name == s.OpenSSL || old {
			return s, nil
		}
	}
	var usual, legacy []string
	for _, s := range all {
		if s.Legacy == "" {
			usual = append(usual, s.Name)
		} else {
			legacy = append(legacy, s.Name)
		}
	}
	return Suite{}, fmt.Errorf("%s %s; there are %s, and with legacy: true %s",
		excerpt(name), missing(name), strings.Join(usual, ", "), strings.Join(legacy, ", "))
}

// missing says why no suite of this build has a name.
func missing(name string) string {
	upper := strings.ToUpper(name)
	switch {
	case strings.Contains(upper, "NULL"):
		return "encrypts nothing, and is in no build"
	case strings.Contains(upper, "ANON") || strings.HasPrefix(upper, "ADH") || strings.HasPrefix(upper, "AECDH"):
		return "authenticates nobody, and is in no build"
	}
	return "is no cipher suite of this build"
}

// excerpt quotes at most 60 bytes of s.
func excerpt(s string) string {
	if len(s) > 60 {
		return fmt.Sprintf("%q...", strings.ToValidUTF8(s[:60], ""))
	}
	return fmt.Sprintf("%q", s)
}

// Group is a way to agree on keys (RFC 8446, 4.2.7).
type Group struct {
	ID      tls.CurveID
	Name    string   // IANA's, TLS Supported Groups registry
	Aliases []string // what else it is called
	Hybrid  bool     // with ML-KEM: safe from quantum computers too; TLS 1.3 only
	FIPS    bool     // within FIPS 140-3, as crypto/tls has it
}

// Groups lists the groups of this build in crypto/tls's order of preference. A
// process in FIPS 140-3 mode negotiates those alone that are within it: an elliptic
// curve that is not approved is, beside ML-KEM (SP 800-56C, 2).
func Groups() []Group {
	return []Group{
		{tls.X25519MLKEM768, "X25519MLKEM768", nil, true, true},
		{tls.SecP256r1MLKEM768, "SecP256r1MLKEM768", nil, true, true},
		{tls.SecP384r1MLKEM1024, "SecP384r1MLKEM1024", nil, true, true},
		{tls.X25519, "x25519", []string{"X25519"}, false, false},
		{tls.CurveP256, "secp256r1", []string{"P-256", "prime256v1"}, false, true},
		{tls.CurveP384, "secp384r1", []string{"P-384"}, false, true},
		{tls.CurveP521, "secp521r1", []string{"P-521"}, false, true},
	}
}

// ParseGroup finds a group by IANA's name or an alias. The error lists them all.
func ParseGroup(name string) (Group, error) {
	var names []string
	for _, g := range Groups() {
		if name == g.Name || slices.Contains(g.Aliases, name) {
			return g, nil
		}
		names = append(names, strings.Join(append([]string{g.Name}, g.Aliases...), " or "))
	}
	return Group{}, fmt.Errorf("%s is no group of this build; there are %s", excerpt(name), strings.Join(names, ", "))
}

// GroupName is IANA's name of a group; "" for 0, with which none was used.
func GroupName(id tls.CurveID) string {
	if id == 0 {
		return ""
	}
	for _, g := range Groups() {
		if g.ID == id {
			return g.Name
		}
	}
	return fmt.Sprintf("group 0x%04x", uint16(id))
}

// Versions lists the versions of TLS that this build has, ascending.
func Versions() []uint16 {
	return []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13}
}

// VersionInFIPS reports whether a version is within FIPS 140-3, as crypto/tls has it.
func VersionInFIPS(v uint16) bool { return v >= tls.VersionTLS12 }

// ParseVersion reads a version as "1.0" to "1.3".
func ParseVersion(text string) (uint16, error) {
	var names []string
	for _, v := range Versions() {
		if text == VersionText(v) {
			return v, nil
		}
		names = append(names, VersionText(v))
	}
	return 0, fmt.Errorf("%s is no version of TLS here; there are %s", excerpt(text), strings.Join(names, ", "))
}

// VersionText is "1.2" for tls.VersionTLS12.
func VersionText(v uint16) string { return strings.TrimPrefix(tls.VersionName(v), "TLS ") }

// Negotiated is what a handshake came to, in little space.
type Negotiated struct {
	Version uint16 // 0: no TLS
	Suite   uint16
	Group   tls.CurveID // 0: the suite agrees on keys without one
}

// Of is what state was negotiated.
func Of(state *tls.ConnectionState) Negotiated {
	return Negotiated{state.Version, state.CipherSuite, state.CurveID}
}

// String is "TLS 1.3 TLS_AES_128_GCM_SHA256 X25519MLKEM768"; "" without TLS.
func (n Negotiated) String() string {
	if n.Version == 0 {
		return ""
	}
	text := tls.VersionName(n.Version) + " " + tls.CipherSuiteName(n.Suite)
	if n.Group != 0 {
		text += " " + GroupName(n.Group)
	}
	return text
}
