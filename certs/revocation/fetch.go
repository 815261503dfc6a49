package revocation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"sallyport/certs/ocsp"
)

// Bounds of a fetch, which no option raises.
const (
	maxBody    = 10 << 20 // bytes
	maxAnswer  = ocsp.MaxResponse
	maxURL     = 2048 // bytes
	fetchLimit = 10 * time.Second
	maxAtOnce  = 16
)

// fetcher asks servers that strangers' certificates name.
type fetcher struct {
	client *http.Client
	slots  chan struct{} // bounds what runs at once
	limit  time.Duration // of one fetch
}

func newFetcher(allowed []netip.Prefix, limit time.Duration) *fetcher {
	r := newReach(allowed)
	dialer := &net.Dialer{
		Timeout: limit,
		// The address that is dialled is judged, not the name: what a name
		// resolves to may change between two looks.
		Control: func(network, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil || network != "tcp4" && network != "tcp6" {
				return fmt.Errorf("%s %s can't be judged", network, address)
			}
			return r.check(to.Addr())
		},
	}
	return &fetcher{
		client: &http.Client{
			Transport: &http.Transport{
				Proxy:       nil, // a proxy would dial for us, unjudged
				DialContext: dialer.DialContext, TLSHandshakeTimeout: limit, ResponseHeaderTimeout: limit,
				MaxResponseHeaderBytes: 32 << 10, DisableCompression: true,
				MaxConnsPerHost: 4, MaxIdleConns: maxAtOnce, IdleConnTimeout: 30 * time.Second,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		slots: make(chan struct{}, maxAtOnce),
		limit: limit,
	}
}

// webURL reports whether a URL may be fetched at all: http or https, with a host
// and without a user.
func webURL(s string) bool {
	if len(s) > maxURL {
		return false
	}
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil && u.Opaque == ""
}

// hostOf is the host and port of a URL that was judged before.
func hostOf(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return s
	}
	return u.Host
}

// stamp is what a server said about a version, for conditional requests.
type stamp struct{ etag, modified string }

var errNotModified = errors.New("not modified")

// get fetches a URL; errNotModified if it is still the version of old.
func (f *fetcher) get(ctx context.Context, target string, old stamp) ([]byte, stamp, error) {
	if !webURL(target) {
		return nil, stamp{}, errors.New("not an http or https URL")
	}
	ctx, cancel := context.WithTimeout(ctx, f.limit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, stamp{}, err
	}
	if old.etag != "" {
		r.Header.Set("If-None-Match", old.etag)
	}
	if old.modified != "" {
		r.Header.Set("If-Modified-Since", old.modified)
	}
	body, h, err := f.do(r, maxBody)
	if err != nil {
		return nil, stamp{}, err
	}
	return body, stamp{etag: h.Get("ETag"), modified: h.Get("Last-Modified")}, nil
}

// post asks an OCSP responder (RFC 6960, A.1).
func (f *fetcher) post(ctx context.Context, target string, body []byte) ([]byte, error) {
	if !webURL(target) {
		return nil, errors.New("not an http or https URL")
	}
	ctx, cancel := context.WithTimeout(ctx, f.limit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/ocsp-request")
	r.Header.Set("Accept", "application/ocsp-response")
	// Not sent: it lets net/http ask again when the server closes a connection that
	// was idle just then.
	r.Header["Idempotency-Key"] = nil
	answer, _, err := f.do(r, maxAnswer)
	return answer, err
}

func (f *fetcher) do(r *http.Request, limit int64) ([]byte, http.Header, error) {
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	case <-r.Context().Done():
		return nil, nil, r.Context().Err()
	}
	r.Header.Set("User-Agent", "sallyport")
	w, err := f.client.Do(r)
	if err != nil {
		return nil, nil, serverError{err}
	}
	defer func() { _ = w.Body.Close() }() // read as far as it is wanted
	switch {
	case w.StatusCode == http.StatusNotModified:
		return nil, nil, errNotModified
	case w.StatusCode >= 300 && w.StatusCode < 400:
		return nil, nil, fmt.Errorf("HTTP status %d: redirects are not followed", w.StatusCode)
	case w.StatusCode >= 500:
		return nil, nil, serverError{fmt.Errorf("HTTP status %d", w.StatusCode)}
	case w.StatusCode != http.StatusOK:
		return nil, nil, fmt.Errorf("HTTP status %d", w.StatusCode)
	case w.ContentLength > limit:
		return nil, nil, fmt.Errorf("larger than %d KiB", limit>>10)
	}
	body, err := io.ReadAll(io.LimitReader(w.Body, limit+1))
	switch {
	case err != nil:
		return nil, nil, serverError{err}
	case int64(len(body)) > limit:
		return nil, nil, fmt.Errorf("larger than %d KiB", limit>>10)
	}
	return body, w.Header, nil
}

func (f *fetcher) close() { f.client.CloseIdleConnections() }
