package certfield

import (
	"crypto/x509"
	"encoding/asn1"
	"strings"
	"testing"
)

func TestTemplates(t *testing.T) {
	c := withSubject(t, attr("2.5.4.10", asn1.TagUTF8String, "Acme-Corp"), attr("2.5.4.5", asn1.TagPrintableString, "4711"), attr(commonName, asn1.TagUTF8String, "pump"),
		attr("2.5.4.7", asn1.TagUTF8String, "a-"), attr("2.5.4.8", asn1.TagUTF8String, strings.Repeat("x", 250)))
	for text, want := range map[string]string{
		"${cert.cn}":                       "pump",
		"device-${cert.serial_number}":     "device-4711",
		"${cert.cn}@plant":                 "pump@plant",
		"${cert.serial_number}/${cert.cn}": "4711/pump",
		"${cert.cn}-${cert.o}":             "pump-Acme-Corp", // the last value may hold it
		"$${cert.cn}$":                     "$pump$",
		"${cert.o}-${cert.cn}":             "!holds",
		"${cert.l}--${cert.cn}":            "!holds", // a---pump could be l=a, cn=-pump
		"${cert.o}":                        "Acme-Corp",
		"${cert.ou}":                       "!no ou",
		"${cert.st}":                       strings.Repeat("x", 250),
		"123456${cert.st}":                 "!more than 255",
		"${cert.subject}":                  "!more than 255",
		"${cert.subject.rfc2253}":          "ST=" + strings.Repeat("x", 250) + ",L=a-,CN=pump,serialNumber=4711,O=Acme-Corp", // Mosquitto has no bound
		"x${cert.subject.rfc2253}":         "!more than 255",
	} {
		tmpl, err := ParseTemplate(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got, err := tmpl.Expand(c)
		wrong, refused := strings.CutPrefix(want, "!")
		switch {
		case refused && (err == nil || !strings.Contains(err.Error(), wrong)):
			t.Errorf("%s: %q, %v; want an error with %q", text, got, err, wrong)
		case !refused && (err != nil || got != want):
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
		if tmpl.String() != text {
			t.Errorf("%s is shown as %s", text, tmpl)
		}
	}
}

func TestTemplatesThatAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                                      "no placeholder",
		"everybody":                             "no placeholder",
		"${cert.cn":                             "not closed",
		"${cn}":                                 "unknown",
		"${username}":                           "unknown",
		"${cert.nc}":                            "there are cn, o",
		"${cert.}":                              "there are cn, o",
		"${cert.cn}${cert.o}":                   "without text between",
		"${cert.san.other.x}":                   "no object identifier",
		"a\x00${cert.cn}":                       "control",
		"a\xff${cert.cn}":                       "not text",
		strings.Repeat("x${cert.cn}", 9):        "more than 8",
		strings.Repeat("x", 250) + "${cert.cn}": "longer than",
	} {
		if _, err := ParseTemplate(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v; want an error with %q", text, err, want)
		}
	}
	if got, err := (Template{}).Expand(&x509.Certificate{RawSubject: []byte{0x30, 0}}); err == nil {
		t.Errorf("the zero template yields %q", got)
	}
}

// Two certificates whose values differ never yield the same.
func FuzzTemplate(f *testing.F) {
	f.Add("${cert.o}-${cert.cn}", "a", "b", "a-b", "")
	f.Add("x${cert.o}--${cert.cn}y", "a-", "b", "a", "-b")
	f.Fuzz(func(t *testing.T, text, o1, cn1, o2, cn2 string) {
		tmpl, err := ParseTemplate(text)
		if err != nil || !tmpl.Reads("o") || !tmpl.Reads("cn") {
			return
		}
		for _, p := range tmpl.parts {
			if p.field != "o" && p.field != "cn" {
				return
			}
		}
		expand := func(o, cn string) (string, error) {
			if len(o)+len(cn) > 200 {
				return "", errName
			}
			return tmpl.Expand(withSubject(t, attr("2.5.4.10", asn1.TagUTF8String, o), attr(commonName, asn1.TagUTF8String, cn)))
		}
		one, err1 := expand(o1, cn1)
		two, err2 := expand(o2, cn2)
		if err1 == nil && err2 == nil && one == two && (o1 != o2 || cn1 != cn2) {
			t.Errorf("%q yields %q for %q, %q and for %q, %q", text, one, o1, cn1, o2, cn2)
		}
	})
}
