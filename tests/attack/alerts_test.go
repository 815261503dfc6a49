package attack_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/packet"
)

// lure is an attack on a handshake, and what its peer is told. The tables of lures
// and of others are those of docs/operations.md, which a test holds against them.
type lure struct {
	attack string
	client func(w *wicked) *tls.Config
	// alert12 and alert13 are the alerts (RFC 8446, 6.2) of TLS 1.2 and 1.3; 0 is
	// a version in which there is no such attack.
	alert12, alert13 uint8
	reason           string // of the event handshake_failed
}

// wicked makes the certificates of the attacks.
type wicked struct {
	t           *testing.T
	here, other *authority
	revoked     tls.Certificate
}

// as is a client with a certificate, which it shows whatever CAs it is asked for.
func as(c tls.Certificate) *tls.Config {
	return &tls.Config{GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }}
}

// but is a device of a, changed before it is signed.
func (a *authority) but(change func(*x509.Certificate)) tls.Certificate {
	a.t.Helper()
	key := a.newKey()
	a.next++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: "device"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		KeyUsage: x509.KeyUsageDigitalSignature, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	change(template)
	cert := a.sign(template, a.cert, key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// long is a chain with n certificates more than it needs.
func (w *wicked) long(n int) tls.Certificate {
	c := w.here.device("device")
	for range n {
		c.Certificate = append(c.Certificate, w.other.cert.Raw)
	}
	return c
}

func (w *wicked) largeKey() tls.Certificate {
	key := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 16383, 1), E: 65537}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(99), Subject: pkix.Name{CommonName: "large"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, w.here.cert, key, w.here.key)
	if err != nil {
		w.t.Fatal(err)
	}
	own := w.here.device("device")
	own.Certificate = append(own.Certificate, der)
	return own
}

// stolen is a certificate without its key.
func (w *wicked) stolen() tls.Certificate {
	c := w.here.device("device")
	c.PrivateKey = w.here.newKey()
	return c
}

var lures = []lure{
	{attack: "expired", alert12: 45, alert13: 45, reason: "expired", client: func(w *wicked) *tls.Config {
		return as(w.here.but(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
		}))
	}},
	{attack: "not yet valid", alert12: 45, alert13: 45, reason: "not_yet_valid", client: func(w *wicked) *tls.Config {
		return as(w.here.but(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour / 2) }))
	}},
	{attack: "self-signed", alert12: 48, alert13: 48, reason: "self_signed", client: func(w *wicked) *tls.Config {
		return as(tls.Certificate{Certificate: [][]byte{w.other.cert.Raw}, PrivateKey: w.other.key, Leaf: w.other.cert})
	}},
	{attack: "unknown CA", alert12: 48, alert13: 48, reason: "unknown_ca", client: func(w *wicked) *tls.Config { return as(w.other.device("device")) }},
	{attack: "wrong extended key usage", alert12: 42, alert13: 42, reason: "wrong_usage", client: func(w *wicked) *tls.Config {
		return as(w.here.but(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }))
	}},
	{attack: "revoked by a list", alert12: 42, alert13: 42, reason: "revoked", client: func(w *wicked) *tls.Config { return as(w.revoked) }},
	{attack: "certificate missing where one is required", alert12: 40, alert13: 116, reason: "certificate_missing", client: func(*wicked) *tls.Config { return &tls.Config{} }},
	{attack: "certificate without its key", alert12: 51, alert13: 51, reason: "bad_signature", client: func(w *wicked) *tls.Config { return as(w.stolen()) }},
	{attack: "RSA key of 16,384 bits", alert12: 42, alert13: 42, reason: "key_unsupported", client: func(w *wicked) *tls.Config { return as(w.largeKey()) }},
	{attack: "chain above 64 KiB", alert12: 22, alert13: 22, reason: "oversized", client: func(w *wicked) *tls.Config { return as(w.long(200)) }},
	{attack: "chain above 256 KiB", alert12: 80, alert13: 80, reason: "oversized", client: func(w *wicked) *tls.Config { return as(w.long(900)) }},
	{attack: "TLS 1.1 and older only", alert12: 70, reason: "version", client: func(w *wicked) *tls.Config {
		c := as(w.here.device("device"))
		c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		return c
	}},
	{attack: "no common cipher suite", alert12: 40, reason: "cipher_suite", client: func(w *wicked) *tls.Config {
		c := as(w.here.device("device"))
		c.CipherSuites = []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}
		return c
	}},
}

// alertOf is the alert that a peer has read, 0 if there was none.
func alertOf(err error) uint8 {
	operation, isOperation := errors.AsType[*net.OpError](err)
	if !isOperation || operation.Op != "remote error" {
		return 0
	}
	for n := range 256 {
		if operation.Err.Error() == tls.AlertError(n).Error() {
			return uint8(n)
		}
	}
	return 0
}

// attacked is a broker for certificates of w.here.
func attacked(t *testing.T) (*site, *wicked) {
	t.Helper()
	w := &wicked{t: t, here: newAuthority(t, "here"), other: newAuthority(t, "other")}
	w.revoked = w.here.device("revoked")
	return byCertificate(t, w.here, everything, w.revoked), w
}

// told connects as c, sends a CONNECT if it gets so far, and returns the error that
// it meets; it fails if any MQTT byte comes.
func (s *site) told(door string, c *tls.Config) error {
	s.t.Helper()
	c.InsecureSkipVerify, c.ServerName = true, "localhost" //nolint:gosec // the attacker doesn't care who it is
	nc := tls.Client(s.socket(door), c)
	_ = nc.SetDeadline(time.Now().Add(patience))
	if err := nc.Handshake(); err != nil {
		return err
	}
	_, _ = nc.Write(packet.AppendConnect(nil, login(packet.V5, "alice"))) // TLS 1.3 tells at the first read
	answer := make([]byte, 64)
	n, err := nc.Read(answer)
	if n > 0 {
		s.t.Errorf("the broker answered %x", answer[:n])
	}
	return err
}

var eventLine = regexp.MustCompile(`msg=handshake_failed addr=\S+ listener=(\S+) reason=(\S+)`)

// failed returns the reasons of the events so far.
func (s *site) failed() (reasons []string) {
	for _, m := range eventLine.FindAllStringSubmatch(s.log.String(), -1) {
		reasons = append(reasons, m[2])
	}
	return reasons
}

// TestEachRefusedHandshakeIsToldAndWrittenDown: no MQTT byte, the alert that crypto/tls
// can send, seen by the peer, and one event.
func TestEachRefusedHandshakeIsToldAndWrittenDown(t *testing.T) {
	s, w := attacked(t)
	for _, r := range lures {
		for version, want := range map[uint16]uint8{tls.VersionTLS12: r.alert12, tls.VersionTLS13: r.alert13} {
			if want == 0 {
				continue
			}
			for _, door := range []string{"tls", "wss"} {
				t.Run(fmt.Sprintf("%s/%s/%s", r.attack, tls.VersionName(version), door), func(t *testing.T) {
					s, before := s.in(t), len(s.failed())
					c := r.client(w)
					if c.MaxVersion == 0 {
						c.MinVersion, c.MaxVersion = version, version
					}
					err := s.told(door, c)
					if got := alertOf(err); got != want {
						t.Errorf("the peer was told %d (%v), want %d", got, err, want)
					}
					eventually(t, "an event", func() bool { return len(s.failed()) > before })
					if got := s.failed()[before:]; len(got) != 1 || got[0] != r.reason {
						t.Errorf("events %v, want one, %s", got, r.reason)
					}
				})
			}
		}
	}
}

// others are attacks that other tests make, with the same columns.
var others = []lure{
	{attack: "protocol downgraded (TLS_FALLBACK_SCSV)", alert12: 86, reason: "fallback"},
	// tests/tls has these, with responders and chains of its own.
	{attack: "revoked by a responder (OCSP)", alert12: 42, alert13: 42, reason: "revoked"},
	{attack: "intermediate revoked", alert12: 42, alert13: 42, reason: "revoked"},
	{attack: "no answer of the responder, with hard_fail", alert12: 42, alert13: 42, reason: "revocation_unknown"},
	{attack: "no list of the issuer", alert12: 42, alert13: 42, reason: "revocation_unknown"},
	{attack: "list signed by another CA", alert12: 42, alert13: 42, reason: "revocation_unknown"},
	{attack: "list expired", alert12: 42, alert13: 42, reason: "revocation_unknown"},
	{attack: "unknown server name, with strict_sni", alert12: 112, alert13: 112, reason: "server_name"},
	{attack: "no TLS, such as plain MQTT", alert12: noAlert, alert13: noAlert, reason: "not_tls"},
	{attack: "record above 16 KiB", alert12: 22, alert13: 22, reason: "oversized"},
	{attack: "empty records or warnings without end", alert12: 10, alert13: 10, reason: "protocol"},
	{attack: "nothing, or half a handshake, until the timeout", alert12: noAlert, alert13: noAlert, reason: "timeout"},
	{attack: "nothing, or half a handshake, when there is no place left", alert12: noAlert, alert13: noAlert, reason: "crowded"},
}

// noAlert stands for the socket that is closed without a word.
const noAlert = 255

func TestTheDocumentationHasTheAlerts(t *testing.T) {
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	text := func(alert uint8) string {
		switch alert {
		case 0:
			return ""
		case noAlert:
			return "none"
		}
		return fmt.Sprintf("%d %s", alert, strings.TrimPrefix(tls.AlertError(alert).Error(), "tls: "))
	}
	for _, l := range append(slices.Clone(lures), others...) {
		row := fmt.Sprintf("| %s | %s | %s | `%s` |\n", l.attack, text(l.alert12), text(l.alert13), l.reason)
		if !strings.Contains(string(page), row) {
			t.Errorf("docs/operations.md lacks\n%s", row)
		}
	}
}
