package jwt

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"
)

// The examples of RFC 7515 A.1 to A.3: the claims are the same, with another key each.
const (
	claims7515 = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"

	keyA1   = `{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}`
	tokenA1 = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." + claims7515 + ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

	keyA2 = `{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yR` +
		`T-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xs` +
		`mtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}`
	tokenA2 = "eyJhbGciOiJSUzI1NiJ9." + claims7515 + ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7" +
		"AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4" +
		"BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K" +
		"0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqv" +
		"hJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrB" +
		"p0igcN_IoypGlUPQGe77Rw"

	keyA3 = `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",` +
		`"y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`
	tokenA3 = "eyJhbGciOiJFUzI1NiJ9." + claims7515 + ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
)

// keys reads a JWKS or JWK of a test.
func keys(t testing.TB, text string) *KeySet {
	t.Helper()
	all, warnings, err := ParseJWKS([]byte(text))
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%v %q", err, warnings)
	}
	set, err := NewKeySet(all...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func at(second int64) func() time.Time {
	return func() time.Time { return time.Unix(second, 0) }
}

func reason(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ""
}

func TestExamplesOfRFC7515(t *testing.T) {
	for name, c := range map[string]struct {
		key, token string
		alg        Algorithm
	}{
		"A.1": {keyA1, tokenA1, HS256},
		"A.2": {keyA2, tokenA2, RS256},
		"A.3": {keyA3, tokenA3, ES256},
	} {
		o := Options{Keys: keys(t, c.key), Issuers: []string{"joe"}, NoAudience: true, Now: at(1300819379)}
		v, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		got, err := v.Verify([]byte(c.token), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Issuer != "joe" || got.Claims["http://example.com/is_root"] != true || got.Expires.Unix() != 1300819380 ||
			got.Algorithm != c.alg || !o.Keys.Has(got.Thumbprint) {
			t.Errorf("%s: %+v", name, got)
		}
		o.Now = at(1300819380)
		if v, err = New(o); err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify([]byte(c.token), nil); reason(err) != Expired {
			t.Errorf("%s: at the second of exp: %v", name, err)
		}
		for i := range c.token {
			other := []byte(c.token)
			other[i] ^= 1
			if _, err := v.Verify(other, nil); err == nil || reason(err) == Expired {
				t.Fatalf("%s: sign %d changed: %v", name, i, err)
			}
		}
	}
}

// TestExampleOfRFC8037: A.4 signs a text, which is no JWT; the signature is right.
func TestExampleOfRFC8037(t *testing.T) {
	set := keys(t, `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`)
	const token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc." +
		"hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
	v, err := New(Options{Keys: set, NoIssuer: true, NoAudience: true, NoExpiry: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify([]byte(token), nil); reason(err) != Malformed || !strings.Contains(err.Error(), "not JSON") {
		t.Errorf("the example: %v", err)
	}
	if _, err := v.Verify([]byte(token[:len(token)-2]+"Bg"), nil); reason(err) != BadSignature {
		t.Errorf("another signature: %v", err)
	}
}

// TestThumbprints are those of RFC 7638 3.1 and RFC 8037 A.3.
func TestThumbprints(t *testing.T) {
	const n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs" +
		"tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	for key, want := range map[string]string{
		`{"kty":"RSA","e":"AQAB","alg":"RS256","kid":"2011-04-29","n":"` + n + `"}`:       "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
		`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`: "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
	} {
		got := keys(t, key).Keys()[0].Thumbprint()
		if text := base64.RawURLEncoding.EncodeToString(got[:]); text != want {
			t.Errorf("%s, want %s (%s)", text, want, hex.EncodeToString(got[:]))
		}
	}
}
