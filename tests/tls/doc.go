// Package tls shows what a whole broker makes of the keys of a tls section,
// to peers that are not ours: OpenSSL as client and as OCSP responder, keytool, and
// crypto/tls.
package tls
