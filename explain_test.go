package sallyport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/config"
	"sallyport/security"
	"sallyport/security/expect"
)

// authority signs certificates for a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, path string) *authority {
	t.Helper()
	a := &authority{}
	a.cert, a.key = a.sign(t, "ca of "+path)
	writePEM(t, path, "CERTIFICATE", a.cert.Raw)
	return a
}

// sign makes a certificate; the first one signs itself.
func (a *authority) sign(t *testing.T, name string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage, template.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// doors writes a configuration with a plain listener and one for each way to ask
// for certificates, and loads it.
func doors(t *testing.T) (cfg *config.Config, in func(name string) string) {
	t.Helper()
	dir := t.TempDir()
	in = func(name string) string { return filepath.Join(dir, name) }
	ca, other := newAuthority(t, in("ca.pem")), newAuthority(t, in("other-ca.pem"))
	cert, key := ca.sign(t, "localhost")
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, in("server.pem"), "CERTIFICATE", cert.Raw)
	writePEM(t, in("server.key"), "EC PRIVATE KEY", der)
	device, _ := ca.sign(t, "dev-1")
	writePEM(t, in("dev-1.pem"), "CERTIFICATE", device.Raw)
	foreign, _ := other.sign(t, "dev-1")
	writePEM(t, in("foreign.pem"), "CERTIFICATE", foreign.Raw)
	writeText(t, in("empty.pem"), "")
	writeText(t, in("permissions.yaml"), "everyone:\n  - {allow: publish, topic: 'd/${username}'}\n  - {allow: publish, topic: tls, tls: required}\n  - {deny: connect, from: 192.0.2.9}\n")
	writeText(t, in("s.yaml"), `
listeners:
  - {name: plain, address: "127.0.0.1:0", authenticators: [anonymous], policies: [p], allow: [192.0.2.0/24], deny: [192.0.2.66]}
  - {name: tls, transport: tls, address: "127.0.0.1:0", tls: {certificate: server.pem, key: server.key}, authenticators: [anonymous], policies: [p]}
  - {name: optional, transport: tls, address: "127.0.0.1:0", tls: {certificate: server.pem, key: server.key, client_ca: ca.pem, client_auth: optional}, identity: common_name, authenticators: [anonymous], policies: [p]}
  - {name: require, transport: tls, address: "127.0.0.1:0", tls: {certificate: server.pem, key: server.key, client_ca: ca.pem, client_auth: require}, identity: common_name, policies: [p]}
  - {name: bound, transport: tls, address: "127.0.0.1:0", tls: {certificate: server.pem, key: server.key, client_ca: ca.pem, client_auth: require, host_match: ip, client_id_must_match: "${cert.cn}-x"}, identity: "m-${cert.cn}", policies: [p]}
  - {name: several, transport: tls, address: "127.0.0.1:0", tls: {certificate: server.pem, key: server.key, client_ca: ca.pem, client_auth: require}, identity: "${cert.ou}", policies: [p]}
authenticators:
  - {name: anonymous, type: anonymous}
policies:
  - {name: p, type: permissions, file: permissions.yaml}
`)
	if cfg, err = config.Load(in("s.yaml")); err != nil {
		t.Fatal(err)
	}
	return cfg, in
}

func writeText(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestExplainWalksThroughTheDoor(t *testing.T) {
	cfg, in := doors(t)
	j, err := NewJudge(cfg)
	if err != nil {
		t.Fatal(err)
	}
	from := func(s string) expect.Address { return expect.Address{Addr: netip.MustParseAddr(s)} }
	publish := func(name string) security.Request { return security.Request{Action: security.Publish, Topic: name} }
	connect := security.Request{Action: security.Connect}
	for _, tt := range []struct {
		name    string
		who     expect.Who
		q       security.Request
		allowed bool
		why     string
	}{
		{"an allowed address", expect.Who{Listener: "plain", Address: from("192.0.2.7")}, connect, true, "no rule refuses the connection"},
		{"a denied address", expect.Who{Listener: "plain", Address: from("192.0.2.66")}, connect, false, "can't connect: address: 192.0.2.66 may not"},
		{"an address that is not among the allowed", expect.Who{Listener: "plain", Address: from("10.0.0.1")}, connect, false, "can't connect: address: 10.0.0.1 may not"},
		{"an address that a rule denies", expect.Who{Listener: "plain", Address: from("192.0.2.9")}, publish("tls"), false, "permissions.yaml:4: deny connect"},
		{"a rule that needs TLS, without", expect.Who{Listener: "plain"}, publish("tls"), false, "no permission matches"},
		{"a rule that needs TLS, with", expect.Who{Listener: "tls"}, publish("tls"), true, "permissions.yaml:3"},
		{"a certificate that nobody asks for", expect.Who{Listener: "tls", Certificate: in("dev-1.pem")}, publish("d/dev-1"), false, "no permission matches"},
		{"a certificate names the user", expect.Who{Listener: "optional", Certificate: in("dev-1.pem")}, publish("d/dev-1"), true, "permissions.yaml:2"},
		{"no certificate where one is optional", expect.Who{Listener: "optional"}, connect, true, "no rule refuses"},
		{"a certificate of another authority", expect.Who{Listener: "optional", Certificate: in("foreign.pem")}, connect, false, "can't connect: tls: the client certificate is refused"},
		{"a required certificate", expect.Who{Listener: "require", Certificate: in("dev-1.pem")}, publish("d/dev-1"), true, "permissions.yaml:2"},
		{"no certificate where one is required", expect.Who{Listener: "require"}, connect, false, "can't connect: tls: the listener requires a client certificate"},
		{"a client id that is not the certificate's", expect.Who{Listener: "bound", Certificate: in("dev-1.pem")}, connect, false, "can't connect: certificate: client id is not the one of the certificate"},
		{"an address that is not the certificate's", expect.Who{ClientID: "dev-1-x", Listener: "bound", Certificate: in("dev-1.pem"), Address: from("192.0.2.7")}, connect, false,
			"can't connect: certificate: certificate is not for the address"},
		{"no address to compare", expect.Who{ClientID: "dev-1-x", Listener: "bound", Certificate: in("dev-1.pem")}, publish("d/m-dev-1"), true, "permissions.yaml:2"},
		{"a certificate that names nobody", expect.Who{Listener: "several", Certificate: in("dev-1.pem")}, connect, false, "can't connect: certificate: certificate has no ou"},
	} {
		if tt.who.ClientID == "" {
			tt.who.ClientID = "c"
		}
		x, err := j.Explain(t.Context(), tt.who, tt.q)
		if err != nil || x.Allowed != tt.allowed || !strings.Contains(x.Why(), tt.why) {
			t.Errorf("%s: %v, allowed %v: %s; want %v: %s", tt.name, err, x.Allowed, x.Why(), tt.allowed, tt.why)
			continue
		}
		side, err := j.Side(t.Context(), tt.who)
		if err != nil || (side.Principal == nil) != (x.Connect == nil) || (side.Principal == nil) != (side.Refused.Rule != "") {
			t.Errorf("%s: as a side %+v, %v", tt.name, side, err)
		}
	}
}

func TestExplainIsToldWhoIsMeant(t *testing.T) {
	cfg, in := doors(t)
	connect := security.Request{Action: security.Connect}
	for _, tt := range []struct {
		name     string
		who      expect.Who
		listener bool // the error wraps ErrListener
	}{
		{"no listener among several", expect.Who{ClientID: "c"}, true},
		{"several with TLS", expect.Who{ClientID: "c", TLS: true}, true},
		{"a listener that is not there", expect.Who{ClientID: "c", Listener: "x"}, true},
		{"TLS where there is none", expect.Who{ClientID: "c", Listener: "plain", TLS: true}, true},
		{"a certificate that is not there", expect.Who{ClientID: "c", Listener: "require", Certificate: in("nothing.pem")}, false},
		{"a certificate that is none", expect.Who{ClientID: "c", Listener: "require", Certificate: in("empty.pem")}, false},
		{"no client id", expect.Who{Listener: "plain"}, false},
	} {
		if _, err := Explain(t.Context(), cfg, tt.who, connect); err == nil || errors.Is(err, ErrListener) != tt.listener {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	j, err := NewJudge(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := j.Side(t.Context(), expect.Who{ClientID: "c", Listener: "gone"}); err != nil || s.Principal != nil || !strings.Contains(s.Refused.Rule, "there is no listener gone") {
		t.Errorf("a listener that is gone, for a comparison: %+v, %v", s, err)
	}
	one := *cfg
	one.Listeners = cfg.Listeners[:1]
	if x, err := Explain(t.Context(), &one, expect.Who{ClientID: "c"}, connect); err != nil || x.Client.Listener != "plain" {
		t.Errorf("the only listener is not taken: %v, %+v", err, x)
	}
}

func TestAPolicyFileIsJudgedAlone(t *testing.T) {
	_, in := doors(t)
	writeText(t, in("acl"), "user u\ntopic write a\n")
	writeText(t, in("broken"), "user u\ntopic sideways a b\n")
	for _, tt := range []struct {
		file  string
		kind  config.PolicyType
		topic string
		who   expect.Who
	}{
		{"acl", config.MosquittoACL, "a", expect.Who{ClientID: "c", User: "u"}},
		{"permissions.yaml", config.Permissions, "tls", expect.Who{ClientID: "c", TLS: true, Listener: "any"}},
		{"permissions.yaml", config.Permissions, "d/u", expect.Who{ClientID: "c", User: "u", Certificate: in("dev-1.pem")}},
	} {
		kind, err := PolicyKind(in(tt.file))
		if err != nil || kind != tt.kind {
			t.Errorf("%s is %q, %v", tt.file, kind, err)
		}
		j, err := JudgePolicy(in(tt.file), kind)
		if err != nil {
			t.Fatal(err)
		}
		if x, err := j.Explain(t.Context(), tt.who, security.Request{Action: security.Publish, Topic: tt.topic}); err != nil || !x.Allowed || len(x.Door) != 0 {
			t.Errorf("%s: %v, %+v", tt.file, err, x)
		}
	}
	if _, err := JudgePolicy(in("broken"), config.MosquittoACL); err == nil {
		t.Error("a broken file was accepted")
	}
	if _, err := JudgePolicy(in("acl"), config.AllowAll); err == nil {
		t.Error("a policy without a file was accepted")
	}
	if _, err := PolicyKind(in("nothing")); err == nil {
		t.Error("a file that is not there has a kind")
	}
}

// What is looked at may end within a line, whose first word is none then.
func TestALongPolicyFileIsToldFromAConfiguration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "acl")
	for cut := range len("topic read b\n") {
		text := "#" + strings.Repeat("x", cut) + "\n" + strings.Repeat("topic read b\n", kindBytes/len("topic read b\n")+2)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if kind, err := PolicyKind(path); err != nil || kind != config.MosquittoACL {
			t.Fatalf("an acl_file of %d bytes is %q, %v", len(text), kind, err)
		}
	}
	if err := os.WriteFile(path, []byte("{users: {"+strings.Repeat("a: {}, ", kindBytes)), 0o600); err != nil {
		t.Fatal(err)
	}
	if kind, err := PolicyKind(path); err != nil || kind != config.Permissions {
		t.Errorf("a permission file in one line is %q, %v", kind, err)
	}
}

func TestPolicyFilesAreToldFromConfigurations(t *testing.T) {
	for text, want := range map[string]config.PolicyType{
		"":                                    "",
		"# nothing\n":                         "",
		"listeners: []\n":                     "",
		"users:\n  a: {}\n":                   config.Permissions,
		"\uFEFF# x\n---\neveryone: []\n":      config.Permissions,
		"\"roles\": {}\n":                     config.Permissions,
		"{groups: {}}\n":                      config.Permissions,
		"defaults: {}\nlisteners: []\n":       config.Permissions,
		"user a\ntopic read b\n":              config.MosquittoACL,
		"# x\n\n  pattern read %u\n":          config.MosquittoACL,
		"user mosquitto\nlistener 1883\n":     "",
		"user mosquitto\n":                    "",
		"connection b\ntopic # both\n":        "",
		"topic # both 0\nconnection b\n":      "",
		"policies:\n  - {name: a, type: x}\n": "",
	} {
		if got := policyKind(text); got != want {
			t.Errorf("policyKind(%q) = %q, want %q", text, got, want)
		}
	}
}
