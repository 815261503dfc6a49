package docs

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/config"
	"sallyport/packet"
	"sallyport/security/authn"
)

const tokensPage = "docs/tokens.md"

// blockOf is the page's block of a kind that begins with a text.
func blockOf(t *testing.T, kind, begin string) string {
	t.Helper()
	blocks, _ := split(tokensPage, read(t, tokensPage))
	for _, b := range blocks {
		if b.kind == kind && strings.HasPrefix(b.text, begin) {
			return b.text
		}
	}
	t.Fatalf("%s has no %s that begins with %q", tokensPage, kind, begin)
	return ""
}

// in writes files to a folder.
func in(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// server makes a certificate for loopback, and its key.
func server(t *testing.T) (certificate, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
}

// started is a broker with the configuration in dir, whose listener is named devices.
func started(t *testing.T, dir string) (address string) {
	t.Helper()
	cfg, err := config.Load(filepath.Join(dir, "sallyport.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	srv, err := sallyport.New(cfg, sallyport.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	return srv.Addrs("devices")[0].String()
}

// TestTokensPageExample starts the page's configuration: its token makes of its client
// what the page says.
func TestTokensPageExample(t *testing.T) {
	dir := t.TempDir()
	certificate, key := server(t)
	hash, err := authn.Hash(authn.SHA512, []byte("x"), authn.Params{})
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	in(t, dir, map[string][]byte{
		"sallyport.yaml": []byte(strings.Replace(blockOf(t, "yaml", "listeners:"), "127.0.0.1:28886", "127.0.0.1:0", 1)),
		"tls/server.crt": certificate, "tls/server.key": key,
		"id.jwks": fmt.Appendf(nil, `{"kty":"OKP","crv":"Ed25519","x":%q}`, b64(public)),
		"passwd":  []byte("alice:" + hash + "\n"),
		"permissions.yaml": []byte("groups:\n  operators: {permissions: [{allow: subscribe, topic: \"plant/${attr.plant}/#\"}]}\n" +
			"  plant-operators: {permissions: [{allow: subscribe, topic: \"#\"}]}\n"),
	})
	claims := regexp.MustCompile(`"exp": \d+`).ReplaceAllString(blockOf(t, "json", `{"iss"`), fmt.Sprintf(`"exp": %d`, time.Now().Add(time.Hour).Unix()))
	signed := b64([]byte(`{"alg":"EdDSA"}`)) + "." + b64([]byte(claims))
	token := signed + "." + b64(ed25519.Sign(private, []byte(signed)))

	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certificate)
	address := started(t, dir)
	dial := client.Target{Transport: client.TLS, Address: address, TLS: &tls.Config{RootCAs: pool}}.Dial
	connect := func(id string) (*client.Client, error) {
		c := client.New(client.Options{Dial: dial, Connect: packet.Connect{
			Version: packet.V5, CleanStart: true, ClientID: id, HasPassword: true, Password: []byte(token),
		}})
		_, err := c.Connect(t.Context())
		return c, err
	}
	var refused *client.ReasonError
	if _, err := connect("dev-8"); !errors.As(err, &refused) {
		t.Errorf("another client id: %v", err)
	}
	c, err := connect("dev-7")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }() // the broker's end is what is looked at
	for topic, want := range map[string]bool{"plant/north/pump-7/x": true, "plant/south/pump-7/x": false, "plant/north/pump-8/x": false} {
		if code, err := c.Publish(t.Context(), client.Message{Topic: topic, QoS: 1}); (code < 0x80) != want || want && err != nil {
			t.Errorf("publish %s: 0x%02x, %v", topic, byte(code), err)
		}
	}
	for filter, want := range map[string]bool{"plant/north/+": true, "plant/south/+": false} {
		ack, err := c.Subscribe(t.Context(), packet.Subscribe{Filters: []packet.Subscription{{Filter: filter}}})
		if err != nil || (ack.Codes[0] < 0x80) != want {
			t.Errorf("subscribe %s: %v, %v", filter, ack, err)
		}
	}
}

// TestTokensPageShell: the page's commands make a key and a token that a broker accepts.
func TestTokensPageShell(t *testing.T) {
	dir := t.TempDir()
	in(t, dir, map[string][]byte{"sallyport.yaml": []byte(`
listeners:
  - {name: devices, address: "127.0.0.1:0", authenticators: [tokens], policies: [token]}
authenticators:
  - {name: tokens, type: jwt, jwt: {permissions: acl, issuers: [{issuer: shell, audiences: mqtt, keys: [{file: issuer.pem}]}]}}
policies: [{name: token, type: token}]
`)})
	run := exec.Command("bash", "-euo", "pipefail", "-c", blockOf(t, "sh", "openssl genpkey")+"\nprintf %s \"$token\"")
	run.Dir = dir
	token, err := run.Output()
	if err != nil {
		var exit *exec.ExitError
		errors.As(err, &exit)
		t.Fatalf("%v: %s", err, bytes.TrimSpace(exit.Stderr))
	}
	c := client.New(client.Options{
		Dial:    client.Target{Transport: client.TCP, Address: started(t, dir)}.Dial,
		Connect: packet.Connect{Version: packet.V311, CleanStart: true, ClientID: "c", HasUsername: true, Username: "pump-7", HasPassword: true, Password: token},
	})
	if _, err := c.Connect(context.Background()); err != nil {
		t.Fatalf("the token of the page: %v", err)
	}
	_ = c.Close() // it was let in, which is all
}
