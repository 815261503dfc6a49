package fips

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/fips140"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sallyport/client"
	"sallyport/packet"
)

// TestVersion: which module a build has, and whether it is active.
func TestVersion(t *testing.T) {
	if fips140.Enabled() {
		t.Fatal("the test process must not be in FIPS 140-3 mode: it offers what is outside")
	}
	for _, tt := range []struct {
		binary, godebug, module, build string
		active                         bool
	}{
		{frozen, "", "v1.0.0", "v1.0.0-", true},
		{frozen, "fips140=off", "v1.0.0", "v1.0.0-", false},
		{plain, "", "latest", "off", false},
		{plain, "fips140=on", "latest", "off", true},
	} {
		_, out := output(t, tt.binary, tt.godebug, "version", "--json")
		var v struct {
			FIPS struct {
				Module, Build    string
				Active, Enforced bool
			}
		}
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if f := v.FIPS; f.Module != tt.module || !strings.HasPrefix(f.Build, tt.build) || f.Active != tt.active || f.Enforced {
			t.Errorf("with GODEBUG=%s: %s", tt.godebug, out)
		}
	}
}

// TestPasswdOfTheFrozenBuild: without a flag it writes what fips: true accepts.
func TestPasswdOfTheFrozenBuild(t *testing.T) {
	f := newFolder(t, "")
	data, err := os.ReadFile(f.path("passwd"))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Split(strings.TrimSpace(string(data)), "$")
	if len(fields) != 5 || fields[0] != "alice:" || fields[1] != "7" || fields[2] != "210000" {
		t.Fatalf("a line of %d fields", len(fields))
	}
	if salt, err := base64.StdEncoding.DecodeString(fields[3]); err != nil || len(salt) != 16 {
		t.Errorf("a salt of %d bytes, %v", len(salt), err)
	}
	if code, out := output(t, frozen, "", "passwd", "-H", "argon2id", "-b", f.path("passwd"), "bob", "pw"); code == 0 || !strings.Contains(out, "argon2id is outside FIPS 140-3") {
		t.Errorf("argon2id: exit %d: %s", code, out)
	}
}

// TestServes meets both ways to be in FIPS 140-3 mode with peers within it and outside.
func TestServes(t *testing.T) {
	for _, tt := range []struct {
		name, binary, godebug string
		says, silent          string // of the log
	}{
		{"the frozen module", frozen, "", "version=v1.0.0 enforced=false", "msg=\"the FIPS"},
		// Not supported, but what protocols name things by must not end a connection there.
		{"what is outside fails", frozen, "fips140=only", "fips140=only is Go's mode for tests and not supported here", "version=latest"},
		{"the toolchain's module", plain, "fips140=on", "of no version that was or will be validated", "version=v1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFolder(t, "")
			b := f.serve(t, tt.binary, tt.godebug)
			if !strings.Contains(b.log, tt.says) || strings.Contains(b.log, tt.silent) {
				t.Errorf("log:\n%s", b.log)
			}
			f.users(t, b)
			f.handshakes(t, b)
			f.openssl(t, b)
			f.certificates(t, b)
		})
	}
}

// users: a PBKDF2 user enters by TLS and WebSocket, with the right password only.
func (f folder) users(t *testing.T, b broker) {
	for door, transport := range map[string]client.Transport{"mqtts": client.TLS, "web": client.WSS} {
		target := client.Target{Transport: transport, Address: b.addr[door], TLS: f.trusting(t)}
		for range 2 { // the second time nothing is remembered
			if err := enter(t, target, "alice", password); err != nil {
				t.Errorf("%s: %v", door, err)
			}
		}
		var refused *client.ReasonError
		for user, word := range map[string]string{"alice": "wrong", "mallory": password} {
			if err := enter(t, target, user, word); !errors.As(err, &refused) {
				t.Errorf("%s: %s with another password: %v, want a refusal", door, user, err)
			}
		}
	}
}

func enter(t *testing.T, target client.Target, user, word string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := client.New(client.Options{Dial: target.Dial, Connect: packet.Connect{
		Version: packet.V5, ClientID: user, CleanStart: true, HasUsername: user != "", Username: user, HasPassword: word != "", Password: []byte(word),
	}})
	defer c.Close()
	_, err := c.Connect(ctx)
	return err
}

// trusting is a client's configuration with the broker's CA.
func (f folder) trusting(t *testing.T) *tls.Config {
	t.Helper()
	ca, err := os.ReadFile(f.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}
}

// handshakes holds clients of crypto/tls that offer one thing each.
func (f folder) handshakes(t *testing.T, b broker) {
	const gcm = tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
	group := func(id tls.CurveID) *tls.Config { return &tls.Config{CurvePreferences: []tls.CurveID{id}} }
	suite := func(id uint16) *tls.Config {
		return &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{id}}
	}
	version := func(v uint16) *tls.Config { return &tls.Config{MinVersion: v, MaxVersion: v} }
	for _, tt := range []struct {
		name   string
		offers *tls.Config
		want   bool
	}{
		{"everything", &tls.Config{}, true},
		{"X25519MLKEM768", group(tls.X25519MLKEM768), true},
		{"SecP256r1MLKEM768", group(tls.SecP256r1MLKEM768), true},
		{"SecP384r1MLKEM1024", group(tls.SecP384r1MLKEM1024), true},
		{"P-256", group(tls.CurveP256), true},
		{"P-384", group(tls.CurveP384), true},
		{"P-521", group(tls.CurveP521), true},
		{"X25519 alone", group(tls.X25519), false},
		{"X25519 alone in TLS 1.2", &tls.Config{MaxVersion: tls.VersionTLS12, CurvePreferences: []tls.CurveID{tls.X25519}}, false},
		{"AES-GCM in TLS 1.2", suite(gcm), true},
		{"ChaCha20 alone in TLS 1.2", suite(tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256), false},
		{"CBC with SHA-1", suite(tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA), false},
		{"CBC with SHA-256, which nobody named", suite(tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256), false},
		{"RC4", suite(tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA), false},
		{"TLS 1.3", version(tls.VersionTLS13), true},
		{"TLS 1.2", version(tls.VersionTLS12), true},
		{"TLS 1.1", version(tls.VersionTLS11), false},
		{"TLS 1.0", version(tls.VersionTLS10), false},
	} {
		c, trusting := tt.offers, f.trusting(t)
		c.RootCAs, c.ServerName = trusting.RootCAs, trusting.ServerName
		err := enter(t, client.Target{Transport: client.TLS, Address: b.addr["mqtts"], TLS: c}, "alice", password)
		if (err == nil) != tt.want {
			t.Errorf("%s: %v, want accepted = %v", tt.name, err, tt.want)
		}
	}
}

// openssl offers what crypto/tls can't.
func (f folder) openssl(t *testing.T, b broker) {
	f.write(t, "no-ems.cnf", "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nOptions = -ExtendedMasterSecret\n")
	for _, tt := range []struct {
		name, args, env string
		want            bool
	}{
		{"AES-GCM in TLS 1.3", "-tls1_3 -ciphersuites TLS_AES_256_GCM_SHA384", "", true},
		{"ChaCha20 alone in TLS 1.3", "-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256", "", false},
		{"AES-CCM in TLS 1.3", "-tls1_3 -ciphersuites TLS_AES_128_CCM_SHA256", "", false},
		{"X25519 alone", "-tls1_3 -groups X25519", "", false},
		{"P-256", "-tls1_3 -groups P-256", "", true},
		{"TLS 1.2 with an extended master secret", "-tls1_2", "", true},
		{"TLS 1.2 without one", "-tls1_2", "no-ems.cnf", false},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		args := append([]string{"s_client", "-connect", b.addr["mqtts"], "-CAfile", f.CAFile, "-verify_return_error", "-servername", "localhost"}, strings.Fields(tt.args)...)
		cmd := exec.CommandContext(ctx, "openssl", args...)
		cmd.Stdin = bytes.NewReader(nil)
		if tt.env != "" {
			cmd.Env = append(os.Environ(), "OPENSSL_CONF="+f.path(tt.env))
		}
		out, err := cmd.CombinedOutput()
		cancel()
		if (err == nil) != tt.want {
			t.Errorf("%s: %v, want accepted = %v\n%s", tt.name, err, tt.want, out)
		}
	}
}

// certificates holds clients that show one.
func (f folder) certificates(t *testing.T, b broker) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	strong, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		key  crypto.Signer
		want bool
	}{{"RSA 1024", weak, false}, {"RSA 2048", strong, true}, {"P-256", p256, true}} {
		c := f.trusting(t)
		c.Certificates = []tls.Certificate{authority(t).issue(t, tt.key)}
		err := enter(t, client.Target{Transport: client.TLS, Address: b.addr["mutual"], TLS: c}, "", "")
		if (err == nil) != tt.want {
			t.Errorf("a certificate with %s: %v, want accepted = %v", tt.name, err, tt.want)
		}
	}
}

// ca signs client certificates.
type ca struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

var theCA = sync.OnceValues(func() (*ca, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "clients"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(raw)
	return &ca{key, cert}, err
})

func authority(t *testing.T) *ca {
	t.Helper()
	a, err := theCA()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *ca) pem() string { return pemOf(a.cert.Raw) }

func (a *ca) issue(t *testing.T, key crypto.Signer) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "device"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}
}

// TestRefusesToStart: what is outside is named before anybody is served.
func TestRefusesToStart(t *testing.T) {
	f := newFolder(t, "")
	lines := []string{"GODEBUG=fips140=on", "GOFIPS140=v1.0.0 CGO_ENABLED=0 go build ./cmd/sallyport"}
	t.Run("without the module", func(t *testing.T) { f.refused(t, plain, "", lines...) })
	t.Run("with the module switched off", func(t *testing.T) { f.refused(t, frozen, "fips140=off", lines...) })

	good, err := os.ReadFile(f.path("passwd"))
	if err != nil {
		t.Fatal(err)
	}
	for hash, says := range map[string]string{"argon2id": "argon2id is outside", "sha512": "sha512 ($6$, one round) is outside", "sha512-pbkdf2": "sha512-pbkdf2 with a salt of 12 bytes is outside"} {
		f.write(t, "passwd", string(good))
		if code, out := output(t, plain, "", "passwd", "-H", hash, "-b", f.path("passwd"), "bob", "pw"); code != 0 {
			t.Fatalf("passwd: exit %d: %s", code, out)
		}
		f.refused(t, frozen, "", f.path("passwd")+`:2: user "bob": `+says)
	}
	for hash, says := range map[string]string{"$2b$12$0123456789012345678901": "bcrypt is outside", "$scrypt$ln=16,r=8,p=1$c2FsdA$aGFzaA": "scrypt is outside"} {
		f.write(t, "passwd", string(good)+"bob:"+hash+"\n")
		f.refused(t, frozen, "", f.path("passwd")+`:2: user "bob": `+says)
	}
	for more, says := range map[string]string{
		`, min_version: "1.1", legacy: true`:                                  "tls.min_version: TLS 1.1 is outside FIPS 140-3",
		`, min_version: "1.3", cipher_suites: [TLS_CHACHA20_POLY1305_SHA256]`: "tls.cipher_suites[0]: TLS_CHACHA20_POLY1305_SHA256 is outside FIPS 140-3",
		`, groups: [x25519]`:                                                  "tls.groups[0]: x25519 is outside FIPS 140-3",
	} {
		newFolder(t, more).refused(t, frozen, "", "sallyport.yaml:3:", says)
	}
}

// TestStoresAreRefused: the key and the client CAs in forms that are outside.
func TestStoresAreRefused(t *testing.T) {
	f := newFolder(t, "")
	f.write(t, "secret", "sesame")
	in := []string{"-inkey", f.KeyFile, "-in", f.CertFile, "-passout", "pass:sesame"}
	tool(t, "openssl", append([]string{"pkcs12", "-export", "-legacy", "-out", f.path("old.p12")}, in...)...)
	tool(t, "openssl", append([]string{"pkcs12", "-export", "-nomac", "-keypbe", "NONE", "-certpbe", "NONE", "-out", f.path("bare.p12")}, in...)...)
	tool(t, "keytool", "-genkeypair", "-alias", "a", "-keyalg", "EC", "-groupname", "secp256r1", "-dname", "CN=localhost", "-keystore", f.path("server.jks"),
		"-storetype", "JKS", "-storepass", "sesame", "-keypass", "sesame")
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	f.write(t, "weak.crt", pemOf(authority(t).issue(t, weak).Certificate[0]))
	text := fmt.Sprintf(listeners, "")
	pair, store := "certificate: server.crt, key: server.key}}\n  - {name: web", "certificate: %s, password: {file: secret}}}\n  - {name: web"
	for name, says := range map[string]string{"server.jks": "(JKS), which is outside FIPS 140-3", "old.p12": "a MAC whose key comes of the derivation of PKCS#12"} {
		f.write(t, "sallyport.yaml", strings.Replace(text, pair, fmt.Sprintf(store, name), 1))
		f.refused(t, frozen, "", "listener mqtts: "+f.path(name)+" is protected by ", says)
	}
	f.write(t, "sallyport.yaml", strings.Replace(text, "client_ca: clients.crt", "client_ca: weak.crt", 1))
	f.refused(t, frozen, "", "listener mutual: client CA: "+f.path("weak.crt")+` has a certificate "CN=device" with an RSA key of 1024 bits, which is outside FIPS 140-3`)
	f.write(t, "sallyport.yaml", strings.Replace(text, pair, fmt.Sprintf(store, "bare.p12"), 1))
	b := f.serve(t, frozen, "")
	if err := enter(t, client.Target{Transport: client.TLS, Address: b.addr["mqtts"], TLS: f.trusting(t)}, "alice", password); err != nil {
		t.Errorf("PKCS#12 within: %v", err)
	}
}

func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

func pemOf(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// TestReload: a file that holds one hash outside changes nothing for those in it.
func TestReload(t *testing.T) {
	f := newFolder(t, "")
	b := f.serve(t, frozen, "")
	good, err := os.ReadFile(f.path("passwd"))
	if err != nil {
		t.Fatal(err)
	}
	if code, out := output(t, plain, "", "passwd", "-b", f.path("passwd"), "bob", "pw"); code != 0 {
		t.Fatalf("passwd: exit %d: %s", code, out)
	}
	target := client.Target{Transport: client.TLS, Address: b.addr["mqtts"], TLS: f.trusting(t)}
	reload := func(says string) {
		t.Helper()
		if err := b.process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		b.logs(t, says)
		if err := enter(t, target, "alice", password); err != nil {
			t.Errorf("alice: %v", err)
		}
		var refused *client.ReasonError
		if err := enter(t, target, "bob", "pw"); !errors.As(err, &refused) {
			t.Errorf("bob: %v, want a refusal", err)
		}
	}
	reload("argon2id is outside FIPS 140-3")
	f.write(t, "passwd", string(good))
	text, err := os.ReadFile(f.path("sallyport.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	f.write(t, "sallyport.yaml", strings.Replace(string(text), "fips: true\n", "", 1))
	reload("can't change fips")
}

// TestLegacySuiteByName: what is within FIPS 140-3 and weak is still the operator's word.
func TestLegacySuiteByName(t *testing.T) {
	f := newFolder(t, `, max_version: "1.2", legacy: true, cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256]`)
	b := f.serve(t, frozen, "")
	c := f.trusting(t)
	c.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256}
	if err := enter(t, client.Target{Transport: client.TLS, Address: b.addr["mqtts"], TLS: c}, "alice", password); err != nil {
		t.Error(err)
	}
}
