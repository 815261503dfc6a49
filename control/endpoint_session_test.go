//go:build unix

package control

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"math/big"
	"strings"
	"testing"

	"sallyport/security"
)

func TestSessionsAreEndedByWhatNamesThem(t *testing.T) {
	p := open(t, nil)
	cert := &x509.Certificate{Raw: []byte("der"), SerialNumber: big.NewInt(0x0a0b)}
	sum := sha256.Sum256(cert.Raw)
	p.engine.clients = map[string]*security.Principal{
		"1":    {Realm: "a", Name: "alice", ClientID: "1"},
		"2":    {Realm: "b", Name: "alice", ClientID: "2", Token: &security.Token{ID: "jti"}},
		"3":    {Realm: "a", Name: "bob", ClientID: "3", Cert: cert},
		"4":    {Realm: "anonymous:x", ClientID: "4", Token: &security.Token{}},
		"$SYS": {Realm: "sallyport", Name: "$SYS", Internal: true},
	}
	p.engine.online = map[string]bool{"1": true, "3": true}
	s := func(v string) *string { return &v }
	tests := []struct {
		name string
		ask  EndSessionsRequest
		want EndSessionsResult
	}{
		{"a user of every realm", EndSessionsRequest{User: s("alice")}, EndSessionsResult{Connected: 1, Away: 1}},
		{"a user of one realm", EndSessionsRequest{User: s("alice"), Realm: s("b")}, EndSessionsResult{Away: 1}},
		{"anonymous", EndSessionsRequest{User: s("")}, EndSessionsResult{Away: 1}},
		{"a client, forgotten", EndSessionsRequest{ClientID: s("1"), Forget: true}, EndSessionsResult{Connected: 1, Forgotten: 1}},
		{"a client of another user", EndSessionsRequest{ClientID: s("1"), User: s("bob")}, EndSessionsResult{}},
		{"a token", EndSessionsRequest{TokenID: s("jti")}, EndSessionsResult{Away: 1}},
		{"another token", EndSessionsRequest{TokenID: s("jt")}, EndSessionsResult{}},
		{"a serial number", EndSessionsRequest{Certificate: s("0A:0b")}, EndSessionsResult{Connected: 1}},
		{"another serial number", EndSessionsRequest{Certificate: s("0b")}, EndSessionsResult{}},
		{"a fingerprint", EndSessionsRequest{Certificate: s(strings.ToUpper(hex.EncodeToString(sum[:])))}, EndSessionsResult{Connected: 1}},
		{"another fingerprint", EndSessionsRequest{Certificate: s(strings.Repeat("0", 64))}, EndSessionsResult{}},
		{"the broker itself", EndSessionsRequest{User: s("$SYS")}, EndSessionsResult{}},
	}
	for _, tt := range tests {
		if got := ask[EndSessionsResult](t, p, "POST", "/sessions/end", tt.ask); got != tt.want || p.engine.forgot != tt.ask.Forget {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
	log := p.log.String()
	if n := strings.Count(log, "msg=control_action action=session_end"); n != len(tests) {
		t.Errorf("%d changes in the log, want %d: %s", n, len(tests), log)
	}
	if !strings.Contains(log, `client_id=\"1\" forget`) || !strings.Contains(log, `result="ended 1 connected, 0 away, 1 forgotten"`) {
		t.Errorf("what was done is not in the log: %s", log)
	}
	for name, q := range map[string]any{
		"nobody": EndSessionsRequest{}, "a realm alone": EndSessionsRequest{Realm: s("a")}, "forget alone": EndSessionsRequest{Forget: true},
		"an empty client": EndSessionsRequest{ClientID: s("")}, "an empty token": EndSessionsRequest{TokenID: s("")},
		"no digits": EndSessionsRequest{Certificate: s("xyz")}, "no certificate": EndSessionsRequest{Certificate: s("")}, "colons": EndSessionsRequest{Certificate: s(":")},
		"too long a serial number": EndSessionsRequest{Certificate: s(strings.Repeat("1", 41))}, "an unknown member": map[string]string{"user": "a", "purge": "b"},
	} {
		if e := refused(t, p, "POST", "/sessions/end", q, 400, "bad_request"); e.Message == "" {
			t.Errorf("%s: no reason", name)
		}
	}
	if strings.Count(p.log.String(), "session_end") != len(tests) {
		t.Error("what was not understood is in the log as a change")
	}
}
