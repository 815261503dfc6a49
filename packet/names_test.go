package packet

import (
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for i := range 256 {
		c := Code(i)
		s := c.String()
		if s == "" || seen[s] {
			t.Errorf("Code(0x%02x).String() = %q, want a name of its own", i, s)
		}
		seen[s] = true
		defined := false
		for typ := range Type(16) {
			defined = defined || validCode(V5, typ, c)
		}
		if named := !strings.HasPrefix(s, "reason code 0x"); named != (defined || c == PacketIDInUse) {
			t.Errorf("Code(0x%02x).String() = %q, want a name only if it is defined (%v)", i, s, defined)
		}
	}
	for typ, want := range map[Type]string{CONNECT: "CONNECT", AUTH: "AUTH", 0: "packet type 0", 16: "packet type 16"} {
		if got := typ.String(); got != want {
			t.Errorf("Type(%d).String() = %q, want %q", typ, got, want)
		}
	}
	e := &Error{Code: ProtocolError, Text: "SUBSCRIBE: topic filters are missing"}
	if got, want := e.Error(), "SUBSCRIBE: topic filters are missing (0x82)"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
}

func TestV3(t *testing.T) {
	tests := map[Code]Code{
		Success: V3Accepted, 1: 1, 5: 5,
		UnsupportedProtocolVersion: V3UnacceptableVersion,
		ClientIDNotValid:           V3IdentifierRejected,
		BadUserNameOrPassword:      V3NotAuthorized,
		NotAuthorized:              V3NotAuthorized,
		Banned:                     V3NotAuthorized,
		BadAuthenticationMethod:    V3NotAuthorized,
		ServerBusy:                 V3ServerUnavailable,
		ServerUnavailable:          V3ServerUnavailable,
		QuotaExceeded:              V3ServerUnavailable,
		0xFF:                       V3ServerUnavailable,
	}
	for c, want := range tests {
		if got := c.V3(); got != want {
			t.Errorf("Code(0x%02x).V3() = %d, want %d", byte(c), got, want)
		}
	}
}
