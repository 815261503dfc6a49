package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"sallyport/certs/revocation"
	"sallyport/internal/suites"
)

// What real handshakes give is tried in tests/attack; here is the rest.
func TestRefusals(t *testing.T) {
	c := &x509.Certificate{NotBefore: time.Now().Add(time.Hour), RawSubject: []byte("a"), RawIssuer: []byte("b")}
	chain := func(err error) error {
		return fmt.Errorf("x: %w", &tls.CertificateVerificationError{UnverifiedCertificates: []*x509.Certificate{c}, Err: err})
	}
	for _, tt := range []struct {
		err    error
		want   string
		blamed bool
	}{
		{chain(x509.UnknownAuthorityError{Cert: c}), "unknown_ca", true},
		{chain(x509.CertificateInvalidError{Cert: c, Reason: x509.TooManyIntermediates}), "bad_chain", true},
		{chain(errors.New("x509: signature check attempts limit reached")), "bad_chain", true},
		{&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "unknown_ca", false},
		{fmt.Errorf("x: %w", &revocation.Error{Cause: revocation.Revoked, Certificate: c}), "revoked", true},
		{&revocation.Error{Cause: revocation.ExpiredList, Certificate: c}, "revocation_unknown", true},
		{&revocation.Error{Cause: revocation.NotVerified}, "revocation_unknown", false},
		{fmt.Errorf("group P-521 %w", suites.ErrNotAccepted), "not_accepted", false},
		{errors.New("tls: no key exchanges supported by both client and server"), "group", false},
		{tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, "not_tls", false},
		{tls.RecordHeaderError{Msg: "received record with version 304"}, "protocol", false},
		{&net.OpError{Op: "remote error", Err: tls.AlertError(42)}, "peer_alert", false},
		{&net.OpError{Op: "local error", Err: tls.AlertError(10)}, "protocol", false},
		{&fs.PathError{Op: "read", Err: os.ErrDeadlineExceeded}, "timeout", false},
		{&fs.PathError{Op: "read", Err: syscall.ECONNRESET}, "closed", false},
		{io.EOF, "closed", false},
		{errors.New("something new"), "protocol", false},
	} {
		got, leaf := Refusal(tt.err)
		if got != tt.want || (leaf != nil) != tt.blamed {
			t.Errorf("%v: %s, a certificate is blamed: %v; want %s, %v", tt.err, got, leaf != nil, tt.want, tt.blamed)
		}
	}
}
