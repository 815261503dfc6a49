package config

import (
	"path/filepath"
	"slices"
	"testing"
)

const jwtText = `
listeners:
  - {name: a, address: "127.0.0.1:1", authenticators: [t], policies: [all]}
authenticators:
  - name: t
    type: jwt
    jwt:
      keep_claims: []
      issuers:
        - {issuer: a, audiences: x, keys: [{file: ca.crt}, {secret: {file: permissions.yaml}}]}
        - {issuer: b, no_audience: true, realm: mine, keys: [{file: passwd}]}
policies: [{name: all, type: allow_all}]
`

// Keys are found beside the configuration and watched, and each issuer has a realm.
func TestTokensOfAConfiguration(t *testing.T) {
	dir := filepath.Join("testdata", "files")
	c, err := Parse([]byte(jwtText), filepath.Join(dir, "sallyport.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca.crt", "permissions.yaml", "passwd"} {
		if !slices.Contains(c.Files(), filepath.Join(dir, name)) {
			t.Errorf("%s is not watched: %v", name, c.Files())
		}
	}
	a := c.Authenticators[0]
	if got := []string{a.JWT.RealmOf(0, a.Realm), a.JWT.RealmOf(1, a.Realm)}; !slices.Equal(got, []string{"t:a", "mine"}) {
		t.Errorf("realms %q", got)
	}
	if a.JWT.KeepClaims == nil || len(*a.JWT.KeepClaims) != 0 || a.JWT.From != TokenInPassword || !a.JWT.OAUTHBEARER {
		t.Errorf("%+v", a.JWT)
	}
	a.JWT.Issuers = a.JWT.Issuers[:1]
	if got := a.JWT.RealmOf(0, a.Realm); got != "t" {
		t.Errorf("the realm of one issuer is %q", got)
	}
	if !c.ShowsNames(&c.Listeners[0]) {
		t.Error("names are hidden where tokens are passwords")
	}
	a.JWT.From = TokenInUsername
	if c.ShowsNames(&c.Listeners[0]) {
		t.Error("names are shown where tokens are in them")
	}
}
