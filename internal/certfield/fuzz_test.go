package certfield

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzFields(f *testing.F) {
	module := hardwareModule{Type: oidOf("1.2.3"), Serial: []byte("a")}
	f.Add([]byte("0\x0f1\r0\x0b\x06\x03U\x04\x03\x0c\x04pump"), withNames(f, general(tagDNS, "a.example"), general(tagIP, "\x01\x02\x03\x04")).Extensions[0].Value)
	f.Add([]byte("0\x00"), withNames(f, other(f, oidHardware, marshal(f, module)), other(f, oidUPN, utf8Text(f, "x"))).Extensions[0].Value)
	f.Add([]byte("0"), withNames(f, general(tagURI, "spiffe://a/b")).Extensions[0].Value)
	f.Fuzz(func(t *testing.T, subject, alternative []byte) {
		c := &x509.Certificate{
			RawSubject: subject, RawIssuer: subject,
			Extensions: []pkix.Extension{{Id: oidOf(oidAlternativeName), Value: alternative}},
		}
		for _, name := range append(Names(), "san.other.1.2.3") {
			values, err := Values(c, name)
			if err != nil && values != nil {
				t.Errorf("%s is %q and %v", name, values, err)
			}
			if len(values) > valueLimit {
				t.Errorf("%s has %d values", name, len(values))
			}
			for _, v := range values {
				if !utf8.ValidString(v) || len(v) > valueBytes || strings.ContainsFunc(v, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }) {
					t.Errorf("%s has the value %q", name, v)
				}
			}
			if one, err := One(c, name); err == nil && (one == "" || len(values) != 1 || values[0] != one) {
				t.Errorf("the one %s of %q is %q", name, values, one)
			}
		}
	})
}
