package ocsp

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// maxGet is how long the whole URL of a GET may be (RFC 5019, 5).
const maxGet = 255

const maxRedirects = 3

// CheckURL returns why requests can't be sent to a responder's URL. It must be
// absolute, http or https, and hold no credentials.
func CheckURL(responder string) error {
	u, err := url.Parse(responder)
	switch {
	case err != nil:
		return errors.New("not a URL") // its text could hold a password
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("scheme %q: http and https are known", u.Scheme)
	case u.Host == "":
		return errors.New("URL names no host")
	case u.User != nil:
		return errors.New("URL holds credentials")
	case u.Fragment != "":
		return errors.New("URL holds a fragment")
	}
	return nil
}

// Ask sends a request (DER) to a responder and returns its answer, of at most
// MaxResponse bytes and not verified: by GET where the URL stays short, so that
// caches can answer, else by POST; also where a responder doesn't know GET. It
// ends with ctx. Which addresses may be reached is up to client's transport;
// unless client has a rule of its own, redirects to other schemes are refused.
func Ask(ctx context.Context, client *http.Client, responder string, request []byte) ([]byte, error) {
	if err := CheckURL(responder); err != nil {
		return nil, err
	}
	if client.CheckRedirect == nil {
		c := *client
		c.CheckRedirect = checkRedirect
		client = &c
	}
	if short := getURL(responder, request); short != "" {
		answer, code, err := exchange(ctx, client, http.MethodGet, short, nil)
		if code/100 != 4 && code != http.StatusNotImplemented {
			return answer, err
		}
	}
	answer, _, err := exchange(ctx, client, http.MethodPost, responder, request)
	return answer, err
}

// getURL is where GET finds the answer (RFC 6960, A.1), "" where it is too long.
func getURL(responder string, request []byte) string {
	if strings.ContainsAny(responder, "?") {
		return "" // nothing can be added to its path
	}
	u := strings.TrimSuffix(responder, "/") + "/" + url.QueryEscape(base64.StdEncoding.EncodeToString(request))
	if len(u) > maxGet {
		return ""
	}
	return u
}

// exchange returns the body of an answer with status 200.
func exchange(ctx context.Context, client *http.Client, method, target string, body []byte) (answer []byte, code int, err error) {
	r, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, 0, errors.New("not a URL")
	}
	r.Header.Set("Accept", "application/ocsp-response")
	r.Header.Set("User-Agent", "sallyport")
	if body != nil {
		r.Header.Set("Content-Type", "application/ocsp-request")
	}
	response, err := client.Do(r)
	if err != nil {
		var onURL *url.Error
		if errors.As(err, &onURL) {
			err = onURL.Err // without the request in base64
		}
		return nil, 0, err
	}
	defer func() { _ = response.Body.Close() }() // read as far as we want to
	if response.StatusCode != http.StatusOK {
		return nil, response.StatusCode, fmt.Errorf("responder answers with HTTP status %d", response.StatusCode)
	}
	if response.ContentLength > MaxResponse {
		return nil, http.StatusOK, fmt.Errorf("answer of %d bytes: at most %d are read", response.ContentLength, MaxResponse)
	}
	answer, err = io.ReadAll(io.LimitReader(response.Body, MaxResponse+1))
	if err != nil {
		return nil, http.StatusOK, fmt.Errorf("read the answer: %w", err)
	}
	if len(answer) > MaxResponse {
		return nil, http.StatusOK, fmt.Errorf("answer of more than %d bytes", MaxResponse)
	}
	return answer, http.StatusOK, nil
}

// checkRedirect keeps redirects few, and to the scheme that was asked for.
func checkRedirect(next *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return errors.New("responder redirects too often")
	case next.URL.Scheme != via[0].URL.Scheme:
		return fmt.Errorf("responder redirects from %s to %q", via[0].URL.Scheme, next.URL.Scheme)
	case next.URL.User != nil:
		return errors.New("responder redirects to a URL with credentials")
	}
	return nil
}
