package acme

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const day = 24 * time.Hour

// pass lets time pass in a bubble, and what happened in it come to an end.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// options are those of a test, in a folder of its own.
func options(t testing.TB, f *fake, domains ...string) Options {
	if len(domains) == 0 {
		domains = []string{"mqtt.example.org"}
	}
	return Options{
		Directory: fakeDirectory, Domains: domains, Storage: filepath.Join(t.TempDir(), "acme"),
		AcceptTerms: true, transport: f,
	}
}

func begin(t testing.TB, o Options) *Keeper {
	t.Helper()
	return beginAt(t, o, nil)
}

func beginAt(t testing.TB, o Options, port net.Listener) *Keeper {
	t.Helper()
	k, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Start(t.Context(), port); err != nil {
		t.Fatal(err)
	}
	return k
}

// present is what a handshake gets.
func present(t testing.TB, k *Keeper) *tls.Certificate {
	t.Helper()
	c, err := k.Certificate(&tls.ClientHelloInfo{ServerName: "mqtt.example.org"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestIssuesAtTheFirstStartAndKeepsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		o := options(t, f, "b.example.org", "A.example.org")
		o.Email = "ops@example.org"
		var changed atomic.Int32
		o.Changed = func(*tls.Certificate) { changed.Add(1) }
		k, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		if c := present(t, k); c != nil {
			t.Fatal("there is a certificate before one was issued")
		}
		if _, err := os.Stat(o.Storage); !os.IsNotExist(err) {
			t.Errorf("New has written: %v", err)
		}
		if err := k.Start(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		c := present(t, k)
		if c == nil || changed.Load() != 1 {
			t.Fatalf("certificate %v, %d changes; state %+v", c, changed.Load(), k.State())
		}
		if err := c.Leaf.VerifyHostname("a.example.org"); err != nil || len(c.Certificate) != 2 {
			t.Errorf("chain of %d, %v", len(c.Certificate), err)
		}
		s := k.State()
		if s.LastError != "" || s.Failures != 0 || s.Serial != "1" || s.Ordering || s.NotAfter != c.Leaf.NotAfter || s.LastSuccess.IsZero() {
			t.Errorf("state %+v", s)
		}
		if p := f.payload("/account"); !strings.Contains(p, `"termsOfServiceAgreed":true`) || !strings.Contains(p, "mailto:ops@example.org") {
			t.Errorf("account was registered with %s", p)
		}
		k.Close()
		checkModes(t, o.Storage)

		again := begin(t, o)
		defer again.Close()
		if got := present(t, again); got == nil || !got.Leaf.Equal(c.Leaf) {
			t.Fatal("a restart does not use what is stored")
		}
		pass(30 * day)
		if n := len(f.ordered()); n != 1 {
			t.Errorf("%d orders, want 1: a restart needs none", n)
		}
	})
}

// checkModes holds all that is stored to be private.
func checkModes(t *testing.T, dir string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		return
	}
	files := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if d.IsDir() && info.Mode().Perm() != 0o700 || !d.IsDir() && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if !d.IsDir() {
			files++
		}
		return nil
	})
	if err != nil || files != 4 {
		t.Errorf("%d files, %v; want lock, account, certificate, attempts", files, err)
	}
}

func TestRenewsAtAThirdOfItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		k := begin(t, options(t, f))
		defer k.Close()
		pass(time.Minute)
		first := present(t, k)
		pass(58 * day)
		if n := len(f.ordered()); n != 1 {
			t.Fatalf("%d orders after 58 of 90 days, want 1", n)
		}
		pass(3 * day)
		second := present(t, k)
		if n := len(f.ordered()); n != 2 || second.Leaf.Equal(first.Leaf) {
			t.Fatalf("%d orders after 61 of 90 days, want 2", n)
		}
		if first.Leaf.PublicKey.(*ecdsa.PublicKey).Equal(second.Leaf.PublicKey) {
			t.Error("the renewed certificate has the old key")
		}
		if n := f.count("POST /account"); n != 1 {
			t.Errorf("%d accounts were registered, want 1", n)
		}
	})
}

func TestACertificateThatIsDueAtOnceIsNotOrderedWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.life, f.backdate = time.Second, day
		k := begin(t, options(t, f))
		pass(10*leastLife - time.Second)
		k.Close()
		if n := len(f.ordered()); n < 2 || n > 10 {
			t.Errorf("%d orders in ten times the least life, want one each at most", n)
		}
	})
}

func TestAnAskedForTimeOfRenewalIsUsedIfThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			name         string
			life, before time.Duration
			from, to     time.Duration // after the beginning
		}{
			{"a third is left by default", 90 * day, 0, 58 * day, 60 * day},
			{"47 days too", 47 * day, 0, 30 * day, 32 * day},
			{"half of six days", 6 * day, 0, 68 * time.Hour, 72 * time.Hour},
			{"as asked", 90 * day, 10 * day, 78 * day, 80 * day},
			{"no room for 30 days in one", day, 30 * day, 11 * time.Hour, 12 * time.Hour},
		} {
			var p plan
			now := time.Now()
			p.holds(&x509.Certificate{NotBefore: now, NotAfter: now.Add(c.life)}, c.before)
			if got := p.renewal.Sub(now); got < c.from || got > c.to {
				t.Errorf("%s: renewed after %v, want %v to %v", c.name, got, c.from, c.to)
			}
		}
	})
}

func TestFailuresAreFurtherAndFurtherApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.answers["/order"] = func(*http.Request, []byte) *http.Response {
			return refuse(500, "serverInternal", "out of order\nlevel=ERROR msg=forged \u202e")
		}
		l := &logged{}
		o := options(t, f)
		o.Log = l.logger()
		k := begin(t, o)
		pass(6 * time.Hour)
		at := f.times("POST /order")
		want := []time.Duration{2, 4, 8, 16, 32, 60, 60}
		for i, minutes := range want {
			least := minutes * time.Minute
			if got := at[i+1].Sub(at[i]); got < least || got > least+least/4 {
				t.Errorf("attempt %d came after %v, want %v and up to a quarter more", i+2, got, least)
			}
		}
		s := k.State()
		if s.Failures != len(at) || s.LastError != "serverInternal: order: out of order?level=ERROR msg=forged ?" || !s.Next.After(time.Now()) {
			t.Errorf("state %+v", s)
		}
		if text := l.String(); strings.Count(text, "\ntime=") != len(at)+1 || strings.Count(text, "problem=serverInternal") != len(at) {
			t.Errorf("the log should have a line for each of %d failures:\n%s", len(at), text)
		}
		k.Renew()
		synctest.Wait()
		k.Close()
		n := f.count("POST /order")

		pass(restartPause / 2)
		k = begin(t, o)
		defer k.Close()
		synctest.Wait()
		if f.count("POST /order") != n {
			t.Error("a restart makes an attempt at once")
		}
		pass(restartPause / 2)
		synctest.Wait()
		if got := f.count("POST /order"); got != n+1 || k.State().Failures != n+1 {
			t.Errorf("%d attempts after the pause of a restart, and %d failures are remembered; want 1 and %d", got-n, k.State().Failures, n+1)
		}
	})
}

func TestTheServerIsLeftAloneAsLongAsItAsks(t *testing.T) {
	for _, c := range []struct {
		name, header string
		from, to     time.Duration
	}{
		{"seconds", "7200", 2 * time.Hour, 2*time.Hour + time.Minute},
		{"a date", "date", 5 * time.Hour, 5*time.Hour + time.Minute},
		{"longer than a day", "99999999999999999999", day, day + time.Minute},
		{"shorter than ours", "1", 2 * time.Minute, 150 * time.Second},
		{"nonsense", "-5", 2 * time.Minute, 150 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				header := c.header
				if header == "date" {
					header = time.Now().Add(5 * time.Hour).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
				}
				f.answers["/order"] = func(*http.Request, []byte) *http.Response {
					res := refuse(429, "rateLimited", "too many")
					res.Header.Set("Retry-After", header)
					return res
				}
				o := options(t, f)
				k := begin(t, o)
				pass(c.from - time.Second)
				k.Close()
				k = begin(t, o) // which forgets nothing
				defer k.Close()
				synctest.Wait()
				if n := f.count("POST /order"); n != 1 {
					t.Fatalf("%d attempts within the time, want 1", n)
				}
				pass(c.to - c.from + 2*time.Second)
				if n := f.count("POST /order"); n != 2 {
					t.Errorf("%d attempts after it, want 2", n)
				}
			})
		})
	}
}

func TestRenewIsNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		k := begin(t, options(t, f))
		defer k.Close()
		pass(time.Minute)
		for range 5 {
			k.Renew() // one is wanted, however often that is said
		}
		pass(time.Minute)
		if n := len(f.ordered()); n != 2 {
			t.Errorf("%d orders, want 2", n)
		}
	})
}

// Who knows of an attempt's end and asks for another gets it.
func TestRenewAtAnEndIsNotLost(t *testing.T) {
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t)
			line := "certificate issued"
			if fails {
				line = "no certificate was issued"
				f.answers["/order"] = func(*http.Request, []byte) *http.Response { return refuse(500, "serverInternal", "no") }
			}
			o := options(t, f)
			var k *Keeper
			asked := false
			o.Log = slog.New(slog.NewTextHandler(writer(func(p []byte) {
				if !asked && strings.Contains(string(p), line) {
					asked = true
					k.Renew()
				}
			}), nil))
			k, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			if err := k.Start(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			defer k.Close()
			pass(time.Minute)
			if n := f.count("POST /order"); n != 2 {
				t.Errorf("%q: %d orders, want 2", line, n)
			}
		})
	}
}

type writer func(p []byte)

func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

func TestOtherDomainsAreOrderedAtOnce(t *testing.T) {
	for _, c := range []struct {
		name          string
		before, after []string
		kept          bool
	}{
		{"one more", []string{"a.example"}, []string{"a.example", "b.example"}, true},
		{"one less", []string{"a.example", "b.example"}, []string{"a.example"}, true},
		{"all others", []string{"a.example"}, []string{"b.example"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				o := options(t, f, c.before...)
				k := begin(t, o)
				pass(time.Minute)
				k.Close()
				o.Domains = c.after
				k, err := New(o)
				if err != nil {
					t.Fatal(err)
				}
				if kept := present(t, k) != nil; kept != c.kept {
					t.Errorf("the old certificate is served: %v, want %v", kept, c.kept)
				}
				if err := k.Start(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
				defer k.Close()
				pass(time.Minute)
				got := present(t, k)
				if got == nil || strings.Join(got.Leaf.DNSNames, " ") != strings.Join(c.after, " ") {
					t.Errorf("the new certificate is not for %v: %+v", c.after, k.State())
				}
			})
		})
	}
}

func TestAnExpiredCertificateIsServedUntilThereIsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		o := options(t, f)
		l := &logged{}
		o.Log = l.logger()
		k := begin(t, o)
		pass(time.Minute)
		f.set("/order", func(*http.Request, []byte) *http.Response { return refuse(503, "serverInternal", "later") })
		pass(91 * day)
		if present(t, k) == nil || !strings.Contains(l.String(), "the present one has expired") {
			t.Error("an expired certificate is not served, or nobody was told")
		}
		k.Close()
		k = begin(t, o)
		defer k.Close()
		if present(t, k) == nil {
			t.Error("after a restart an expired certificate is not served")
		}
		synctest.Wait()
		if !strings.Contains(l.String(), `msg="certificate has expired"`) {
			t.Errorf("nobody was told:\n%s", l)
		}
		f.set("/order", nil)
		pass(2 * time.Hour)
		if c := present(t, k); c.Leaf.NotAfter.Before(time.Now()) {
			t.Error("it was not renewed")
		}
	})
}

func TestKeyTypesAndProfiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		o := options(t, f)
		o.KeyType, o.Profile = RSA2048, "short"
		k := begin(t, o)
		defer k.Close()
		pass(time.Minute)
		c := present(t, k)
		if c == nil {
			t.Fatalf("no certificate: %+v", k.State())
		}
		if key, ok := c.Leaf.PublicKey.(*rsa.PublicKey); !ok || key.N.BitLen() != 2048 {
			t.Errorf("the key is %T", c.Leaf.PublicKey)
		}
		if p := f.payload("/order"); !strings.Contains(p, `"profile":"short"`) {
			t.Errorf("order %s names no profile", p)
		}
	})
}

func TestCloseEndsAnAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.answers["/order"] = func(r *http.Request, _ []byte) *http.Response {
			<-r.Context().Done()
			return refuse(500, "", "")
		}
		l := &logged{}
		o := options(t, f)
		o.Log = l.logger()
		k := begin(t, o)
		synctest.Wait()
		if !k.State().Ordering {
			t.Error("no attempt is under way")
		}
		at := time.Now()
		k.Close()
		k.Close()
		if time.Since(at) != 0 || strings.Contains(l.String(), "no certificate was issued") {
			t.Errorf("it took %v; log:\n%s", time.Since(at), l)
		}
		if err := k.Start(context.Background(), nil); err == nil {
			t.Error("a closed Keeper was started")
		}
		k = begin(t, o) // the lock was given back
		k.Close()
	})
}
