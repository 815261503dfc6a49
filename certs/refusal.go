package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"sallyport/certs/revocation"
	"sallyport/internal/suites"
)

// Refusal says in a word of the event handshake_failed why a TLS handshake of
// ours has failed, and names the client's certificate, nil if it is not to blame:
//
//	expired, not_yet_valid, self_signed, unknown_ca, wrong_usage, bad_chain,
//	revoked, revocation_unknown, certificate_missing, certificate_malformed,
//	key_unsupported, bad_signature  the client's certificate
//	version, cipher_suite, group, fallback, not_accepted, server_name  what the client offered, or it came to
//	not_tls, oversized, protocol    bytes that are no handshake, or not one as it should be
//	peer_alert, timeout, closed     the client gave up, or was too slow
func Refusal(err error) (reason string, leaf *x509.Certificate) {
	if certificate, blamed := errors.AsType[*tls.CertificateVerificationError](err); blamed {
		if len(certificate.UnverifiedCertificates) > 0 {
			leaf = certificate.UnverifiedCertificates[0]
		}
		return chainRefusal(certificate.Err, leaf), leaf
	}
	if revoked, blamed := errors.AsType[*revocation.Error](err); blamed {
		if revoked.Final() {
			return "revoked", revoked.Certificate
		}
		return "revocation_unknown", revoked.Certificate
	}
	return otherRefusal(err), nil
}

// chainRefusal is why crypto/x509 finds no chain from leaf to an anchor.
func chainRefusal(err error, leaf *x509.Certificate) string {
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); unknown {
		if leaf != nil && bytes.Equal(leaf.RawIssuer, leaf.RawSubject) {
			return "self_signed"
		}
		return "unknown_ca"
	}
	invalid, known := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case known && invalid.Reason == x509.Expired:
		// One reason for both; the text tells which end it was.
		if strings.Contains(invalid.Detail, " is before ") {
			return "not_yet_valid"
		}
		return "expired"
	case known && invalid.Reason == x509.IncompatibleUsage:
		return "wrong_usage"
	}
	return "bad_chain"
}

func otherRefusal(err error) string {
	var timeout net.Error
	record, badRecord := errors.AsType[tls.RecordHeaderError](err)
	operation, isOperation := errors.AsType[*net.OpError](err)
	switch {
	case errors.Is(err, suites.ErrNotAccepted):
		return "not_accepted"
	case badRecord && strings.HasPrefix(record.Msg, "first record"):
		return "not_tls"
	case badRecord && strings.HasPrefix(record.Msg, "oversized"):
		return "oversized"
	case badRecord && strings.HasPrefix(record.Msg, "unsupported SSLv2"):
		return "version"
	case isOperation && operation.Op == "remote error":
		return "peer_alert"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "closed"
	}
	text := err.Error()
	for _, known := range errorTexts {
		if strings.HasPrefix(text, known.begins) {
			return known.reason
		}
	}
	return "protocol"
}

// errorTexts are errors of crypto/tls that have no type. A text that changed
// makes the reason less exact and no more, and a test fail.
var errorTexts = []struct{ begins, reason string }{
	{"tls: client didn't provide a certificate", "certificate_missing"},
	{"tls: failed to parse client certificate", "certificate_malformed"},
	{"tls: client sent certificate containing RSA key larger", "key_unsupported"},
	{"tls: client certificate contains an unsupported public key", "key_unsupported"},
	{"tls: invalid signature by the client certificate", "bad_signature"},
	{"tls: client certificate used with invalid signature algorithm", "bad_signature"},
	{"tls: client offered only unsupported versions", "version"},
	{"tls: client offered TLS version older", "version"},
	{"tls: no cipher suite supported by both", "cipher_suite"},
	{"tls: no key exchanges supported by both", "group"},
	{"tls: client using inappropriate protocol fallback", "fallback"},
	{"tls: handshake message of length", "oversized"},
	{"tls: no certificates configured", "server_name"},
}
