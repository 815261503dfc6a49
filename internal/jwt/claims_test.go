package jwt

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"
)

func marshalDER(r, s *big.Int) ([]byte, error) {
	return asn1.Marshal(struct{ R, S *big.Int }{r, s})
}

// TestClaims changes one claim of a good token, or one option, and names the reason;
// without one the token is good.
func TestClaims(t *testing.T) {
	w := newWorld(t)
	noExpiry := func(o *Options) { o.NoExpiry = true }
	noIssuer := func(o *Options) { o.NoIssuer, o.Issuers = true, nil }
	noAudience := func(o *Options) { o.NoAudience, o.Audiences = true, nil }
	minute := func(o *Options) { o.Skew = MaxSkew }
	hour := func(o *Options) { o.MaxAge = time.Hour }
	for _, c := range []struct {
		name, old, new string
		change         func(*Options)
		want           Reason
	}{
		{"as it is", "", "", nil, ""},
		{"no iss", `"iss":"issuer",`, "", nil, MissingClaim},
		{"no iss, not asked for", `"iss":"issuer",`, "", noIssuer, ""},
		{"iss of another", `"issuer"`, `"issuer2"`, nil, BadIssuer},
		{"iss with a slash", `"issuer"`, `"issuer/"`, nil, BadIssuer},
		{"iss in capitals", `"issuer"`, `"ISSUER"`, nil, BadIssuer},
		{"ISS", `"iss"`, `"ISS"`, nil, MissingClaim},
		{"iss is a list", `"issuer"`, `["issuer"]`, nil, Malformed},
		{"iss is null", `"issuer"`, `null`, nil, Malformed},
		{"iss is a list, not asked for", `"issuer"`, `["issuer"]`, noIssuer, Malformed},
		{"sub is a number", `"pump"`, `7`, nil, Malformed},
		{"jti is a number", `"jti":"1"`, `"jti":1`, nil, Malformed},
		{"no aud", `"aud":"broker",`, "", nil, MissingClaim},
		{"no aud, not asked for", `"aud":"broker",`, "", noAudience, ""},
		{"aud of another", `"broker"`, `"broker2"`, nil, BadAudience},
		{"aud of others", `"broker"`, `["a","b"]`, nil, BadAudience},
		{"aud in one text", `"broker"`, `"a broker"`, nil, BadAudience},
		{"aud is empty", `"broker"`, `[]`, nil, MissingClaim},
		{"aud has a number", `"broker"`, `["broker",1]`, nil, Malformed},
		{"aud is an object", `"broker"`, `{"broker":true}`, nil, Malformed},
		{"no exp", `"exp":1800000600,`, "", nil, MissingClaim},
		{"EXP", `"exp"`, `"EXP"`, nil, MissingClaim},
		{"exp and EXP", `"exp":1800000600`, `"exp":1799999000,"Exp":1800000600`, nil, Expired},
		{"no exp, not asked for", `"exp":1800000600,`, "", noExpiry, ""},
		{"exp counts, not asked for", "1800000600", "1799999999", noExpiry, Expired},
		{"exp is now", "1800000600", "1800000000", nil, Expired},
		{"exp is soon", "1800000600", "1800000000.000000001", nil, ""},
		{"exp with skew", "1800000600", "1799999941", minute, ""},
		{"exp at the end of skew", "1800000600", "1799999940", minute, Expired},
		{"exp is a text", "1800000600", `"1800000600"`, nil, Malformed},
		{"exp is null", "1800000600", `null`, nil, Malformed},
		{"exp is null, not asked for", "1800000600", `null`, noExpiry, Malformed},
		{"exp is true", "1800000600", `true`, nil, Malformed},
		{"exp is a list", "1800000600", `[1800000600]`, nil, Malformed},
		{"exp is negative", "1800000600", `-1`, nil, Malformed},
		{"exp is -0", "1800000600", `-0`, nil, Malformed},
		{"exp is 0", "1800000600", `0`, nil, Expired},
		{"exp has an exponent", "1800000600", `1.8e300`, nil, Malformed},
		{"exp has an exponent behind a fraction", "1800000600", `1800000600.0e9`, nil, Malformed},
		{"exp has an exponent behind nanoseconds", "1800000600", `1800000600.0000000000e9`, nil, Malformed},
		{"exp is in milliseconds", "1800000600", `1800000600000`, nil, Malformed},
		{"exp is 2^63", "1800000600", `9223372036854775808`, nil, Malformed},
		{"exp is 2^64 and more", "1800000600", `18446744075509551616`, nil, Malformed},
		{"exp is long", "1800000600", "1800000600." + strings.Repeat("0", 40), nil, Malformed},
		{"exp is the year 9999", "1800000600", `253402300799`, nil, ""},
		{"nbf is to come", `"nbf":1799999999`, `"nbf":1800000001`, nil, NotYetValid},
		{"nbf is now", `"nbf":1799999999`, `"nbf":1800000000`, nil, ""},
		{"nbf is to come, with skew", `"nbf":1799999999`, `"nbf":1800000060`, minute, ""},
		{"nbf is to come, after skew", `"nbf":1799999999`, `"nbf":1800000061`, minute, NotYetValid},
		{"nbf is a text", `"nbf":1799999999`, `"nbf":"1"`, nil, Malformed},
		{"iat is to come", `"iat":1799999999`, `"iat":1800000001`, nil, NotYetValid},
		{"iat is null", `"iat":1799999999`, `"iat":null`, nil, Malformed},
		{"young enough", `"iat":1799999999`, `"iat":1799996400`, hour, ""},
		{"too old", `"iat":1799999999`, `"iat":1799996399`, hour, Expired},
		{"no iat, and an age", `"iat":1799999999,`, ``, hour, MissingClaim},
		{"another type", "", "", func(o *Options) { o.Types = []string{"at+jwt"} }, BadType},
		{"the type", "", "", func(o *Options) { o.Types = []string{"jwt"} }, ""},
		{"bound to nothing", "", "", func(o *Options) { o.Bound = true }, MissingClaim},
	} {
		change := c.change
		if change == nil {
			change = func(*Options) {}
		}
		claims := strings.Replace(good, c.old, c.new, 1)
		if c.old != "" && claims == good {
			t.Fatalf("%s: nothing changed", c.name)
		}
		got, err := w.verify(t, w.hs(hsHeader, claims), nil, change)
		if reason(err) != c.want || (err == nil) != (got != nil) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestTypeAskedForAndMissing(t *testing.T) {
	w := newWorld(t)
	_, err := w.verify(t, w.hs(`{"alg":"HS256"}`, good), nil, func(o *Options) { o.Types = []string{"at+jwt"} })
	if reason(err) != BadType {
		t.Error(err)
	}
}

func TestBoundTokens(t *testing.T) {
	w := newWorld(t)
	peer, other := &x509.Certificate{Raw: []byte("the certificate")}, &x509.Certificate{Raw: []byte("another")}
	sum := sha256.Sum256(peer.Raw)
	right := fmt.Sprintf(`{"x5t#S256":"%s"}`, b64(string(sum[:])))
	for _, c := range []struct {
		name, cnf string
		peer      *x509.Certificate
		want      Reason
	}{
		{"the certificate", right, peer, ""},
		{"another", right, other, NotBound},
		{"none", right, nil, NotBound},
		{"an empty one", right, &x509.Certificate{}, NotBound},
		{"DPoP", `{"jkt":"` + b64(string(sum[:])) + `"}`, peer, NotBound},
		{"two", strings.Replace(right, "}", `,"jkt":"x"}`, 1), peer, NotBound},
		{"nothing", `{}`, peer, NotBound},
		{"X5T#S256", strings.Replace(right, "x5t", "X5T", 1), peer, NotBound},
		{"cut off", fmt.Sprintf(`{"x5t#S256":"%s"}`, b64(string(sum[:31]))), peer, Malformed},
		{"an empty hash", `{"x5t#S256":""}`, peer, Malformed},
		{"no object", `"x5t#S256"`, peer, Malformed},
		{"null", `null`, peer, Malformed},
		{"a number", `{"x5t#S256":1}`, peer, Malformed},
	} {
		token := w.hs(hsHeader, strings.Replace(good, `"jti"`, `"cnf":`+c.cnf+`,"jti"`, 1))
		for _, bound := range []bool{false, true} {
			got, err := w.verify(t, token, c.peer, func(o *Options) { o.Bound = bound })
			if reason(err) != c.want || err == nil && !reflect.DeepEqual(got.Certificate, sum[:]) {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
		}
	}
}

func TestStrings(t *testing.T) {
	w := newWorld(t)
	got, err := w.verify(t, w.hs(hsHeader, strings.Replace(good, `"jti"`,
		`"groups":["a","b"],"one":"c","n":1,"mixed":["a",1],"realm":{"roles":["d"]},"jti"`, 1)), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		want []string
	}{
		{"groups", []string{"a", "b"}}, {"one", []string{"c"}}, {"realm roles", []string{"d"}},
		{"n", nil}, {"mixed", nil}, {"realm", nil}, {"missing", nil}, {"one more", nil}, {"Groups", nil},
	} {
		all, ok := got.Strings(strings.Fields(c.path)...)
		if ok != (c.want != nil) || !reflect.DeepEqual(all, c.want) {
			t.Errorf("%s: %q %v", c.path, all, ok)
		}
	}
	if _, ok := got.Strings(); ok {
		t.Error("no path leads to texts")
	}
}

// TestOptionsRefuse: what is asked of tokens is said, and nothing twice.
func TestOptionsRefuse(t *testing.T) {
	w := newWorld(t)
	for name, change := range map[string]func(*Options){
		"zero":                   func(o *Options) { *o = Options{} },
		"no keys":                func(o *Options) { o.Keys = nil },
		"an empty set":           func(o *Options) { o.Keys = &KeySet{} },
		"no issuer":              func(o *Options) { o.Issuers = nil },
		"issuer and none":        func(o *Options) { o.NoIssuer = true },
		"an empty issuer":        func(o *Options) { o.Issuers = []string{""} },
		"no audience":            func(o *Options) { o.Audiences = nil },
		"audience and none":      func(o *Options) { o.NoAudience = true },
		"an empty audience":      func(o *Options) { o.Audiences = []string{"a", ""} },
		"an empty type":          func(o *Options) { o.Types = []string{""} },
		"a minute and more skew": func(o *Options) { o.Skew = MaxSkew + 1 },
		"negative skew":          func(o *Options) { o.Skew = -1 },
		"negative age":           func(o *Options) { o.MaxAge = -1 },
	} {
		o := w.o
		change(&o)
		if v, err := New(o); err == nil || v != nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := new(Verifier).Verify([]byte(w.hs(hsHeader, good)), nil); reason(err) != UnknownKey {
		t.Errorf("the zero value: %v", err)
	}
}
