package proxyproto

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

// v2 is a header of version 2 with these bytes behind its length.
func v2(command, kind byte, rest string) string {
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), command, kind)
	return string(binary.BigEndian.AppendUint16(b, uint16(len(rest)))) + rest
}

// tlv is one TLV.
func tlv(t Type, value string) string {
	return string(binary.BigEndian.AppendUint16([]byte{byte(t)}, uint16(len(value)))) + value
}

const (
	// 192.0.2.1:56324 to 198.51.100.11:443.
	tcp4 = "\xc0\x00\x02\x01\xc6\x33\x64\x0b\xdc\x04\x01\xbb"
	// [2001:db8::1]:56324 to [2001:db8::2]:443.
	tcp6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\xdc\x04\x01\xbb"
)

func padded(path string) string { return path + strings.Repeat("\x00", 108-len(path)) }

// sslValue has every text of the standard, and one of a type it doesn't have.
var sslValue = "\x07\x00\x00\x00\x00" + tlv(0x21, "TLSv1.3") + tlv(0x22, "Zähler 7") + tlv(0x23, "TLS_AES_128_GCM_SHA256") +
	tlv(0x24, "SHA256") + tlv(0x25, "RSA2048") + tlv(0x28, "\x30\x03\x01\x02\x03")

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// accepted is what the standard allows, and what it means.
var accepted = []struct {
	name, bytes string
	want        Header
}{
	{"the standard's example", "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
		Header{Version: 1, Family: TCP4, Source: addr("192.168.0.1:56324"), Destination: addr("192.168.0.11:443")}},
	{"the shortest line of TCP4", "PROXY TCP4 1.1.1.1 2.2.2.2 0 0\r\n",
		Header{Version: 1, Family: TCP4, Source: addr("1.1.1.1:0"), Destination: addr("2.2.2.2:0")}},
	{"the longest line of TCP4", "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
		Header{Version: 1, Family: TCP4, Source: addr("255.255.255.255:65535"), Destination: addr("255.255.255.255:65535")}},
	{"the shortest line of TCP6", "PROXY TCP6 :: :: 0 0\r\n",
		Header{Version: 1, Family: TCP6, Source: addr("[::]:0"), Destination: addr("[::]:0")}},
	{"the longest line of TCP6", "PROXY TCP6 " + strings.Repeat("FFFF:", 7) + "ffff " + strings.Repeat("ffff:", 7) + "ffff 65535 65535\r\n",
		Header{Version: 1, Family: TCP6, Source: addr("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
			Destination: addr("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")}},
	{"TCP6 with IPv4 in it, as inet_ntop writes it", "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n",
		Header{Version: 1, Family: TCP6, Source: addr("[::ffff:192.0.2.1]:1"), Destination: addr("[::1]:2")}},
	{"UNKNOWN alone", "PROXY UNKNOWN\r\n", Header{Version: 1}},
	{"UNKNOWN with something that is ignored", "PROXY UNKNOWN ::1 whatever\r\n", Header{Version: 1}},
	{"UNKNOWN of 107 bytes", "PROXY UNKNOWN " + strings.Repeat("x", 107-16) + "\r\n", Header{Version: 1}},
	{"LOCAL", v2(0x20, 0, ""), Header{Version: 2, Local: true}},
	{"LOCAL whose block is discarded", v2(0x20, 0xff, "whatever"), Header{Version: 2, Local: true}},
	{"UNSPEC", v2(0x21, 0, ""), Header{Version: 2}},
	{"UNSPEC with something that is ignored", v2(0x21, 0, "x"), Header{Version: 2}},
	{"a datagram's addresses are none", v2(0x21, 0x12, tcp4), Header{Version: 2}},
	{"addresses of an unspecified protocol are none", v2(0x21, 0x10, tcp4), Header{Version: 2}},
	{"TCP4", v2(0x21, 0x11, tcp4), Header{Version: 2, Family: TCP4, Source: addr("192.0.2.1:56324"), Destination: addr("198.51.100.11:443")}},
	{"TCP6", v2(0x21, 0x21, tcp6), Header{Version: 2, Family: TCP6, Source: addr("[2001:db8::1]:56324"), Destination: addr("[2001:db8::2]:443")}},
	{"Unix", v2(0x21, 0x31, padded("/run/a")+padded("\x00abstract")),
		Header{Version: 2, Family: Unix, SourcePath: "/run/a", DestinationPath: "\x00abstract"}},
	{"a path without room for NUL", v2(0x21, 0x31, strings.Repeat("x", 108)+padded("")),
		Header{Version: 2, Family: Unix, SourcePath: strings.Repeat("x", 108)}},
	{"TLVs", v2(0x21, 0x11, tcp4+tlv(1, "mqtt")+tlv(4, "\x00\x00")+tlv(2, "grüße.example")+tlv(4, "")+tlv(5, strings.Repeat("\xff", 128))+
		tlv(0x30, "blue")+tlv(0xea, "vendor")+tlv(0xea, "twice")),
		Header{Version: 2, Family: TCP4, Source: addr("192.0.2.1:56324"), Destination: addr("198.51.100.11:443"), TLVs: []TLV{
			{TypeALPN, []byte("mqtt")}, {TypeNOOP, []byte{0, 0}}, {TypeAuthority, []byte("grüße.example")}, {TypeNOOP, []byte{}},
			{TypeUniqueID, bytes.Repeat([]byte{0xff}, 128)}, {TypeNetNS, []byte("blue")}, {0xea, []byte("vendor")}, {0xea, []byte("twice")},
		}}},
	{"SSL", v2(0x21, 0x11, tcp4+tlv(0x20, sslValue)),
		Header{Version: 2, Family: TCP4, Source: addr("192.0.2.1:56324"), Destination: addr("198.51.100.11:443"),
			TLVs: []TLV{{TypeSSL, []byte(sslValue)}},
			SSL: &SSL{Client: 7, Version: "TLSv1.3", CN: "Zähler 7", Cipher: "TLS_AES_128_GCM_SHA256", SigAlg: "SHA256", KeyAlg: "RSA2048",
				Other: []TLV{{0x28, []byte("\x30\x03\x01\x02\x03")}}}}},
	{"SSL of a client without TLS", v2(0x21, 0x11, tcp4+tlv(0x20, "\x00\x00\x00\x00\x01")),
		Header{Version: 2, Family: TCP4, Source: addr("192.0.2.1:56324"), Destination: addr("198.51.100.11:443"),
			TLVs: []TLV{{TypeSSL, []byte("\x00\x00\x00\x00\x01")}}, SSL: &SSL{Verify: 1}}},
	{"the most bytes", v2(0x21, 0x11, tcp4+tlv(4, strings.Repeat("\x00", 4096-12-3))),
		Header{Version: 2, Family: TCP4, Source: addr("192.0.2.1:56324"), Destination: addr("198.51.100.11:443"),
			TLVs: []TLV{{TypeNOOP, make([]byte, 4096-12-3)}}}},
}

func TestParse(t *testing.T) {
	for _, c := range accepted {
		b := []byte(c.bytes + "\x10what follows")
		h, n, more, err := Parse(b)
		if err != nil || more != 0 || n != len(c.bytes) {
			t.Errorf("%s: length %d, %d missing, %v, want length %d", c.name, n, more, err, len(c.bytes))
		} else if !reflect.DeepEqual(*h, c.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", c.name, *h, c.want)
		}
	}
}

// What is missing is there and belongs to the header, wherever it is cut. So a
// reader that asks for no more than that takes nothing of what follows.
func TestEveryCutAsksForBytesOfTheHeader(t *testing.T) {
	for _, c := range accepted {
		for i := range len(c.bytes) {
			h, _, more, err := Parse([]byte(c.bytes[:i]))
			if h != nil || err != nil || more < 1 || i+more > len(c.bytes) {
				t.Fatalf("%s: of %d bytes after %d: %v, %d missing, %v", c.name, len(c.bytes), i, h, more, err)
			}
		}
	}
}

func TestVersion2IsReadInTwoSteps(t *testing.T) {
	whole := []byte(v2(0x21, 0x11, tcp4+tlv(4, strings.Repeat("x", 1000))))
	have, steps := 0, 0
	for {
		h, _, more, err := Parse(whole[:have])
		if err != nil || h != nil {
			break
		}
		have, steps = have+more, steps+1
	}
	if have != len(whole) || steps > 3 {
		t.Errorf("%d of %d bytes in %d steps, want all in at most 3", have, len(whole), steps)
	}
}

func TestParseRefuses(t *testing.T) {
	at := func(s string, i int, c byte) string { return s[:i] + string([]byte{c}) + s[i+1:] }
	good := v2(0x21, 0x11, tcp4)
	with := func(tlvs string) string { return v2(0x21, 0x11, tcp4+tlvs) }
	for _, c := range []struct{ name, bytes string }{
		{"MQTT", "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"},
		{"TLS", "\x16\x03\x01"},
		{"HTTP", "GET /"},
		{"a line in lower case", "proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n"},
		{"another word", "PROXI"},
		{"a tab for a space", "PROXY\tTCP4"},
		{"two spaces", "PROXY  TCP4 1.1.1.1 2.2.2.2 1 2\r\n"},
		{"an unknown protocol", "PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n"},
		{"an unknown protocol at its first byte", "PROXY U4"},
		{"no protocol", "PROXY \r\n"},
		{"a line that ends in LF", "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n"},
		{"UNKNOWN that ends in LF", "PROXY UNKNOWN\n"},
		{"a line that ends in CR", "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\rx"},
		{"CR within a line", "PROXY UNKNOWN \r \r\n"},
		{"NUL within a line", "PROXY UNKNOWN \x00\r\n"},
		{"bytes above US-ASCII", "PROXY UNKNOWN \xff\r\n"},
		{"UNKNOWN with a word behind it", "PROXY UNKNOWNS\r\n"},
		{"a space before the end", "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n"},
		{"a field more", "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n"},
		{"a field more, at its space", "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 "},
		{"a field less", "PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n"},
		{"no fields", "PROXY TCP4\r\n"},
		{"an empty field", "PROXY TCP4 1.1.1.1 2.2.2.2  2\r\n"},
		{"IPv6 in TCP4", "PROXY TCP4 ::1 ::1 1 2\r\n"},
		{"IPv4 in TCP6", "PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n"},
		{"addresses of two families", "PROXY TCP6 ::1 2.2.2.2 1 2\r\n"},
		{"an address with a zone", "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n"},
		{"a name for an address", "PROXY TCP4 localhost 2.2.2.2 1 2\r\n"},
		{"a heading zero in an address", "PROXY TCP4 1.1.1.01 2.2.2.2 1 2\r\n"},
		{"three numbers for an address", "PROXY TCP4 1.1.1 2.2.2.2 1 2\r\n"},
		{"a heading zero in a port", "PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n"},
		{"a port above 65535", "PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n"},
		{"a signed port", "PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n"},
		{"a hexadecimal port", "PROXY TCP4 1.1.1.1 2.2.2.2 0x1 2\r\n"},
		{"108 bytes without an end", "PROXY UNKNOWN " + strings.Repeat("x", 108-14)},
		{"a line of 108 bytes", "PROXY UNKNOWN " + strings.Repeat("x", 108-16) + "\r\n"},
		{"a line that can't end in time", "PROXY UNKNOWN " + strings.Repeat("x", 106-14)},

		{"another signature", at(good, 11, '\r')[:12]},
		{"version 1 in binary", at(good, 12, 0x11)[:13]},
		{"version 3", at(good, 12, 0x31)[:13]},
		{"an unknown command", at(good, 12, 0x22)[:13]},
		{"an unknown family", at(good, 13, 0x41)},
		{"an unknown protocol", at(good, 13, 0x13)},
		{"a length of 4097", v2(0x21, 0x11, strings.Repeat("x", 4097))[:16]},
		{"LOCAL with a length of 65535", v2(0x20, 0, strings.Repeat("x", 65535))[:16]},
		{"TCP4 without addresses", v2(0x21, 0x11, "")},
		{"TCP4 a byte short", v2(0x21, 0x11, tcp4[:11])},
		{"TCP6 with addresses of TCP4", v2(0x21, 0x21, tcp4)},
		{"Unix a byte short", v2(0x21, 0x31, padded("/a")+padded("/b")[:107])},
		{"NUL within a path", v2(0x21, 0x31, padded("/a\x00b")+padded("/b"))},

		{"one byte of a TLV", with("\x04")},
		{"two bytes of a TLV", with("\x04\x00")},
		{"a TLV longer than the header", with("\x04\x00\x02x")},
		{"an empty ALPN", with(tlv(1, ""))},
		{"an ALPN of 256 bytes", with(tlv(1, strings.Repeat("x", 256)))},
		{"an empty authority", with(tlv(2, ""))},
		{"an authority that is no UTF-8", with(tlv(2, "\xff"))},
		{"an authority with a line break", with(tlv(2, "a\nb"))},
		{"a wrong CRC32C", with(tlv(3, "\x01\x02\x03\x04"))},
		{"a CRC32C of three bytes", with(tlv(3, "\x00\x00\x00"))},
		{"a unique id of 129 bytes", with(tlv(5, strings.Repeat("x", 129)))},
		{"an empty namespace", with(tlv(0x30, ""))},
		{"a namespace beyond US-ASCII", with(tlv(0x30, "grün"))},
		{"two ALPN", with(tlv(1, "a") + tlv(1, "b"))},
		{"two authorities", with(tlv(2, "a") + tlv(2, "b"))},
		{"two unique ids", with(tlv(5, "a") + tlv(5, "b"))},
		{"two namespaces", with(tlv(0x30, "a") + tlv(0x30, "b"))},
		{"two SSL", with(tlv(0x20, sslValue) + tlv(0x20, sslValue))},
		{"SSL without verify", with(tlv(0x20, "\x07\x00\x00\x00"))},
		{"SSL with a TLV cut off", with(tlv(0x20, "\x07\x00\x00\x00\x00\x21\x00"))},
		{"SSL with a TLV longer than it", with(tlv(0x20, "\x07\x00\x00\x00\x00\x21\x00\x09x"))},
		{"SSL with two common names", with(tlv(0x20, "\x07\x00\x00\x00\x00"+tlv(0x22, "a")+tlv(0x22, "b")))},
		{"SSL with an empty common name and another", with(tlv(0x20, "\x07\x00\x00\x00\x00"+tlv(0x22, "")+tlv(0x22, "b")))},
		{"a common name that is no UTF-8", with(tlv(0x20, "\x07\x00\x00\x00\x00"+tlv(0x22, "\xc3")))},
		{"a common name with NUL", with(tlv(0x20, "\x07\x00\x00\x00\x00"+tlv(0x22, "admin\x00.evil")))},
		{"a version beyond US-ASCII", with(tlv(0x20, "\x07\x00\x00\x00\x00"+tlv(0x21, "TLSü")))},
		{"a cipher beyond US-ASCII", with(tlv(0x20, "\x07\x00\x00\x00\x00"+tlv(0x23, "\u00e9")))},
	} {
		h, n, more, err := Parse([]byte(c.bytes))
		if err == nil || h != nil || n != 0 || more != 0 {
			t.Errorf("%s: %+v, length %d, %d missing, %v, want an error", c.name, h, n, more, err)
		}
	}
}

func TestChecksum(t *testing.T) {
	whole := []byte(v2(0x21, 0x11, tcp4+tlv(1, "mqtt")+tlv(3, "\x00\x00\x00\x00")+tlv(5, "id")))
	at := bytes.Index(whole, []byte("\x03\x00\x04")) + 3
	binary.BigEndian.PutUint32(whole[at:], crc32.Checksum(whole, crc32.MakeTable(crc32.Castagnoli)))
	if _, _, _, err := Parse(whole); err != nil {
		t.Errorf("the right checksum: %v", err)
	}
	for i := prefixV2; i < len(whole); i++ {
		whole[i] ^= 1
		if _, _, _, err := Parse(whole); err == nil {
			t.Errorf("byte %d is wrong and the header is accepted", i)
		}
		whole[i] ^= 1
	}
	two := []byte(v2(0x21, 0x11, tcp4+tlv(3, "\x00\x00\x00\x00")+tlv(3, "\x00\x00\x00\x00")))
	if _, _, _, err := Parse(two); err == nil {
		t.Error("two checksums are accepted")
	}
}

// The check value of the Castagnoli polynomial (RFC 3720, B.4: 32 zero bytes).
func TestChecksumIsCRC32C(t *testing.T) {
	if got := checksum(make([]byte, 32), 5); got != 0x8a9136aa {
		t.Errorf("CRC32C of 32 zero bytes = %08x", got)
	}
}

func TestAppend(t *testing.T) {
	for _, c := range accepted {
		b, err := c.want.Append([]byte("before"))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		h, n, _, err := Parse(b[len("before"):])
		if err != nil || n != len(b)-len("before") || !reflect.DeepEqual(*h, c.want) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", c.name, err, h, c.want)
		}
	}
	ssl := SSL{Client: ClientSSL | ClientCertConn, Version: "TLSv1.2", CN: "meter", Other: []TLV{{0x28, []byte("x")}}}
	v, err := ssl.TLV()
	if err != nil {
		t.Fatal(err)
	}
	sent := Header{Version: 2, Family: TCP4, Source: addr("192.0.2.1:1"), Destination: addr("192.0.2.2:2"),
		TLVs: []TLV{{TypeCRC32C, make([]byte, 4)}, v}}
	b, err := sent.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if h, _, _, err := Parse(b); err != nil || !reflect.DeepEqual(h.SSL, &ssl) || !h.SSL.Verified() {
		t.Errorf("got %+v, %v, want %+v", h.SSL, err, ssl)
	}
}

func TestAppendRefuses(t *testing.T) {
	a4, a6 := addr("192.0.2.1:1"), addr("[2001:db8::1]:1")
	for _, c := range []struct {
		name string
		h    Header
	}{
		{"the zero value", Header{}},
		{"version 3", Header{Version: 3}},
		{"LOCAL in version 1", Header{Version: 1, Local: true}},
		{"TLVs in version 1", Header{Version: 1, Family: TCP4, Source: a4, Destination: a4, TLVs: []TLV{{}}}},
		{"Unix in version 1", Header{Version: 1, Family: Unix}},
		{"no addresses", Header{Version: 1, Family: TCP4}},
		{"no addresses in version 2", Header{Version: 2, Family: TCP4}},
		{"IPv6 for TCP4", Header{Version: 2, Family: TCP4, Source: a6, Destination: a6}},
		{"IPv4 for TCP6", Header{Version: 1, Family: TCP6, Source: a4, Destination: a6}},
		{"a zone", Header{Version: 2, Family: TCP6, Source: addr("[fe80::1%eth0]:1"), Destination: a6}},
		{"an unknown family", Header{Version: 2, Family: 9}},
		{"TLVs of nothing", Header{Version: 2, TLVs: []TLV{{}}}},
		{"a long path", Header{Version: 2, Family: Unix, SourcePath: strings.Repeat("x", 109)}},
		{"a wrong TLV", Header{Version: 2, Family: TCP4, Source: a4, Destination: a4, TLVs: []TLV{{TypeCRC32C, nil}}}},
		{"4097 bytes", Header{Version: 2, Family: TCP4, Source: a4, Destination: a4, TLVs: []TLV{{TypeNOOP, make([]byte, 4097-12-3)}}}},
		{"a value of 65536 bytes", Header{Version: 2, Family: TCP4, Source: a4, Destination: a4, TLVs: []TLV{{TypeNOOP, make([]byte, 65536)}}}},
	} {
		if b, err := c.h.Append(nil); err == nil {
			t.Errorf("%s: %q, want an error", c.name, b)
		}
	}
}

func TestVerifiedNeedsACertificate(t *testing.T) {
	for _, c := range []struct {
		client byte
		verify uint32
		want   bool
	}{
		{0, 0, false}, {ClientSSL, 0, false}, {ClientCertConn, 0, false},
		{ClientSSL | ClientCertConn, 1, false}, {ClientSSL | ClientCertConn, 0, true}, {ClientSSL | ClientCertSess, 0, true},
	} {
		if got := (&SSL{Client: c.client, Verify: c.verify}).Verified(); got != c.want {
			t.Errorf("client %d, verify %d: %v, want %v", c.client, c.verify, got, c.want)
		}
	}
}

// What is accepted can be written, and means the same then; its length was
// bounded, and each beginning of it asks for a part of the rest.
func FuzzParse(f *testing.F) {
	for _, c := range accepted {
		f.Add([]byte(c.bytes))
	}
	f.Add([]byte(v2(0x21, 0x11, tcp4+tlv(3, "\x00\x00\x00\x00"))))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, more, err := Parse(b)
		if states := [...]bool{h != nil, more > 0, err != nil}; states != [...]bool{true, false, false} &&
			states != [...]bool{false, true, false} && states != [...]bool{false, false, true} {
			t.Fatalf("header %v, %d missing, %v", h, more, err)
		}
		if h == nil {
			if len(b)+more > MaxV2 && err == nil {
				t.Fatalf("%d bytes are missing beyond %d", more, len(b))
			}
			return
		}
		if n > len(b) || h.Version == 1 && n > MaxV1 || n > MaxV2 {
			t.Fatalf("a header of %d bytes among %d", n, len(b))
		}
		for i := range n {
			if h, _, more, err := Parse(b[:i:i]); h != nil || err != nil || i+more > n {
				t.Fatalf("%d of %d bytes: %v, %d missing, %v", i, n, h, more, err)
			}
		}
		again, err := h.Append(nil)
		if err != nil {
			t.Fatalf("%+v can't be written: %v", h, err)
		}
		h2, n2, _, err := Parse(again)
		if err != nil || n2 != len(again) || !reflect.DeepEqual(h, h2) {
			t.Fatalf("%v\nread  %+v\nagain %+v", err, h, h2)
		}
	})
}
