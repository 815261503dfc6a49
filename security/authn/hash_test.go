package authn

import (
	"encoding/base64"
	"strings"
	"testing"
)

// small keeps tests quick.
var small = Params{Memory: 64, Time: 1, Lanes: 1, Iterations: 10}

func TestStoredPasswords(t *testing.T) {
	// The $6$ and $7$ lines were written by mosquitto_passwd 2.0.11, the
	// argon2id one is the reference implementation's.
	tests := []struct{ name, encoded, password string }{
		{"mosquitto's default", "$7$101$icrH4zawynE1d29r$oZAByDOj/Eg0Q9PQzNYgA25Z6AHkwpKTSddvu5unyxLEtj9uoBeTBIeVKmeMtB4Q8s7aVdbZXfEJc49gG45f0Q==", "pässword"},
		{"mosquitto's sha512", "$6$IJb0OGuUsboznGSi$ZMV1i+itouoECSeVoEH0gSEbVuJfdUYPUN9K7ThUF26YwffFYjjt8gfqRCa8sSCZKssjAFniYw+Qh3hPFWw8qw==", "correct horse"},
		{"mosquitto's with 5000 iterations", "$7$5000$E85d8yhIvTk6R/qx$B++df63/WHVx80Tnysi6mDZ+yxaGuUS2M/4yhgQyEHfmKTE9keAv7RFCJ75isxcNYJrktvpOfqatLjfz8w+IAA==", "c"},
		{"argon2id", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "password"},
	}
	lim := Limits{}.withDefaults()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, err := parseHash(tt.encoded, lim)
			if err != nil {
				t.Fatal(err)
			}
			if !h.matches([]byte(tt.password)) {
				t.Errorf("the right password does not match")
			}
			for _, wrong := range []string{"", tt.password + "x", tt.password + "\x00", tt.password[1:], strings.ToUpper(tt.password)} {
				if h.matches([]byte(wrong)) {
					t.Errorf("password %q matches", wrong)
				}
			}
			if got := h.encode(); got != tt.encoded {
				t.Errorf("encode() = %q, want %q", got, tt.encoded)
			}
		})
	}
}

func TestHashAndGenerateRoundTrip(t *testing.T) {
	lim := Limits{}.withDefaults()
	for _, a := range []Algorithm{Argon2id, PBKDF2SHA512, SHA512} {
		for _, password := range []string{"", "x", "with\x00nul", strings.Repeat("long", 5000)} {
			encoded, err := Hash(a, []byte(password), small)
			if err != nil {
				t.Fatal(err)
			}
			again, _ := Hash(a, []byte(password), small)
			if again == encoded {
				t.Errorf("%s: two hashes of one password are the same", a)
			}
			h, err := parseHash(encoded, lim)
			if err != nil {
				t.Fatalf("%s: %v", a, err)
			}
			if !h.matches([]byte(password)) || h.matches([]byte(password+"y")) {
				t.Errorf("%s does not tell a password of %d bytes from another", a, len(password))
			}
			if cut, _, found := strings.Cut(password, "\x00"); found && h.matches([]byte(cut)) {
				t.Errorf("%s ends a password at NUL", a)
			}
		}
	}
	secret, encoded, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	if bits, err := base64.RawURLEncoding.DecodeString(secret); err != nil || len(bits) != 16 {
		t.Errorf("secret %d characters, %v: want 128 bits", len(secret), err)
	}
	h, err := parseHash(encoded, lim)
	if err != nil || !h.matches([]byte(secret)) || h.matches([]byte(secret[1:])) {
		t.Errorf("generated secret: %v, or it does not match only itself", err)
	}
	if h.guessable() {
		t.Error("a generated secret counts as guessable")
	}
}

func TestHashRefuses(t *testing.T) {
	tests := []struct {
		name string
		a    Algorithm
		p    Params
	}{
		{"unknown algorithm", "md5", Params{}},
		{"a chosen password as a generated secret", GeneratedSecret, Params{}},
		{"argon2id memory above the limit", Argon2id, Params{Memory: 1 << 30}},
		{"argon2id memory below 8 per lane", Argon2id, Params{Memory: 7}},
		{"argon2id passes above the limit", Argon2id, Params{Time: 17}},
		{"argon2id lanes above the limit", Argon2id, Params{Lanes: 5}},
		{"iterations above the limit", PBKDF2SHA512, Params{Iterations: 10_000_001}},
		{"negative iterations", PBKDF2SHA512, Params{Iterations: -1}},
	}
	for _, tt := range tests {
		if got, err := Hash(tt.a, []byte("x"), tt.p); err == nil {
			t.Errorf("%s: Hash = %q, want an error", tt.name, got)
		}
	}
}

func TestParseHashRefuses(t *testing.T) {
	salt := base64.StdEncoding.EncodeToString([]byte("saltsaltsalt"))
	raw := base64.RawStdEncoding.EncodeToString([]byte("saltsaltsalt"))
	sum := base64.StdEncoding.EncodeToString(make([]byte, 64))
	sum32 := base64.RawStdEncoding.EncodeToString(make([]byte, 32))
	tests := []struct{ name, encoded string }{
		{"nothing", ""},
		{"a plain password", "secretword"},
		{"an unknown form", "$1$abc$def"},
		{"bcrypt with the mistake of its first implementations", "$2x$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"},
		{"a missing hash", "$6$" + salt},
		{"text before the form", "x$6$" + salt + "$" + sum},
		{"a field too many", "$6$" + salt + "$" + sum + "$"},
		{"a short salt", "$6$c2FsdA==$" + sum},
		{"a huge salt", "$6$" + base64.StdEncoding.EncodeToString(make([]byte, 129)) + "$" + sum},
		{"a short hash", "$6$" + salt + "$" + salt},
		{"bad base64 in the salt", "$6$!!!!$" + sum},
		{"bad base64 in the hash", "$6$" + salt + "$" + sum[1:]},
		{"stray bits in base64", "$7$10$" + salt + "$" + sum[:len(sum)-3] + "B=="},
		{"a line break in base64", "$6$" + salt + "$" + sum[:4] + "\r" + sum[4:]},
		{"no iterations", "$7$$" + salt + "$" + sum},
		{"zero iterations", "$7$0$" + salt + "$" + sum},
		{"signed iterations", "$7$+10$" + salt + "$" + sum},
		{"iterations with a leading zero", "$7$010$" + salt + "$" + sum},
		{"too many iterations", "$7$10000001$" + salt + "$" + sum},
		{"overflowing iterations", "$7$18446744073709551617$" + salt + "$" + sum},
		{"argon2i", "$argon2i$v=19$m=64,t=1,p=1$" + raw + "$" + sum32},
		{"argon2id of an older version", "$argon2id$v=16$m=64,t=1,p=1$" + raw + "$" + sum32},
		{"argon2id without a version", "$argon2id$m=64,t=1,p=1$" + raw + "$" + sum32},
		{"argon2id with costs in another order", "$argon2id$v=19$t=1,m=64,p=1$" + raw + "$" + sum32},
		{"argon2id with a cost too many", "$argon2id$v=19$m=64,t=1,p=1,x=1$" + raw + "$" + sum32},
		{"argon2id memory above the limit", "$argon2id$v=19$m=65537,t=1,p=1$" + raw + "$" + sum32},
		{"argon2id memory that overflows", "$argon2id$v=19$m=4294967296,t=1,p=1$" + raw + "$" + sum32},
		{"argon2id without passes", "$argon2id$v=19$m=64,t=0,p=1$" + raw + "$" + sum32},
		{"argon2id with too many passes", "$argon2id$v=19$m=64,t=17,p=1$" + raw + "$" + sum32},
		{"argon2id without lanes", "$argon2id$v=19$m=64,t=1,p=0$" + raw + "$" + sum32},
		{"argon2id with too many lanes", "$argon2id$v=19$m=64,t=1,p=5$" + raw + "$" + sum32},
		{"argon2id with a padded salt", "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ=$" + sum32},
		{"argon2id with a short hash", "$argon2id$v=19$m=64,t=1,p=1$" + raw + "$c2FsdA"},
		{"a generated secret with a short salt", "$s256$" + salt + "$" + base64.StdEncoding.EncodeToString(make([]byte, 32))},
		{"a generated secret with a long hash", "$s256$" + base64.StdEncoding.EncodeToString(make([]byte, 16)) + "$" + sum},
	}
	lim := Limits{}.withDefaults()
	for _, tt := range tests {
		_, err := parseHash(tt.encoded, lim)
		if err == nil {
			t.Errorf("%s is accepted", tt.name)
			continue
		}
		for _, field := range strings.Split(tt.encoded, "$") {
			if len(field) > 12 && strings.Contains(err.Error(), field) && !strings.HasPrefix(field, "m=") {
				t.Errorf("%s: the error shows part of the hash: %v", tt.name, err)
			}
		}
	}
}

func FuzzParseHash(f *testing.F) {
	f.Add("$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4")
	f.Add("$7$101$icrH4zawynE1d29r$oZAByDOj/Eg0Q9PQzNYgA25Z6AHkwpKTSddvu5unyxLEtj9uoBeTBIeVKmeMtB4Q8s7aVdbZXfEJc49gG45f0Q==")
	f.Add("$6$IJb0OGuUsboznGSi$ZMV1i+itouoECSeVoEH0gSEbVuJfdUYPUN9K7ThUF26YwffFYjjt8gfqRCa8sSCZKssjAFniYw+Qh3hPFWw8qw==")
	f.Add("$s256$AAAAAAAAAAAAAAAAAAAAAA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	f.Add("$argon2id$v=19$m=4294967295,t=4294967295,p=255$$")
	f.Add("$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e")
	f.Add("$scrypt$ln=10,r=8,p=1$c2FsdHNhbHRzYWx0c2FsdA$A9lBa6RTbfBovWqamVIqXKovIl4Vk6OZyVojLJmYmSI")
	f.Add("$ese-sha512$100$Nv6NU9XY7tvHdSGaKmNTOw==$wtUo2dri+ttHGHRpngg9uG21piWLiKSX7IaNSnU/BfN9pt+ZOLQByG/3JlPPQ7t/pl8S3tjR2+Um/DPBdAQULg==")
	f.Add("WFNQUVB0UkxjM04xa0hSR1BQNGhuOTJKVzdlbXA4bjk=:100:FY12nwpUEbBK9EKQ/Aw/rQKSoA7jXsC0HKELwU2mLCVU39bJVK0zf4NemuFeDOHPO4BW1nOjxi6NporkC6rUog==")
	lim := Limits{}.withDefaults()
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parseHash(s, lim)
		if err != nil {
			return
		}
		got := h.encode()
		if got != s && !strings.Contains(s, ":") { // HiveMQ's form becomes ours
			t.Errorf("parse and encode of %q give %q", s, got)
		}
		if again, err := parseHash(got, lim); err != nil || !again.same(&h) {
			t.Errorf("%q is read as %q, and that otherwise: %v", s, got, err)
		}
		if err := h.checkParams(lim); err != nil {
			t.Errorf("%q was accepted: %v", s, err)
		}
		if len(h.salt) > maxSalt || len(h.sum) > maxArgonSum {
			t.Errorf("salt %d, sum %d bytes", len(h.salt), len(h.sum))
		}
	})
}
