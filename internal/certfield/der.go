package certfield

import "encoding/asn1"

// Identifier octets (X.690, 8.1.2) of the types that are looked for.
const (
	idOctets   = 0x04
	idOID      = 0x06
	idUTF8     = 0x0c
	idNumeric  = 0x12
	idPrint    = 0x13
	idT61      = 0x14
	idIA5      = 0x16
	idVisible  = 0x1a
	idBMP      = 0x1e
	idSequence = 0x30
	idSet      = 0x31
	idContext  = 0x80 // a context-specific tag, primitive
	idExplicit = 0xa0 // the same, constructed
)

// element is a value in DER: its identifier octet and contents, and all of it.
type element struct {
	id         byte
	body, full []byte
}

// next takes one element off the front of der. Names have short tags, definite
// lengths in their shortest form, and less than 16 MiB; all else is refused.
func next(der []byte) (e element, rest []byte, ok bool) {
	if len(der) < 2 || der[0]&0x1f == 0x1f {
		return element{}, nil, false
	}
	n, head := int(der[1]), 2
	if n >= 0x80 {
		octets := n & 0x7f
		if octets == 0 || octets > 3 || len(der) < head+octets {
			return element{}, nil, false
		}
		n = 0
		for _, b := range der[head : head+octets] {
			n = n<<8 | int(b)
		}
		if head += octets; n < 0x80 || n>>(8*(octets-1)) == 0 {
			return element{}, nil, false
		}
	}
	if len(der)-head < n {
		return element{}, nil, false
	}
	return element{id: der[0], body: der[head : head+n], full: der[:head+n]}, der[head+n:], true
}

// only is the one element that der is, of the type id.
func only(der []byte, id byte) (e element, ok bool) {
	e, rest, ok := next(der)
	return e, ok && len(rest) == 0 && e.id == id
}

// dotted is an object identifier as people write it, empty if it is none.
func dotted(e element) string {
	var oid asn1.ObjectIdentifier
	if rest, err := asn1.Unmarshal(e.full, &oid); err != nil || len(rest) > 0 {
		return ""
	}
	return oid.String()
}
