package token

import (
	"context"
	"testing"
)

// BenchmarkAuthenticate is one login with an EdDSA token that has permissions.
func BenchmarkAuthenticate(b *testing.B) {
	a := member(b, mapping(Mapping{Permissions: "acl", Groups: "groups", All: true}))
	acl := []any{map[string]any{"effect": "allow", "action": "all", "topic": "${clientid}/#"}}
	c := withToken(tokenOf("acl", acl, "groups", "a b c"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Authenticate(context.Background(), c); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNotMine is what a password costs that is no token.
func BenchmarkNotMine(b *testing.B) {
	a, c := member(b, nil), withToken("a password of an ordinary length")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, known := a.Quick(c); !known {
			b.Fatal("a password is taken for a token")
		}
	}
}
