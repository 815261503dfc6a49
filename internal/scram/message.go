package scram

import (
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"
)

// reserved are the attributes that RFC 5802, section 5.1, gives a meaning; none
// of them is an extension.
const reserved = "anmrcspive"

type attribute struct {
	letter byte
	value  string
}

// text checks what holds for a message as a whole: bounded, UTF-8, no NUL.
func text(message []byte) (string, error) {
	if len(message) > MaxMessage {
		return "", ErrTooLong
	}
	if len(message) == 0 || !utf8.Valid(message) {
		return "", ErrMalformed
	}
	s := string(message)
	if strings.IndexByte(s, 0) >= 0 {
		return "", ErrMalformed
	}
	return s, nil
}

// parseAttributes cuts a list of attributes. Each stands once; a mandatory
// extension, wherever it stands, is ErrExtension.
func parseAttributes(s string) ([]attribute, error) {
	if strings.Count(s, ",") >= maxAttributes {
		return nil, ErrMalformed
	}
	var all []attribute
	var seen [256]bool
	for part := range strings.SplitSeq(s, ",") {
		if len(part) < 3 || part[1] != '=' || !letter(part[0]) || seen[part[0]] {
			return nil, ErrMalformed
		}
		if part[0] == 'm' {
			return nil, ErrExtension
		}
		seen[part[0]] = true
		all = append(all, attribute{part[0], part[2:]})
	}
	return all, nil
}

func letter(b byte) bool { return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' }

// take gives the values of the attributes that must come first, in order. What
// follows are extensions, which are ignored.
func take(all []attribute, first string) ([]string, error) {
	if len(all) < len(first) {
		return nil, ErrMalformed
	}
	values := make([]string, len(first))
	for i, a := range all {
		switch {
		case i < len(first) && a.letter == first[i]:
			values[i] = a.value
		case i < len(first) || strings.IndexByte(reserved, a.letter) >= 0:
			return nil, ErrMalformed
		}
	}
	return values, nil
}

// clientFirst is a client's first message, parsed.
type clientFirst struct {
	flag    string // n, y, or the name of a channel binding's type
	bound   bool   // the flag was p=
	authzID string // decoded, "" if absent
	name    string // decoded
	nonce   string
	gs2     string // the header, as it came, with both commas
	bare    string // all after it
}

func parseClientFirst(message []byte) (*clientFirst, error) {
	s, err := text(message)
	if err != nil {
		return nil, err
	}
	flag, rest, ok1 := strings.Cut(s, ",")
	authz, bare, ok2 := strings.Cut(rest, ",")
	if !ok1 || !ok2 {
		return nil, ErrMalformed
	}
	m := &clientFirst{flag: flag, bare: bare, gs2: s[:len(s)-len(bare)]}
	if m.flag, m.bound = strings.CutPrefix(flag, "p="); m.bound {
		if !bindingName(m.flag) {
			return nil, ErrMalformed
		}
	} else if flag != "n" && flag != "y" {
		return nil, ErrMalformed
	}
	if authz != "" {
		escaped, ok := strings.CutPrefix(authz, "a=")
		if m.authzID, ok1 = unescape(escaped); !ok || !ok1 {
			return nil, ErrMalformed
		}
	}
	all, err := parseAttributes(bare)
	if err != nil {
		return nil, err
	}
	values, err := take(all, "nr")
	if err != nil {
		return nil, err
	}
	m.nonce = values[1]
	if m.name, ok1 = unescape(values[0]); !ok1 || !printable(m.nonce, MinNonce, MaxNonce) {
		return nil, ErrMalformed
	}
	return m, nil
}

// clientFinal is a client's final message, parsed.
type clientFinal struct {
	binding []byte // the header and the channel's data
	nonce   string
	proof   []byte
	without string // the message without its proof
}

func parseClientFinal(message []byte) (*clientFinal, error) {
	s, err := text(message)
	if err != nil {
		return nil, err
	}
	all, err := parseAttributes(s)
	if err != nil {
		return nil, err
	}
	last := all[len(all)-1]
	if last.letter != 'p' {
		return nil, ErrMalformed
	}
	values, err := take(all[:len(all)-1], "cr")
	if err != nil {
		return nil, err
	}
	m := &clientFinal{nonce: values[1], without: s[:len(s)-len(",p=")-len(last.value)]}
	var ok1, ok2 bool
	m.binding, ok1 = decode(values[0])
	m.proof, ok2 = decode(last.value)
	if !ok1 || !ok2 {
		return nil, ErrMalformed
	}
	return m, nil
}

// serverFirst is a server's first message, parsed; its bounds are the client's
// to judge.
type serverFirst struct {
	nonce string
	salt  []byte
	count int
}

func parseServerFirst(message []byte) (*serverFirst, error) {
	s, err := text(message)
	if err != nil {
		return nil, err
	}
	all, err := parseAttributes(s)
	if err != nil {
		return nil, err
	}
	values, err := take(all, "rsi")
	if err != nil {
		return nil, err
	}
	m := &serverFirst{nonce: values[0]}
	var ok1, ok2 bool
	m.salt, ok1 = decode(values[1])
	m.count, ok2 = parseCount(values[2])
	if !ok1 || !printable(m.nonce, MinNonce, 2*MaxNonce) {
		return nil, ErrMalformed
	}
	if !ok2 {
		return nil, ErrIterations
	}
	return m, nil
}

// parseServerFinal gives the server's signature, or the ServerError that it
// sent instead.
func parseServerFinal(message []byte) ([]byte, error) {
	s, err := text(message)
	if err != nil {
		return nil, err
	}
	all, err := parseAttributes(s)
	if err != nil {
		return nil, err
	}
	if all[0].letter == 'e' {
		if _, err := take(all, "e"); err != nil {
			return nil, err
		}
		return nil, serverError(all[0].value)
	}
	values, err := take(all, "v")
	if err != nil {
		return nil, err
	}
	signature, ok := decode(values[0])
	if !ok {
		return nil, ErrMalformed
	}
	return signature, nil
}

// escape writes a name as a saslname (RFC 5802, section 5.1).
func escape(name string) string {
	return strings.NewReplacer("=", "=3D", ",", "=2C").Replace(name)
}

// unescape reads a saslname. A comma is =2C and an equals sign =3D, in these
// letters; every other use of the equals sign is refused.
func unescape(s string) (name string, ok bool) {
	plain, rest, more := strings.Cut(s, "=")
	var b strings.Builder
	b.WriteString(plain)
	for more {
		switch {
		case strings.HasPrefix(rest, "2C"):
			b.WriteByte(',')
		case strings.HasPrefix(rest, "3D"):
			b.WriteByte('=')
		default:
			return "", false
		}
		plain, rest, more = strings.Cut(rest[2:], "=")
		b.WriteString(plain)
	}
	return b.String(), b.Len() > 0
}

// bindingName is the grammar of RFC 5056, section 7, for a type's name.
func bindingName(s string) bool {
	for i := range len(s) {
		if b := s[i]; !letter(b) && (b < '0' || b > '9') && b != '.' && b != '-' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// printable says whether s has from least to most bytes, each of ASCII that can
// be seen, and no comma.
func printable(s string, least, most int) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7F || s[i] == ',' {
			return false
		}
	}
	return len(s) >= least && len(s) <= most
}

// parseCount reads a positive number without leading zeros, of at most nine
// digits.
func parseCount(s string) (n int, ok bool) {
	n, err := strconv.Atoi(s)
	return n, len(s) <= 9 && err == nil && n > 0 && strconv.Itoa(n) == s
}

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// decode reads canonical base64. The comparison refuses line ends too, which
// the standard decoder skips.
func decode(s string) (b []byte, ok bool) {
	b, err := base64.StdEncoding.DecodeString(s)
	return b, err == nil && encode(b) == s
}
