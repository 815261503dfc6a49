package revocation

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestURLsThatAreNotFetched(t *testing.T) {
	for _, u := range []string{
		"", "ldap://ldap.test/cn=ca", "ftp://host/x", "file:///etc/passwd", "HTTPX://host/", "http:///x", "http:opaque", "//host/x", "/x",
		"http://user@host/x", "http://user:pass@host/", "http://ho st/", "http://" + strings.Repeat("a", maxURL), "gopher://host", "data:,x", "javascript:x",
	} {
		if webURL(u) {
			t.Errorf("%.40q is fetched", u)
		}
	}
	for _, u := range []string{"http://host/x.crl", "https://host:8443/x?y=z", "HTTP://host", "http://[2606:4700::1111]/"} {
		if !webURL(u) {
			t.Errorf("%q is not fetched", u)
		}
	}
}

func fetchError(t *testing.T, f *fetcher, url string) error {
	t.Helper()
	_, _, err := f.get(context.Background(), url, stamp{})
	return err
}

func TestFetcherDialsNoInnerAddress(t *testing.T) {
	var asked atomic.Int64
	url := serve(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
	f := newFetcher(nil, time.Second)
	defer f.close()
	// A name is judged by what it resolves to, in whatever spelling.
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0", "127.1", "2130706433", "0x7f.1", "[::]"} {
		if err := fetchError(t, f, "http://"+host+":"+port+"/"); err == nil {
			t.Errorf("%s was fetched", host)
		}
	}
	if err := fetchError(t, f, url); err == nil || !strings.Contains(err.Error(), "not public") {
		t.Errorf("%v, want it to say why", err)
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d requests came", n)
	}
	other := newFetcher([]netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}, time.Second)
	defer other.close()
	if err := fetchError(t, other, url); err == nil {
		t.Error("an address beside the allowed one was fetched")
	}
	allowed := newFetcher(loopback, time.Second)
	defer allowed.close()
	if err := fetchError(t, allowed, url); err != nil {
		t.Errorf("allowed, and refused: %v", err)
	}
}

func TestFetcherUsesNoProxy(t *testing.T) {
	var asked atomic.Int64
	proxy := serve(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	t.Setenv("HTTP_PROXY", proxy)
	t.Setenv("http_proxy", proxy)
	f := newFetcher(loopback, time.Second)
	defer f.close()
	if f.client.Transport.(*http.Transport).Proxy != nil {
		t.Error("there is a proxy function")
	}
	if err := fetchError(t, f, "http://192.0.2.1/x.crl"); err == nil || asked.Load() != 0 {
		t.Errorf("%v, %d requests at the proxy", err, asked.Load())
	}
}

func TestFetcherFollowsNoRedirectAndKeepsNoCookie(t *testing.T) {
	var asked, cookies atomic.Int64
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		cookies.Add(int64(len(r.Cookies())))
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
		if r.URL.Path == "/from" {
			http.Redirect(w, r, "/to", http.StatusFound)
		}
	})
	f := newFetcher(loopback, time.Second)
	defer f.close()
	if err := fetchError(t, f, url+"/from"); err == nil || !strings.Contains(err.Error(), "redirect") {
		t.Errorf("redirect: %v", err)
	}
	if err := fetchError(t, f, url+"/to"); err != nil || asked.Load() != 2 || cookies.Load() != 0 {
		t.Errorf("%v, %d requests, %d cookies, want 2 and 0", err, asked.Load(), cookies.Load())
	}
}

func TestFetcherBoundsBytesAndTime(t *testing.T) {
	big := bytes.Repeat([]byte{'x'}, 1<<20)
	stop := make(chan struct{})
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/chunked":
			for range maxBody>>20 + 1 {
				if _, err := w.Write(big); err != nil {
					return
				}
			}
		case "/told":
			w.Header().Set("Content-Length", "11000000")
			_, _ = w.Write(big) // the client goes away
		case "/answer":
			_, _ = w.Write(big)
		case "/header":
			w.Header().Set("X", strings.Repeat("x", 64<<10))
		case "/silent":
			<-stop
		case "/drip":
			for range 1000 {
				_, _ = w.Write([]byte("x"))
				w.(http.Flusher).Flush()
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		case "/error":
			w.WriteHeader(http.StatusInternalServerError)
		case "/none":
			w.WriteHeader(http.StatusNotFound)
		}
	})
	defer close(stop)
	f := newFetcher(loopback, fetchLimit)
	defer f.close()
	for _, path := range []string{"/chunked", "/told", "/header", "/error", "/none"} {
		if err := fetchError(t, f, url+path); err == nil {
			t.Errorf("%s was fetched", path)
		}
	}
	if _, err := f.post(context.Background(), url+"/answer", nil); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("a huge answer: %v", err)
	}
	short := newFetcher(loopback, 150*time.Millisecond)
	defer short.close()
	for _, path := range []string{"/silent", "/drip"} {
		begun := time.Now()
		if err := fetchError(t, short, url+path); err == nil || time.Since(begun) > 5*time.Second {
			t.Errorf("%s: %v after %s", path, err, time.Since(begun))
		}
	}
}

func TestQuestionIsAskedAgainWhenAnIdleConnectionEnds(t *testing.T) {
	var asked atomic.Int64
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header["Idempotency-Key"] != nil {
			t.Error("the key was sent")
		}
		if asked.Add(1) == 2 {
			if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
				_ = c.Close() // what the test is about
			}
		}
	})
	f := newFetcher(loopback, 5*time.Second)
	defer f.close()
	for range 2 {
		if _, err := f.post(context.Background(), url, []byte("x")); err != nil {
			t.Error(err)
		}
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("%d requests came, want 3", n)
	}
}

func TestFetcherBoundsWhatRunsAtOnce(t *testing.T) {
	var running, most atomic.Int64
	release := make(chan struct{})
	url := serve(t, func(http.ResponseWriter, *http.Request) {
		if n := running.Add(1); n > most.Load() {
			most.Store(n)
		}
		<-release
		running.Add(-1)
	})
	f := newFetcher(loopback, 5*time.Second)
	f.client.Transport.(*http.Transport).MaxConnsPerHost = 0 // only our own bound
	defer f.close()
	done := make(chan error)
	for range 3 * maxAtOnce {
		go func() { done <- fetchError(t, f, url) }()
	}
	time.Sleep(100 * time.Millisecond) // the kernel's sockets know no virtual time
	close(release)
	for range 3 * maxAtOnce {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := most.Load(); n > maxAtOnce || n < 2 {
		t.Errorf("%d at once, want at most %d", n, maxAtOnce)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range maxAtOnce {
		f.slots <- struct{}{}
	}
	if _, _, err := f.get(ctx, url, stamp{}); !errors.Is(err, context.Canceled) {
		t.Errorf("without a slot: %v", err)
	}
}
