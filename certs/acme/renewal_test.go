package acme

import (
	"crypto/x509"
	"encoding/hex"
	"math/big"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The example of RFC 9773, 4.1.
func TestCertID(t *testing.T) {
	key, err := hex.DecodeString("69885B6B87464041E1B37B847BA0AE2CDE01C8D4")
	if err != nil {
		t.Fatal(err)
	}
	got := certID(&x509.Certificate{AuthorityKeyId: key, SerialNumber: big.NewInt(0x87654321)})
	if want := "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"; got != want {
		t.Errorf("certID is %s, want %s", got, want)
	}
}

// advises makes f answer with a window, relative to the beginning of the test.
func advises(f *fake, answer func(id string) *http.Response) {
	f.answers["/dir"] = func(*http.Request, []byte) *http.Response {
		return say(200, `{"newNonce":"%[1]s/nonce","newAccount":"%[1]s/account","newOrder":"%[1]s/order","renewalInfo":"%[1]s/renewal"}`, fakeHost)
	}
	f.other = func(path string) *http.Response {
		if id, ok := strings.CutPrefix(path, "/renewal/"); ok {
			return answer(id)
		}
		return nil
	}
}

func TestTheServerCanAskForAnEarlyRenewal(t *testing.T) {
	for _, c := range []struct {
		name       string
		start, end time.Duration // since the beginning
		from, to   time.Duration // of the second order
	}{
		{"now, since the certificate is revoked", -2 * day, -day, usualAsk, usualAsk + time.Minute},
		{"within days", 10 * day, 12 * day, 10 * day, 12 * day},
		{"later than we would", 80 * day, 85 * day, 58 * day, 60*day + time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				began := time.Now()
				var asked atomic.Int32
				advises(f, func(string) *http.Response {
					if asked.Add(1); len(f.orders) > 1 {
						return say(404, "")
					}
					return say(200, `{"suggestedWindow":{"start":"%s","end":"%s"},"explanationURL":"https://acme.example/why"}`, stamp(began.Add(c.start)), stamp(began.Add(c.end)))
				})
				k := begin(t, options(t, f))
				defer k.Close()
				pass(62 * day)
				orders := f.ordered()
				if len(orders) < 2 {
					t.Fatalf("%d orders; %d questions", len(orders), asked.Load())
				}
				if got := orders[1].Sub(began); got < c.from || got > c.to {
					t.Errorf("renewed after %v, want %v to %v", got, c.from, c.to)
				}
				if asked.Load() > 62*4+1 {
					t.Errorf("%d questions in 62 days, want one in six hours", asked.Load())
				}
			})
		})
	}
}

func TestNothingDependsOnWhenTheServerWouldRenew(t *testing.T) {
	header := func(value string) func(string) *http.Response {
		return func(string) *http.Response {
			res := say(503, "{}")
			res.Header.Set("Retry-After", value)
			return res
		}
	}
	for _, c := range []struct {
		name   string
		answer func(string) *http.Response
		least  int // questions in 50 days
		most   int
	}{
		{"rubbish", func(string) *http.Response { return say(200, "no") }, 190, 200},
		{"no window", func(string) *http.Response { return say(200, "{}") }, 190, 200},
		{"a window that ends before it begins", func(string) *http.Response {
			return say(200, `{"suggestedWindow":{"start":"2000-01-02T00:00:00Z","end":"2000-01-01T00:00:00Z"}}`)
		}, 190, 200},
		{"without end", func(string) *http.Response {
			res := say(200, "")
			res.Body, res.ContentLength = endless{}, -1
			return res
		}, 190, 200},
		{"ask at once", header("1"), 1100, 1200},
		{"ask never", header("99999999999"), 45, 51},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				var asked atomic.Int32
				advises(f, func(id string) *http.Response { asked.Add(1); return c.answer(id) })
				k := begin(t, options(t, f))
				defer k.Close()
				pass(50 * day)
				if n := len(f.ordered()); n != 1 || present(t, k) == nil || k.State().Failures > 0 {
					t.Errorf("%d orders in 50 days, want 1; %+v", n, k.State())
				}
				if n := int(asked.Load()); n < c.least || n > c.most {
					t.Errorf("%d questions in 50 days, want %d to %d", n, c.least, c.most)
				}
			})
		})
	}
}

// A server that calls each certificate due is obeyed a few times a day.
func TestRenewalsThatTheServerAsksForHaveABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		advises(f, func(string) *http.Response {
			return say(200, `{"suggestedWindow":{"start":"1999-01-01T00:00:00Z","end":"1999-01-02T00:00:00Z"}}`)
		})
		k := begin(t, options(t, f))
		defer k.Close()
		pass(10 * day)
		if n := len(f.ordered()); n < 30 || n > 41 {
			t.Errorf("%d orders in ten days, want four a day", n)
		}
	})
}

// FuzzWindow reads answers of a server: a time that is chosen lies within the window.
func FuzzWindow(f *testing.F) {
	f.Add([]byte(`{"suggestedWindow":{"start":"2026-01-02T00:00:00Z","end":"2026-01-03T00:00:00Z"},"explanationURL":"https://a.example"}`))
	f.Add([]byte(`{"suggestedWindow":{"start":"0001-01-02T00:00:00Z","end":"9999-12-31T23:59:59Z"}}`))
	f.Add([]byte(`{"suggestedWindow":{"end":"2026-01-03T00:00:00Z"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		w, err := parseWindow(data)
		if err != nil {
			return
		}
		if at := w.choose(); at.Before(w.start) || at.After(w.end) {
			t.Errorf("%v is not within %v and %v", at, w.start, w.end)
		}
	})
}
