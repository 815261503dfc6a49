package acme

import (
	"crypto"
	"crypto/x509"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// endless is a body without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func (endless) Close() error { return nil }

// stuck is a body that never comes.
type stuck struct{ r *http.Request }

func (s stuck) Read([]byte) (int, error) {
	<-s.r.Context().Done()
	return 0, s.r.Context().Err()
}

func (stuck) Close() error { return nil }

func answer(body io.ReadCloser) func(*http.Request, []byte) *http.Response {
	return func(*http.Request, []byte) *http.Response {
		res := say(200, "")
		res.Header.Set("Replay-Nonce", "one")
		res.Body, res.ContentLength = body, -1
		return res
	}
}

func TestAnswersThatNoServerShouldGive(t *testing.T) {
	said := func(path string, res func() *http.Response) func(*fake) {
		return func(f *fake) {
			f.answers[path] = func(*http.Request, []byte) *http.Response {
				r := res()
				r.Header.Set("Replay-Nonce", "one")
				return r
			}
		}
	}
	as := func(kind string, status int, body string) func() *http.Response {
		return func() *http.Response {
			r := say(status, "%s", body)
			r.Header.Set("Content-Type", kind)
			return r
		}
	}
	const pem, json = "application/pem-certificate-chain", "application/json"
	leaf := func(change func(*x509.Certificate)) func(*fake) {
		return func(f *fake) {
			f.leaf = func(c *x509.Certificate, public crypto.PublicKey) (*x509.Certificate, crypto.PublicKey) {
				change(c)
				return c, public
			}
		}
	}
	for _, c := range []struct {
		name  string
		spoil func(*fake)
		want  string // within the error
	}{
		{"the directory is without end", func(f *fake) { f.answers["/dir"] = answer(endless{}) }, "longer than 262144 bytes"},
		{"an error is without end", func(f *fake) {
			f.answers["/order"] = func(*http.Request, []byte) *http.Response {
				res := refuse(400, "malformed", "")
				res.Body = endless{}
				return res
			}
		}, "order: "},
		{"the certificate is without end", func(f *fake) {
			f.answers["/cert"] = func(*http.Request, []byte) *http.Response {
				res := as(pem, 200, "")()
				res.Body, res.ContentLength = endless{}, -1
				return res
			}
		}, "longer than 262144 bytes"},
		{"the directory never comes", func(f *fake) {
			f.answers["/dir"] = func(r *http.Request, _ []byte) *http.Response {
				res := say(200, "")
				res.Body, res.ContentLength = stuck{r}, -1
				return res
			}
		}, "the server does not answer in time: account: directory"},
		{"the answer is a web page", said("/dir", as("text/html", 200, "<html>log in")), `the answer is \"text/html\", as no ACME server's is`},
		{"the directory is no JSON", said("/dir", as(json, 200, "hello")), "directory: invalid character"},
		{"the directory is empty", said("/dir", as(json, 200, "{}")), "does not support the RFC 8555"},
		{"a redirection", func(f *fake) {
			f.answers["/dir"] = func(r *http.Request, _ []byte) *http.Response {
				res := say(302, "")
				res.Header.Set("Location", "https://elsewhere.example/")
				res.Request = r
				return res
			}
		}, "the server redirects"},
		{"a URL without TLS", said("/dir", as(json, 200, `{"newNonce":"https://acme.example/nonce","newAccount":"https://acme.example/account","newOrder":"http://acme.example/order"}`)), "not https"},
		{"an account without a place", func(f *fake) {
			f.answers["/account"] = func(*http.Request, []byte) *http.Response { return say(201, `{"status":"valid"}`) }
		}, "does not say where the account is"},
		{"an order without a place", said("/order", as(json, 201, `{"status":"pending"}`)), "does not say where it is"},
		{"an order with a thousand authorizations", func(f *fake) {
			f.answers["/order"] = func(*http.Request, []byte) *http.Response {
				res := say(201, `{"status":"pending","finalize":"https://acme.example/finalize","authorizations":["%s"]}`, strings.Repeat(`https://acme.example/authz/0","`, 1000))
				res.Header.Set("Location", "https://acme.example/order/1")
				res.Header.Set("Replay-Nonce", "one")
				return res
			}
		}, "1001 authorizations are asked for 1 domains"},
		{"an order that never comes on", said("/order/1", as(json, 200, `{"status":"pending"}`)), "did not come to an end within 10m0s"},
		{"an order that can't be", said("/order/1", as(json, 200, `{"status":"invalid","error":{"type":"urn:ietf:params:acme:error:caa","detail":"forbidden by CAA"}}`)), "caa: the order is invalid: forbidden by CAA"},
		{"an authorization for another name", said("/authz/0", as(json, 200, `{"status":"pending","identifier":{"type":"dns","value":"other.example"}}`)), `asks for \"other.example\", which was not ordered`},
		{"an authorization for an address", said("/authz/0", as(json, 200, `{"status":"pending","identifier":{"type":"ip","value":"mqtt.example.org"}}`)), "which was not ordered"},
		{"an authorization that was revoked", said("/authz/0", as(json, 200, `{"status":"revoked","identifier":{"type":"dns","value":"mqtt.example.org"}}`)), `is \"revoked\"`},
		{"another challenge only", said("/authz/0", as(json, 200, `{"status":"pending","identifier":{"type":"dns","value":"mqtt.example.org"},"challenges":[{"type":"dns-01","url":"https://acme.example/challenge/0","token":"a"}]}`)), "does not offer tls-alpn-01"},
		{"a token that climbs", said("/authz/0", as(json, 200, `{"status":"pending","identifier":{"type":"dns","value":"mqtt.example.org"},"challenges":[{"type":"tls-alpn-01","url":"https://acme.example/challenge/0","token":"../../etc"}]}`)), "token is not base64url"},
		{"a challenge that failed", func(f *fake) {
			f.answers["/authz/0"] = func(*http.Request, []byte) *http.Response {
				if !f.accepted["/authz/0"] {
					return nil
				}
				res := say(200, `{"status":"invalid","identifier":{"type":"dns","value":"mqtt.example.org"},"challenges":[{"type":"tls-alpn-01","url":"https://acme.example/challenge/0","status":"invalid",
					"error":{"type":"urn:ietf:params:acme:error:connection","detail":"192.0.2.1: Connection refused"}}]}`)
				res.Header.Set("Replay-Nonce", "one")
				return res
			}
		}, "connection: mqtt.example.org was not shown to be ours: 192.0.2.1: Connection refused"},
		{"no certificate", said("/cert", as(pem, 200, "hello")), "chain is empty"},
		{"a key among the certificates", said("/cert", as(pem, 200, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")), "invalid PEM cert type"},
		{"a certificate of nonsense", said("/cert", as(pem, 200, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")), "certificate 1 of the chain"},
		{"a certificate twice", func(f *fake) {
			f.answers["/cert"] = func(*http.Request, []byte) *http.Response {
				leaf, _, _ := strings.Cut(string(f.chain), "-----END")
				leaf += "-----END CERTIFICATE-----\n"
				return as(pem, 200, leaf+leaf)()
			}
		}, "certificate 2 of the chain did not issue the one before it"},
		{"a certificate for another key", func(f *fake) {
			f.leaf = func(c *x509.Certificate, _ crypto.PublicKey) (*x509.Certificate, crypto.PublicKey) {
				return c, mustKey(f.t).Public()
			}
		}, "for another key"},
		{"a certificate for another name", leaf(func(c *x509.Certificate) { c.DNSNames = []string{"other.example"} }), "not for mqtt.example.org"},
		{"a certificate that has ended", leaf(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = c.NotBefore.Add(-day), c.NotBefore.Add(-time.Hour)
		}), "has ended on"},
		{"a certificate of tomorrow", leaf(func(c *x509.Certificate) { c.NotBefore = c.NotBefore.Add(day) }), "begins on 2000-01-02T"},
		{"a certificate for clients", leaf(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), "not for servers"},
		{"a certificate of a CA", leaf(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), "is a CA's"},
		{"a nonce that is never right", said("/order", func() *http.Response { return refuse(400, "badNonce", "not that one") }), "badNonce: order: not that one"},
		{"new terms", said("/order", as("application/problem+json", 403, `{"type":"urn:ietf:params:acme:error:userActionRequired","detail":"terms have changed","instance":"https://acme.example/terms\u0007"}`)), "terms have changed; see https://acme.example/terms?"},
		{"very many words", said("/order", as("application/problem+json", 400, `{"type":"urn:ietf:params:acme:error:compound","detail":"`+strings.Repeat("w", 100_000)+`"}`)), "compound: order: " + strings.Repeat("w", 300) + "..."},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				c.spoil(f)
				l := &logged{}
				o := options(t, f)
				o.Log = l.logger()
				k := begin(t, o)
				defer k.Close()
				pass(attemptTimeout + time.Second)
				s := k.State()
				if present(t, k) != nil || s.Failures == 0 {
					t.Fatalf("it was taken: %+v", s)
				}
				if got := strings.ReplaceAll(s.LastError, `"`, `\"`); !strings.Contains(got, c.want) || len(got) > maxLine+maxText {
					t.Errorf("error %s, want %s", got, c.want)
				}
				if n := strings.Count(l.String(), "no certificate was issued"); n != s.Failures {
					t.Errorf("%d lines in the log for %d failures", n, s.Failures)
				}
				if n := f.count("POST /order/1"); n > 2000 {
					t.Errorf("the order was asked for %d times", n)
				}
				k.pending.mu.Lock()
				if len(k.pending.certs) > 0 {
					t.Error("a challenge is still answered")
				}
				k.pending.mu.Unlock()
			})
		})
	}
}

// While it waits for the server the library obeys Retry-After, also one that lies in the past.
func TestTheServerDoesNotSetThePaceAlone(t *testing.T) {
	for _, c := range []struct {
		header    string
		polls, to int
	}{
		{"-1000", 500, 602},
		{"0", 500, 602},
		{"Mon, 02 Jan 2006 15:04:05 GMT", 10, 602},
		{"99999999", 15, 25},
		{"x", 500, 602},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t)
			f.answers["/order/1"] = func(*http.Request, []byte) *http.Response {
				res := say(200, `{"status":"processing"}`)
				res.Header.Set("Replay-Nonce", "one")
				res.Header.Set("Retry-After", c.header)
				return res
			}
			k := begin(t, options(t, f))
			pass(attemptTimeout + time.Second)
			k.Close()
			if n := f.count("POST /order/1"); n < c.polls || n > c.to {
				t.Errorf("Retry-After: %s: asked %d times in %v, want %d to %d", c.header, n, attemptTimeout, c.polls, c.to)
			}
		})
	}
}

func TestAnAccountThatTheServerForgotIsRegisteredAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.answers["/order"] = func(*http.Request, []byte) *http.Response {
			if f.count("POST /account") == 1 {
				return refuse(400, "accountDoesNotExist", "who?")
			}
			return nil
		}
		k := begin(t, options(t, f))
		defer k.Close()
		pass(firstPause * 2)
		if present(t, k) == nil || f.count("POST /account") != 2 {
			t.Errorf("%d registrations; %+v", f.count("POST /account"), k.State())
		}
	})
}

func TestAnAccountThatWasRevokedIsNotReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.answers["/order"] = func(*http.Request, []byte) *http.Response {
			return refuse(403, "unauthorized", "account is deactivated")
		}
		k := begin(t, options(t, f))
		defer k.Close()
		pass(time.Hour)
		if n := f.count("POST /account"); n != 1 {
			t.Errorf("%d accounts were registered, want 1", n)
		}
		if e := k.State().LastError; !strings.Contains(e, "account.json") || !strings.Contains(e, "account is deactivated") {
			t.Errorf("error %q does not say what to do", e)
		}
	})
}

func TestTheEmailOfAnAccountIsChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		o := options(t, f)
		o.Email = "old@example.org"
		k := begin(t, o)
		pass(time.Minute)
		k.Close()
		o.Email = "new@example.org"
		k = begin(t, o)
		defer k.Close()
		for range 2 {
			k.Renew()
			pass(time.Minute)
		}
		if p := f.payload("/account/1"); !strings.Contains(p, "mailto:new@example.org") || f.count("POST /account/1") != 1 {
			t.Errorf("the account was changed %d times, last to %s", f.count("POST /account/1"), p)
		}
	})
}

func TestAnExternalAccountIsBoundAndItsKeyToldToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const key = "c2VjcmV0IHNlY3JldCBzZWNyZXQ"
		mac, err := DecodeKey([]byte(key + "\n"))
		if err != nil || string(mac) != "secret secret secret" {
			t.Fatalf("key %q, %v", mac, err)
		}
		f := newFake(t)
		l := &logged{}
		o := options(t, f)
		o.ExternalAccount = &ExternalAccount{KeyID: "kid-1", Key: mac}
		o.Log = l.logger()
		k := begin(t, o)
		defer k.Close()
		pass(time.Minute)
		if p := f.payload("/account"); !strings.Contains(p, "externalAccountBinding") || strings.Contains(p, key) {
			t.Errorf("registered with %s", p)
		}
		if strings.Contains(l.String(), "secret") || present(t, k) == nil {
			t.Errorf("%+v; log:\n%s", k.State(), l)
		}
		for _, bad := range []string{"", "c2hvcnQ", "not base64url!", key + "*"} {
			if _, err := DecodeKey([]byte(bad)); err == nil || bad != "" && strings.Contains(err.Error(), bad) {
				t.Errorf("DecodeKey(%q) = %v", bad, err)
			}
		}
	})
}
