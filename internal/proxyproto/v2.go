package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
)

// Commands, families and protocols of version 2 (PP 2.2).
const (
	version2     = 0x20
	commandLocal = 0x0
	commandProxy = 0x1

	inet, inet6, unix = 0x1, 0x2, 0x3 // the upper half of the 14th byte
	stream, datagram  = 0x1, 0x2      // the lower half

	unixPath = 108 // bytes of an address of Unix
)

// parseV2 reads a header of version 2 (PP 2.2).
func parseV2(b []byte) (h *Header, n, more int, err error) {
	if len(b) > len(signatureV2) {
		command := b[len(signatureV2)]
		if command&0xf0 != version2 || command&0x0f > commandProxy {
			return nil, 0, 0, errors.New("proxyproto: unknown version or command")
		}
	}
	if len(b) < prefixV2 {
		return nil, 0, prefixV2 - len(b), nil
	}
	// The length is all that may be asked of the header before it is there.
	n = prefixV2 + int(binary.BigEndian.Uint16(b[prefixV2-2:]))
	switch {
	case n > MaxV2:
		return nil, 0, 0, errTooLong
	case len(b) < n:
		return nil, 0, n - len(b), nil
	}
	h = &Header{Version: 2}
	if b[len(signatureV2)]&0x0f == commandLocal {
		h.Local = true
		return h, n, 0, nil // PP 2.2: the rest is discarded, the family included
	}
	if err := h.block(b[:n]); err != nil {
		return nil, 0, 0, err
	}
	return h, n, 0, nil
}

// block reads what follows the prefix of b, a whole header with command PROXY.
func (h *Header) block(b []byte) error {
	kind, rest := b[prefixV2-3], b[prefixV2:]
	family, protocol := kind>>4, kind&0x0f
	if family > unix || protocol > datagram {
		return errors.New("proxyproto: unknown address family or protocol")
	}
	if family == 0 || protocol != stream {
		return nil // PP 2.2: UNSPEC; what follows has no form that could be relied on
	}
	var size int
	switch family {
	case inet:
		h.Family, size = TCP4, 12
	case inet6:
		h.Family, size = TCP6, 36
	case unix:
		h.Family, size = Unix, 2*unixPath
	}
	if len(rest) < size {
		return errors.New("proxyproto: the header is too short for its addresses")
	}
	if err := h.readAddresses(rest[:size]); err != nil {
		return err
	}
	return h.readTLVs(b, prefixV2+size)
}

// readAddresses reads the address block of h.Family.
func (h *Header) readAddresses(b []byte) (err error) {
	if h.Family == Unix {
		var err [2]error
		h.SourcePath, err[0] = readPath(b[:unixPath])
		h.DestinationPath, err[1] = readPath(b[unixPath:])
		return errors.Join(err[0], err[1])
	}
	length := (len(b) - 4) / 2
	// Both are 4 or 16 bytes long, so they are addresses.
	src, _ := netip.AddrFromSlice(b[:length])
	dst, _ := netip.AddrFromSlice(b[length : 2*length])
	ports := b[2*length:]
	h.Source = netip.AddrPortFrom(src, binary.BigEndian.Uint16(ports))
	h.Destination = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(ports[2:]))
	return nil
}

// readPath reads a path padded with NUL. Only an abstract name's first byte may
// be NUL too.
func readPath(b []byte) (string, error) {
	b = bytes.TrimRight(b, "\x00")
	if bytes.LastIndexByte(b, 0) > 0 {
		return "", errors.New("proxyproto: NUL within a path")
	}
	return string(b), nil
}

func appendPath(b []byte, path string) ([]byte, error) {
	if len(path) > unixPath {
		return nil, errors.New("proxyproto: path too long")
	}
	return append(append(b, path...), make([]byte, unixPath-len(path))...), nil
}

func (h *Header) appendV2(b []byte) ([]byte, error) {
	start := len(b)
	b = append(b, signatureV2...)
	if h.Local {
		return append(b, version2|commandLocal, 0, 0, 0), nil
	}
	b = append(b, version2|commandProxy, 0, 0, 0)
	if h.Family == Unknown {
		if len(h.TLVs) > 0 {
			return nil, errors.New("proxyproto: TLVs without a family are not read")
		}
		return b, nil
	}
	kind := &b[start+prefixV2-3]
	switch h.Family {
	case TCP4:
		*kind = inet<<4 | stream
	case TCP6:
		*kind = inet6<<4 | stream
	case Unix:
		*kind = unix<<4 | stream
	default:
		return nil, errors.New("proxyproto: unknown family")
	}
	b, err := h.appendAddresses(b)
	if err != nil {
		return nil, err
	}
	tlvs := len(b)
	if b, err = appendTLVs(b, h.TLVs); err != nil {
		return nil, err
	}
	length := len(b) - start - prefixV2
	if length > MaxV2-prefixV2 {
		return nil, errTooLong
	}
	binary.BigEndian.PutUint16(b[start+prefixV2-2:], uint16(length))
	if at := checksumAt(h.TLVs, tlvs); at > 0 {
		binary.BigEndian.PutUint32(b[at:], checksum(b[start:], at-start))
	}
	return b, nil
}

func (h *Header) appendAddresses(b []byte) ([]byte, error) {
	if err := h.addresses(); err != nil {
		return nil, err
	}
	if h.Family == Unix {
		b, err := appendPath(b, h.SourcePath)
		if err != nil {
			return nil, err
		}
		return appendPath(b, h.DestinationPath)
	}
	b = append(b, h.Source.Addr().AsSlice()...)
	b = append(b, h.Destination.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, h.Source.Port())
	return binary.BigEndian.AppendUint16(b, h.Destination.Port()), nil
}
