package acme

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"
)

// How often the server is asked when to renew (RFC 9773, 4.3).
const (
	usualAsk   = 6 * time.Hour
	leastAsk   = time.Hour
	mostAsk    = maxRetryAfter
	askTimeout = time.Minute
)

// window is when the server would have a certificate renewed (RFC 9773, 4.2).
type window struct {
	start, end time.Time
	reason     string // a URL for people; may be empty
}

// parseWindow reads what a server answers.
func parseWindow(data []byte) (window, error) {
	var v struct {
		Window struct{ Start, End time.Time } `json:"suggestedWindow"`
		Reason string                         `json:"explanationURL"`
	}
	if err := json.Unmarshal(data, &v); err != nil {
		return window{}, errors.New("the answer is no renewal information")
	}
	w := window{v.Window.Start, v.Window.End, clean(v.Reason)}
	if w.start.IsZero() || !w.end.After(w.start) {
		return window{}, errors.New("the window ends before it begins")
	}
	return w, nil
}

// choose is a time within the window, by chance: not everybody comes at once.
func (w window) choose() time.Time {
	if width := w.end.Sub(w.start); width > 0 {
		return w.start.Add(rand.N(width))
	}
	return w.start
}

// certID is what a server knows a certificate by (RFC 9773, 4.1).
func certID(leaf *x509.Certificate) string {
	serial := leaf.SerialNumber.Bytes()
	if len(serial) > 0 && serial[0]&0x80 != 0 {
		serial = append([]byte{0}, serial...) // as DER has it
	}
	encode := base64.RawURLEncoding.EncodeToString
	return encode(leaf.AuthorityKeyId) + "." + encode(serial)
}

// ask asks the server when to renew, as it may have revoked the certificate, or
// be about to. It can make that earlier than we would, never later. Nothing
// depends on an answer.
func (k *Keeper) ask(ctx context.Context) {
	within, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	now := time.Now()
	leaf := k.cert.Load().Leaf
	w, again, err := k.window(within, leaf)
	k.plan.ask = now.Add(again)
	if err != nil {
		k.log.Debug("server was not asked when to renew", "directory", k.options.Directory, "reason", clean(err.Error()))
		return
	}
	if at := w.choose(); at.Before(k.plan.renewal) {
		k.plan.renewal = at
		k.log.Info("server asks for an early renewal", "directory", k.options.Directory, "domains", k.options.Domains, "from", stamp(w.start), "reason", w.reason)
	}
}

// window fetches the answer, and tells after what time to ask again.
func (k *Keeper) window(ctx context.Context, leaf *x509.Certificate) (w window, again time.Duration, err error) {
	data, _, err := k.fetch(ctx, k.options.Directory)
	if err != nil {
		return window{}, usualAsk, err
	}
	var directory struct {
		RenewalInfo string `json:"renewalInfo"`
	}
	if err := json.Unmarshal(data, &directory); err != nil {
		return window{}, usualAsk, errors.New("the directory is no JSON")
	}
	if directory.RenewalInfo == "" || len(leaf.AuthorityKeyId) == 0 {
		return window{}, mostAsk, errors.New("the server has no such information")
	}
	u, err := url.JoinPath(directory.RenewalInfo, certID(leaf))
	if err != nil {
		return window{}, usualAsk, err
	}
	data, header, err := k.fetch(ctx, u)
	again = usualAsk
	if asked := retryAfter(header, time.Now()); asked > 0 {
		again = min(max(asked, leastAsk), mostAsk)
	}
	if err != nil {
		return window{}, again, err
	}
	w, err = parseWindow(data)
	return w, again, err
}

// fetch gets a resource that needs no signature.
func (k *Keeper) fetch(ctx context.Context, u string) ([]byte, http.Header, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, nil, err
	}
	r.Header.Set("User-Agent", userAgent)
	res, err := k.client.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close() // opened for reading: nothing to lose
	if res.StatusCode != http.StatusOK {
		return nil, res.Header, fmt.Errorf("the server answers %d", res.StatusCode)
	}
	data, err := io.ReadAll(res.Body) // which is bounded
	return data, res.Header, err
}
