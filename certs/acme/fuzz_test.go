package acme

import (
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/acme"
)

// FuzzStored reads files of the storage: nothing panics, what is accepted can be
// served, and no file makes us wait for longer than a server could.
func FuzzStored(f *testing.F) {
	fake := newFake(f)
	key, err := formatKey(fake.caKey)
	if err != nil {
		f.Fatal(err)
	}
	key = strings.ReplaceAll(key, "\n", `\n`)
	chain := strings.ReplaceAll(string(pemOf(fake.ca)), "\n", `\n`)
	f.Add([]byte(`{"domains":["a.example"],"key":"` + key + `","chain":"` + chain + `"}`))
	f.Add([]byte(`{"directory":"https://acme.example/dir","url":"https://acme.example/account/1","key":"` + key + `"}`))
	f.Add([]byte(`{"domains":["a.example"],"failures":3,"last":"2026-01-01T00:00:00Z","silence":"2026-01-02T00:00:00Z"}`))
	f.Add([]byte(`{"domains":["a.example"],"failures":9223372036854775807,"last":"2026-01-01T00:00:00Z"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if a, err := parseAccount(data); err == nil && a.signer == nil {
			t.Error("an account without a key")
		}
		if _, chain, key, err := parseStored(data); err == nil {
			if cert, err := judge(chain, key, nil); err == nil && (cert.Leaf == nil || cert.PrivateKey == nil) {
				t.Error("a certificate that can't be served")
			}
		}
		now := time.Date(2026, 1, 1, 0, 1, 0, 0, time.UTC)
		var p plan
		p.restore(data, []string{"a.example"}, now)
		if next := p.next(now); next.After(now.Add(maxRetryAfter)) {
			t.Errorf("next attempt on %v", next)
		}
		p.failed(now, 0)
		if next := p.next(now); next.Before(now.Add(firstPause)) || next.After(now.Add(2*mostPause)) {
			t.Errorf("after another failure: %v", next)
		}
	})
}

// FuzzProblem makes lines of what a server says.
func FuzzProblem(f *testing.F) {
	f.Add("urn:ietf:params:acme:error:rateLimited", "too many\n\x1b[2J\u202e", "3600", "https://acme.example/terms")
	f.Add("", "\xff\xfe", "Mon, 02 Jan 2006 15:04:05 GMT", "")
	f.Add("about:blank", strings.Repeat("é", 1000), "-1", "x")
	f.Fuzz(func(t *testing.T, kind, detail, after, instance string) {
		e := &acme.Error{
			StatusCode: 400, ProblemType: kind, Detail: detail, Instance: instance, Header: http.Header{"Retry-After": {after}},
			Subproblems: []acme.Subproblem{{Detail: detail, Identifier: &acme.AuthzID{Value: instance}}},
		}
		for _, err := range []error{e, &acme.OrderError{Status: detail, Problem: e}, &acme.AuthorizationError{Identifier: detail, Errors: []error{e, e, e, e, e, e, e, e}}} {
			p := describe(err, time.Now())
			for _, s := range []string{p.kind, p.text} {
				if len(s) > maxLine+len("...") || !utf8.ValidString(s) || strings.ContainsAny(s, "\n\r\x1b\u202e\x00") {
					t.Errorf("%q", s)
				}
			}
			if p.after < 0 || p.after > maxRetryAfter {
				t.Errorf("Retry-After %q is %v", after, p.after)
			}
		}
	})
}
