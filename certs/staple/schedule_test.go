package staple

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	xocsp "golang.org/x/crypto/ocsp"
)

const week = 7 * 24 * time.Hour

// since returns times as how long they are after a beginning.
func since(begin time.Time, all []time.Time) string {
	var words []string
	for _, t := range all {
		words = append(words, t.Sub(begin).String())
	}
	return strings.Join(words, " ")
}

// after waits and lets everything come to rest.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestStatusIsRequestedAtStartAndInItsInterval(t *testing.T) {
	for _, c := range []struct {
		name               string
		interval, validity time.Duration
		want               string // when, in two hours and a half
	}{
		{"by default", 0, week, "0s 1h0m0s 2h0m0s"},
		{"as configured", 100 * time.Minute, week, "0s 1h40m0s"},
		{"at half of a short validity", 0, 80 * time.Minute, "0s 40m0s 1h20m0s 2h0m0s"},
		{"no next update", 0, 0, "0s 1h0m0s 2h0m0s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, Options{Interval: c.interval})
				b.says(xocsp.Good, c.validity)
				if c.validity == 0 {
					b.set(func(_ context.Context, q *xocsp.Request, _ string) ([]byte, error) {
						return b.sign(q, xocsp.Good, time.Now(), time.Time{}), nil
					})
				}
				begin := time.Now()
				s := b.add(b.ca.leaf(t, "p256", 5, nil))
				after(150*time.Minute - time.Second)
				if got := since(begin, b.take()); got != c.want {
					t.Errorf("asked at %s, want %s", got, c.want)
				}
				if s.Response(true) == nil {
					t.Error("nothing is stapled")
				}
			})
		})
	}
}

func TestAnswerThatWasSignedInAdvance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{})
		begin := time.Now()
		// Of 100 minutes 60 are gone when it is first had.
		b.set(func(_ context.Context, q *xocsp.Request, _ string) ([]byte, error) {
			return b.sign(q, xocsp.Good, begin.Add(-time.Hour), begin.Add(40*time.Minute)), nil
		})
		s := b.add(b.ca.leaf(t, "p256", 5, nil))
		after(39*time.Minute + 59*time.Second)
		// Half of what is left each time, and never sooner than a retry.
		if got, want := since(begin, b.take()), "0s 20m0s 30m0s 35m0s 37m30s 38m45s 39m22.5s 39m41.25s 39m56.25s"; got != want {
			t.Errorf("asked at %s, want %s", got, want)
		}
		if s.Response(true) == nil {
			t.Error("not stapled in its last second")
		}
		time.Sleep(time.Second)
		if s.Response(true) != nil {
			t.Error("stapled past its next update")
		}
	})
}

func TestFailingResponderIsAskedEveryRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{})
		begin := time.Now()
		s := b.add(b.ca.leaf(t, "p256", 5, nil))
		after(50 * time.Second)
		if got, want := since(begin, b.take()), "0s 15s 30s 45s"; got != want {
			t.Errorf("dead from the start: asked at %s, want %s", got, want)
		}
		b.says(xocsp.Good, week)
		after(15 * time.Second)
		if s.Response(false) == nil {
			t.Error("nothing is stapled once it answers")
		}
		after(70 * time.Minute)
		if got, want := since(begin, b.take()), "1m0s 1h1m0s"; got != want {
			t.Errorf("back in its interval: asked at %s, want %s", got, want)
		}
		// Each of these is a failure, however well the connection works.
		other := newCA(t, "p256")
		for name, handle := range map[string]func(context.Context, *xocsp.Request, string) ([]byte, error){
			"try later": func(context.Context, *xocsp.Request, string) ([]byte, error) { return xocsp.TryLaterErrorResponse, nil },
			"no OCSP":   func(context.Context, *xocsp.Request, string) ([]byte, error) { return []byte("<html>"), nil },
			"another CA": func(_ context.Context, q *xocsp.Request, _ string) ([]byte, error) {
				return (&responder{t: t, ca: other}).sign(q, xocsp.Good, time.Now(), time.Now().Add(week)), nil
			},
			"unknown": func(_ context.Context, q *xocsp.Request, _ string) ([]byte, error) {
				return b.sign(q, xocsp.Unknown, time.Now(), time.Now().Add(week)), nil
			},
			"expired within the skew": func(_ context.Context, q *xocsp.Request, _ string) ([]byte, error) {
				return b.sign(q, xocsp.Good, time.Now().Add(-time.Hour), time.Now().Add(-time.Second)), nil
			},
			"expired": func(_ context.Context, q *xocsp.Request, _ string) ([]byte, error) {
				return b.sign(q, xocsp.Good, time.Now().Add(-time.Hour), time.Now().Add(-time.Minute*10)), nil
			},
			"too old": func(_ context.Context, q *xocsp.Request, _ string) ([]byte, error) {
				return b.sign(q, xocsp.Good, time.Now().Add(-2*time.Hour), time.Time{}), nil
			},
		} {
			b.set(handle)
			err := s.Ask(t.Context())
			if err == nil {
				t.Errorf("%s: no error", name)
			}
			b.take()
			begin = time.Now()
			after(31 * time.Second)
			if got, want := since(begin, b.take()), "15s 30s"; got != want {
				t.Errorf("%s: asked at %s, want %s", name, got, want)
			}
		}
		if state := s.State(); state.FailingSince.IsZero() || state.LastError == "" || !state.Stapled {
			t.Errorf("state: %+v", state)
		}
	})
}

func TestResponseIsDroppedAfterHalfAnHourOfFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{})
		b.says(xocsp.Good, week)
		s := b.add(b.ca.leaf(t, "p256", 5, nil))
		after(59 * time.Minute)
		b.set(nil) // the first failure will be at 1h
		after(time.Minute + 30*time.Minute - time.Nanosecond)
		if s.Response(true) == nil {
			t.Error("not stapled just before half an hour has passed since the first failure")
		}
		after(time.Nanosecond)
		if s.Response(true) != nil {
			t.Error("stapled when requests have failed for half an hour")
		}
		after(15 * time.Second)
		if got := b.takeAlarms(); got != "dropped" {
			t.Errorf("alarms: %q", got)
		}
		b.take()
		after(time.Hour)
		if n := len(b.take()); n != 240 {
			t.Errorf("%d requests in the next hour, want 240", n)
		}
		if got := b.takeAlarms(); got != "" {
			t.Errorf("alarms: %q", got)
		}
		b.says(xocsp.Good, week)
		after(15 * time.Second)
		if s.Response(true) == nil {
			t.Error("not stapled when it answers again")
		}
		if text := b.log.String(); strings.Count(text, "OCSP request failed") > 12 {
			t.Errorf("the same 360 times in the log:\n%s", text)
		}
	})
}

// Between two failures, too.
func TestResponseIsDroppedAtTheMomentItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{Retry: 7 * time.Second}) // 257 of them are 29m59s
		b.says(xocsp.Good, week)
		s := b.add(b.ca.leaf(t, "p256", 5, nil))
		after(time.Minute)
		b.set(nil)
		after(59*time.Minute + 30*time.Minute - time.Nanosecond)
		if s.Response(false) == nil {
			t.Error("not stapled before its time")
		}
		after(time.Nanosecond)
		if s.Response(false) != nil || s.State().Stapled {
			t.Error("stapled when requests have failed for half an hour")
		}
	})
}

// What is cached is the newer then, and the responder lives.
func TestOlderResponseIsASuccessNevertheless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{})
		b.says(xocsp.Good, week)
		s := b.add(b.ca.leaf(t, "p256", 5, nil))
		after(time.Minute)
		b.set(nil)
		_ = s.Ask(t.Context()) // fails, which is what it is for
		begin := time.Now()
		b.set(func(_ context.Context, q *xocsp.Request, _ string) ([]byte, error) {
			return b.sign(q, xocsp.Good, begin.Add(-24*time.Hour), begin.Add(week)), nil
		})
		after(15 * time.Second)
		b.set(nil)
		after(45 * time.Minute)
		if s.Response(false) == nil {
			t.Error("dropped as if there had been no answer")
		}
	})
}

func TestSuccessBeginsTheHalfHourAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{})
		b.says(xocsp.Good, week)
		s := b.add(b.ca.leaf(t, "p256", 5, nil))
		after(time.Minute)
		for range 5 {
			b.set(nil)
			_ = s.Ask(t.Context()) // fails, which is what it is for
			after(29 * time.Minute)
			b.says(xocsp.Good, week)
			after(15 * time.Second)
			if s.Response(true) == nil {
				t.Fatal("dropped although it answered in between")
			}
			after(40 * time.Minute)
			if s.Response(true) == nil {
				t.Fatal("what a failure had shortened stayed so after a success")
			}
		}
	})
}

func TestResponseIsNeverStapledPastItsNextUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{})
		b.says(xocsp.Good, 100*time.Second)
		begin := time.Now()
		s := b.add(b.ca.leaf(t, "p256", 5, nil))
		after(time.Second)
		b.set(nil)
		after(98*time.Second + 999*time.Millisecond)
		if s.Response(false) == nil {
			t.Error("not stapled before its next update")
		}
		b.take()
		after(time.Millisecond)
		// A new connection with an expired response makes a request, asked or not.
		if s.Response(false) != nil {
			t.Error("stapled at its next update")
		}
		after(0)
		if got := since(begin, b.take()); got != "1m40s" {
			t.Errorf("asked at %s, want 1m40s", got)
		}
	})
}

func TestResponseEndsWithTheCertificateOfItsResponder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{})
		begin := time.Now()
		key := newKey(t, "p256")
		delegate := create(t, &x509.Certificate{
			SerialNumber: bigInt(9), NotAfter: begin.Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning},
		}, b.ca.cert, key.Public(), b.ca.key)
		b.set(func(_ context.Context, q *xocsp.Request, _ string) ([]byte, error) {
			return xocsp.CreateResponse(b.ca.cert, delegate, xocsp.Response{
				SerialNumber: q.SerialNumber, ThisUpdate: begin, NextUpdate: begin.Add(week), Certificate: delegate,
			}, key)
		})
		s := b.add(b.ca.leaf(t, "p256", 5, nil))
		after(29 * time.Minute)
		if state := s.State(); !state.Expires.Equal(begin.Add(time.Hour)) || !state.NextRequest.Equal(begin.Add(30*time.Minute)) || state.Age != 29*time.Minute {
			t.Errorf("state: %+v", state)
		}
		after(31 * time.Minute)
		if s.Response(false) != nil {
			t.Error("stapled when its responder's certificate had expired")
		}
	})
}

func TestConnectionAfterAClockThatWentOnGetsANewResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var ahead time.Duration
		now := func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return time.Now().Add(ahead)
		}
		b := newBench(t, Options{Now: now})
		b.set(func(_ context.Context, q *xocsp.Request, _ string) ([]byte, error) {
			return b.sign(q, xocsp.Good, now(), now().Add(week)), nil
		})
		s := b.add(b.ca.leaf(t, "p256", 5, nil))
		after(time.Second)
		old := s.Response(true)
		mu.Lock()
		ahead = 2 * week // it slept
		mu.Unlock()
		if got := s.Response(true); got == nil || bytes.Equal(got, old) {
			t.Errorf("got %d bytes, the old ones: %v", len(got), bytes.Equal(got, old))
		}
	})
}

func TestHandshakesShareOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{Jitter: time.Hour})
		b.set(func(_ context.Context, q *xocsp.Request, _ string) ([]byte, error) {
			time.Sleep(150 * time.Millisecond)
			return b.sign(q, xocsp.Good, time.Now(), time.Now().Add(week)), nil
		})
		s := b.add(b.ca.leaf(t, "p256", 5, nil))
		if s.Response(false) != nil {
			t.Error("a staple from nowhere")
		}
		after(0)
		if n := len(b.take()); n != 0 {
			t.Errorf("a client that doesn't ask made %d requests", n)
		}
		begin := time.Now()
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() {
				if s.Response(true) == nil {
					t.Error("a client that asks gets nothing")
				}
			})
		}
		group.Wait()
		if d := time.Since(begin); d != 150*time.Millisecond {
			t.Errorf("waited %v, want 150ms", d)
		}
		if n := len(b.take()); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
	})
}

func TestHandshakesWaitNoLongerThanWait(t *testing.T) {
	for _, c := range []struct{ wait, want time.Duration }{{0, 200 * time.Millisecond}, {time.Second, time.Second}, {-1, 0}} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, Options{Wait: c.wait, Jitter: time.Hour})
			b.set(func(ctx context.Context, _ *xocsp.Request, _ string) ([]byte, error) {
				<-ctx.Done() // it hangs
				return nil, ctx.Err()
			})
			s := b.add(b.ca.leaf(t, "p256", 5, nil))
			begin := time.Now()
			if s.Response(true) != nil || time.Since(begin) != c.want {
				t.Errorf("waited %v, want %v", time.Since(begin), c.want)
			}
			// The request goes on, but holds nobody any more.
			begin = time.Now()
			for range 10 {
				_ = s.Response(true) // nothing, as above
			}
			if time.Since(begin) != 0 {
				t.Errorf("a request that had its time held others for %v", time.Since(begin))
			}
			after(requestTimeout)
			if state := s.State(); state.Failures != 1 || !strings.Contains(state.LastError, "no answer in 10s") {
				t.Errorf("state: %+v", state)
			}
		})
	}
}

func TestWaitingEndsWithTheHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{Wait: time.Second, Jitter: time.Hour})
		b.set(func(ctx context.Context, _ *xocsp.Request, _ string) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		s := b.add(b.ca.leaf(t, "p256", 5, nil))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		begin := time.Now()
		if s.response(ctx, true) != nil || time.Since(begin) != 10*time.Millisecond {
			t.Errorf("waited %v", time.Since(begin))
		}
	})
}

func TestConnectionsCannotFloodAResponderThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{})
		s := b.add(b.ca.leaf(t, "p256", 5, nil))
		after(0)
		b.take()
		for range 10_000 {
			if s.Response(true) != nil {
				t.Fatal("a staple from nowhere")
			}
			time.Sleep(time.Millisecond)
		}
		if n := len(b.take()); n > 10 {
			t.Errorf("10,000 connections in 10 s made %d requests, want 10 at most", n)
		}
		// And yet one that asks has it as soon as it answers.
		b.says(xocsp.Good, week)
		time.Sleep(time.Second)
		if s.Response(true) == nil {
			t.Error("the responder answers, and a client that asks gets nothing")
		}
	})
}

func TestRevokedIsStapledAndAlarms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{})
		b.says(xocsp.Good, week)
		s := b.add(b.ca.leaf(t, "p256", 5, nil))
		after(time.Minute)
		hello := &tls.ClientHelloInfo{}
		_ = s.Certificate(hello) // makes one with what is good
		b.says(xocsp.Revoked, week)
		after(4 * time.Hour)
		if !bytes.Equal(s.Certificate(hello).OCSPStaple, s.Response(false)) {
			t.Error("a certificate still has the old response")
		}
		r, err := xocsp.ParseResponse(s.Response(false), b.ca.cert)
		if err != nil || r.Status != xocsp.Revoked {
			t.Errorf("stapled: %+v, %v", r, err)
		}
		if got := b.takeAlarms(); got != "revoked" {
			t.Errorf("alarms: %q, want one", got)
		}
		if state := s.State(); state.Status != "revoked" || !state.Stapled {
			t.Errorf("state: %+v", state)
		}
		if !strings.Contains(b.log.String(), "certificate is revoked") {
			t.Error("nothing in the log")
		}
		// An older statement, replayed, changes nothing.
		b.set(func(_ context.Context, q *xocsp.Request, _ string) ([]byte, error) {
			return b.sign(q, xocsp.Good, time.Now().Add(-24*time.Hour), time.Now().Add(week)), nil
		})
		after(2 * time.Hour)
		if r, err = xocsp.ParseResponse(s.Response(false), b.ca.cert); err != nil || r.Status != xocsp.Revoked {
			t.Errorf("after an older one: %+v, %v", r, err)
		}
		if state := s.State(); state.Status != "revoked" {
			t.Errorf("state: %+v", state)
		}
	})
}

func TestUnknownIsNotStapled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{})
		b.says(xocsp.Unknown, week)
		s := b.add(b.ca.leaf(t, "p256", 5, nil))
		after(time.Minute)
		if s.Response(true) != nil {
			t.Error("unknown is stapled")
		}
		if state := s.State(); state.Status != "unknown" || !strings.Contains(state.LastError, "doesn't know the certificate") {
			t.Errorf("state: %+v", state)
		}
	})
}

func TestMustStapleAlarmsWithoutOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{})
		s := b.add(b.ca.leaf(t, "p256", 5, mustHaveStaple))
		after(time.Minute)
		if got := b.takeAlarms(); got != "missing" {
			t.Errorf("at start: alarms %q, want one", got)
		}
		b.says(xocsp.Good, week)
		after(time.Minute)
		b.set(nil)
		after(2 * time.Hour)
		if got := b.takeAlarms(); got != "dropped missing" {
			t.Errorf("dropped: alarms %q", got)
		}
		if !s.State().MustStaple {
			t.Error("state doesn't say so")
		}
	})
}

func TestRespondersOfACertificateAreAskedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{})
		var hosts []string
		b.set(func(_ context.Context, q *xocsp.Request, host string) ([]byte, error) {
			hosts = append(hosts, host) // one request at a time
			if host != "b.example" {
				return nil, errDead
			}
			return b.sign(q, xocsp.Good, time.Now(), time.Now().Add(week)), nil
		})
		cert := b.ca.leaf(t, "p256", 5, func(c *x509.Certificate) { c.OCSPServer = []string{"http://a.example", "http://b.example"} })
		s := b.add(cert)
		after(2 * time.Hour)
		if got := strings.Join(hosts, " "); got != "a.example b.example b.example" || s.Response(false) == nil {
			t.Errorf("asked %s", got)
		}
	})
}

func TestReloadNeverMixesCertificates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{})
		b.says(xocsp.Good, week)
		one, two := b.ca.leaf(t, "p256", 1, nil), b.ca.leaf(t, "p256", 2, nil)
		old := b.add(one)
		after(time.Second)
		b.set(nil)
		fresh := b.add(two)
		if got := fresh.Certificate(&tls.ClientHelloInfo{Extensions: []uint16{5}}); got != two || got.OCSPStaple != nil {
			t.Error("a new certificate has a staple without a request of its own")
		}
		old.Close()
		old.Close() // once is enough, twice does no harm
		if old.Response(true) != nil || old.Certificate(&tls.ClientHelloInfo{}).OCSPStaple != nil {
			t.Error("stapled after Close")
		}
		b.take()
		after(time.Minute)
		if states := b.States(); len(states) != 1 || states[0].Serial != "2" {
			t.Errorf("states: %+v", states)
		}
		if n := len(b.take()); n != 4 {
			t.Errorf("%d requests in a minute, want those of the new certificate alone", n)
		}
		if err := old.Ask(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("Ask after Close: %v", err)
		}
	})
}

func TestTheSameCertificateKeepsItsResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{})
		b.says(xocsp.Good, week)
		cert := b.ca.leaf(t, "p256", 1, nil)
		old := b.add(cert)
		after(time.Second)
		again := *cert
		fresh := b.add(&again)
		old.Close()
		got := fresh.Certificate(&tls.ClientHelloInfo{})
		if got.OCSPStaple == nil || got.PrivateKey != again.PrivateKey || cert.OCSPStaple != nil {
			t.Error("a reload of the same certificate loses its response, or writes into what it was given")
		}
		if old.Response(true) != nil || old.Certificate(&tls.ClientHelloInfo{}) != cert {
			t.Error("the old one staples after Close")
		}
		after(time.Minute)
		if n := len(b.take()); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
		fresh.Close()
		if len(b.States()) != 0 {
			t.Error("the last one closed, and its state is still there")
		}
	})
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{Wait: MaxWait, Parallel: 1})
		b.set(func(ctx context.Context, _ *xocsp.Request, _ string) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		one, two := b.add(b.ca.leaf(t, "p256", 1, nil)), b.add(b.ca.leaf(t, "p256", 2, nil))
		begin := time.Now()
		var group sync.WaitGroup
		for _, s := range []*Staple{one, two} { // the request of two has no place yet
			group.Go(func() {
				if err := s.Ask(t.Context()); !errors.Is(err, ErrClosed) {
					t.Errorf("Ask: %v", err)
				}
			})
			group.Go(func() { _ = s.Response(true) }) // whatever it is, it must come
		}
		synctest.Wait()
		b.Close()
		group.Wait()
		if time.Since(begin) != 0 {
			t.Errorf("Close took %v", time.Since(begin))
		}
		if _, _, err := b.Add(b.ca.leaf(t, "p256", 3, nil), nil); !errors.Is(err, ErrClosed) {
			t.Errorf("Add after Close: %v", err)
		}
		if got := b.takeAlarms(); got != "" {
			t.Errorf("alarms: %q", got)
		}
	})
}

func TestClosedStapleGetsNoLateResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{})
		b.set(func(_ context.Context, q *xocsp.Request, _ string) ([]byte, error) {
			time.Sleep(time.Second) // whatever its context says
			return b.sign(q, xocsp.Good, time.Now(), time.Now().Add(week)), nil
		})
		s := b.add(b.ca.leaf(t, "p256", 1, nil))
		synctest.Wait()
		e := s.entry
		s.Close()
		after(time.Minute)
		if e.cached.Load() != nil || e.place != notQueued || len(b.take()) != 1 {
			t.Error("a request that ended after Close went on")
		}
	})
}

func TestNothingIsStapledAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{})
		b.says(xocsp.Good, week)
		s := b.add(b.ca.leaf(t, "p256", 1, nil))
		after(time.Second)
		b.Close()
		if s.Response(true) != nil || len(b.States()) != 0 {
			t.Error("it is stapled, or has a state")
		}
		s.Close()
	})
}

func TestThousandsOfCertificates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const count = 2000
		b := newBench(t, Options{Parallel: 4})
		b.set(func(_ context.Context, q *xocsp.Request, _ string) ([]byte, error) {
			time.Sleep(10 * time.Millisecond)
			return b.sign(q, xocsp.Good, time.Now(), time.Now().Add(week)), nil
		})
		key := newKey(t, "p256")
		var all []*Staple
		for i := range count {
			c := create(t, &x509.Certificate{SerialNumber: bigInt(i + 10), OCSPServer: []string{responderURL}}, b.ca.cert, key.Public(), b.ca.key)
			all = append(all, b.add(&tls.Certificate{Certificate: [][]byte{c.Raw, b.ca.cert.Raw}, PrivateKey: key}))
		}
		begin := time.Now()
		after(count / 4 * 10 * time.Millisecond)
		for i, s := range all {
			if s.Response(false) == nil {
				t.Fatalf("certificate %d has nothing after %v", i, time.Since(begin))
			}
		}
		if b.most > 4 {
			t.Errorf("%d requests at a time, want 4 at most", b.most)
		}
		b.take()
		after(time.Hour + 5*time.Second)
		if n := len(b.take()); n != count {
			t.Errorf("%d requests in an hour, want %d", n, count)
		}
	})
}

func TestFirstRequestsAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{Jitter: 10 * time.Second, Parallel: 100})
		b.says(xocsp.Good, week)
		begin := time.Now()
		for i := range 50 {
			b.add(b.ca.leaf(t, "p256", int64(i+10), nil))
		}
		after(10 * time.Second)
		early, times := 0, b.take()
		for _, at := range times {
			if at.Sub(begin) < 5*time.Second {
				early++
			}
		}
		if len(times) != 50 || early < 5 || early > 45 {
			t.Errorf("%d requests, of which %d in the first half of the time", len(times), early)
		}
	})
}

// A handshake takes no lock and makes no garbage while a response is cached.
func TestCachedResponseIsCheap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{})
		b.says(xocsp.Good, week)
		s := b.add(b.ca.leaf(t, "p256", 1, nil))
		after(time.Second)
		hello := &tls.ClientHelloInfo{Extensions: []uint16{0, 5}}
		b.Stapler.mu.Lock() // whoever takes it now hangs
		defer b.Stapler.mu.Unlock()
		got := testing.AllocsPerRun(100, func() {
			if s.Response(true) == nil || s.Certificate(hello).OCSPStaple == nil {
				t.Fatal("nothing")
			}
		})
		if got != 0 {
			t.Errorf("%v allocations", got)
		}
	})
}

func TestAskTellsWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Options{Jitter: time.Hour})
		s := b.add(b.ca.leaf(t, "p256", 1, nil))
		if err := s.Ask(t.Context()); err == nil || fmt.Sprint(err) != responderURL+": "+errDead.Error() {
			t.Errorf("dead: %v", err)
		}
		b.says(xocsp.Good, week)
		if err := s.Ask(t.Context()); err != nil {
			t.Errorf("good: %v", err)
		}
	})
}
