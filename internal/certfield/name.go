package certfield

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// nameLimit bounds the attributes of a name.
const nameLimit = 256

// oidCommonName is id-at-commonName in DER (RFC 5280, A.1), as those below are.
const oidCommonName = "\x55\x04\x03"

var errName = errors.New("name in the certificate can't be read")

// attributeOf is AttributeTypeAndValue (RFC 5280, 4.1.2.4).
type attributeOf struct{ oid, value element }

// walkName goes through the attributes of a Name in the order of the certificate.
// rdn counts the relative distinguished names.
func walkName(der []byte, yield func(rdn int, a attributeOf) error) error {
	name, ok := only(der, idSequence)
	if !ok {
		return errName
	}
	count := 0
	for rdn, rest := 0, name.body; len(rest) > 0; rdn++ {
		var set element
		if set, rest, ok = next(rest); !ok || set.id != idSet || len(set.body) == 0 {
			return errName
		}
		for in := set.body; len(in) > 0; {
			var e element
			if e, in, ok = next(in); !ok || e.id != idSequence {
				return errName
			}
			oid, value, ok := next(e.body)
			v, rest, whole := next(value)
			if !ok || oid.id != idOID || !whole || len(rest) > 0 {
				return errName
			}
			if count++; count > nameLimit {
				return fmt.Errorf("name in the certificate has more than %d attributes", nameLimit)
			}
			if err := yield(rdn, attributeOf{oid, v}); err != nil {
				return err
			}
		}
	}
	return nil
}

// attribute is every value of one type in a name. The type is an object identifier in DER.
func attribute(der []byte, oid string) ([]string, error) {
	var out []string
	err := walkName(der, func(_ int, a attributeOf) error {
		if string(a.oid.body) != oid {
			return nil
		}
		v, err := a.text()
		out = append(out, v)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// text is the value of an attribute that is a string. Where libraries differ in
// how they read it (bytes above 0x7f in a T61String), it is none.
func (a attributeOf) text() (string, error) {
	v, ok := text(a.value)
	if !ok {
		return "", fmt.Errorf("attribute %s in the certificate is not text", a.describe())
	}
	return v, nil
}

func (a attributeOf) describe() string {
	if short := shortName(string(a.oid.body)); short != "" {
		return short
	}
	return shorten(dotted(a.oid))
}

// text is the value of a string type (X.680, 41).
func text(e element) (string, bool) {
	switch e.id {
	case idUTF8:
		return string(e.body), utf8.Valid(e.body)
	case idPrint, idIA5, idNumeric, idT61, idVisible:
		return string(e.body), ascii(e.body)
	case idBMP:
		return ucs2(e.body)
	}
	return "", false
}

func ascii(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// ucs2 is the text of a BMPString, which has no surrogates.
func ucs2(b []byte) (string, bool) {
	if len(b)%2 != 0 {
		return "", false
	}
	var out strings.Builder
	for ; len(b) > 0; b = b[2:] {
		r := rune(b[0])<<8 | rune(b[1])
		if utf16.IsSurrogate(r) {
			return "", false
		}
		out.WriteRune(r)
	}
	return out.String(), true
}

// spelling is how a name is written as one text.
type spelling uint8

const (
	// rfc4514: last relative name first, text as it is, types without a short name
	// as numbers with their DER.
	rfc4514 spelling = iota
	// openSSL is what its XN_FLAG_RFC2253 makes, which is Mosquitto's choice: bytes
	// from 0x80 on as \XX, and the attributes of one relative name backwards too.
	openSSL
)

// distinguished is a whole name, no value where it is empty.
func distinguished(der []byte, as spelling) ([]string, error) {
	var rdns [][]attributeOf
	err := walkName(der, func(rdn int, a attributeOf) error {
		if rdn == len(rdns) {
			rdns = append(rdns, nil)
		}
		rdns[rdn] = append(rdns[rdn], a)
		return nil
	})
	if err != nil || len(rdns) == 0 {
		return nil, err
	}
	var b strings.Builder
	for i := len(rdns) - 1; i >= 0; i-- {
		rdn := rdns[i]
		for j := range rdn {
			at := j
			if as == openSSL {
				at = len(rdn) - 1 - j
			}
			if err := rdn[at].write(&b, as); err != nil {
				return nil, err
			}
			if j < len(rdn)-1 {
				b.WriteByte('+')
			}
		}
		if i > 0 {
			b.WriteByte(',')
		}
	}
	return []string{b.String()}, nil
}

func (a attributeOf) write(b *strings.Builder, as spelling) error {
	short := shortName(string(a.oid.body))
	if short == "" && as == rfc4514 {
		oid := dotted(a.oid)
		if oid == "" {
			return errName
		}
		// RFC 4514, 2.4
		fmt.Fprintf(b, "%s=#%s", oid, hex.EncodeToString(a.value.full))
		return nil
	}
	value, err := a.text()
	if err != nil {
		return err
	}
	if err := checkText(value); err != nil {
		// Refused here too: as \XX a control character would pass.
		return fmt.Errorf("attribute %s in the certificate %w", a.describe(), err)
	}
	if short == "" {
		// OpenSSL writes its DER, whose form is not ours to guess.
		return fmt.Errorf("attribute %s in the certificate has no short name", a.describe())
	}
	b.WriteString(short)
	b.WriteByte('=')
	escape(b, value, as)
	return nil
}

// escape writes v as RFC 4514, 2.4, or RFC 2253, 2.4 with OpenSSL's ESC_MSB.
func escape(b *strings.Builder, v string, as spelling) {
	for i := range len(v) {
		switch c := v[i]; {
		case c >= utf8.RuneSelf && as == openSSL:
			fmt.Fprintf(b, "\\%02X", c)
		case strings.IndexByte(`,+"\<>;`, c) >= 0, i == 0 && (c == '#' || c == ' '), i == len(v)-1 && c == ' ':
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
}

// shortName is OpenSSL's name of an attribute type in DER, empty if it is none that subjects carry.
func shortName(oid string) string {
	switch oid {
	case oidCommonName:
		return "CN"
	case "\x55\x04\x04": // 2.5.4.4
		return "SN"
	case "\x55\x04\x05": // 2.5.4.5
		return "serialNumber"
	case "\x55\x04\x06": // 2.5.4.6
		return "C"
	case "\x55\x04\x07": // 2.5.4.7
		return "L"
	case "\x55\x04\x08": // 2.5.4.8
		return "ST"
	case "\x55\x04\x09": // 2.5.4.9
		return "street"
	case "\x55\x04\x0a": // 2.5.4.10
		return "O"
	case "\x55\x04\x0b": // 2.5.4.11
		return "OU"
	case "\x55\x04\x0c": // 2.5.4.12
		return "title"
	case "\x55\x04\x0d": // 2.5.4.13
		return "description"
	case "\x55\x04\x11": // 2.5.4.17
		return "postalCode"
	case "\x55\x04\x29": // 2.5.4.41
		return "name"
	case "\x55\x04\x2a": // 2.5.4.42
		return "GN"
	case "\x55\x04\x2b": // 2.5.4.43
		return "initials"
	case "\x55\x04\x2c": // 2.5.4.44
		return "generationQualifier"
	case "\x55\x04\x2e": // 2.5.4.46
		return "dnQualifier"
	case "\x55\x04\x41": // 2.5.4.65
		return "pseudonym"
	case "\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x01": // 0.9.2342.19200300.100.1.1
		return "UID"
	case "\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19": // 0.9.2342.19200300.100.1.25
		return "DC"
	case "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01": // 1.2.840.113549.1.9.1
		return "emailAddress"
	}
	return ""
}
