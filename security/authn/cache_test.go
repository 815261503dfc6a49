package authn

import (
	"fmt"
	"testing"
	"time"

	"sallyport/security"
)

// keep remembers that credentials are right, kept reports whether they are.
func keep(c *Cache, member, user string, password []byte, version uint64) {
	c.put(c.sum(member, user, password, version), outcome{p: &security.Principal{Name: user}})
}

func kept(c *Cache, member, user string, password []byte, version uint64) bool {
	said, ok := c.get(c.sum(member, user, password, version))
	return ok && said.p.Name == user
}

func TestCacheRemembersOnlyTheSame(t *testing.T) {
	now := time.Unix(0, 0)
	c, err := NewCache(CacheOptions{Entries: 3, TTL: time.Minute, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	keep(c, "realm", "user", []byte("password"), 1)
	tests := []struct {
		realm, user, password string
		generation            uint64
		want                  bool
	}{
		{"realm", "user", "password", 1, true},
		{"realm", "user", "password", 2, false},
		{"realm", "user", "passwor", 1, false},
		{"realm", "userp", "assword", 1, false}, // the same bytes, divided otherwise
		{"realmu", "ser", "password", 1, false},
		{"", "user", "password", 1, false},
	}
	for _, tt := range tests {
		if got := kept(c, tt.realm, tt.user, []byte(tt.password), tt.generation); got != tt.want {
			t.Errorf("kept(%q, %q, %q, %d) = %t", tt.realm, tt.user, tt.password, tt.generation, got)
		}
	}
	now = now.Add(time.Minute)
	if kept(c, "realm", "user", []byte("password"), 1) {
		t.Error("an expired credential is remembered")
	}
	for i := range 10 {
		keep(c, "realm", fmt.Sprint(i), nil, 1)
	}
	if c.Len() != 3 || !kept(c, "realm", "9", nil, 1) || kept(c, "realm", "6", nil, 1) {
		t.Errorf("%d remembered, or not the latest", c.Len())
	}
	keep(c, "realm", "9", nil, 1)
	if c.Len() != 3 {
		t.Errorf("%d remembered after one was added again", c.Len())
	}
	c.Flush()
	if c.Len() != 0 || kept(c, "realm", "9", nil, 1) {
		t.Error("Flush leaves something")
	}
	other, err := NewCache(CacheOptions{Entries: 3, TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if other.sum("r", "u", nil, 1) == c.sum("r", "u", nil, 1) {
		t.Error("two caches have one key")
	}
}

func TestCacheOff(t *testing.T) {
	for _, o := range []CacheOptions{{Entries: 0, TTL: time.Hour}, {Entries: 10, TTL: 0}} {
		c, err := NewCache(o)
		if err != nil {
			t.Fatal(err)
		}
		var none *Cache
		if c.remembers() || none.remembers() {
			t.Errorf("%+v remembers", o)
		}
	}
}
