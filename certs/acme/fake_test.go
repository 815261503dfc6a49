package acme

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	fakeHost      = "https://acme.example"
	fakeDirectory = fakeHost + "/dir"
)

// request is one that came.
type request struct {
	what string // method and path
	at   time.Time
}

// fake is an ACME server without a network, which believes whatever it is told:
// it is for what a true one would never answer. tests/acme has a true one.
type fake struct {
	t        testing.TB
	ca       *x509.Certificate
	caKey    crypto.Signer
	life     time.Duration
	backdate time.Duration

	// answers replace those of the paths, until they return nil; see set.
	answers map[string]func(r *http.Request, payload []byte) *http.Response
	// other answers any path, until it returns nil; it is called with mu.
	other func(path string) *http.Response
	// leaf changes what is about to be issued.
	leaf func(template *x509.Certificate, public crypto.PublicKey) (*x509.Certificate, crypto.PublicKey)

	mu sync.Mutex
	// mu guards the fields below.
	requests []request
	payloads map[string][]byte
	domains  []string
	accepted map[string]bool // by path of the authorization
	chain    []byte
	nonce    int
	serial   int64
	orders   []time.Time
	accounts int
}

func newFake(t testing.TB) *fake {
	f := &fake{
		t: t, life: 90 * 24 * time.Hour, accepted: map[string]bool{}, payloads: map[string][]byte{},
		answers: map[string]func(*http.Request, []byte) *http.Response{},
	}
	f.caKey = mustKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(20, 0, 0), KeyUsage: x509.KeyUsageCertSign,
	}
	f.ca = f.sign(template, template, f.caKey.Public(), f.caKey)
	return f
}

func mustKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (f *fake) sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		f.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// RoundTrip implements http.RoundTripper.
func (f *fake) RoundTrip(r *http.Request) (*http.Response, error) {
	var payload []byte
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		payload = payloadOf(body)
	}
	f.mu.Lock()
	f.requests = append(f.requests, request{r.Method + " " + r.URL.Path, time.Now()})
	f.payloads[r.URL.Path] = payload
	a := f.answers[r.URL.Path]
	f.mu.Unlock()
	if a != nil {
		if res := a(r, payload); res != nil {
			return res, r.Context().Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	res := f.answer(r, payload)
	f.nonce++
	res.Header.Set("Replay-Nonce", fmt.Sprint("nonce", f.nonce))
	return res, nil
}

func payloadOf(body []byte) []byte {
	var jws struct{ Payload string }
	if json.Unmarshal(body, &jws) != nil {
		return nil
	}
	payload, _ := base64.RawURLEncoding.DecodeString(jws.Payload)
	return payload
}

// answer is that of a true server; mu is held.
func (f *fake) answer(r *http.Request, payload []byte) *http.Response {
	path := r.URL.Path
	if f.other != nil {
		if res := f.other(path); res != nil {
			return res
		}
	}
	switch {
	case path == "/dir":
		return say(200, `{"newNonce":"%[1]s/nonce","newAccount":"%[1]s/account","newOrder":"%[1]s/order","revokeCert":"%[1]s/revoke","keyChange":"%[1]s/key",
			"meta":{"termsOfService":"%[1]s/terms","profiles":{"short":"about it"}}}`, fakeHost)
	case path == "/nonce":
		return say(200, "")
	case path == "/account":
		f.accounts++
		res := say(201, `{"status":"valid"}`)
		res.Header.Set("Location", fmt.Sprintf("%s/account/%d", fakeHost, f.accounts))
		return res
	case strings.HasPrefix(path, "/account/"):
		return say(200, `{"status":"valid"}`)
	case path == "/order":
		return f.newOrder(payload)
	case path == "/order/1":
		return f.order()
	case strings.HasPrefix(path, "/authz/"):
		return f.authorization(path)
	case strings.HasPrefix(path, "/challenge/"):
		f.accepted[strings.Replace(path, "challenge", "authz", 1)] = true
		return say(200, `{"type":"tls-alpn-01","status":"pending","url":"%s%s"}`, fakeHost, path)
	case path == "/finalize":
		return f.finalize(payload)
	case path == "/cert":
		res := say(200, "%s", f.chain)
		res.Header.Set("Content-Type", "application/pem-certificate-chain")
		return res
	}
	return refuse(404, "malformed", "no such thing")
}

func (f *fake) newOrder(payload []byte) *http.Response {
	var order struct{ Identifiers []struct{ Value string } }
	if err := json.Unmarshal(payload, &order); err != nil {
		return refuse(400, "malformed", "no order")
	}
	f.domains, f.chain, f.accepted = nil, nil, map[string]bool{}
	for _, i := range order.Identifiers {
		f.domains = append(f.domains, i.Value)
	}
	f.orders = append(f.orders, time.Now())
	res := f.order()
	res.StatusCode = 201
	res.Header.Set("Location", fakeHost+"/order/1")
	return res
}

func (f *fake) order() *http.Response {
	status := "ready"
	urls := []string{}
	for i := range f.domains {
		path := fmt.Sprintf("/authz/%d", i)
		urls = append(urls, fakeHost+path)
		if !f.accepted[path] {
			status = "pending"
		}
	}
	if f.chain != nil {
		status = "valid"
	}
	list, _ := json.Marshal(urls)
	return say(200, `{"status":"%[2]s","authorizations":%[3]s,"finalize":"%[1]s/finalize","certificate":"%[1]s/cert"}`, fakeHost, status, list)
}

func (f *fake) authorization(path string) *http.Response {
	var i int
	if _, err := fmt.Sscanf(path, "/authz/%d", &i); err != nil || i >= len(f.domains) {
		return refuse(404, "malformed", "no such authorization")
	}
	status := "pending"
	if f.accepted[path] {
		status = "valid"
	}
	challenge := func(kind string) string {
		return fmt.Sprintf(`{"type":"%s","url":"%s/challenge/%d","token":"token-%d","status":"pending"}`, kind, fakeHost, i, i)
	}
	return say(200, `{"status":"%s","identifier":{"type":"dns","value":"%s"},"challenges":[%s,%s]}`,
		status, f.domains[i], challenge("http-01"), challenge("tls-alpn-01"))
}

func (f *fake) finalize(payload []byte) *http.Response {
	var body struct{ CSR string }
	if err := json.Unmarshal(payload, &body); err != nil {
		return refuse(400, "malformed", "no request")
	}
	der, err := base64.RawURLEncoding.DecodeString(body.CSR)
	if err != nil {
		return refuse(400, "badCSR", "no base64")
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil || csr.CheckSignature() != nil {
		return refuse(400, "badCSR", "not signed")
	}
	f.serial++
	now := time.Now()
	leaf, public := &x509.Certificate{
		SerialNumber: big.NewInt(f.serial), DNSNames: csr.DNSNames, NotBefore: now.Add(-f.backdate), NotAfter: now.Add(f.life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, csr.PublicKey
	if f.leaf != nil {
		leaf, public = f.leaf(leaf, public)
	}
	f.chain = append(pemOf(f.sign(leaf, f.ca, public, f.caKey)), pemOf(f.ca)...)
	return f.order()
}

func pemOf(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// say is an answer in JSON.
func say(status int, format string, args ...any) *http.Response {
	body := fmt.Sprintf(format, args...)
	return &http.Response{
		StatusCode: status, Status: fmt.Sprint(status), Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
}

// refuse is a problem document (RFC 7807).
func refuse(status int, kind, detail string) *http.Response {
	text, _ := json.Marshal(map[string]any{"type": "urn:ietf:params:acme:error:" + kind, "detail": detail, "status": status})
	res := say(status, "%s", text)
	res.Header.Set("Content-Type", "application/problem+json")
	res.Header.Set("Replay-Nonce", "another")
	return res
}

// count is how many requests of that method and path there were.
func (f *fake) count(what string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.requests {
		if r.what == what {
			n++
		}
	}
	return n
}

// times is when those requests came.
func (f *fake) times(what string) (all []time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.requests {
		if r.what == what {
			all = append(all, r.at)
		}
	}
	return all
}

// set replaces the answers of a path while a Keeper runs; nil gives them back.
func (f *fake) set(path string, answer func(*http.Request, []byte) *http.Response) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[path] = answer
}

// payload is what was last sent to a path.
func (f *fake) payload(path string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return string(f.payloads[path])
}

func (f *fake) ordered() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.orders)
}

// logged is a log that a test reads.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
