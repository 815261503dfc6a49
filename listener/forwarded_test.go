package listener

import (
	"net/netip"
	"strings"
	"testing"
)

func TestForwardedFor(t *testing.T) {
	trusted := prefixes("10.0.0.0/8,2001:db8:1::/48")
	for _, c := range []struct {
		name, fields string // fields are parted by |
		want         string // "" for an error
	}{
		{"one address", "203.0.113.7", "203.0.113.7:0"},
		{"one IPv6 address", "2001:db8::7", "[2001:db8::7]:0"},
		{"an address with a port", "203.0.113.7:4711", "203.0.113.7:4711"},
		{"an IPv6 address in brackets", "[2001:db8::7]", "[2001:db8::7]:0"},
		{"an IPv6 address with a port", "[2001:db8::7]:4711", "[2001:db8::7]:4711"},
		{"a mapped address is IPv4", "::ffff:203.0.113.7", "203.0.113.7:0"},
		{"a mapped address is a trusted IPv4", "203.0.113.7, ::ffff:10.1.1.1", "203.0.113.7:0"},
		{"the rightmost counts", "192.0.2.1, 203.0.113.7", "203.0.113.7:0"},
		{"trusted ones are passed over", "192.0.2.1, 203.0.113.7, 10.0.0.1,2001:db8:1::1, 10.0.0.2", "203.0.113.7:0"},
		{"fields are one list", "192.0.2.1|203.0.113.7|10.0.0.1", "203.0.113.7:0"},
		{"what the client made up is not read", "\"><script>, , 203.0.113.7", "203.0.113.7:0"},
		{"a trusted address behind the client's is not one", "10.0.0.1, 203.0.113.7", "203.0.113.7:0"},
		{"of trusted ones the leftmost", "10.0.0.9, 10.0.0.1", "10.0.0.9:0"},
		{"spaces and tabs", "192.0.2.1 ,\t203.0.113.7 ", "203.0.113.7:0"},

		{"no field", "", ""},
		{"a name", "client.example", ""},
		{"unknown", "unknown", ""},
		{"an obfuscated name", "_hidden", ""},
		{"nothing at the end", "203.0.113.7, ", ""},
		{"nothing between trusted ones", "203.0.113.7,,10.0.0.1", ""},
		{"nothing before trusted ones", ",10.0.0.1", ""},
		{"nonsense before trusted ones", "203.0.113.7, x, 10.0.0.1", ""},
		{"two addresses without a comma", "192.0.2.1 203.0.113.7", ""},
		{"a port alone", ":80", ""},
		{"a port out of range", "203.0.113.7:65536", ""},
		{"IPv4 in brackets", "[203.0.113.7]", ""},
		{"an open bracket", "[2001:db8::7", ""},
		{"a closing bracket", "2001:db8::7]", ""},
		{"a zone", "fe80::1%eth0", ""},
		{"a zone in brackets", "[fe80::1%eth0]:1", ""},
		{"heading zeroes", "203.0.113.007", ""},
		{"the unspecified address", "0.0.0.0", ""},
		{"a multicast address", "224.0.0.1", ""},
		{"a prefix", "203.0.113.0/24", ""},
		{"quotes", "\"203.0.113.7\"", ""},
	} {
		var fields []string
		if c.fields != "" {
			fields = strings.Split(c.fields, "|")
		}
		got, err := forwardedFor(fields, trusted)
		if c.want == "" && err == nil || c.want != "" && (err != nil || got.String() != c.want) {
			t.Errorf("%s: forwardedFor(%q) = %v, %v, want %q", c.name, fields, got, err, c.want)
		}
	}
}

// The client is no trusted proxy while there is something left of it, and
// nothing that is written left of an untrusted one changes it.
func FuzzForwardedFor(f *testing.F) {
	f.Add("192.0.2.1, 203.0.113.7, 10.0.0.1", "1.1.1.1")
	f.Add("[2001:db8::7]:1", "x,")
	f.Add("10.0.0.1", "10.0.0.2")
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	f.Fuzz(func(t *testing.T, field, claim string) {
		client, err := forwardedFor([]string{field}, trusted)
		if err != nil {
			return
		}
		a := client.Addr()
		if !a.IsValid() || a.Is4In6() || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
			t.Fatalf("%q names %v", field, client)
		}
		if contains(trusted, a) {
			return
		}
		if again, err := forwardedFor([]string{claim, field}, trusted); err != nil || again != client {
			t.Fatalf("%q names %v, and behind %q %v, %v", field, client, claim, again, err)
		}
	})
}
