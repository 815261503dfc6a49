//go:build unix

package control

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// aPath is an endpoint's path with something in place of its wildcards.
func aPath(r route) string {
	return Base + strings.NewReplacer("{id}", "x", "{name}", "x").Replace(r.path)
}

func TestEveryEndpointNamesItsPermission(t *testing.T) {
	readOnly := []string{"POST /explain"}
	if len(routes()) == 0 {
		t.Fatal("no route")
	}
	for _, r := range routes() {
		if !slices.Contains(everything(), r.needs) {
			t.Errorf("%s %s needs %q, which is no permission", r.method, r.path, r.needs)
		}
		if reads := r.method == "GET" || slices.Contains(readOnly, r.method+" "+r.path); reads != (r.change == "") {
			t.Errorf("%s %s has the change %q", r.method, r.path, r.change)
		}
	}
}

func TestNobodyPassesWithoutActorAndPermission(t *testing.T) {
	p := open(t, nil)
	tests := []struct {
		name string
		who  identify
		want int
	}{
		{"no actor", func(*http.Request) (Actor, bool) { return Actor{Rights: everything()}, false }, http.StatusUnauthorized},
		{"an actor without rights", func(*http.Request) (Actor, bool) { return Actor{Name: "zero"}, true }, http.StatusForbidden},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := p.handler(tt.who)
			for _, r := range routes() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest(r.method, aPath(r), nil))
				if w.Code != tt.want {
					t.Errorf("%s %s = %d, want %d: %s", r.method, r.path, w.Code, tt.want, w.Body)
				}
			}
		})
	}
	t.Run("each other permission is not enough", func(t *testing.T) {
		for _, r := range routes() {
			others := slices.DeleteFunc(everything(), func(x Permission) bool { return x == r.needs })
			w := httptest.NewRecorder()
			p.handler(func(*http.Request) (Actor, bool) { return Actor{Name: "other", Rights: others}, true }).
				ServeHTTP(w, httptest.NewRequest(r.method, aPath(r), nil))
			if w.Code != http.StatusForbidden {
				t.Errorf("%s %s = %d, want 403", r.method, r.path, w.Code)
			}
		}
	})
	t.Run("a route without permission is refused to everybody", func(t *testing.T) {
		w := httptest.NewRecorder()
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p.answer(w, r, route{"GET", "/x", "", "", (*Server).status})
		})
		r := httptest.NewRequest("GET", "/x", nil)
		h.ServeHTTP(w, r.WithContext(withActor(r.Context(), &guest{actor: Actor{Rights: append(everything(), "")}})))
		if w.Code != http.StatusForbidden {
			t.Errorf("answer %d, want 403", w.Code)
		}
	})
	t.Run("who isn't known learns no endpoint", func(t *testing.T) {
		w := httptest.NewRecorder()
		p.handler(fromConnection).ServeHTTP(w, httptest.NewRequest("GET", "/nothing", nil))
		if w.Code != http.StatusUnauthorized {
			t.Errorf("answer %d, want 401", w.Code)
		}
	})
	if !strings.Contains(p.log.String(), `control_refused actor=zero`) {
		t.Errorf("the log says nothing of it: %s", p.log)
	}
}

func TestWhatIsNotUnderstoodIsRefused(t *testing.T) {
	p := open(t, func(o *Options) { o.Reload = func() error { t.Error("reloaded"); return nil } })
	const asJSON = "application/json"
	purge := Base + "/retained/purge"
	tests := []struct {
		name, method, path, kind, body string
		want                           int
		code                           string
	}{
		{"unknown endpoint", "GET", Base + "/secrets", "", "", 404, "no_endpoint"},
		{"outside of the API", "GET", "/debug/pprof/", "", "", 404, "no_endpoint"},
		{"wrong method", "GET", Base + "/reload", "", "", 405, "method"},
		{"HEAD", "HEAD", Base + "/status", "", "", 405, ""},
		{"deleting what can only be read", "DELETE", Base + "/clients/x", "", "", 405, "method"},
		{"oversized body", "POST", purge, asJSON, `{"published_by":"` + strings.Repeat("x", maxBody) + `"}`, 413, "too_large"},
		{"oversized body where none is read", "GET", Base + "/status", asJSON, strings.Repeat(" ", maxBody+1), 413, "too_large"},
		{"a form", "POST", purge, "application/x-www-form-urlencoded", `{"published_by":"a"}`, 415, "media_type"},
		{"no media type", "POST", purge, "", `{"published_by":"a"}`, 415, "media_type"},
		{"no body", "POST", purge, asJSON, "", 400, "bad_request"},
		{"no JSON", "POST", purge, asJSON, "published_by=a", 400, "bad_request"},
		{"an array", "POST", purge, asJSON, `["a"]`, 400, "bad_request"},
		{"a misspelt member", "POST", purge, asJSON, `{"published_by":"a","dryrun":true}`, 400, "bad_request"},
		{"a member of another type", "POST", purge, asJSON, `{"published_by":1}`, 400, "bad_request"},
		{"two documents", "POST", purge, asJSON, `{"published_by":"a"}{"dry_run":true}`, 400, "bad_request"},
		{"everybody's retained messages", "POST", purge, asJSON, `{}`, 400, "bad_request"},
		{"a realm's retained messages", "POST", purge, asJSON, `{"realm":"a"}`, 400, "bad_request"},
		{"reload with something to say", "POST", Base + "/reload", asJSON, `{"file":"/etc/shadow"}`, 400, "bad_request"},
		{"shadow reset with something to say", "POST", Base + "/shadow/reset", asJSON, `{"kind":1}`, 400, "bad_request"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := raw(t, p)
			fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
				tt.method, tt.path, tt.kind, len(tt.body), tt.body)
			resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: tt.method})
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tt.want || !strings.Contains(string(body), `"code": "`+tt.code) && tt.code != "" {
				t.Errorf("%d %s, want %d %s", resp.StatusCode, body, tt.want, tt.code)
			}
		})
	}
}

func TestExplainRefusesWhatCanNotBeAsked(t *testing.T) {
	tests := []struct{ name, body string }{
		{"nobody asks", `{"action":"publish","topic":"a"}`},
		{"two ask", `{"client_id":"a","who":{},"action":"publish","topic":"a"}`},
		{"no action", `{"client_id":"a","topic":"a"}`},
		{"unknown action", `{"client_id":"a","action":"none","topic":"a"}`},
		{"no topic", `{"client_id":"a","action":"publish"}`},
		{"a filter to publish to", `{"client_id":"a","action":"publish","topic":"a/#"}`},
		{"a filter to receive", `{"client_id":"a","action":"receive","topic":"+"}`},
		{"a broken filter", `{"client_id":"a","action":"subscribe","topic":"a/#/b"}`},
		{"a broken share", `{"client_id":"a","action":"subscribe","topic":"$share/a"}`},
		{"two share names", `{"client_id":"a","action":"subscribe","topic":"$share/g/a","group":"g"}`},
		{"QoS 3", `{"client_id":"a","action":"publish","topic":"a","qos":3}`},
		{"QoS 256", `{"client_id":"a","action":"publish","topic":"a","qos":256}`},
		{"a control character", `{"client_id":"a","action":"publish","topic":"a\u0000"}`},
		{"a will to receive", `{"client_id":"a","action":"receive","topic":"a","will":true}`},
		{"a share name with a level", `{"client_id":"a","action":"subscribe","topic":"a","group":"g/h"}`},
		{"a share name with a wildcard", `{"client_id":"a","action":"subscribe","topic":"a","group":"+"}`},
		{"a group to publish", `{"client_id":"a","action":"publish","topic":"a","group":"g"}`},
		{"retained subscription", `{"client_id":"a","action":"subscribe","topic":"a","retain":true}`},
		{"a topic to connect to", `{"client_id":"a","action":"connect","topic":"a"}`},
	}
	for _, tt := range tests {
		if _, q, err := decodeExplain([]byte(tt.body)); err == nil {
			t.Errorf("%s: %s is accepted as %+v", tt.name, tt.body, q)
		}
	}
}

func TestASlowClientIsCutOff(t *testing.T) {
	short := func(o *Options) {
		o.bounds = bounds{header: 50 * time.Millisecond, read: 100 * time.Millisecond, write: time.Second, idle: 50 * time.Millisecond, connections: 16}
	}
	tests := []struct{ name, sends string }{
		{"says nothing", ""},
		{"ends in the header", "GET /api/v1/status HTTP/1.1\r\nHost:"},
		{"ends in the body", "POST /api/v1/retained/purge HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"},
		{"has a header without end", "GET /api/v1/status HTTP/1.1\r\nHost: " + strings.Repeat("x", 2*maxHeader)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := raw(t, open(t, short))
			if _, err := io.WriteString(c, tt.sends); err != nil && !strings.Contains(err.Error(), "broken pipe") {
				t.Fatal(err)
			}
			got, err := io.ReadAll(c)
			if os.IsTimeout(err) {
				t.Errorf("still open; it answered %q", got)
			}
		})
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	p := open(t, func(o *Options) {
		o.bounds = bounds{header: time.Minute, read: time.Minute, write: time.Minute, idle: time.Minute, connections: 2}
	})
	for range 2 {
		c := raw(t, p)
		if _, err := io.WriteString(c, "GET /api/v1/status HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	third := raw(t, p)
	if n, err := third.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("the third connection read %d, %v; want it closed", n, err)
	}
}
