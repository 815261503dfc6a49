package sallyport_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport"
	"sallyport/config"
)

// reloadBase is a broker that only the machine itself can reach.
const reloadBase = `listeners:
  - name: door
    address: "127.0.0.1:0"
    authenticators: [guests]
    policies: [all]
authenticators:
  - {name: guests, type: anonymous}
policies:
  - {name: all, type: allow_all}
`

func load(t *testing.T, text string) *config.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sallyport.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestReloadRefusesWhatOnlyARestartCanChange(t *testing.T) {
	s, err := sallyport.New(load(t, reloadBase), sallyport.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	door := `    address: "127.0.0.1:0"` + "\n"
	tests := []struct{ name, text, want string }{
		{"nothing changed", reloadBase, ""},
		{"who may connect", strings.Replace(reloadBase, "[guests]", "[]", 1) + "\n", "no listener names it"},
		{"limits of new connections", reloadBase + "limits: {packet_size: 64KiB}\n", ""},
		{"what a client id begins with", strings.Replace(reloadBase, door, door+"    client_id_prefixes: [dev-]\n", 1), ""},
		{"how long a stop may take", reloadBase + "shutdown: {timeout: 2s}\n", ""},
		{"another address", strings.Replace(reloadBase, ":0\"", ":1\"", 1), "can't change name, transport or address"},
		{"denied networks", strings.Replace(reloadBase, door, door+"    deny: [192.0.2.1]\n", 1), "listener door: a reload can't change deny"},
		{"allowed networks", strings.Replace(reloadBase, door, door+"    allow: [127.0.0.1]\n", 1), "listener door: a reload can't change allow"},
		{"number of connections", reloadBase + "limits: {connections: 5}\n", "listener door: a reload can't change limits.connections"},
		{"whether FIPS 140-3 is demanded", reloadBase + "fips: true\n", "can't change fips:"},
		{"number of sessions", reloadBase + "limits: {sessions: 5}\n", "can't change limits.sessions"},
		{"what MQTT offers", reloadBase + "mqtt: {retain: false}\n", "can't change mqtt.retain:"},
		{"whose retained messages are sent", reloadBase + "mqtt: {retained_source: keep}\n", "can't change mqtt.retained_source:"},
		{"what becomes of denied subscriptions", reloadBase + "mqtt: {on_policy_change: withhold}\n", "can't change mqtt.on_policy_change:"},
		{"what a refused client is told", reloadBase + "mqtt: {deny_reason: id}\n", "can't change mqtt.deny_reason:"},
		{"the control socket", reloadBase + "control: {socket: control.sock}\n", "can't change control.socket:"},
		{"where state lives", reloadBase + "storage: {type: disk, dir: store}\n", "can't change storage:"},
		{"whether files are watched", reloadBase + "reload: manual\n", ""},
		{"policies in the shadow", strings.Replace(reloadBase, door, door+"    shadow: [next]\n", 1) + "  - {name: next, type: allow_all}\n", ""},
		{"what a denied QoS brings", strings.Replace(reloadBase, door, door+"    on_denied_qos: downgrade\n", 1), ""},
		{"the log", reloadBase + "log: {format: json}\n", "can't change log.format:"},
		{"hashing", reloadBase + "hashing: {workers: 1}\n", "can't change hashing.workers:"},
		{"$SYS", reloadBase + "sys_interval: 1s\n", "can't change sys_interval"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "sallyport.yaml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, err := config.Load(path)
			if err == nil {
				err = s.Reload(cfg)
			}
			if tt.want == "" && err != nil {
				t.Errorf("reload is refused: %v", err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("reload: %v, want %q", err, tt.want)
			}
		})
	}
}

func TestReloadRefusesARiskThatIsNotAccepted(t *testing.T) {
	// Bound and never served: nobody is let in.
	open := strings.Replace(reloadBase, "127.0.0.1:0", "0.0.0.0:0", 1)
	accepting := strings.Replace(open, "    authenticators:", "    accept_risk: [anonymous, allow_all]\n    authenticators:", 1)
	s, err := sallyport.New(load(t, accepting), sallyport.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}()
	if err := s.Reload(load(t, open)); !errors.Is(err, sallyport.ErrRisk) {
		t.Errorf("reload without accept_risk: %v, want ErrRisk", err)
	}
	if err := s.Reload(load(t, accepting)); err != nil {
		t.Errorf("reload with accept_risk: %v", err)
	}
}

// What the file system does between reading a configuration and using it is no
// reason to fall over.
func TestReloadRefusesAConfigurationWhoseFileHasGone(t *testing.T) {
	s, err := sallyport.New(load(t, reloadBase), sallyport.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}()
	path := filepath.Join(t.TempDir(), "permissions.yaml")
	if err := os.WriteFile(path, []byte("everyone: [{allow: both, topic: a}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := load(t, strings.Replace(reloadBase, "type: allow_all", "type: permissions, file: "+path, 1))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(cfg); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("reload: %v, want a refusal that names the file", err)
	}
	if err := s.ReloadFiles(); !errors.Is(err, sallyport.ErrNoReader) {
		t.Errorf("reload without a reader: %v, want ErrNoReader", err)
	}
}
