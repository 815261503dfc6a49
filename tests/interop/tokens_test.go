package interop

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/golang-jwt/jwt/v5"
)

// tokenFixture takes tokens, by keys of every kind.
const tokenFixture = `
listeners:
  - {name: tcp, address: "localhost:0", authenticators: [tokens], policies: [token]}
authenticators:
  - name: tokens
    type: jwt
    jwt:
      permissions: acl
      issuers:
        - issuer: golang-jwt
          audiences: mqtt
          keys:
            - {file: rsa.pem, id: rsa}
            - {file: p256.pem, id: p256}
            - {file: p384.pem, id: p384}
            - {file: p521.pem, id: p521}
            - {file: ed25519.pem, id: ed25519}
            - {secret: {file: secret}, encoding: base64, id: secret}
policies:
  - {name: token, type: token}
`

// tokenBroker is a broker for tokens, and what signs them by algorithm.
type tokenBroker struct {
	port int
	by   map[string]signer
}

type signer struct {
	kid string
	key any
}

func newTokenBroker(t *testing.T) tokenBroker {
	t.Helper()
	b := tokenBroker{by: map[string]signer{}}
	dir := t.TempDir()
	add := func(name string, key crypto.Signer, err error, algs ...string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name+".pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
		for _, alg := range algs {
			b.by[alg] = signer{name, key}
		}
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	add("rsa", r, err, "RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
	for name, c := range map[string]struct {
		curve elliptic.Curve
		alg   string
	}{"p256": {elliptic.P256(), "ES256"}, "p384": {elliptic.P384(), "ES384"}, "p521": {elliptic.P521(), "ES512"}} {
		k, err := ecdsa.GenerateKey(c.curve, rand.Reader)
		add(name, k, err, c.alg)
	}
	_, e, err := ed25519.GenerateKey(rand.Reader)
	add("ed25519", e, err, "EdDSA")
	secret := make([]byte, 64)
	if _, err := rand.Read(secret); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "secret"), base64.StdEncoding.EncodeToString(secret)+"\n")
	for _, alg := range []string{"HS256", "HS384", "HS512"} {
		b.by[alg] = signer{"secret", secret}
	}
	config := write(t, filepath.Join(dir, "sallyport.yaml"), tokenFixture)
	p := start(t, sallyport, "serve", "-c", config)
	b.port = (&broker{process: p}).place(t, "tcp").Port
	return b
}

// token is a token of name, made by golang-jwt.
func (b tokenBroker) token(t *testing.T, alg, name string, acl any) string {
	t.Helper()
	s := b.by[alg]
	token := jwt.NewWithClaims(jwt.GetSigningMethod(alg), jwt.MapClaims{
		"iss": "golang-jwt", "aud": []string{"web", "mqtt"}, "sub": name, "exp": jwt.NewNumericDate(time.Now().Add(time.Hour)), "iat": jwt.NewNumericDate(time.Now()), "acl": acl,
	})
	token.Header["kid"] = s.kid
	text, err := token.SignedString(s.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestTokensOfALibrary: a broker accepts what another implementation signs, by each
// algorithm, and nothing that was changed.
func TestTokensOfALibrary(t *testing.T) {
	t.Parallel()
	b := newTokenBroker(t)
	if len(b.by) != 13 {
		t.Fatalf("%d algorithms", len(b.by))
	}
	for alg := range b.by {
		token := b.token(t, alg, "pump", nil)
		if _, ack := connack5(t, b.port, &paho.Connect{ClientID: alg, CleanStart: true, PasswordFlag: true, Password: []byte(token)}); ack.ReasonCode != 0 {
			t.Errorf("%s: CONNACK 0x%02x", alg, ack.ReasonCode)
		}
	}
	for _, alg := range []string{"ES256", "HS256"} { // each failure makes the next one wait
		token := b.token(t, alg, "pump", nil)
		at := strings.LastIndexByte(token, '.') + 5
		other := byte('A')
		if token[at] == other {
			other = 'B'
		}
		changed := token[:at] + string(other) + token[at+1:]
		if _, ack := connack5(t, b.port, &paho.Connect{ClientID: alg, CleanStart: true, PasswordFlag: true, Password: []byte(changed)}); ack.ReasonCode != 0x86 {
			t.Errorf("%s, changed: CONNACK 0x%02x", alg, ack.ReasonCode)
		}
	}
}

// oauthBearer is paho's side of the method.
type oauthBearer struct{ t *testing.T }

// Authenticate answers the broker's word that a token is refused (RFC 7628 3.2.3).
func (o oauthBearer) Authenticate(a *paho.Auth) *paho.Auth {
	if want := `{"status":"invalid_token"}`; string(a.Properties.AuthData) != want {
		o.t.Errorf("AUTH with %q, want %q", a.Properties.AuthData, want)
	}
	return authPacket(0x18, "\x01")
}

func (oauthBearer) Authenticated() {}

func authPacket(code byte, data string) *paho.Auth {
	return &paho.Auth{ReasonCode: code, Properties: &paho.AuthProperties{AuthMethod: "OAUTHBEARER", AuthData: []byte(data)}}
}

// TestPahoRenewsItsToken: a client of others connects with OAUTHBEARER and renews its
// token in place, after which it may more.
func TestPahoRenewsItsToken(t *testing.T) {
	t.Parallel()
	b := newTokenBroker(t)
	bearer := func(token string) string { return "n,,\x01auth=Bearer " + token + "\x01\x01" }
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn := dialTokens(t, b.port)
	gone := make(chan byte, 1)
	c := paho.NewClient(paho.ClientConfig{
		Conn: conn, AuthHandler: oauthBearer{t}, OnServerDisconnect: func(d *paho.Disconnect) { gone <- d.ReasonCode },
	})
	connect := &paho.Connect{ClientID: "c", CleanStart: true, Properties: &paho.ConnectProperties{
		AuthMethod: "OAUTHBEARER", AuthData: []byte(bearer(b.token(t, "ES256", "pump", nil))),
	}}
	if ack, err := c.Connect(ctx, connect); err != nil {
		t.Fatalf("CONNECT: %v, %+v", err, ack)
	}
	if _, err := c.Publish(ctx, &paho.Publish{Topic: "up/1", QoS: 1}); err == nil {
		t.Error("published without a permission")
	}
	acl := []map[string]any{{"permission": "allow", "action": "publish", "topic": "up/#"}}
	if r, err := c.Authenticate(ctx, authPacket(0x19, bearer(b.token(t, "PS256", "pump", acl)))); err != nil || r.ReasonCode != 0 {
		t.Fatalf("AUTH: %v, %+v", err, r)
	}
	if _, err := c.Publish(ctx, &paho.Publish{Topic: "up/1", QoS: 1}); err != nil {
		t.Errorf("not published with the permission: %v", err)
	}
	if _, err := c.Authenticate(ctx, authPacket(0x19, bearer(b.token(t, "PS256", "another", acl)))); err == nil {
		select {
		case code := <-gone:
			if code != 0x87 {
				t.Errorf("another name: DISCONNECT 0x%02x", code)
			}
		case <-ctx.Done():
			t.Error("another name: still connected")
		}
	}
}

func dialTokens(t *testing.T, port int) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("localhost:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // the client may have closed it
	return conn
}
