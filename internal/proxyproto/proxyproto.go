// Package proxyproto is the PROXY protocol, versions 1 and 2: the header with
// which a proxy begins a connection to say whose connection it passes on. Bytes
// in, a [Header] out, and back; it does no I/O.
//
// The standard is HAProxy's doc/proxy-protocol.txt; sections are cited as PP 2.2.
//
// [Parse] is asked again as bytes come, and says how many are missing at least:
// whoever reads no more than that never takes a byte that follows the header.
// It wants one of the two signatures, refuses at the first byte that can't be
// right, and holds a header to [MaxV1] or [MaxV2] bytes.
//
// A header says what its sender likes: whether the sender may be believed is
// the caller's to know before it calls.
package proxyproto

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
)

// Bounds of a header in bytes. MaxV1 is the standard's (PP 2.1), MaxV2 is ours:
// addresses and whatever senders are known to add, a client certificate
// included, fit in.
const (
	MaxV1 = 107
	MaxV2 = prefixV2 + 4096
)

const (
	signatureV1 = "PROXY "
	signatureV2 = "\r\n\r\n\x00\r\nQUIT\n"
	prefixV2    = len(signatureV2) + 4 // version and command, family, length
	shortestV1  = len("PROXY UNKNOWN\r\n")
)

// Family is the kind of the two addresses.
type Family uint8

// The families. Unknown is also what a header has whose addresses are of a kind
// that no stream has (PP 2.2: it falls back to UNSPEC).
const (
	Unknown Family = iota // no addresses: "UNKNOWN" of version 1, UNSPEC of version 2
	TCP4
	TCP6
	Unix // version 2 only
)

// String returns "unknown", "tcp4", "tcp6" or "unix".
func (f Family) String() string {
	switch f {
	case TCP4:
		return "tcp4"
	case TCP6:
		return "tcp6"
	case Unix:
		return "unix"
	}
	return "unknown"
}

// Header is one PROXY protocol header.
type Header struct {
	Version int // 1 or 2
	// Local says that the sender speaks for itself, as in health checks (command
	// LOCAL of version 2). Such a header has nothing else.
	Local  bool
	Family Family
	// Source is the client, Destination what it connected to; of TCP4 and TCP6.
	Source, Destination netip.AddrPort
	// SourcePath and DestinationPath are of Unix. An abstract name begins with NUL.
	SourcePath, DestinationPath string
	// TLVs are those of version 2, all and in their order. The standard's own are
	// well formed and there once at most, NOOP apart.
	TLVs []TLV
	// SSL is what stands in the TLV of that type, nil without one.
	SSL *SSL
}

var (
	errSignature = errors.New("proxyproto: not a PROXY protocol header")
	errTooLong   = errors.New("proxyproto: the header is too long")
)

// Parse reads the header that b begins with. It returns the header and its
// length n; or, if more than b is needed, how many bytes are missing at least,
// each of which belongs to the header; or why b begins no header, for good.
// The TLVs are views of b.
func Parse(b []byte) (h *Header, n, more int, err error) {
	switch {
	case begins(b, signatureV1):
		return parseV1(b)
	case begins(b, signatureV2):
		return parseV2(b)
	}
	return nil, 0, 0, errSignature
}

// begins reports whether b begins with signature, or may once it is longer.
func begins(b []byte, signature string) bool {
	n := min(len(b), len(signature))
	return bytes.HasPrefix(b, []byte(signature[:n]))
}

// Append appends the header's bytes to b. The value of a CRC32C TLV is computed.
// It refuses what [Parse] would refuse; SSL is not looked at, TLVs are.
func (h *Header) Append(b []byte) ([]byte, error) {
	var out []byte
	var err error
	switch h.Version {
	case 1:
		out, err = h.appendV1(nil)
	case 2:
		out, err = h.appendV2(nil)
	default:
		err = fmt.Errorf("proxyproto: no version %d", h.Version)
	}
	if err != nil {
		return nil, err
	}
	if _, _, _, err := Parse(out); err != nil {
		return nil, err
	}
	return append(b, out...), nil
}

// addresses checks that the addresses are of the family.
func (h *Header) addresses() error {
	src, dst := h.Source.Addr(), h.Destination.Addr()
	switch {
	case h.Family == TCP4 && !(src.Is4() && dst.Is4()), h.Family == TCP6 && !(src.Is6() && dst.Is6()):
		return fmt.Errorf("proxyproto: addresses %s and %s are not %s", src, dst, h.Family)
	case src.Zone() != "" || dst.Zone() != "":
		return errors.New("proxyproto: an address has a zone")
	}
	return nil
}
