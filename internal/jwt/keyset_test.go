package jwt

import (
	"fmt"
	"strings"
	"testing"
)

// many are keys of HS256; the one numbered last is the world's.
func many(t *testing.T, w *world, n int, id func(i int) string) []Key {
	t.Helper()
	var all []Key
	for i := range n {
		value := []byte(fmt.Sprintf("%064d", i))
		if i == n-1 {
			value = w.secret
		}
		k, err := SecretKey(value, id(i), HS256)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, k)
	}
	return all
}

// TestKid: a kid excludes keys that are called something else, and at most eight keys
// are tried.
func TestKid(t *testing.T) {
	w := newWorld(t)
	number := func(i int) string { return fmt.Sprint(i) }
	same := func(int) string { return "same" }
	none := func(int) string { return "" }
	for _, c := range []struct {
		name   string
		n      int
		id     func(int) string
		header string
		want   Reason
	}{
		{"by name of many", 100, number, `{"alg":"HS256","kid":"99"}`, ""},
		{"the name of another", 100, number, `{"alg":"HS256","kid":"98"}`, BadSignature},
		{"no name, of eight", 8, number, `{"alg":"HS256"}`, ""},
		{"no name, of nine", 9, number, `{"alg":"HS256"}`, UnknownKey},
		{"the same name", 8, same, `{"alg":"HS256","kid":"same"}`, ""},
		{"keys without a name", 8, none, `{"alg":"HS256","kid":"any"}`, ""},
		{"nine without a name", 9, none, `{"alg":"HS256","kid":"any"}`, UnknownKey},
	} {
		set, err := NewKeySet(many(t, w, c.n, c.id)...)
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.verify(t, w.hs(c.header, good), nil, func(o *Options) { o.Keys = set })
		if reason(err) != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for name, all := range map[string][]Key{
		"none": nil, "nine of a name": many(t, w, 9, same), "too many": many(t, w, MaxKeys+1, number), "zero": {{}},
	} {
		if _, err := NewKeySet(all...); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestAKeyThatLeft(t *testing.T) {
	w := newWorld(t)
	got, err := w.verify(t, w.hs(hsHeader, good), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.KeyID != "hs" || !w.o.Keys.Has(got.Thumbprint) {
		t.Errorf("%+v", got)
	}
	rest, err := NewKeySet(w.o.Keys.Keys()[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	if rest.Has(got.Thumbprint) || rest.Has(Thumbprint{}) {
		t.Error("a key that left is there")
	}
}

// TestOnlyWhatIsSignedIsJudged: without a key nobody learns what the claims lack.
func TestOnlyWhatIsSignedIsJudged(t *testing.T) {
	w := newWorld(t)
	for _, claims := range []string{"{", `{"a":1,"a":2}`, `{}`, strings.Replace(good, "1800000600", "1", 1)} {
		if _, err := w.verify(t, mac([]byte("other"), hsHeader, claims), nil); reason(err) != BadSignature {
			t.Errorf("%s: %v", claims, err)
		}
	}
}

// TestErrorsHoldNothingOfTheToken, whatever is wrong with it.
func TestErrorsHoldNothingOfTheToken(t *testing.T) {
	w := newWorld(t)
	const mark = "zzmark"
	for _, token := range []string{
		mark, mark + "." + mark + "." + mark, mark + "!.e30.e30",
		w.hs(`{"alg":"`+mark+`"}`, good), w.hs(`{"alg":"HS256","kid":"`+mark+`"}`, good), w.hs(`{"alg":"HS256","typ":"`+mark+`"}`, good),
		w.hs(`{"alg":"HS256","crit":["`+mark+`"]}`, good), w.hs(hsHeader, mark), w.hs(hsHeader, `{"`+mark+`":1,"`+mark+`":1}`),
		w.hs(hsHeader, `{"iss":"`+mark+`"}`), w.hs(hsHeader, `{"iss":"issuer","aud":"`+mark+`"}`), w.hs(hsHeader, `{"exp":"`+mark+`"}`),
		w.hs(hsHeader, `{"cnf":{"`+mark+`":1}}`),
	} {
		_, err := w.verify(t, token, nil)
		if err == nil || reason(err) == "" || strings.Contains(err.Error(), mark) {
			t.Errorf("%v", err)
		}
	}
}
