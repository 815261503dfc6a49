package authn

import (
	"fmt"
	"testing"
	"time"
)

func TestCacheRemembersOnlyTheSame(t *testing.T) {
	now := time.Unix(0, 0)
	c, err := NewCache(CacheOptions{Entries: 3, TTL: time.Minute, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	c.add("realm", "user", []byte("password"), 1)
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
		if got := c.has(tt.realm, tt.user, []byte(tt.password), tt.generation); got != tt.want {
			t.Errorf("has(%q, %q, %q, %d) = %t", tt.realm, tt.user, tt.password, tt.generation, got)
		}
	}
	now = now.Add(time.Minute)
	if c.has("realm", "user", []byte("password"), 1) {
		t.Error("an expired credential is remembered")
	}
	for i := range 10 {
		c.add("realm", fmt.Sprint(i), nil, 1)
	}
	if c.Len() != 3 || !c.has("realm", "9", nil, 1) || c.has("realm", "6", nil, 1) {
		t.Errorf("%d remembered, or not the latest", c.Len())
	}
	c.add("realm", "9", nil, 1)
	if c.Len() != 3 {
		t.Errorf("%d remembered after one was added again", c.Len())
	}
	c.Flush()
	if c.Len() != 0 || c.has("realm", "9", nil, 1) {
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
		c.add("r", "u", nil, 1)
		if c.Len() != 0 || c.has("r", "u", nil, 1) {
			t.Errorf("%+v remembers", o)
		}
	}
}
