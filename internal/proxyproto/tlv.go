package proxyproto

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"unicode"
	"unicode/utf8"
)

// Type is what a TLV tells (PP 2.2.1 to 2.2.8). Those from 0xE0 on are for
// vendors and experiments; they and unknown ones are kept as they are.
type Type uint8

// The standard's types.
const (
	TypeALPN      Type = 0x01 // protocol that client and proxy agreed on
	TypeAuthority Type = 0x02 // host name that the client asked for (SNI), UTF-8
	TypeCRC32C    Type = 0x03 // over the whole header; verified
	TypeNOOP      Type = 0x04 // padding
	TypeUniqueID  Type = 0x05 // of the connection, opaque
	TypeSSL       Type = 0x20 // see [SSL]
	TypeNetNS     Type = 0x30 // network namespace, US-ASCII
)

// The types within a TLV of [TypeSSL].
const (
	SSLVersion Type = 0x21
	SSLCN      Type = 0x22
	SSLCipher  Type = 0x23
	SSLSigAlg  Type = 0x24
	SSLKeyAlg  Type = 0x25
)

// MaxUniqueID bounds a unique identifier in bytes (PP 2.2.5).
const MaxUniqueID = 128

// TLV is one of the values that follow the addresses.
type TLV struct {
	Type  Type
	Value []byte
}

// The bits of SSL.Client (PP 2.2.6).
const (
	ClientSSL      = 0x01 // the client speaks TLS
	ClientCertConn = 0x02 // it presented a certificate in this connection
	ClientCertSess = 0x04 // or in one whose session this one resumes
)

// SSL is what the proxy says about the client's TLS (PP 2.2.6). Texts are empty
// when the proxy didn't tell.
type SSL struct {
	Client  byte   // of ClientSSL, ClientCertConn, ClientCertSess; other bits are kept
	Verify  uint32 // 0 if the client's certificate was verified
	Version string // "TLSv1.3"
	CN      string // common name of the client's certificate, UTF-8
	Cipher  string
	SigAlg  string // of the proxy's certificate: "SHA256"
	KeyAlg  string // of the proxy's certificate: "RSA2048"
	Other   []TLV  // of other types, in their order
}

// Shown reports whether the client presented a certificate, verified or not.
func (s *SSL) Shown() bool {
	return s.Client&ClientSSL != 0 && s.Client&(ClientCertConn|ClientCertSess) != 0
}

// Verified reports whether the client presented a certificate that the proxy verified.
func (s *SSL) Verified() bool {
	return s.Shown() && s.Verify == 0
}

// TLV returns s as a TLV.
func (s *SSL) TLV() (TLV, error) {
	v := binary.BigEndian.AppendUint32([]byte{s.Client}, s.Verify)
	var within []TLV
	for t := SSLVersion; t <= SSLKeyAlg; t++ {
		if text := *s.text(t); text != "" {
			within = append(within, TLV{t, []byte(text)})
		}
	}
	v, err := appendTLVs(v, append(within, s.Other...))
	return TLV{TypeSSL, v}, err
}

// text returns where the text of a type stands, nil for other types.
func (s *SSL) text(t Type) *string {
	switch t {
	case SSLVersion:
		return &s.Version
	case SSLCN:
		return &s.CN
	case SSLCipher:
		return &s.Cipher
	case SSLSigAlg:
		return &s.SigAlg
	case SSLKeyAlg:
		return &s.KeyAlg
	}
	return nil
}

// Value returns the value of the first TLV of a type.
func (h *Header) Value(t Type) (value []byte, present bool) {
	for _, v := range h.TLVs {
		if v.Type == t {
			return v.Value, true
		}
	}
	return nil, false
}

// malformed refuses the value of a TLV.
func malformed(t Type) error { return fmt.Errorf("proxyproto: malformed TLV of type 0x%02x", uint8(t)) }

// split cuts b into TLVs.
func split(b []byte) ([]TLV, error) {
	var all []TLV
	for len(b) > 0 {
		if len(b) < 3 {
			return nil, errors.New("proxyproto: a TLV is cut off")
		}
		t, n := Type(b[0]), int(binary.BigEndian.Uint16(b[1:]))
		if b = b[3:]; n > len(b) {
			return nil, errors.New("proxyproto: a TLV is cut off")
		}
		all = append(all, TLV{t, b[:n:n]})
		b = b[n:]
	}
	return all, nil
}

// readTLVs reads what b, a whole header, has from an offset on.
func (h *Header) readTLVs(b []byte, from int) (err error) {
	if h.TLVs, err = split(b[from:]); err != nil {
		return err
	}
	var seen [256]bool
	for _, v := range h.TLVs {
		if seen[v.Type] && standard(v.Type) {
			return fmt.Errorf("proxyproto: two TLVs of type 0x%02x", uint8(v.Type)) // which would count?
		}
		seen[v.Type] = true
		if err := h.check(v); err != nil {
			return err
		}
	}
	if at := checksumAt(h.TLVs, from); at > 0 && binary.BigEndian.Uint32(b[at:]) != checksum(b, at) {
		return errors.New("proxyproto: wrong CRC32C")
	}
	return nil
}

// standard reports whether one header has at most one TLV of the type.
func standard(t Type) bool {
	switch t {
	case TypeALPN, TypeAuthority, TypeCRC32C, TypeUniqueID, TypeSSL, TypeNetNS:
		return true
	}
	return false
}

// check looks at one TLV.
func (h *Header) check(v TLV) (err error) {
	valid := true
	switch v.Type {
	case TypeALPN:
		valid = len(v.Value) > 0 && len(v.Value) <= 255 // RFC 7301, 3.1
	case TypeAuthority:
		valid = len(v.Value) > 0 && isText(v.Value)
	case TypeCRC32C:
		valid = len(v.Value) == crc32.Size
	case TypeUniqueID:
		valid = len(v.Value) <= MaxUniqueID
	case TypeNetNS:
		valid = len(v.Value) > 0 && isASCII(v.Value)
	case TypeSSL:
		h.SSL, err = readSSL(v.Value)
	}
	if !valid {
		return malformed(v.Type)
	}
	return err
}

// readSSL reads the value of a TLV of TypeSSL.
func readSSL(b []byte) (*SSL, error) {
	if len(b) < 5 {
		return nil, malformed(TypeSSL)
	}
	s := &SSL{Client: b[0], Verify: binary.BigEndian.Uint32(b[1:])}
	within, err := split(b[5:])
	if err != nil {
		return nil, err
	}
	var seen [256]bool
	for _, v := range within {
		text := s.text(v.Type)
		switch {
		case text == nil:
			s.Other = append(s.Other, v)
		case seen[v.Type], !isText(v.Value), v.Type != SSLCN && !isASCII(v.Value):
			return nil, malformed(v.Type) // of two it would be open which one counts
		default:
			seen[v.Type] = true
			*text = string(v.Value)
		}
	}
	return s, nil
}

// isText reports whether b is UTF-8 without control characters.
func isText(b []byte) bool {
	if !utf8.Valid(b) {
		return false
	}
	for _, r := range string(b) {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}

// isASCII reports whether b is printable US-ASCII.
func isASCII(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

func appendTLVs(b []byte, all []TLV) ([]byte, error) {
	for _, v := range all {
		if len(v.Value) > MaxV2 {
			return nil, errTooLong
		}
		b = append(b, byte(v.Type))
		b = binary.BigEndian.AppendUint16(b, uint16(len(v.Value)))
		b = append(b, v.Value...)
	}
	return b, nil
}

// checksumAt returns where the value of the CRC32C among all lies in a header
// whose TLVs begin at from, 0 if there is none.
func checksumAt(all []TLV, from int) int {
	for _, v := range all {
		if from += 3; v.Type == TypeCRC32C && len(v.Value) == crc32.Size {
			return from
		}
		from += len(v.Value)
	}
	return 0
}

// checksum returns the CRC32C of a header as if its field at an offset were zero
// (PP 2.2.3).
func checksum(b []byte, at int) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, table, b[:at])
	sum = crc32.Update(sum, table, make([]byte, crc32.Size))
	return crc32.Update(sum, table, b[at+crc32.Size:])
}
