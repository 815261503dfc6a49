package config

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestRisks(t *testing.T) {
	authenticators := []Authenticator{{Name: "p", Type: PasswordFile}, {Name: "a", Type: Anonymous}, {Name: "d", Type: AccountDatabase}, {Name: "t", Type: Tokens}}
	policies := []Policy{{Name: "q", Type: Permissions}, {Name: "all", Type: AllowAll}}
	tests := []struct {
		name string
		l    Listener
		want []RiskName
	}{
		{"passwords in clear text are a risk", Listener{Transport: TCP, Address: ":1883", Authenticators: []string{"p"}}, []RiskName{RiskCleartextPasswords}},
		{"passwords of accounts are the same risk", Listener{Transport: TCP, Address: ":1883", Authenticators: []string{"d"}}, []RiskName{RiskCleartextPasswords}},
		{"passwords over WebSocket in clear text are a risk", Listener{Transport: WS, Address: "192.0.2.1:80", Authenticators: []string{"p"}}, []RiskName{RiskCleartextPasswords}},
		{"tokens in clear text are a risk", Listener{Transport: TCP, Address: ":1883", Authenticators: []string{"t"}}, []RiskName{RiskCleartextPasswords}},
		{"tokens over TLS are none", Listener{Transport: TLSTCP, Address: ":8883", Authenticators: []string{"t"}}, nil},
		{"passwords over TLS are none", Listener{Transport: TLSTCP, Address: ":8883", Authenticators: []string{"p"}}, nil},
		{"anonymous is a risk even over TLS", Listener{Transport: WSS, Address: "[::]:443", Authenticators: []string{"p", "a"}}, []RiskName{RiskAnonymous}},
		{"8883 without TLS is a risk without any authenticator", Listener{Transport: TCP, Address: ":8883"}, []RiskName{RiskCleartextPasswords}},
		{"allow_all is a risk", Listener{Transport: TLSTCP, Address: ":8883", Policies: []string{"q", "all"}}, []RiskName{RiskAllowAll}},
		{"allow_all in the shadow is none", Listener{Transport: TLSTCP, Address: ":8883", Policies: []string{"q"}, Shadow: []string{"all"}}, nil},
		{"all at once", Listener{Transport: TCP, Address: "0.0.0.0:1883", Authenticators: []string{"a", "p"}, Policies: []string{"all"}}, []RiskName{RiskAnonymous, RiskCleartextPasswords, RiskAllowAll}},
		{"a host name may be reached", Listener{Transport: TCP, Address: "broker:1883", Authenticators: []string{"a"}}, []RiskName{RiskAnonymous}},
		{"loopback has none", Listener{Transport: TCP, Address: "127.1.2.3:1883", Authenticators: []string{"a", "p"}, Policies: []string{"all"}}, nil},
		{"IPv6 loopback has none", Listener{Transport: TCP, Address: "[::1]:8883", Authenticators: []string{"a"}}, nil},
		{"IPv4-mapped loopback has none", Listener{Transport: TCP, Address: "[::ffff:127.0.0.1]:8883", Authenticators: []string{"a"}}, nil},
		{"localhost has none", Listener{Transport: TCP, Address: "localhost:1883", Authenticators: []string{"a"}}, nil},
		{"a unix socket has none", Listener{Transport: Unix, Address: "/run/s", Authenticators: []string{"a"}, Policies: []string{"all"}}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.l.Name = "door"
			c := &Config{Listeners: []Listener{tt.l}, Authenticators: authenticators, Policies: policies}
			var got []RiskName
			for _, r := range Risks(c) {
				got = append(got, r.Name)
				if r.Accepted || r.Listener != "door" || !strings.Contains(r.Text, "door") || !strings.Contains(r.Text, "accept_risk: ["+string(r.Name)) {
					t.Errorf("risk %+v does not name the listener and the line to add", r)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("risks = %v, want %v", got, tt.want)
			}
			c.Listeners[0].AcceptRisk = tt.want
			for _, r := range Risks(c) {
				if !r.Accepted {
					t.Errorf("risk %s is not accepted, though accept_risk names it", r.Name)
				}
			}
		})
	}
}

func TestRiskKeepsWhatIsAccepted(t *testing.T) {
	c := &Config{
		Listeners:      []Listener{{Name: "x", Transport: TCP, Address: ":1", Authenticators: []string{"a", "p"}, AcceptRisk: []RiskName{RiskAnonymous}}},
		Authenticators: []Authenticator{{Name: "p", Type: PasswordFile}, {Name: "a", Type: Anonymous}},
	}
	risks := Risks(c)
	if len(risks) != 2 || !risks[0].Accepted || risks[1].Accepted {
		t.Fatalf("risks = %+v, want one accepted and one not", risks)
	}
	if want := "accept_risk: [anonymous, cleartext_passwords]"; !strings.Contains(risks[1].Text, want) {
		t.Errorf("%q does not hold %q", risks[1].Text, want)
	}
}

func TestWarnings(t *testing.T) {
	c, err := Parse([]byte(`listeners:
  - {name: shut, address: "127.0.0.1:1883", accept_risk: [anonymous]}
  - {name: twice, address: "127.0.0.1:1884", authenticators: [a], policies: [b, c], shadow: [c, b]}
authenticators: [{name: a, type: anonymous}]
policies: [{name: b, type: allow_all}, {name: c, type: allow_all}]
`), "x.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"x.yaml:2:5: listeners[0].authenticators: the list is empty: nobody can connect",
		"x.yaml:2:5: listeners[0].policies: the list is empty: nobody may publish or subscribe",
		"x.yaml:2:59: listeners[0].accept_risk[0]: listener shut does not have the risk anonymous",
		"x.yaml:3:93: listeners[1].shadow: these are the policies of the listener: nothing can differ",
	}
	got := strings.Split(c.Warnings().Error(), "\n")
	if !slices.Equal(got, want) {
		t.Errorf("warnings:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestWarningsOfAuthenticatorsThatAcceptNobody(t *testing.T) {
	c, err := Parse([]byte(strings.ReplaceAll(`listeners:
  - {name: tcp, address: "127.0.0.1:1883", authenticators: [u, h, c], policies: [p]}
  - {name: ws, transport: ws, address: "127.0.0.1:1884", authenticators: [h], policies: [p]}
  - {name: unix, transport: unix, address: s, authenticators: [u], policies: [p]}
authenticators:
  - {name: u, type: password_file, file: f, require: {gids: [1]}}
  - {name: h, type: password_file, file: f, prepare: [{set: password, from: "${query.token}"}]}
  - {name: c, type: certificate}
policies: [{name: p, type: permissions, file: f}]
`, "file: f", "file: "+rules(t))), "x.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got := c.Warnings().Error()
	if n := strings.Count(got, "\n") + 1; n != 3 {
		t.Errorf("%d warnings:\n%s", n, got)
	}
	for _, want := range []string{"u accepts nobody here", "h accepts nobody here", "c knows nobody here"} {
		if !strings.Contains(got, "listeners[0].authenticators: "+want) {
			t.Errorf("no warning that %s:\n%s", want, got)
		}
	}
}

func TestAMethodOfSCRAMMeansOneAuthenticator(t *testing.T) {
	for settings, wrong := range map[string]string{
		"":                         "a and b both offer SCRAM-SHA-256, and only the first would be asked",
		"methods: [SCRAM-SHA-512]": "",
		"methods: [SCRAM-SHA-512, SCRAM-SHA-256]": "a and b both offer SCRAM-SHA-256",
	} {
		first := ""
		if settings != "" {
			first = ", scram: {methods: [SCRAM-SHA-256]}"
			settings = ", scram: {" + settings + "}"
		}
		_, err := Parse([]byte("listeners: [{name: l, address: \"127.0.0.1:1\", authenticators: [a, b], policies: [p]}]\n"+
			"authenticators: [{name: a, type: scram, file: "+rules(t)+first+"}, {name: b, type: scram, file: "+rules(t)+settings+"}]\n"+
			"policies: [{name: p, type: allow_all}]\n"), "x.yaml")
		got := ""
		if err != nil {
			got = err.Error()
		}
		if wrong != "" && !strings.Contains(got, wrong) || strings.Contains(got, "both offer") != (wrong != "") {
			t.Errorf("%s: %s", settings, got)
		}
	}
}

// rules is the path of a file that is there.
func rules(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return strconv.Quote(path)
}
