package jwt

import (
	"encoding/pem"
	"slices"
	"testing"
)

// FuzzVerify: the header and the claims are whatever comes, signed as a header of
// HS256 would have it. What passes is what was asked for.
func FuzzVerify(f *testing.F) {
	w := newWorld(f)
	v, err := New(w.o)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(hsHeader), []byte(good), []byte(tokenA1))
	f.Add([]byte(`{"alg":"none","crit":["b64"],"jwk":{},"cty":"JWT"}`), []byte(`{"exp":1e3,"aud":[""],"cnf":{"x5t#S256":""}}`), []byte("..."))
	f.Add([]byte(`{"alg":"HS256","alg":"HS256"}`), []byte(`{"\u0065xp":-1,"a":[[[{}]]],"b":"\ud800"}`), []byte(tokenA3+"="))
	f.Fuzz(func(t *testing.T, header, claims, token []byte) {
		if got, err := v.Verify(token, nil); got != nil || reason(err) == "" {
			t.Errorf("a token that nobody signed: %v", err)
		}
		got, err := v.Verify([]byte(w.hs(string(header), string(claims))), nil)
		if err != nil {
			if got != nil || reason(err) == "" {
				t.Errorf("%+v and %v", got, err)
			}
			return
		}
		if got.Algorithm != HS256 || got.Issuer != "issuer" || !slices.ContainsFunc(got.Audience, func(a string) bool { return a == "broker" || a == "mqtt" }) ||
			got.Expires.Unix() < now || got.NotBefore.Unix() > now || got.Certificate != nil || got.Claims["iss"] != "issuer" {
			t.Errorf("%+v", got)
		}
	})
}

// FuzzParseJWKS: a key that is accepted has algorithms of one kind, and a set of it
// verifies without a panic.
func FuzzParseJWKS(f *testing.F) {
	for _, jwk := range []string{keyA1, keyA2, keyA3, keyEd, `{"keys":[` + keyA1 + `,` + keyA3 + `]}`, with(keyA3, `"use":"enc","d":""`), `{"keys":[{"kty":"x"}]}`} {
		f.Add([]byte(jwk))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		all, warnings, err := ParseJWKS(data)
		if err != nil && (all != nil || warnings != nil) {
			t.Errorf("%v %q and %v", all, warnings, err)
		}
		useAll(t, all)
	})
}

// FuzzParsePEM is the same for PEM.
func FuzzParsePEM(f *testing.F) {
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n"), "a")
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("0")}), "")
	f.Fuzz(func(t *testing.T, data []byte, id string) {
		all, err := ParsePEM(data, id)
		if err != nil && all != nil || err == nil && len(all) == 0 {
			t.Errorf("%v and %v", all, err)
		}
		useAll(t, all)
	})
}

// useAll holds keys to what every key is.
func useAll(t *testing.T, all []Key) {
	for _, k := range all {
		if len(k.Algorithms()) == 0 || k.Thumbprint() == (Thumbprint{}) {
			t.Errorf("%v can do %q", k, k.Algorithms())
		}
		for _, a := range k.Algorithms() {
			if !a.Known() || verifySignature(a, k.material, []byte("a"), make([]byte, 64)) {
				t.Errorf("%v: %q", k, a)
			}
		}
	}
}
