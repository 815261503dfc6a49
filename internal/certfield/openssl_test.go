package certfield

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// openssl runs the command and returns what it prints.
func openssl(t *testing.T, args ...string) string {
	t.Helper()
	var said, wrong strings.Builder
	c := exec.Command("openssl", args...)
	c.Stdout, c.Stderr = &said, &wrong
	if err := c.Run(); err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, &wrong)
	}
	return strings.TrimSpace(said.String())
}

// selfSigned is a certificate that OpenSSL makes by a configuration, and its file.
func selfSigned(t *testing.T, conf string) (*x509.Certificate, string) {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "conf"), filepath.Join(dir, "cert.pem")
	if err := os.WriteFile(in, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	openssl(t, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", filepath.Join(dir, "key.pem"),
		"-config", in, "-multivalue-rdn", "-days", "7", "-out", out)
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatalf("no PEM in %q", data)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c, out
}

const opensslConf = `
[req]
distinguished_name = dn
x509_extensions = ext
prompt = no
utf8 = yes
string_mask = MASK
[dn]
C = AT
O = Söhne, \"Acme\" + Co
0.OU = line 2
1.OU = \#3
CN = pümp-7
+UID = u\;1
serialNumber = 4711
emailAddress = pump@example.org
[ext]
basicConstraints = critical,CA:false
subjectAltName = @names
[names]
DNS.1 = pump-7.example.org
URI.1 = spiffe://example.org/pump/7
email.1 = pump@example.org
IP.1 = 192.0.2.7
IP.2 = 2001:db8::7
otherName.1 = 1.3.6.1.4.1.311.20.2.3;UTF8:pump-7@corp.example
otherName.2 = 1.3.6.1.5.5.7.8.4;SEQUENCE:module
RID.1 = 1.2.3.4
dirName.1 = directory
[module]
type = OID:1.3.6.1.4.1.99999.1
serial = FORMAT:HEX,OCTETSTRING:00c0ffee
[directory]
CN = another
`

// The encodings that OpenSSL chooses, by its own word.
func TestWhatOpenSSLMakesIsReadAsOpenSSLDoes(t *testing.T) {
	for _, mask := range []string{"utf8only", "default", "pkix", "nombstr", "MASK:0x800"} { // the last is BMPString alone
		conf := strings.Replace(opensslConf, "= MASK", "= "+mask, 1)
		ascii := mask == "nombstr" || mask == "default" // else T61String
		if ascii {
			conf = strings.NewReplacer("ö", "oe", "ü", "ue").Replace(conf)
		}
		c, path := selfSigned(t, conf)
		show := func(args ...string) string {
			out := openssl(t, append([]string{"x509", "-in", path, "-noout"}, args...)...)
			_, value, _ := strings.Cut(out, "=")
			return value
		}
		cn := "pümp-7"
		if ascii {
			cn = "puemp-7"
		}
		fingerprint := strings.ToLower(strings.ReplaceAll(show("-fingerprint", "-sha256"), ":", ""))
		for name, want := range map[string][]string{
			"cn": {cn}, "ou": {"line 2", "#3"}, "c": {"AT"}, "uid": {"u;1"}, "serial_number": {"4711"},
			"subject.rfc2253": {show("-subject", "-nameopt", "RFC2253")},
			"serial":          {strings.ToLower(strings.TrimLeft(show("-serial"), "0"))},
			"fingerprint":     {fingerprint},
			"san.dns":         {"pump-7.example.org"}, "san.uri": {"spiffe://example.org/pump/7"}, "san.email": {"pump@example.org"},
			"san.ip": {"192.0.2.7", "2001:db8::7"}, "san.upn": {"pump-7@corp.example"},
			"hw_type": {"1.3.6.1.4.1.99999.1"}, "hw_serial": {"00c0ffee"},
			"spiffe": {"spiffe://example.org/pump/7"},
		} {
			got, err := Values(c, name)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: %s is %q, %v; want %q", mask, name, got, err, want)
			}
		}
		utf8 := strings.TrimSpace(show("-subject", "-nameopt", "esc_2253,utf8,dn_rev,sep_comma_plus,sname"))
		// OpenSSL turns the attributes of one relative name around.
		want := strings.Replace(utf8, "UID=u\\;1+CN="+cn, "CN="+cn+"+UID=u\\;1", 1)
		if got, err := One(c, "subject"); err != nil || got != want && got != utf8 {
			t.Errorf("%s: subject is %q, %v; want %q", mask, got, err, want)
		}
	}
}

// A T61String beyond ASCII is Latin-1 to one library and UTF-8 to another.
func TestAnAmbiguousStringIsNoName(t *testing.T) {
	c, _ := selfSigned(t, strings.Replace(opensslConf, "= MASK", "= nombstr", 1))
	for _, name := range []string{"cn", "o", "subject", "subject.rfc2253"} {
		if v, err := Values(c, name); err == nil {
			t.Errorf("%s is %q", name, v)
		}
	}
	if v, err := One(c, "serial_number"); err != nil || v != "4711" {
		t.Errorf("serial number beside it: %q, %v", v, err)
	}
}
