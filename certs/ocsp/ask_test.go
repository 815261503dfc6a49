package ocsp

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// asked is what a responder of a test has seen.
type asked struct {
	method, path, kind string
	request            []byte
}

type log struct {
	mu sync.Mutex
	// mu guards the field below.
	all []asked
}

func (l *log) add(a asked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, a)
}

// take returns what was seen since it was called.
func (l *log) take() []asked {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.all
	l.all = nil
	return all
}

// newResponder answers as handle says, and notes what it is asked.
func newResponder(t *testing.T, handle http.HandlerFunc) (string, *log) {
	t.Helper()
	all := new(log)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := asked{method: r.Method, path: r.URL.EscapedPath(), kind: r.Header.Get("Content-Type")}
		if r.Method == http.MethodPost {
			a.request, _ = io.ReadAll(r.Body)
		} else {
			last := r.URL.EscapedPath()[strings.LastIndex(r.URL.EscapedPath(), "/")+1:]
			plain, _ := url.QueryUnescape(last)
			a.request, _ = base64.StdEncoding.DecodeString(plain)
		}
		all.add(a)
		handle(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, all
}

func say(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

func TestShortRequestsAreGot(t *testing.T) {
	// Both of the letters that mean something in a URL are in its base64.
	request := []byte{0xfb, 0xff, 0xfe, 0x3e}
	if b64 := base64.StdEncoding.EncodeToString(request); !strings.Contains(b64, "+") || !strings.Contains(b64, "/") || !strings.Contains(b64, "=") {
		t.Fatalf("%s is no test", b64)
	}
	host, all := newResponder(t, say("answer"))
	for _, at := range []string{host, host + "/", host + "/ocsp", host + "/ocsp/"} {
		got, err := Ask(t.Context(), http.DefaultClient, at, request)
		if err != nil || string(got) != "answer" {
			t.Fatalf("%s: got %q, %v", at, got, err)
		}
		a := all.take()[0]
		if a.method != http.MethodGet || !bytes.Equal(a.request, request) || strings.Contains(a.path, "//") || strings.Contains(at, "ocsp") != strings.HasPrefix(a.path, "/ocsp/") {
			t.Errorf("%s: asked by %+v", at, a)
		}
	}
}

func TestLongRequestsArePosted(t *testing.T) {
	host, all := newResponder(t, say("answer"))
	base := len(host) + 1
	for _, c := range []struct {
		at      string
		request []byte
		method  string
	}{
		{host, make([]byte, (255-base)/4*3), http.MethodGet},
		{host, make([]byte, (255-base)/4*3+3), http.MethodPost},
		{host + "/?ca=1", []byte("x"), http.MethodPost},
	} {
		if _, err := Ask(t.Context(), http.DefaultClient, c.at, c.request); err != nil {
			t.Fatal(err)
		}
		a := all.take()[0]
		if a.method != c.method || !bytes.Equal(a.request, c.request) || c.method == http.MethodPost && a.kind != "application/ocsp-request" {
			t.Errorf("%d bytes to %s: asked by %s %s with %d bytes as %q", len(c.request), c.at, a.method, a.path, len(a.request), a.kind)
		}
	}
}

func TestResponderWithoutGETIsPosted(t *testing.T) {
	host, all := newResponder(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		say("answer")(w, r)
	})
	got, err := Ask(t.Context(), http.DefaultClient, host, []byte("x"))
	if err != nil || string(got) != "answer" {
		t.Errorf("got %q, %v", got, err)
	}
	if n := len(all.take()); n != 2 {
		t.Errorf("%d requests, want a GET and a POST", n)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	large := strings.Repeat("x", MaxResponse+1)
	for name, c := range map[string]struct {
		handle http.HandlerFunc
		want   string
	}{
		"too large, and says so": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "65537")
			_, _ = io.WriteString(w, large)
		}, "at most 65536"},
		"too large, in chunks": {func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, large)
		}, "more than 65536"},
		"an error":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "HTTP status 502"},
		"not there": {http.NotFound, "HTTP status 404"},
		"another scheme": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://127.0.0.1:1/", http.StatusFound)
		}, `from http to "https"`},
		"a file": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, `from http to "file"`},
		"round in circles": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.EscapedPath(), http.StatusFound)
		}, "too often"},
	} {
		host, all := newResponder(t, c.handle)
		got, err := Ask(t.Context(), http.DefaultClient, host, []byte("x"))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %d bytes, %v; want an error with %q", name, len(got), err, c.want)
		}
		if n := len(all.take()); n > maxRedirects+1 {
			t.Errorf("%s: %d requests", name, n)
		}
	}
	exact, _ := newResponder(t, say(large[:MaxResponse]))
	if got, err := Ask(t.Context(), http.DefaultClient, exact, []byte("x")); err != nil || len(got) != MaxResponse {
		t.Errorf("the largest answer: got %d bytes, %v", len(got), err)
	}
	elsewhere, _ := newResponder(t, say("answer"))
	moved, _ := newResponder(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere, http.StatusFound) })
	if got, err := Ask(t.Context(), http.DefaultClient, moved, []byte("x")); err != nil || string(got) != "answer" {
		t.Errorf("moved: got %q, %v", got, err)
	}
}

func TestAskEndsWithItsContext(t *testing.T) {
	release := make(chan struct{})
	host, _ := newResponder(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Ask(ctx, http.DefaultClient, host, []byte("x")); err == nil {
		t.Error("a responder that hangs is waited for")
	}
}

func TestURLsThatNobodyShouldAsk(t *testing.T) {
	for _, u := range []string{"", "ocsp.example", "ldap://ca/", "file:///etc/passwd", "http://", "http://me:secret@ca/", "http://ca/#x", "http://ca\x00/"} {
		err := CheckURL(u)
		if err == nil {
			t.Errorf("CheckURL(%q) accepts it", u)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("CheckURL(%q): %v", u, err)
		}
		if _, err := Ask(t.Context(), http.DefaultClient, u, []byte("x")); err == nil {
			t.Errorf("Ask(%q) asks it", u)
		}
	}
	for _, u := range []string{"http://127.0.0.1:2560", "https://[::1]/ocsp?ca=1"} {
		if err := CheckURL(u); err != nil {
			t.Errorf("CheckURL(%q) = %v", u, err)
		}
	}
}
