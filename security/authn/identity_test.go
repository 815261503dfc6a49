package authn

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"testing"
	"unicode/utf8"

	"sallyport/internal/certfield"
)

// certWith is a certificate of which only the subject is filled in.
func certWith(t testing.TB, subject pkix.RDNSequence) *x509.Certificate {
	t.Helper()
	der, err := asn1.Marshal(subject)
	if err != nil {
		t.Fatal(err)
	}
	return &x509.Certificate{RawSubject: der}
}

// byTemplate is the identity that a template makes.
func byTemplate(text string) Identity {
	t, err := certfield.ParseTemplate(text)
	if err != nil {
		panic(err) // it stands in a test
	}
	return Identity{Template: t}
}

// joined is the identity by common name, whichever anchor vouches for it.
func joined(realm string) Identity {
	id := byTemplate("${cert.cn}")
	id.JoinAnchors, id.Realm = true, realm
	return id
}

func named(values ...any) pkix.RDNSequence {
	var out pkix.RDNSequence
	for _, v := range values {
		out = append(out, pkix.RelativeDistinguishedNameSET{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: v}})
	}
	return out
}

func TestSubjectIsWrittenAsOpenSSLDoes(t *testing.T) {
	// Subjects and texts are those of openssl x509 -subject -nameopt RFC2253.
	tests := []struct{ der, want string }{
		{"MIGmMQswCQYDVQQGEwJERTEPMA0GA1UECAwGSGVzc2VuMRQwEgYDVQQKDAtBY21lLCBJbmMuIDEOMAwGA1UECwwFIGxlYWQxCzAJBgNVBAUTAjQyMRIwEAYKCZImiZPyLGQBAQwCdTExFzAVBgoJkiaJk/IsZAEZFgdleGFtcGxlMRQwEgYJKoZIhvcNAQkBFgVhQGIuYzEQMA4GA1UEAwwHcHVtcC03IA==",
			`CN=pump-7\ ,emailAddress=a@b.c,DC=example,UID=u1,serialNumber=42,OU=\ lead,O=Acme\, Inc.\ ,ST=Hessen,C=DE`},
		{"MCIxFDAIBgNVBAoMAXgwCAYDVQQLDAF5MQowCAYDVQQDDAFh", `CN=a,OU=y+O=x`},
		{"MHcxCzAJBgNVBAYTAkRFMRkwFwYDVQQKDBBBY21lK1PDtmhuZTsgPGE+MRQwEgYDVQQLDAsjMSAiUFxsYW50IjEOMAwGA1UECwwFIGxlYWQxCjAIBgNVBCoMAWcxCjAIBgNVBAwMAXQxDzANBgNVBAMMBnB1bXA9Nw==",
			`CN=pump=7,title=t,GN=g,OU=\ lead,OU=\#1 \"P\\lant\",O=Acme\+S\C3\B6hne\; \<a\>,C=DE`},
	}
	for _, tt := range tests {
		der, err := base64.StdEncoding.DecodeString(tt.der)
		if err != nil {
			t.Fatal(err)
		}
		got, err := byTemplate("${cert.subject.rfc2253}").name(&x509.Certificate{RawSubject: der})
		if err != nil || got != tt.want {
			t.Errorf("subject %q, %v; want %q", got, err, tt.want)
		}
	}
}

func TestIdentityAnswers(t *testing.T) {
	good := certWith(t, named("pump-7"))
	anchor := &x509.Certificate{RawSubjectPublicKeyInfo: []byte("key one")}
	unknownType := pkix.RDNSequence{{{Type: asn1.ObjectIdentifier{1, 2, 3}, Value: "x"}}, {{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "a"}}}
	tests := []struct {
		name  string
		id    Identity
		creds Credentials
		want  string // user name; refused; not mine
	}{
		{"common name", byTemplate("${cert.cn}"), Credentials{Cert: good, CertVerified: true, Anchor: anchor}, "pump-7"},
		{"subject", byTemplate("${cert.subject.rfc2253}"), Credentials{Cert: good, CertVerified: true, Anchor: anchor}, "CN=pump-7"},
		{"the CONNECT's user name and password don't count", byTemplate("${cert.cn}"), Credentials{Cert: good, CertVerified: true, Anchor: anchor,
			HasUsername: true, Username: "admin", HasPassword: true, Password: []byte("x")}, "pump-7"},
		{"no certificate is another's matter", byTemplate("${cert.cn}"), Credentials{HasUsername: true, Username: "admin"}, "not mine"},
		{"an unverified certificate", byTemplate("${cert.cn}"), Credentials{Cert: good, Anchor: anchor}, "refused"},
		{"an unknown anchor", byTemplate("${cert.cn}"), Credentials{Cert: good, CertVerified: true}, "refused"},
		{"an unknown anchor where anchors are joined", joined(""), Credentials{Cert: good, CertVerified: true}, "pump-7"},
		{"no common name", byTemplate("${cert.cn}"), Credentials{Cert: certWith(t, nil), CertVerified: true, Anchor: anchor}, "refused"},
		{"an empty common name", byTemplate("${cert.cn}"), Credentials{Cert: certWith(t, named("")), CertVerified: true, Anchor: anchor}, "refused"},
		{"two common names", byTemplate("${cert.cn}"), Credentials{Cert: certWith(t, named("a", "b")), CertVerified: true, Anchor: anchor}, "refused"},
		{"a NUL in the common name", byTemplate("${cert.cn}"), Credentials{Cert: certWith(t, named("admin\x00.evil")), CertVerified: true, Anchor: anchor}, "refused"},
		{"a control character in the common name", byTemplate("${cert.cn}"), Credentials{Cert: certWith(t, named("a\u0085b")), CertVerified: true, Anchor: anchor}, "refused"},
		{"a common name that is no text", byTemplate("${cert.cn}"), Credentials{Cert: certWith(t, named(42)), CertVerified: true, Anchor: anchor}, "refused"},
		{"an empty subject", byTemplate("${cert.subject.rfc2253}"), Credentials{Cert: certWith(t, nil), CertVerified: true, Anchor: anchor}, "refused"},
		{"a subject with an unknown attribute", byTemplate("${cert.subject.rfc2253}"), Credentials{Cert: certWith(t, unknownType), CertVerified: true, Anchor: anchor}, "refused"},
		{"a subject that is no ASN.1", byTemplate("${cert.cn}"), Credentials{Cert: &x509.Certificate{RawSubject: []byte("x")}, CertVerified: true, Anchor: anchor}, "refused"},
		{"no template", Identity{}, Credentials{Cert: good, CertVerified: true, Anchor: anchor}, "refused"},
	}
	for _, tt := range tests {
		p, err := tt.id.Authenticate(context.Background(), &tt.creds)
		var refused *Refused
		got := "?"
		switch {
		case err == nil:
			got = p.Name
		case errors.Is(err, ErrNotMine):
			got = "not mine"
		case errors.As(err, &refused):
			got = "refused"
		}
		if got != tt.want {
			t.Errorf("%s: %s (%v), want %s", tt.name, got, err, tt.want)
		}
	}
}

func TestRealmHoldsTheAnchor(t *testing.T) {
	cert := certWith(t, named("pump-7"))
	realm := func(id Identity, key string) string {
		p, err := id.identify(&Credentials{Cert: cert, CertVerified: true, Anchor: &x509.Certificate{RawSubjectPublicKeyInfo: []byte(key)}})
		if err != nil {
			t.Fatal(err)
		}
		return p.Realm
	}
	one, two := realm(byTemplate("${cert.cn}"), "key one"), realm(byTemplate("${cert.cn}"), "key two")
	if one == two {
		t.Errorf("two anchors share the realm %s", one)
	}
	if one != realm(byTemplate("${cert.cn}"), "key one") {
		t.Error("one anchor has two realms")
	}
	if got := realm(joined("plant"), "key one"); got != "plant" {
		t.Errorf("joined realm %q", got)
	}
	// The chain hands the leaf on, and only a verified one.
	c := chainOf(t, ChainOptions{}, joined(""), Anonymous{})
	p, err := c.Authenticate(context.Background(), &Credentials{Cert: cert, CertVerified: true})
	if err != nil || p.Cert != cert || p.Method != "certificate" {
		t.Errorf("principal %+v, %v", p, err)
	}
	open := chainOf(t, ChainOptions{}, Anonymous{})
	if p, err := open.Authenticate(context.Background(), &Credentials{Cert: cert}); err != nil || p.Cert != nil {
		t.Errorf("an unverified certificate travels with %+v, %v", p, err)
	}
	if _, err := c.Authenticate(context.Background(), &Credentials{Cert: cert}); err == nil {
		t.Error("an unverified certificate is let through to anonymous")
	}
}

func FuzzSubject(f *testing.F) {
	f.Add([]byte("0\x0f1\r0\x0b\x06\x03U\x04\x03\x0c\x04pump"))
	f.Add([]byte("0\x00"))
	f.Fuzz(func(t *testing.T, der []byte) {
		for _, source := range []string{"${cert.cn}", "${cert.subject}", "${cert.subject.rfc2253}"} {
			name, err := byTemplate(source).name(&x509.Certificate{RawSubject: der})
			if err == nil && (name == "" || !utf8.ValidString(name)) {
				t.Errorf("name %q", name)
			}
		}
	})
}
