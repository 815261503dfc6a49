package acme

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"
)

// Bounds of one request.
const (
	requestTimeout = 30 * time.Second
	maxBody        = 256 << 10
	maxHeader      = 16 << 10
	// leastPoll and mostPoll bound the pauses between questions whether an
	// order has come on, which the server chooses by Retry-After.
	leastPoll = time.Second
	mostPoll  = 30 * time.Second
)

// userAgent is what the server is told of us (RFC 8555, 6.1).
const userAgent = "sallyport"

// client is how the server is spoken to.
func (o *Options) client() *http.Client {
	inner := o.transport
	if inner == nil {
		inner = &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			TLSClientConfig:        &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    10 * time.Second,
			ResponseHeaderTimeout:  requestTimeout,
			MaxResponseHeaderBytes: maxHeader,
			DisableCompression:     true, // a small body stays small
			MaxIdleConns:           4,
			IdleConnTimeout:        30 * time.Second,
		}
	}
	return &http.Client{
		Transport: bounded{inner},
		Timeout:   requestTimeout, // with the body
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the server redirects, which ACME has no use for: name the directory's own URL")
		},
	}
}

// bounded lets through what an ACME server may say. The library reads bodies
// to their end, and waits as long as it is told to, also less than no time.
type bounded struct{ inner http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" { // RFC 8555, 6.1
		return nil, errors.New("the server names a URL that is not https")
	}
	res, err := b.inner.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if res.StatusCode < 300 {
		if err := form(r, res); err != nil {
			_ = res.Body.Close() // nothing of it is wanted
			return nil, err
		}
		if r.Method == http.MethodPost {
			poll(res.Header)
		}
	}
	res.Body = &limited{res.Body, maxBody}
	return res, nil
}

// form refuses what is no answer of an ACME server, such as a page that tells
// somebody to log in.
func form(r *http.Request, res *http.Response) error {
	if r.Method == http.MethodHead || res.ContentLength == 0 {
		return nil
	}
	kind := res.Header.Get("Content-Type")
	switch media, _, err := mime.ParseMediaType(kind); {
	case err == nil && (media == "application/json" || media == "application/pem-certificate-chain"):
		return nil
	default:
		return fmt.Errorf("the answer is %q, as no ACME server's is: is the directory's URL right?", clean(kind))
	}
}

// poll bounds the pause that the server asks for while it works.
func poll(h http.Header) {
	if h.Get("Retry-After") == "" {
		return // the library waits a second
	}
	d := min(max(retryAfter(h, time.Now()), leastPoll), mostPoll)
	h.Set("Retry-After", strconv.Itoa(int(d/time.Second)))
}

// limited is a body that may have left more bytes.
type limited struct {
	io.ReadCloser
	left int
}

var errLong = fmt.Errorf("the server's answer is longer than %d bytes", maxBody)

// Read implements io.Reader. What is beyond the limit is an error, not the end.
func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, errLong
	}
	if len(p) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.ReadCloser.Read(p)
	if l.left -= n; l.left < 0 {
		return n - 1, errLong
	}
	return n, err
}

// again is how often, and after what, the library repeats a request by itself:
// at once when a nonce was not accepted, which is the only reason for it after
// status 400 (RFC 8555, 6.5). All else ends the attempt, and the next one waits.
func again(n int, _ *http.Request, res *http.Response) time.Duration {
	if res.StatusCode == http.StatusBadRequest && n <= maxNonces {
		return time.Millisecond
	}
	return 0
}

// maxNonces is how many nonces of one request may be refused.
const maxNonces = 10
