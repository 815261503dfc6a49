package tls_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"regexp"
	"testing"
	"time"
)

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

var failedLine = regexp.MustCompile(`msg=handshake_failed addr=\S+ listener=door reason=(\S+)`)

func (s *site) reasons() (all []string) {
	for _, m := range failedLine.FindAllStringSubmatch(s.log.String(), -1) {
		all = append(all, m[1])
	}
	return all
}

// TestWhatIsKnownOfACertificateRefusesIt has the rows of docs/operations.md that need
// responders, lists of several issuers or several names: no MQTT byte is answered,
// the peer sees the alert, and there is one event.
func TestWhatIsKnownOfACertificateRefusesIt(t *testing.T) {
	type attack struct {
		name   string
		more   string // of the tls section
		lists  func(ca, sub *authority) []byte
		status byte // at the responder, 0: down
		alert  uint8
		reason string
	}
	both := func(ca, sub *authority) []byte { return append(sub.list(time.Hour), ca.list(time.Hour)...) }
	const crl, ocsp = "crl: clients.crl", "ocsp: hard_fail\n" + loopback
	for _, a := range []attack{
		{"revoked by a responder (OCSP)", ocsp, nil, 'R', 42, "revoked"},
		{"no answer of the responder, with hard_fail", ocsp, nil, 0, 42, "revocation_unknown"},
		{"intermediate revoked", crl, func(ca, sub *authority) []byte { return append(sub.list(time.Hour), ca.list(time.Hour, sub.cert)...) }, 'V', 42, "revoked"},
		{"no list of the issuer", crl, func(ca, _ *authority) []byte { return ca.list(time.Hour) }, 'V', 42, "revocation_unknown"},
		{"list signed by another CA", crl, func(ca, sub *authority) []byte {
			other := newAuthority(sub.t, "sub", nil) // the name, not the key
			return append(other.list(time.Hour), ca.list(time.Hour)...)
		}, 'V', 42, "revocation_unknown"},
		{"list expired", crl, func(ca, sub *authority) []byte { return append(sub.list(-time.Second), ca.list(time.Hour)...) }, 'V', 42, "revocation_unknown"},
		{"nothing is wrong", crl, both, 'V', 0, ""},
		{"nothing is wrong with the responder", ocsp, nil, 'V', 0, ""},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(fmt.Sprintf("%s/%s", a.name, tls.VersionName(version)), func(t *testing.T) {
				ca := newAuthority(t, "clients", nil)
				sub := newAuthority(t, "sub", ca)
				r := newResponder(t, sub)
				above := newResponder(t, ca)
				above.set(sub.cert, 'V')
				s := mutual(t, ca, a.more)
				if a.lists != nil {
					s.write("clients.crl", a.lists(ca, sub))
				}
				s.start()
				d := sub.device("device", func(x *x509.Certificate) { x.OCSPServer = []string{r.url()} }, sub)
				if a.more == ocsp { // the intermediate names its responder too
					sub = renamed(t, ca, sub, above.url())
					above.set(sub.cert, 'V')
					d = sub.device("device", func(x *x509.Certificate) { x.OCSPServer = []string{r.url()} }, sub)
				}
				if a.status == 0 {
					r.down.Store(true)
				} else {
					r.set(d.Leaf, a.status)
				}
				client := ca.trusts("broker.example", d)
				client.InsecureSkipVerify, client.MinVersion, client.MaxVersion = true, version, version
				_, _, err := s.greet(client, "device")
				if got := alertOf(err); got != a.alert || (err == nil) != (a.alert == 0) {
					t.Errorf("the peer was told %d (%v), want %d\n%s", got, err, a.alert, s.log)
				}
				if a.reason == "" {
					return
				}
				eventually(t, "an event", func() bool { return len(s.reasons()) > 0 })
				if got := s.reasons(); len(got) != 1 || got[0] != a.reason {
					t.Errorf("events %v, want one, %s", got, a.reason)
				}
			})
		}
	}
}

// renamed is a again, with a certificate that names a responder.
func renamed(t *testing.T, parent, a *authority, responder string) *authority {
	t.Helper()
	tmpl := *a.cert
	tmpl.OCSPServer, tmpl.SerialNumber = []string{responder}, serial()
	return &authority{t: t, key: a.key, cert: sign(t, &tmpl, parent.cert, a.key.Public(), parent.key)}
}

func TestAnUnknownServerNameIsToldAndWrittenDown(t *testing.T) {
	ca := newAuthority(t, "ca", nil)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s := folder(t, ca, "strict_sni: true")
		s.start()
		client := ca.trusts("other.example", nil)
		client.MinVersion, client.MaxVersion = version, version
		_, _, err := s.greet(client, "a")
		if got := alertOf(err); got != 112 {
			t.Errorf("%s: the peer was told %d (%v), want 112", tls.VersionName(version), got, err)
		}
		eventually(t, "an event", func() bool { return len(s.reasons()) > 0 })
		if got := s.reasons(); len(got) != 1 || got[0] != "server_name" {
			t.Errorf("%s: events %v", tls.VersionName(version), got)
		}
	}
}
