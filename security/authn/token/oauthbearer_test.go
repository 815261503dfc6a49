package token

import (
	"context"
	"errors"
	"strings"
	"testing"

	"sallyport/internal/jwt"
	"sallyport/security/authn"
)

// begin starts an exchange of a client that presents c beside it.
func begin(t *testing.T, a *Authenticator, c *authn.Credentials) authn.Exchange {
	t.Helper()
	c.AuthMethod = OAUTHBEARER
	x, err := a.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestOAUTHBEARER(t *testing.T) {
	a := member(t, nil)
	if !a.Serves("OAUTHBEARER") || a.Serves("oauthbearer") || a.Serves("") {
		t.Error("the method is not served by its name")
	}
	good := tokenOf()
	for _, data := range []string{
		"n,,\x01auth=Bearer " + good + "\x01\x01",
		"y,,\x01auth=bearer " + good + "\x01\x01",
		"n,a=pump,\x01host=broker.example.org\x01port=8883\x01auth=Bearer " + good + "\x01\x01",
		"n,,\x01later=what comes later\x01auth=Bearer " + good + "\x01\x01",
	} {
		reply, p, err := begin(t, a, withToken("")).Next(context.Background(), []byte(data))
		if err != nil || p == nil || p.Name != "pump" || reply != nil {
			t.Errorf("%q: %q, %v, %v", data[:12], reply, p, err)
		}
	}
	// A name with what has a meaning in the header (RFC 5801 4).
	odd := sign(privateA, headerA(), claims("sub", "a,b=c"))
	if _, p, err := begin(t, a, withToken("")).Next(context.Background(), []byte("n,a=a=2Cb=3Dc,\x01auth=Bearer "+odd+"\x01\x01")); err != nil || p.Name != "a,b=c" {
		t.Errorf("an escaped name: %v, %v", p, err)
	}
	if a := member(t, func(o *Options) { o.NoOAUTHBEARER = true }); a.Serves(OAUTHBEARER) {
		t.Error("it is served where it is off")
	} else if _, err := a.Start(&authn.Credentials{AuthMethod: OAUTHBEARER}); err == nil {
		t.Error("it is started where it is off")
	}
}

// A token that is refused: the client is told so in the words of RFC 7628, whatever the
// reason, answers, and is refused. There is no third step.
func TestOAUTHBEARERRefuses(t *testing.T) {
	good := tokenOf()
	for _, tt := range []struct{ name, header, token, user, want string }{
		{"another name", "n,,", good, "root", "user name"},
		{"another authorization identity", "n,a=root,", good, "", "authorization identity"},
		{"a bad token", "n,,", tokenOf("aud", "web"), "", "audience"},
		{"no token of ours", "n,,", tokenOf("iss", "c")[1:], "", "no token of an issuer or key of ours"},
		{"a password", "n,,", "secret", "", "no token of an issuer or key of ours"},
		{"a long one", "n,,", good + strings.Repeat("y", jwt.MaxToken-len(good)+1), "", "longer than"},
	} {
		c := withToken("")
		c.HasUsername, c.Username = tt.user != "", tt.user
		x := begin(t, member(t, nil), c)
		reply, p, err := x.Next(context.Background(), []byte(tt.header+"\x01auth=Bearer "+tt.token+"\x01\x01"))
		if err != nil || p != nil || string(reply) != invalidToken {
			t.Errorf("%s: %q, %v, %v", tt.name, reply, p, err)
			continue
		}
		reply, p, err = x.Next(context.Background(), []byte(kvsep))
		if !isRefused(err) || reply != nil || p != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %q, %v, %v, want %q", tt.name, reply, p, err, tt.want)
			continue
		}
		noneOf(t, tt.name, err.Error(), tt.token)
		if _, p, err := x.Next(context.Background(), []byte("n,,\x01auth=Bearer "+good+"\x01\x01")); err == nil || p != nil {
			t.Errorf("%s: a third step: %v, %v", tt.name, p, err)
		}
	}
	x := begin(t, member(t, nil), withToken(""))
	if _, _, err := x.Next(context.Background(), []byte("n,,\x01auth=Bearer "+good+"\x01\x01")); err != nil {
		t.Fatal(err)
	}
	if _, p, err := x.Next(context.Background(), []byte("n,,\x01auth=Bearer "+good+"\x01\x01")); err == nil {
		t.Errorf("an exchange that has succeeded goes on: %v", p)
	}
}

// What has not the form is refused at once.
func TestMessagesThatAreNone(t *testing.T) {
	auth := "auth=Bearer x.y.z\x01"
	for name, data := range map[string]string{
		"empty":                      "",
		"the answer to a failure":    "\x01",
		"no pairs":                   "n,,",
		"nothing in it":              "n,,\x01\x01",
		"no end":                     "n,,\x01" + auth,
		"cut off":                    "n,,\x01auth=Bearer x.y.z",
		"something after the end":    "n,,\x01" + auth + "\x01x",
		"channel binding":            "p=tls-exporter,,\x01" + auth + "\x01",
		"a nonstandard flag":         "F,n,,\x01" + auth + "\x01",
		"half a header":              "n,\x01" + auth + "\x01",
		"a header that goes on":      "n,,x\x01" + auth + "\x01",
		"an identity without a=":     "n,pump,\x01" + auth + "\x01",
		"an empty identity":          "n,a=,\x01" + auth + "\x01",
		"an identity with =":         "n,a=x=y,\x01" + auth + "\x01",
		"another scheme":             "n,,\x01auth=Basic x.y.z\x01\x01",
		"no scheme":                  "n,,\x01auth=x.y.z\x01\x01",
		"no token":                   "n,,\x01auth=Bearer \x01\x01",
		"auth twice":                 "n,,\x01" + auth + auth + "\x01",
		"host twice":                 "n,,\x01host=a\x01host=b\x01" + auth + "\x01",
		"no key":                     "n,,\x01=x\x01" + auth + "\x01",
		"a key of digits":            "n,,\x01a1=x\x01" + auth + "\x01",
		"no equals sign":             "n,,\x01host\x01" + auth + "\x01",
		"an empty host":              "n,,\x01host=\x01" + auth + "\x01",
		"a host of two words":        "n,,\x01host=a b\x01" + auth + "\x01",
		"port 0":                     "n,,\x01port=0\x01" + auth + "\x01",
		"a port that is none":        "n,,\x01port=8883x\x01" + auth + "\x01",
		"a port that is too large":   "n,,\x01port=65536\x01" + auth + "\x01",
		"a control character":        "n,,\x01x=\x02\x01" + auth + "\x01",
		"what is not ASCII":          "n,,\x01x=\xc3\xa4\x01" + auth + "\x01",
		"too many pairs":             "n,,\x01" + manyPairs() + auth + "\x01",
		"too long":                   "n,,\x01x=" + strings.Repeat("y", maxMessage) + "\x01" + auth + "\x01",
		"a token without the header": "auth=Bearer x.y.z\x01\x01",
	} {
		if m, err := parseMessage([]byte(data)); err == nil {
			t.Errorf("%s is taken for %+v", name, m)
		}
		x := begin(t, member(t, nil), withToken(""))
		if reply, p, err := x.Next(context.Background(), []byte(data)); !isRefused(err) || reply != nil || p != nil || errors.Is(err, authn.ErrNotMine) {
			t.Errorf("%s: %q, %v, %v", name, reply, p, err)
		}
		if _, _, err := x.Next(context.Background(), []byte(kvsep)); err == nil {
			t.Errorf("%s: the exchange goes on", name)
		}
	}
}

func manyPairs() string {
	var b strings.Builder
	for c := range maxPairs {
		b.WriteString(string(rune('a'+c)) + "z=x\x01")
	}
	return b.String()
}

func FuzzMessage(f *testing.F) {
	f.Add([]byte("n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"))
	f.Add([]byte("n,,\x01auth=Bearer x\x01\x01"))
	f.Add([]byte("y,a=a=2Cb=3D,\x01auth=bearer x\x01x=\x01\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseMessage(data)
		if err != nil {
			return
		}
		if len(m.token) == 0 || len(m.token) > len(data) || strings.ContainsAny(string(m.token), "\x00\x01") {
			t.Errorf("token %q of %q", m.token, data)
		}
		// What it says, said again, is the same.
		id := ""
		if m.authzid != "" {
			id = "a=" + strings.NewReplacer("=", "=3D", ",", "=2C").Replace(m.authzid)
		}
		again, err := parseMessage([]byte("n," + id + ",\x01auth=Bearer " + string(m.token) + "\x01\x01"))
		if err != nil || again.authzid != m.authzid || string(again.token) != string(m.token) {
			t.Errorf("%q is %q, %v the second time", data, again, err)
		}
	})
}
