package certfield

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// commonName is the type of that attribute.
const commonName = "2.5.4.3"

// hardwareModule is HardwareModuleName (RFC 4108, 5).
type hardwareModule struct {
	Type   asn1.ObjectIdentifier
	Serial []byte
}

// issued is a certificate as a verified one arrives: parsed.
func issued(t testing.TB, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(0x0abcdef), Subject: pkix.Name{CommonName: "cam-1"},
		NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // as IEEE 802.1AR, 8.7 has it
	}
	if change != nil {
		change(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	der, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// attr is an attribute as its own relative distinguished name.
func attr(oid string, tag int, value string) pkix.RelativeDistinguishedNameSET {
	return pkix.RelativeDistinguishedNameSET{{Type: oidOf(oid), Value: asn1.RawValue{Tag: tag, Bytes: []byte(value)}}}
}

func oidOf(s string) asn1.ObjectIdentifier {
	var out asn1.ObjectIdentifier
	for p := range strings.SplitSeq(s, ".") {
		n := 0
		for _, c := range p {
			n = n*10 + int(c-'0')
		}
		out = append(out, n)
	}
	return out
}

// withSubject is a certificate of which only the subject is filled in.
func withSubject(t testing.TB, rdns ...pkix.RelativeDistinguishedNameSET) *x509.Certificate {
	t.Helper()
	return &x509.Certificate{RawSubject: marshal(t, pkix.RDNSequence(rdns))}
}

// withNames is a certificate with these alternative names.
func withNames(t testing.TB, names ...asn1.RawValue) *x509.Certificate {
	t.Helper()
	return &x509.Certificate{
		RawSubject: []byte{0x30, 0},
		Extensions: []pkix.Extension{{Id: oidOf(oidAlternativeName), Value: marshal(t, names)}},
	}
}

func general(tag int, value string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(value)}
}

// other is an otherName whose value is v.
func other(t testing.TB, oid string, v []byte) asn1.RawValue {
	explicit := marshal(t, asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: v})
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tagOther, IsCompound: true, Bytes: append(marshal(t, oidOf(oid)), explicit...)}
}

func utf8Text(t testing.TB, s string) []byte {
	return marshal(t, asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(s)})
}

func TestFieldsOfACertificate(t *testing.T) {
	module := hardwareModule{Type: oidOf("1.3.6.1.4.1.99999.7"), Serial: []byte("SN-0042")}
	c := issued(t, func(c *x509.Certificate) {
		c.Subject = pkix.Name{
			CommonName: "cam-1", Organization: []string{"Acme, Inc."}, OrganizationalUnit: []string{"line 2", "line 3"},
			Country: []string{"AT"}, Locality: []string{"Graz"}, Province: []string{"Steiermark Süd"}, SerialNumber: "4711",
			ExtraNames: []pkix.AttributeTypeAndValue{
				{Type: oidOf("0.9.2342.19200300.100.1.1"), Value: "u1"}, {Type: oidOf("1.2.3.4"), Value: "x"},
			},
		}
		names := []asn1.RawValue{
			general(tagDNS, "cam-1.example"), general(tagDNS, "CAM.example"), general(tagURI, "HTTP://Example.org/%7e"), general(tagEmail, "cam@example.org"),
			general(tagIP, "\x0a\x00\x00\x09"), general(tagIP, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x0a\x00\x00\x0a"),
			other(t, oidUPN, utf8Text(t, "cam@corp")), other(t, oidHardware, marshal(t, module)),
		}
		c.ExtraExtensions = []pkix.Extension{{Id: oidOf(oidAlternativeName), Value: marshal(t, names)}}
	})
	sum := sha256.Sum256(c.Raw)
	for name, want := range map[string][]string{
		"cn": {"cam-1"}, "o": {"Acme, Inc."}, "ou": {"line 2", "line 3"}, "c": {"AT"}, "l": {"Graz"}, "st": {"Steiermark Süd"},
		"uid": {"u1"}, "serial_number": {"4711"},
		"subject":   {`1.2.3.4=#130178,UID=u1,serialNumber=4711,CN=cam-1,OU=line 2+OU=line 3,O=Acme\, Inc.,L=Graz,ST=Steiermark Süd,C=AT`},
		"issuer":    {`1.2.3.4=#130178,UID=u1,serialNumber=4711,CN=cam-1,OU=line 2+OU=line 3,O=Acme\, Inc.,L=Graz,ST=Steiermark Süd,C=AT`},
		"issuer.cn": {"cam-1"}, "serial": {"abcdef"}, "fingerprint": {hex.EncodeToString(sum[:])},
		"san.dns": {"cam-1.example", "CAM.example"}, "san.uri": {"HTTP://Example.org/%7e"}, "san.email": {"cam@example.org"},
		"san.ip": {"10.0.0.9", "10.0.0.10"}, "san.upn": {"cam@corp"}, "san.other.1.3.6.1.4.1.311.20.2.3": {"cam@corp"}, "san.other.1.2.3": nil,
		"hw_type": {"1.3.6.1.4.1.99999.7"}, "hw_serial": {"534e2d30303432"}, "hw_serial_text": {"SN-0042"},
	} {
		got, err := Values(c, name)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s is %q, %v; want %q", name, got, err, want)
		}
	}
	if v, err := Values(c, "subject.rfc2253"); err == nil {
		t.Errorf("a type that OpenSSL has no name for is written as %q", v)
	}
}

// Every documented name is read, and nothing else.
func TestEveryNameIsRead(t *testing.T) {
	c := issued(t, func(c *x509.Certificate) {
		c.URIs = []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/cam"}}
		c.IPAddresses = []net.IP{net.IPv4(1, 2, 3, 4)}
	})
	for _, name := range Names() {
		name = strings.Replace(name, "OID", "1.2.3", 1)
		if _, err := Known(name); err != nil {
			t.Errorf("Known(%q): %v", name, err)
		}
		if _, err := Values(c, name); err != nil {
			t.Errorf("Values(%q): %v", name, err)
		}
	}
	for _, name := range []string{"", "CN", "nc", "san", "san.", "san.other.", "san.other.1", "san.other.1.x", "san.other.01.2", "san.other.1.2.", "spiffe.", "san.other." + strings.Repeat("1.", 100) + "1"} {
		if _, err := Known(name); err == nil {
			t.Errorf("Known(%q) is no error", name)
		}
		if v, err := Values(c, name); err == nil {
			t.Errorf("Values(%q) is %q", name, v)
		}
	}
}

func TestOneValueOrRefusal(t *testing.T) {
	cn := commonName
	long := strings.Repeat("x", 5000)
	for _, tt := range []struct {
		name, field string
		cert        *x509.Certificate
		want        string // an error where it begins with "!"
	}{
		{"one", "cn", withSubject(t, attr(cn, asn1.TagUTF8String, "pump")), "pump"},
		{"printable", "cn", withSubject(t, attr(cn, asn1.TagPrintableString, "pump")), "pump"},
		{"IA5", "cn", withSubject(t, attr(cn, asn1.TagIA5String, "pump@x")), "pump@x"},
		{"BMP", "cn", withSubject(t, attr(cn, asn1.TagBMPString, "\x00p\x20\xac")), "p€"},
		{"a T61 string in ASCII", "cn", withSubject(t, attr(cn, asn1.TagT61String, "pump")), "pump"},
		{"a T61 string beyond", "cn", withSubject(t, attr(cn, asn1.TagT61String, "p\xc3\xbc")), "!not text"},
		{"a BMP string with half a character", "cn", withSubject(t, attr(cn, asn1.TagBMPString, "\x00p\x00")), "!not text"},
		{"a BMP string with a surrogate", "cn", withSubject(t, attr(cn, asn1.TagBMPString, "\xd8\x3d\xde\x00")), "!not text"},
		{"a BMP string with NUL", "cn", withSubject(t, attr(cn, asn1.TagBMPString, "\x00p\x00\x00")), "!control"},
		{"UTF-8 that is none", "cn", withSubject(t, attr(cn, asn1.TagUTF8String, "p\xff")), "!not text"},
		{"a number", "cn", withSubject(t, attr(cn, asn1.TagInteger, "7")), "!not text"},
		{"none", "cn", withSubject(t), "!no cn"},
		{"empty", "cn", withSubject(t, attr(cn, asn1.TagUTF8String, "")), "!empty"},
		{"two", "cn", withSubject(t, attr(cn, asn1.TagUTF8String, "a"), attr(cn, asn1.TagUTF8String, "b")), "!2 values"},
		{"two of which one is empty", "cn", withSubject(t, attr(cn, asn1.TagUTF8String, "a"), attr(cn, asn1.TagUTF8String, "")), "!2 values"},
		{"the same twice", "cn", withSubject(t, attr(cn, asn1.TagUTF8String, "a"), attr(cn, asn1.TagUTF8String, "a")), "!2 values"},
		{"two in one relative name", "cn", withSubject(t, append(attr(cn, asn1.TagUTF8String, "a"), attr(cn, asn1.TagUTF8String, "b")...)), "!2 values"},
		{"NUL", "cn", withSubject(t, attr(cn, asn1.TagUTF8String, "admin\x00.evil")), "!control"},
		{"C1", "cn", withSubject(t, attr(cn, asn1.TagUTF8String, "a\u0085b")), "!control"},
		{"DEL", "cn", withSubject(t, attr(cn, asn1.TagUTF8String, "a\x7f")), "!control"},
		{"a noncharacter", "cn", withSubject(t, attr(cn, asn1.TagUTF8String, "a\ufffeb")), "!noncharacter"},
		{"long", "cn", withSubject(t, attr(cn, asn1.TagUTF8String, long)), "!longer than"},
		{"no name", "cn", &x509.Certificate{RawSubject: []byte("x")}, "!can't be read"},
		{"a name with a tail", "cn", &x509.Certificate{RawSubject: append(withSubject(t, attr(cn, asn1.TagUTF8String, "a")).RawSubject, 0)}, "!can't be read"},
		{"an empty relative name", "cn", &x509.Certificate{RawSubject: []byte{0x30, 2, 0x31, 0}}, "!can't be read"},
		{"an empty subject", "subject", withSubject(t), "!no subject"},
		{"a control character in a subject", "subject", withSubject(t, attr(cn, asn1.TagUTF8String, "a\nb")), "!control"},
		{"a control character in Mosquitto's subject", "subject.rfc2253", withSubject(t, attr(cn, asn1.TagUTF8String, "a\u0085b")), "!control"},
		{"a subject that is too long", "subject", withSubject(t, attr(cn, asn1.TagUTF8String, long)), "!longer"},
		{"one DNS name", "san.dns", withNames(t, general(tagDNS, "a.example")), "a.example"},
		{"two DNS names", "san.dns", withNames(t, general(tagDNS, "a.example"), general(tagDNS, "b.example")), "!2 values"},
		{"no alternative names", "san.dns", withSubject(t), "!no san.dns"},
		{"other kinds of names", "san.dns", withNames(t, general(tagEmail, "a@b")), "!no san.dns"},
		{"an address of five bytes", "san.ip", withNames(t, general(tagIP, "12345")), "!can't be read"},
		{"a DNS name that isn't ASCII", "san.dns", withNames(t, general(tagDNS, "ä")), "!can't be read"},
		{"a DNS name with a line feed", "san.dns", withNames(t, general(tagDNS, "a\nb")), "!control"},
		{"an other name that is no text", "san.upn", withNames(t, other(t, oidUPN, marshal(t, 7))), "!not text"},
		{"an other name of another type", "san.upn", withNames(t, other(t, "1.2.3", utf8Text(t, "x"))), "!no san.upn"},
		{"two hardware modules", "hw_serial", withNames(t, other(t, oidHardware, marshal(t, hardwareModule{oidOf("1.2.3"), []byte("a")})),
			other(t, oidHardware, marshal(t, hardwareModule{oidOf("1.2.3"), []byte("b")}))), "!2 values"},
		{"a hardware module without serial number", "hw_serial", withNames(t, other(t, oidHardware, marshal(t, hardwareModule{oidOf("1.2.3"), nil}))), "!empty"},
		{"a serial number in bytes", "hw_serial", withNames(t, other(t, oidHardware, marshal(t, hardwareModule{oidOf("1.2.3"), []byte{0, 255}}))), "00ff"},
		{"the same as text", "hw_serial_text", withNames(t, other(t, oidHardware, marshal(t, hardwareModule{oidOf("1.2.3"), []byte{0, 255}}))), "!take hw_serial"},
		{"a hardware module that is none", "hw_serial", withNames(t, other(t, oidHardware, utf8Text(t, "x"))), "!can't be read"},
	} {
		got, err := One(tt.cert, tt.field)
		want, refused := strings.CutPrefix(tt.want, "!")
		switch {
		case refused && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %q, %v; want an error with %q", tt.name, got, err, want)
		case !refused && (err != nil || got != want):
			t.Errorf("%s: %q, %v; want %q", tt.name, got, err, want)
		}
	}
}

func TestWhatIsTooMuch(t *testing.T) {
	var rdns []pkix.RelativeDistinguishedNameSET
	for range nameLimit + 1 {
		rdns = append(rdns, attr(commonName, asn1.TagUTF8String, "a"))
	}
	if _, err := Values(withSubject(t, rdns...), "cn"); err == nil {
		t.Error("a name with too many attributes is read")
	}
	var names []asn1.RawValue
	for range valueLimit + 1 {
		names = append(names, general(tagDNS, "a"))
	}
	if _, err := Values(withNames(t, names...), "san.dns"); err == nil {
		t.Error("too many alternative names are read")
	}
	if got, err := Values(withNames(t, names[:valueLimit]...), "san.dns"); err != nil || len(got) != valueLimit {
		t.Errorf("%d alternative names: %v", len(got), err)
	}
}
