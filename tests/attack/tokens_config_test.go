package attack_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"

	"sallyport"
	"sallyport/packet"
	"sallyport/security"
	"sallyport/security/expect"
)

// oneIssuer is a listener for tokens, whose keys and settings are given.
func oneIssuer(keys, settings string) string {
	return `
listeners:
  - {name: tcp, transport: tcp, address: "127.0.0.1:0", authenticators: [tokens], policies: [perm, claims]}
authenticators:
  - name: tokens
    type: jwt
    groups: {staff: operators}
    jwt:
      permissions: acl
` + indent(settings, "      ") + `
      issuers: [{issuer: id, audiences: mqtt, keys: ` + keys + `}]
policies:
  - {name: perm, type: permissions, file: permissions.yaml}
  - {name: claims, type: token}
sys_interval: 0
`
}

// Keys that can't be used keep a broker from starting, and the error holds nothing of them.
func TestAStartWithoutGoodKeysIsRefused(t *testing.T) {
	for _, tt := range []struct{ name, keys, file, want string }{
		{"a short secret", "[{secret: {file: k}}]", "SECRET-SECRET-SECRET", "keys[0]: secret of tokens: a secret of 20 bytes is shorter than 32"},
		{"a secret that is a public key", "[{secret: {file: k}}]", pemOf(t, oldKey), "the secret is no secret"},
		{"a secret that is no base64", "[{secret: {file: k}, encoding: base64}]", "SECRET!SECRET!SECRET!SECRET!SECRET!", "is not base64"},
		{"a short secret for the algorithm", "[{secret: {file: k}, algorithms: HS512}]", strings.Repeat("SECRET", 7), "can't do"},
		{"a private key", "[{file: k}]", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "k: key 1: a private key"},
		{"neither form", "[{file: k}]", "SECRET", "neither a JWK set nor public keys"},
		{"an algorithm of another kind", "[{file: k, algorithms: RS256}]", pemOf(t, oldKey), "can't do"},
		{"a set without the algorithm", "[{file: k, algorithms: RS256}]", jwksOf("next", nextKey), "no key that verifies"},
		{"a set and an id", "[{file: k, id: x}]", jwksOf("next", nextKey), "a kid of its own"},
		{"a template that is none", "[{file: k}]", pemOf(t, oldKey), "client id"},
	} {
		settings := ""
		if tt.want == "client id" {
			settings = "client_id: same"
		}
		s := prepare(t, oneIssuer(tt.keys, settings), writers)
		s.write("k", tt.file)
		srv, err := sallyport.New(s.config(s.text), sallyport.Options{Log: s.log.logger()})
		if err == nil {
			t.Errorf("%s: it starts", tt.name)
			_ = srv.Stop() // it should not be there
			continue
		}
		if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error()+s.log.String(), "SECRET") {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// Files of keys that others can change or read are warned of.
func TestLooseFilesOfKeys(t *testing.T) {
	s := prepare(t, oneIssuer("[{file: k}]", ""), writers)
	secret := base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))
	s.write("k", fmt.Sprintf(`{"keys":[{"kty":"oct","k":%q},{"kty":"OKP","crv":"X25519","x":"AAAA"}]}`, secret))
	if err := os.Chmod(s.path("k"), 0o666); err != nil {
		t.Fatal(err)
	}
	s.begin()
	for _, want := range []string{"lets others than the owner change whose tokens are accepted", "holds secrets and has mode 0666", "key 2: not used"} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, s.log)
		}
	}
	if strings.Contains(s.log.String(), secret[:12]) {
		t.Errorf("the log holds the secret:\n%s", s.log)
	}
	strict, err := sallyport.New(s.config(s.text+"strict_files: true\n"), sallyport.Options{Log: s.log.logger()})
	if err == nil {
		t.Error("strict_files: it starts")
		_ = strict.Stop() // it should not be there
	}
}

// Where tokens are looked for in user names, a long name is not logged before the
// broker knows whose it is; elsewhere it is, unless it looks like a token.
func TestLongUserNamesAreHiddenWhereTokensAre(t *testing.T) {
	opaque := strings.Repeat("0123456789", 7)
	for from, want := range map[string]bool{"username": false, "both": false, "password": true} {
		s := prepare(t, oneIssuer("[{file: k}]", "from: "+from), writers)
		s.write("k", pemOf(t, oldKey))
		s.begin()
		s.stranger().connect(bearing(packet.V311, "c", opaque, "x"))
		if got := strings.Contains(s.log.String(), opaque); got != want {
			t.Errorf("from %s: shown %v\n%s", from, got, s.log)
		}
	}
}

// TestExplainWithTokens: who asks gives a token, or only its claims.
func TestExplainWithTokens(t *testing.T) {
	s := prepare(t, oneIssuer("[{file: k}]", "groups: groups\nclient_id: \"dev-${username}\""), "groups:\n  operators: {permissions: [{allow: publish, topic: \"ops/#\"}]}\n")
	s.write("k", pemOf(t, oldKey))
	cfg := s.config(s.text)
	acl := []any{map[string]any{"effect": "allow", "action": "publish", "topic": "own/${username}"}}
	claims := func(with ...any) expect.Claims {
		c := expect.Claims{"iss": "id", "sub": "pump", "acl": acl, "groups": "staff guests"}
		for i := 0; i < len(with); i += 2 {
			c[with[i].(string)] = with[i+1]
		}
		return c
	}
	for _, tt := range []struct {
		name, topic string
		who         expect.Who
		allowed     bool
		says        string
	}{
		{"claims", "own/pump", expect.Who{ClientID: "dev-pump", Claims: claims()}, true, "no token is checked here"},
		{"its name, too", "own/pump", expect.Who{ClientID: "dev-pump", User: "pump", Claims: claims()}, true, "names pump"},
		{"another topic", "own/valve", expect.Who{ClientID: "dev-pump", Claims: claims()}, false, "names pump"},
		{"another name", "own/pump", expect.Who{ClientID: "dev-pump", User: "root", Claims: claims()}, false, "user name is not the one"},
		{"another client id", "own/pump", expect.Who{ClientID: "x", Claims: claims()}, false, "client id is not the one"},
		{"another issuer", "own/pump", expect.Who{ClientID: "dev-pump", Claims: claims("iss", "b")}, false, "of no issuer of ours"},
		{"permissions that are none", "own/pump", expect.Who{ClientID: "dev-pump", Claims: claims("acl", "x")}, false, "claim acl"},
		{"nothing", "own/pump", expect.Who{ClientID: "dev-pump"}, false, "there is no token in the password"},
		{"a token", "own/pump", expect.Who{ClientID: "dev-pump", HasPassword: true, Password: []byte(tokenOf(t, oldKey, "pump", map[string]any{"acl": acl})), Claims: claims()}, true, "the token is good"},
		{"a bad token", "own/pump", expect.Who{ClientID: "dev-pump", HasPassword: true, Password: []byte(tokenOf(t, nextKey, "pump", nil)), Claims: claims()}, false, "signature"},
	} {
		x, err := sallyport.Explain(context.Background(), cfg, tt.who, security.Request{Action: security.Publish, Topic: tt.topic})
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var said []string
		for _, d := range x.Door {
			said = append(said, d.Says, d.Opposite)
		}
		if x.Allowed != tt.allowed || !strings.Contains(strings.Join(said, "\n"), tt.says) {
			t.Errorf("%s: allowed %v, said %q, want %q", tt.name, x.Allowed, said, tt.says)
		}
	}
}
