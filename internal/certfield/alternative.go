package certfield

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Tags of GeneralName (RFC 5280, 4.2.1.6).
const (
	tagOther = 0
	tagEmail = 1
	tagDNS   = 2
	tagURI   = 6
	tagIP    = 7
)

const (
	oidAlternativeName = "2.5.29.17"
	oidUPN             = "1.3.6.1.4.1.311.20.2.3" // user principal name, Microsoft's
	oidHardware        = "1.3.6.1.5.5.7.8.4"      // id-on-hardwareModuleName (RFC 4108, 5)
)

var errAlternative = errors.New("alternative names of the certificate can't be read")

// walkAlternatives goes through the alternative names of the subject.
func walkAlternatives(c *x509.Certificate, yield func(element) error) error {
	for i := range c.Extensions {
		if isAlternative(c.Extensions[i].Id) {
			return walkGeneral(c.Extensions[i].Value, yield)
		}
	}
	return nil
}

func isAlternative(id asn1.ObjectIdentifier) bool {
	return len(id) == 4 && id[0] == 2 && id[1] == 5 && id[2] == 29 && id[3] == 17
}

func walkGeneral(der []byte, yield func(element) error) error {
	list, ok := only(der, idSequence)
	if !ok {
		return errAlternative
	}
	count := 0
	for rest := list.body; len(rest) > 0; {
		var e element
		if e, rest, ok = next(rest); !ok || e.id&0xc0 != idContext {
			return errAlternative
		}
		if count++; count > valueLimit {
			return fmt.Errorf("certificate has more than %d alternative names", valueLimit)
		}
		if err := yield(e); err != nil {
			return err
		}
	}
	return nil
}

// alternatives is every alternative name of one kind.
func alternatives(c *x509.Certificate, tag byte) ([]string, error) {
	var out []string
	err := walkAlternatives(c, func(e element) error {
		if e.id&0x1f != tag {
			return nil
		}
		v, err := generalText(e)
		out = append(out, v)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// generalText is an alternative name that is IA5 text or an address.
func generalText(e element) (string, error) {
	switch tag := e.id &^ idContext; {
	case tag == tagIP:
		if addr, ok := netip.AddrFromSlice(e.body); ok {
			return addr.Unmap().String(), nil
		}
	case tag < 0x20 && ascii(e.body): // not constructed
		return string(e.body), nil
	}
	return "", errAlternative
}

// otherNames is the values of the other names of one type, out of their explicit tag.
func otherNames(c *x509.Certificate, oid string) ([]element, error) {
	var out []element
	err := walkAlternatives(c, func(e element) error {
		if e.id&0x1f != tagOther {
			return nil
		}
		id, rest, ok := next(e.body)
		if e.id != idExplicit || !ok || id.id != idOID {
			return errAlternative
		}
		if dotted(id) != oid {
			return nil
		}
		outer, ok := only(rest, idExplicit)
		if !ok {
			return errAlternative
		}
		inner, rest, ok := next(outer.body)
		if !ok || len(rest) > 0 {
			return errAlternative
		}
		out = append(out, inner)
		return nil
	})
	return out, err
}

// others is the other names of one type, which are text.
func others(c *x509.Certificate, oid string) ([]string, error) {
	values, err := otherNames(c, oid)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, v := range values {
		s, ok := text(v)
		if !ok {
			return nil, fmt.Errorf("other name %s in the certificate is not text", shorten(oid))
		}
		out = append(out, s)
	}
	return out, nil
}

// hardware is a part of the names of hardware modules (RFC 4108, 5), which IEEE
// 802.1AR puts into the certificates of devices. The serial number may be any
// bytes, and so is hexadecimal in lower case; as a text it has a value only where
// it is one.
func hardware(c *x509.Certificate, name string) ([]string, error) {
	values, err := otherNames(c, oidHardware)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, v := range values {
		kind, rest, ok := next(v.body)
		serial, isSerial := only(rest, idOctets)
		oid := ""
		if ok && kind.id == idOID {
			oid = dotted(kind)
		}
		if v.id != idSequence || oid == "" || !isSerial {
			return nil, errAlternative
		}
		switch name {
		case "hw_type":
			out = append(out, oid)
		case "hw_serial":
			out = append(out, hex.EncodeToString(serial.body))
		default:
			for _, b := range serial.body {
				if b < 0x20 || b > 0x7e {
					return nil, errors.New("serial number of the hardware module is not text: take hw_serial")
				}
			}
			out = append(out, string(serial.body))
		}
	}
	return out, nil
}

// checkOID reports whether s is an object identifier in digits and dots.
func checkOID(s string) error {
	parts := strings.Split(s, ".")
	if len(parts) < 2 || len(s) > 128 {
		return fmt.Errorf("%q is no object identifier such as 1.3.6.1.4.1.311.20.2.3", shorten(s))
	}
	for _, p := range parts {
		if n, err := strconv.ParseUint(p, 10, 31); err != nil || strconv.FormatUint(n, 10) != p {
			return fmt.Errorf("%q is no object identifier such as 1.3.6.1.4.1.311.20.2.3", shorten(s))
		}
	}
	return nil
}
