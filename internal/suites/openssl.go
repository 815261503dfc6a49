package suites

import (
	"fmt"
	"slices"
	"strings"
)

// Listed is what a list in OpenSSL's form came to.
type Listed struct {
	Suites []Suite  // in the order of the list, each once
	Left   []string // names of suites that this build lacks
}

// maxList is how many bytes and names a list may have; OpenSSL's own ALL has a
// tenth of that.
const (
	maxListBytes = 16 << 10
	maxListNames = 512
)

// ParseOpenSSL reads a list as in mosquitto.conf's ciphers and ciphers_tls1.3 (the
// CIPHER LIST FORMAT of openssl-ciphers): names of suites between colons, commas or
// spaces. Of the rest only what means the same with every OpenSSL is understood:
// !CLASS, where this build's members of the class are known. Classes such as HIGH,
// and @STRENGTH, are an error.
func ParseOpenSSL(text string) (Listed, error) {
	var out Listed
	var none Listed
	if len(text) > maxListBytes {
		return none, fmt.Errorf("is longer than %d bytes", maxListBytes)
	}
	var removed []func(Suite) bool
	words := 0
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ':' || r == ',' || r == ' ' || r == ';' }) {
		if words++; words > maxListNames {
			return none, fmt.Errorf("has more than %d names", maxListNames)
		}
		if class, excludes := strings.CutPrefix(word, "!"); excludes {
			in, err := excluded(class)
			if err != nil {
				return none, err
			}
			removed = append(removed, in)
			continue
		}
		s, err := Parse(word)
		switch {
		case err == nil && !slices.ContainsFunc(out.Suites, func(x Suite) bool { return x.ID == s.ID }):
			out.Suites = append(out.Suites, s)
		case err == nil: // named twice
		case isName(word):
			out.Left = append(out.Left, word)
		default:
			return none, fmt.Errorf("%s is no name of a suite but a class or a command, whose meaning depends on the version of OpenSSL: name each suite", excerpt(word))
		}
	}
	out.Suites = slices.DeleteFunc(out.Suites, func(s Suite) bool {
		return slices.ContainsFunc(removed, func(in func(Suite) bool) bool { return in(s) })
	})
	return out, nil
}

// isName tells the name of one suite, which has a dash or begins with TLS_, from a
// class. What begins with a sign or joins with + is neither.
func isName(word string) bool {
	if strings.ContainsAny(word, "+@!=") || strings.HasPrefix(word, "-") {
		return false
	}
	return strings.Contains(word, "-") || strings.HasPrefix(word, "TLS_")
}

// excluded is which suites of this build a class of OpenSSL holds.
func excluded(class string) (func(Suite) bool, error) {
	nothing := func(Suite) bool { return false }
	in := func(part string) func(Suite) bool {
		return func(s Suite) bool { return strings.Contains(s.Name, part) }
	}
	switch class {
	case "aNULL", "eNULL", "NULL", "ADH", "AECDH", "EXP", "EXPORT", "EXPORT40", "EXPORT56", "LOW", "SSLv2", "MD5", "DES", "RC2",
		"PSK", "kPSK", "aPSK", "kECDHEPSK", "kDHEPSK", "kRSAPSK", "SRP", "kSRP", "aSRP", "DSS", "aDSS", "DH", "DHE", "EDH", "kDHE", "kEDH", "kDHr", "kDHd", "kDH",
		"kECDHr", "kECDHe", "kECDH", "aECDH", "KRB5", "CAMELLIA", "CAMELLIA128", "CAMELLIA256", "SEED", "IDEA", "ARIA", "ARIA128", "ARIA256", "GOST94", "GOST89MAC", "aGOST", "kGOST", "AESCCM", "AESCCM8":
		return nothing, nil // nothing of the kind is in this build
	case "RC4":
		return in("_RC4_"), nil
	case "3DES":
		return in("_3DES_"), nil
	case "SHA", "SHA1":
		return func(s Suite) bool { return strings.HasSuffix(s.Name, "_SHA") }, nil
	case "kRSA":
		return func(s Suite) bool { return !s.Forward }, nil
	}
	if s, err := Parse(class); err == nil {
		return func(x Suite) bool { return x.ID == s.ID }, nil
	}
	if isName(class) {
		return nothing, nil // a suite that this build lacks
	}
	return nil, fmt.Errorf("%s can't be excluded: the meaning of that class depends on the version of OpenSSL; name each suite that is wanted", excerpt("!"+class))
}
