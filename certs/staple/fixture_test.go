package staple

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	xocsp "golang.org/x/crypto/ocsp"
)

const responderURL = "http://ocsp.example/"

func newKey(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "p384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// authority is a CA of a test.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func create(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	// Long enough for the clock of synctest, which begins in 2000, and for ours.
	template.NotBefore = time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newCA(t testing.TB, kind string) *authority {
	t.Helper()
	key := newKey(t, kind)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, BasicConstraintsValid: true, IsCA: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	return &authority{create(t, template, template, key.Public(), key), key}
}

// leaf issues a server's certificate with its chain.
func (a *authority) leaf(t testing.TB, kind string, serial int64, change func(*x509.Certificate)) *tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "broker"}, OCSPServer: []string{responderURL},
		DNSNames: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if change != nil {
		change(template)
	}
	key := newKey(t, kind)
	c := create(t, template, a.cert, key.Public(), a.key)
	return &tls.Certificate{Certificate: [][]byte{c.Raw, a.cert.Raw}, PrivateKey: key, Leaf: c}
}

func mustHaveStaple(c *x509.Certificate) {
	c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: []byte{0x30, 3, 2, 1, 5}})
}

// responder is one without a network. Its zero handle fails.
type responder struct {
	t  testing.TB
	ca *authority

	mu sync.Mutex
	// mu guards the fields below.
	handle  func(ctx context.Context, r *xocsp.Request, host string) ([]byte, error)
	asked   []time.Time
	running int
	most    int // that were asked at the same time
}

var errDead = errors.New("connection refused")

// RoundTrip answers a request by GET or POST.
func (r *responder) RoundTrip(q *http.Request) (*http.Response, error) {
	var der []byte
	if q.Method == http.MethodPost {
		der, _ = io.ReadAll(q.Body)
	} else {
		path := q.URL.EscapedPath()
		plain, _ := url.QueryUnescape(path[strings.LastIndex(path, "/")+1:])
		der, _ = base64.StdEncoding.DecodeString(plain)
	}
	request, err := xocsp.ParseRequest(der)
	if err != nil {
		r.t.Errorf("request: %v", err)
		return nil, err
	}
	r.mu.Lock()
	r.asked = append(r.asked, time.Now())
	r.running++
	r.most = max(r.most, r.running)
	handle := r.handle
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.running--
		r.mu.Unlock()
	}()
	if handle == nil {
		return nil, errDead
	}
	body, err := handle(q.Context(), request, q.URL.Host)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: q}, nil
}

// set changes what it answers.
func (r *responder) set(handle func(ctx context.Context, q *xocsp.Request, host string) ([]byte, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.handle = handle
}

// take returns when it was asked since it was called.
func (r *responder) take() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.asked
	r.asked = nil
	return all
}

// says answers with a status that is good for as long as validity.
func (r *responder) says(status int, validity time.Duration) {
	r.set(func(_ context.Context, q *xocsp.Request, _ string) ([]byte, error) {
		return r.sign(q, status, time.Now(), time.Now().Add(validity)), nil
	})
}

func (r *responder) sign(q *xocsp.Request, status int, thisUpdate, nextUpdate time.Time) []byte {
	der, err := xocsp.CreateResponse(r.ca.cert, r.ca.cert, xocsp.Response{
		Status: status, SerialNumber: q.SerialNumber, RevokedAt: thisUpdate, ThisUpdate: thisUpdate, NextUpdate: nextUpdate,
	}, r.ca.key)
	if err != nil {
		r.t.Error(err)
	}
	return der
}

// bench is a Stapler with a responder and what it said.
type bench struct {
	*Stapler
	*responder
	t   *testing.T
	log *lines

	alarmMu sync.Mutex
	alarms  []Alarm
}

func newBench(t *testing.T, o Options) *bench {
	t.Helper()
	b := &bench{t: t, responder: &responder{t: t, ca: newCA(t, "p256")}, log: new(lines)}
	o.Client = &http.Client{Transport: b.responder}
	if o.Jitter == 0 {
		o.Jitter = -1
	}
	o.Log = slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	o.Alarm = func(a Alarm) {
		b.alarmMu.Lock()
		defer b.alarmMu.Unlock()
		b.alarms = append(b.alarms, a)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	b.Stapler = s
	t.Cleanup(s.Close)
	return b
}

func (b *bench) add(cert *tls.Certificate) *Staple {
	b.t.Helper()
	s, warnings, err := b.Add(cert, nil)
	if err != nil || len(warnings) != 0 {
		b.t.Fatalf("Add: %v, %v", warnings, err)
	}
	return s
}

// takeAlarms returns the kinds of the alarms since it was called, with spaces.
func (b *bench) takeAlarms() string {
	b.alarmMu.Lock()
	defer b.alarmMu.Unlock()
	var kinds []string
	for _, a := range b.alarms {
		kinds = append(kinds, string(a.Kind))
	}
	b.alarms = nil
	return strings.Join(kinds, " ")
}

// lines is a log to look at.
type lines struct {
	mu sync.Mutex
	// mu guards the field below.
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
