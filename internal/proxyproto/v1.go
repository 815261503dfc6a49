package proxyproto

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

var errLine = errors.New("proxyproto: malformed line of version 1")

// parseV1 reads a line of version 1 (PP 2.1).
func parseV1(b []byte) (h *Header, n, more int, err error) {
	end := bytes.IndexByte(b[:min(len(b), MaxV1)], '\n')
	if end < 0 {
		more, err := missingV1(b)
		return nil, 0, more, err
	}
	line, isLine := bytes.CutSuffix(b[:end], []byte("\r"))
	if !isLine {
		return nil, 0, 0, errLine // PP 2.1: a single LF ends nothing
	}
	if h, err = lineV1(string(line)); err != nil {
		return nil, 0, 0, err
	}
	return h, end + 1, 0, nil
}

// missingV1 returns how many bytes a line without its end lacks at least.
func missingV1(b []byte) (int, error) {
	more := shortestV1 - len(b)
	if len(b) > len(signatureV1) {
		n, err := missingFields(string(b[len(signatureV1):]))
		if err != nil {
			return 0, err
		}
		more = max(more, n)
	}
	if len(b)+more > MaxV1 {
		return 0, errTooLong
	}
	return more, nil
}

// missingFields is missingV1 for what follows the signature.
func missingFields(s string) (int, error) {
	if i := strings.IndexByte(s, '\r'); i >= 0 {
		if i < len(s)-1 {
			return 0, errLine
		}
		return 1, nil // LF
	}
	var fields [4]int // shortest source, destination and ports
	switch kind, rest, spaced := strings.Cut(s, " "); {
	case !spaced && (strings.HasPrefix("TCP4", s) || strings.HasPrefix("TCP6", s)):
		return 0, nil
	case !spaced && strings.HasPrefix("UNKNOWN", s), kind == "UNKNOWN":
		return 2, nil // CRLF
	case kind == "TCP4":
		fields, s = [...]int{len("0.0.0.0"), len("0.0.0.0"), 1, 1}, rest
	case kind == "TCP6":
		fields, s = [...]int{len("::"), len("::"), 1, 1}, rest
	default:
		return 0, errLine
	}
	present := strings.Count(s, " ")
	if present >= len(fields) {
		return 0, errLine
	}
	more := len("\r\n")
	if s == "" || s[len(s)-1] == ' ' {
		more += fields[present]
	}
	for _, shortest := range fields[present+1:] {
		more += len(" ") + shortest
	}
	return more, nil
}

// lineV1 reads a line without its CRLF.
func lineV1(line string) (*Header, error) {
	for i := range len(line) {
		if line[i] < ' ' || line[i] > '~' {
			return nil, errLine // PP 2.1: US-ASCII; control characters have no place in it
		}
	}
	kind, rest, spaced := strings.Cut(line[len(signatureV1):], " ")
	h := &Header{Version: 1}
	switch {
	case kind == "UNKNOWN":
		return h, nil // PP 2.1: the rest is ignored
	case kind == "TCP4" && spaced:
		h.Family = TCP4
	case kind == "TCP6" && spaced:
		h.Family = TCP6
	default:
		return nil, errLine
	}
	f := strings.Split(rest, " ")
	if len(f) != 4 {
		return nil, errLine
	}
	var err [2]error
	h.Source, err[0] = endpointV1(f[0], f[2])
	h.Destination, err[1] = endpointV1(f[1], f[3])
	return h, errors.Join(err[0], err[1], h.addresses())
}

// endpointV1 reads an address and a port. An IPv6 address may end in dotted
// IPv4, which the standard doesn't have and the senders' libraries write.
func endpointV1(addr, port string) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return netip.AddrPort{}, errors.New("proxyproto: malformed address")
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || strconv.FormatUint(p, 10) != port { // PP 2.1: no heading zeroes
		return netip.AddrPort{}, errors.New("proxyproto: malformed port")
	}
	return netip.AddrPortFrom(a, uint16(p)), nil
}

func (h *Header) appendV1(b []byte) ([]byte, error) {
	switch {
	case h.Local || len(h.TLVs) > 0:
		return nil, errors.New("proxyproto: version 1 has no LOCAL and no TLVs")
	case h.Family == Unknown:
		return append(b, signatureV1+"UNKNOWN\r\n"...), nil
	case h.Family != TCP4 && h.Family != TCP6:
		return nil, errors.New("proxyproto: version 1 has only addresses of TCP")
	}
	if err := h.addresses(); err != nil {
		return nil, err
	}
	return fmt.Appendf(b, "%s%s %s %s %d %d\r\n", signatureV1, strings.ToUpper(h.Family.String()),
		h.Source.Addr(), h.Destination.Addr(), h.Source.Port(), h.Destination.Port()), nil
}
