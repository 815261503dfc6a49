package authn

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
)

// Made with Python 3.11, whose crypt is libxcrypt's:
//
//	crypt.crypt(password, '$2b$04$abcdefghijklmnopqrstuu')
//	hashlib.scrypt(password.encode(), salt=salt, n=1<<ln, r=r, p=p, dklen=32)
//
// and of HiveMQ's own publications: the users of the File RBAC extension's example
// credentials.xml, and the rows of the Enterprise Security Extension's sample script
// for databases. These were computed again by hashlib.pbkdf2_hmac('sha512', ...) and
// by hashlib.sha512 in a loop.
func TestForeignVectors(t *testing.T) {
	tests := []struct {
		name, encoded, password string
		canonical               string // empty: as it is
	}{
		{"bcrypt $2b$", "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e", "correct horse", ""},
		{"bcrypt $2a$ of nothing", "$2a$05$N9qo8uLOickgx2ZMRZoMyejxU1jBu6pWeger6d/WObW2aydZVCQWu", "", ""},
		{"bcrypt $2y$ of UTF-8", "$2y$04$......................qnB8eqNMuizEQ3mLqW93JYyN8aQz3iO", "pässwörd", ""},
		{"bcrypt of 72 bytes", "$2b$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i", strings.Repeat("x", 72), ""},
		{"scrypt", "$scrypt$ln=10,r=8,p=1$c2FsdHNhbHRzYWx0c2FsdA$A9lBa6RTbfBovWqamVIqXKovIl4Vk6OZyVojLJmYmSI", "correct horse", ""},
		{"scrypt of nothing", "$scrypt$ln=4,r=1,p=3$AAECAwQFBgcICQoLDA0ODw$df8szVmll6B6rw1piStKZmXyCkXOF91FTEdEIFHL6vs", "", ""},
		{"scrypt of UTF-8", "$scrypt$ln=5,r=2,p=2$TmFDbE5hQ2w$+z6KtSAqifKLTg3gEk+17SA6knvZffCxL28hRT6JJTQ", "pässwörd", ""},
		{
			"File RBAC", "WFNQUVB0UkxjM04xa0hSR1BQNGhuOTJKVzdlbXA4bjk=:100:FY12nwpUEbBK9EKQ/Aw/rQKSoA7jXsC0HKELwU2mLCVU39bJVK0zf4NemuFeDOHPO4BW1nOjxi6NporkC6rUog==", "pass1",
			"$7$100$WFNQUVB0UkxjM04xa0hSR1BQNGhuOTJKVzdlbXA4bjk=$FY12nwpUEbBK9EKQ/Aw/rQKSoA7jXsC0HKELwU2mLCVU39bJVK0zf4NemuFeDOHPO4BW1nOjxi6NporkC6rUog==",
		},
		{
			"File RBAC before it wrote a count", "TUh5SWZlWmRNNzJQeXU0UkF2QmVKZXBBWFl6VU1Jc28=:gDR4bZ8kABBEL0WBflf09IMJahRlb1KGL2wJydlyWElfIu1F65SSU+RZZpjzy+vT4dDPJxiBSHM07wr56+bKsA==", "pass1",
			"$7$100$TUh5SWZlWmRNNzJQeXU0UkF2QmVKZXBBWFl6VU1Jc28=$gDR4bZ8kABBEL0WBflf09IMJahRlb1KGL2wJydlyWElfIu1F65SSU+RZZpjzy+vT4dDPJxiBSHM07wr56+bKsA==",
		},
		{"ESE", "$ese-sha512$100$Nv6NU9XY7tvHdSGaKmNTOw==$wtUo2dri+ttHGHRpngg9uG21piWLiKSX7IaNSnU/BfN9pt+ZOLQByG/3JlPPQ7t/pl8S3tjR2+Um/DPBdAQULg==", "backendpassword", ""},
		{"ESE, the second row", "$ese-sha512$100$JhpW27QU9WfIaG6FJT5MkQ==$ZHg/rNJel1BHOYMEvc40ekCRUE5vVLcsPF6mk9GPDcdEmX3stm50MplaqjGb8Lxhy6rNFQZSQRSbOxmFZ8ps1Q==", "clientpassword", ""},
		{"ESE, the third row", "$ese-sha512$100$wxw+3diCV4bWXQHb6LLniA==$nOgr9xVnkt51Lr68KS/rAKm/LqxAt8oEki7vCerRod3qDbyMFfDBGT8obnkw+AGygxCQDWdaA2sQnXXoAbVK6Q==", "supersecurepassword", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := ParseStored(tt.encoded, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if !s.Matches([]byte(tt.password)) {
				t.Error("the right password does not match")
			}
			for _, wrong := range []string{tt.password + "x", tt.password + "\x00", tt.password + "\x00" + tt.password, "X" + tt.password} {
				if s.Matches([]byte(wrong)) {
					t.Errorf("password %q matches", wrong)
				}
			}
			if tt.canonical == "" {
				tt.canonical = tt.encoded
			}
			if got := s.Encode(); got != tt.canonical {
				t.Errorf("Encode() = %q, want %q", got, tt.canonical)
			}
			if !s.Guessable() || s.Work() == 0 {
				t.Errorf("guessable %t, work %d of a chosen password", s.Guessable(), s.Work())
			}
			if _, err := ParseStored(tt.encoded, Limits{FIPS: true}); err == nil {
				t.Error("is accepted with FIPS 140-3")
			}
			if strings.Contains(s.String()+s.GoString()+s.LogValue().String(), tt.encoded[20:]) {
				t.Errorf("String shows the hash: %s", s)
			}
		})
	}
}

func TestParseForeignRefuses(t *testing.T) {
	const (
		bcrypt53 = "abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e"
		salt     = "c2FsdHNhbHRzYWx0c2FsdA"
		sum      = "A9lBa6RTbfBovWqamVIqXKovIl4Vk6OZyVojLJmYmSI"
		salt16   = "Nv6NU9XY7tvHdSGaKmNTOw=="
	)
	sum64 := base64.StdEncoding.EncodeToString(make([]byte, 64))
	tests := []struct{ name, encoded string }{
		{"bcrypt below the least cost", "$2b$03$" + bcrypt53},
		{"bcrypt above the limit", "$2b$16$" + bcrypt53},
		{"bcrypt of a cost with one digit", "$2b$4$" + bcrypt53},
		{"bcrypt of a cost with a sign", "$2b$+4$" + bcrypt53},
		{"bcrypt with a character too few", "$2b$04$" + bcrypt53[1:]},
		{"bcrypt with a character too many", "$2b$04$" + bcrypt53 + "."},
		{"bcrypt with a field too many", "$2b$04$" + bcrypt53 + "$"},
		{"bcrypt outside of its alphabet", "$2b$04$" + strings.Replace(bcrypt53, "j", "+", 1)},
		{"bcrypt with stray bits in the salt", "$2b$04$" + strings.Replace(bcrypt53, "uuj", "uvj", 1)},
		{"bcrypt with stray bits in the hash", "$2b$04$" + bcrypt53[:52] + "f"},
		{"bcrypt without a letter", "$2$04$" + bcrypt53},
		{"scrypt above the limit of memory", "$scrypt$ln=17,r=8,p=1$" + salt + "$" + sum},
		{"scrypt above the limit of work", "$scrypt$ln=10,r=8,p=1024$" + salt + "$" + sum},
		{"scrypt with much memory beside its blocks", "$scrypt$ln=1,r=1,p=1000000$" + salt + "$" + sum},
		{"scrypt of ln 0", "$scrypt$ln=0,r=8,p=1$" + salt + "$" + sum},
		{"scrypt of an overflowing ln", "$scrypt$ln=64,r=8,p=1$" + salt + "$" + sum},
		{"scrypt of r 0", "$scrypt$ln=4,r=0,p=1$" + salt + "$" + sum},
		{"scrypt of p 0", "$scrypt$ln=4,r=8,p=0$" + salt + "$" + sum},
		{"scrypt of r*p that overflows", "$scrypt$ln=1,r=2147483647,p=2147483647$" + salt + "$" + sum},
		{"scrypt with costs in another order", "$scrypt$r=8,ln=4,p=1$" + salt + "$" + sum},
		{"scrypt with a leading zero", "$scrypt$ln=04,r=8,p=1$" + salt + "$" + sum},
		{"scrypt with padding", "$scrypt$ln=4,r=8,p=1$" + salt + "==$" + sum},
		{"scrypt with a short hash", "$scrypt$ln=4,r=8,p=1$" + salt + "$c2FsdA"},
		{"scrypt without a hash", "$scrypt$ln=4,r=8,p=1$" + salt},
		{"ESE without iterations", "$ese-sha512$0$" + salt16 + "$" + sum64},
		{"ESE above the limit", "$ese-sha512$10000001$" + salt16 + "$" + sum64},
		{"ESE with a short hash", "$ese-sha512$100$" + salt16 + "$" + sum64[:20]},
		{"ESE with a field too few", "$ese-sha512$100$" + salt16},
		{"HiveMQ with 0 iterations", salt16 + ":0:" + sum64},
		{"HiveMQ above the limit", salt16 + ":10000001:" + sum64},
		{"HiveMQ with a sign", salt16 + ":+100:" + sum64},
		{"HiveMQ with a field too many", salt16 + ":100:" + sum64 + ":"},
		{"HiveMQ with an empty count", salt16 + "::" + sum64},
		{"HiveMQ with a short hash", salt16 + ":100:" + sum64[:20]},
		{"a plain password with a colon", "pass:word"},
		{"our form with a colon", "$6$" + salt16 + "$" + sum64 + ":"},
		{"a very long text", "$6$" + strings.Repeat("A", 2000)},
	}
	for _, tt := range tests {
		_, err := ParseStored(tt.encoded, Limits{})
		if err == nil {
			t.Errorf("%s is accepted", tt.name)
			continue
		}
		for _, secret := range []string{bcrypt53[:20], salt, sum, salt16, sum64[:20], "word"} {
			if strings.Contains(strings.ReplaceAll(err.Error(), "password is not in", ""), secret) {
				t.Errorf("%s: the error shows part of the hash: %v", tt.name, err)
			}
		}
	}
}

func TestBcryptRefusesWhatItWouldCut(t *testing.T) {
	s, err := ParseStored("$2b$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	x72 := bytes.Repeat([]byte("x"), 72)
	if !s.Matches(x72) || s.Matches(append(x72, 'y')) || s.Matches(append(x72, x72...)) {
		t.Error("a password of more than 72 bytes is taken for its beginning")
	}
}

func TestScryptTellsATrailingNUL(t *testing.T) {
	s, err := ParseStored("$scrypt$ln=4,r=1,p=3$AAECAwQFBgcICQoLDA0ODw$df8szVmll6B6rw1piStKZmXyCkXOF91FTEdEIFHL6vs", Limits{})
	if err != nil || s.Matches([]byte{0}) {
		t.Errorf("%v, or NUL is taken for the empty password", err)
	}
}

func TestForeignHashesAreMadeByNobody(t *testing.T) {
	for _, a := range []Algorithm{Bcrypt, Scrypt, ESESHA512} {
		if got, err := Hash(a, []byte("x"), Params{}); err == nil {
			t.Errorf("Hash(%s) = %q, want an error", a, got)
		}
	}
}

func TestESE(t *testing.T) {
	const salt, sum = "Nv6NU9XY7tvHdSGaKmNTOw==", "wtUo2dri+ttHGHRpngg9uG21piWLiKSX7IaNSnU/BfN9pt+ZOLQByG/3JlPPQ7t/pl8S3tjR2+Um/DPBdAQULg=="
	if got, err := ESE("SHA512", 100, salt, sum); err != nil || got != "$ese-sha512$100$"+salt+"$"+sum {
		t.Errorf("ESE = %q, %v", got, err)
	}
	for _, a := range []string{"", "MD5", "PLAIN", "PKCS5S2", "sha512"} {
		if _, err := ESE(a, 100, salt, sum); err == nil {
			t.Errorf("algorithm %q is accepted", a)
		}
	}
}

func TestWeakerThan(t *testing.T) {
	tests := []struct {
		name, encoded string
		a             Algorithm
		p             Params
		want          bool
	}{
		{"another algorithm", "$2b$15$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e", Argon2id, Params{}, true},
		{"less memory", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", Argon2id, Params{}, true},
		{"the same", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", Argon2id, Params{Memory: 256, Time: 2}, false},
		{"more than is asked", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", Argon2id, Params{Memory: 256, Time: 1}, false},
		{"fewer iterations", "$7$101$icrH4zawynE1d29r$oZAByDOj/Eg0Q9PQzNYgA25Z6AHkwpKTSddvu5unyxLEtj9uoBeTBIeVKmeMtB4Q8s7aVdbZXfEJc49gG45f0Q==", PBKDF2SHA512, Params{}, true},
		{"a generated secret", "$s256$AAAAAAAAAAAAAAAAAAAAAA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", Argon2id, Params{}, false},
	}
	for _, tt := range tests {
		s, err := ParseStored(tt.encoded, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.WeakerThan(tt.a, tt.p); got != tt.want {
			t.Errorf("%s: WeakerThan = %t, want %t", tt.name, got, tt.want)
		}
	}
	if (Stored{}).Matches(nil) {
		t.Error("the zero value matches")
	}
}

func TestPasswordFileHoldsForeignHashes(t *testing.T) {
	const file = "a:$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e\n" +
		"b:TUh5SWZlWmRNNzJQeXU0UkF2QmVKZXBBWFl6VU1Jc28=:gDR4bZ8kABBEL0WBflf09IMJahRlb1KGL2wJydlyWElfIu1F65SSU+RZZpjzy+vT4dDPJxiBSHM07wr56+bKsA==\n"
	a, err := parseAccounts("passwd", []byte(file), Limits{}.withDefaults())
	if err != nil || a.Len() != 2 {
		t.Fatalf("%v", err)
	}
	for user, password := range map[string]string{"a": "correct horse", "b": "pass1"} {
		if h := a.byName[user]; !h.matches([]byte(password)) {
			t.Errorf("%s can't log in", user)
		}
	}
	if a.dearest.algorithm != Bcrypt {
		t.Errorf("the dearest is %s", a.dearest.algorithm)
	}
}
