package mosquitto

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/config"
)

var update = flag.Bool("update", false, "rewrite the expectations of the bad files")

// testdata is absolute, since the tests change the working folder.
var testdata, _ = filepath.Abs("testdata")

const wantMark = "# want: "

// TestBadFiles imports each testdata/*.bad.conf. Its last lines, which are
// comments to Mosquitto, hold every problem that must be reported.
func TestBadFiles(t *testing.T) {
	t.Chdir("testdata")
	files, err := filepath.Glob("*.bad.conf")
	if err != nil || len(files) == 0 {
		t.Fatalf("no bad configurations found: %v", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".bad.conf"), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var body, want strings.Builder
			for line := range strings.Lines(string(data)) {
				if rest, ok := strings.CutPrefix(line, wantMark); ok {
					want.WriteString(rest)
				} else {
					body.WriteString(line)
				}
			}
			_, _, err = Read(path, Options{})
			var problems config.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("%s gives %v, want problems", path, err)
			}
			got := strings.ReplaceAll(err.Error()+"\n", path+":", "")
			if *update {
				marked := body.String()
				for line := range strings.Lines(got) {
					marked += wantMark + line
				}
				if err := os.WriteFile(path, []byte(marked), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want.String() {
				t.Errorf("problems of %s:\n%s\nwant:\n%s", path, got, want.String())
			}
		})
	}
}

// importText imports text from within testdata, so that files/ is found.
func importText(t *testing.T, text string, opts Options) (*config.Config, []Warning) {
	t.Helper()
	t.Chdir(testdata)
	r := newReader("mosquitto.conf", opts)
	r.file(r.path, []byte(text), false)
	c := r.build()
	if err := r.problems.Sort().Err(); err != nil {
		t.Fatalf("%q was refused:\n%v", text, err)
	}
	return c, r.warnings
}

func warned(ws []Warning, line int, text string) bool {
	return slices.ContainsFunc(ws, func(w Warning) bool { return w.Line == line && strings.Contains(w.String(), text) })
}

func TestDoors(t *testing.T) {
	tests := []struct {
		name, text string
		opts       Options
		want       []string // name transport address
	}{
		{"no listener is loopback", "", Options{}, []string{"tcp-1883 tcp localhost:1883"}},
		{"no listener and -p is loopback on that port", "allow_anonymous true\n", Options{Port: 1999}, []string{"tcp-1999 tcp localhost:1999"}},
		{"options that make a default listener do not open it to others", "max_qos 1\n", Options{}, []string{"tcp-1883 tcp localhost:1883"}},
		{"a listener has its port on every address", "listener 1884\n", Options{}, []string{"tcp-1884 tcp :1884"}},
		{"a listener has an address", "listener 1884 192.0.2.1\nlistener 1884 ::1\n", Options{}, []string{"tcp-1884 tcp 192.0.2.1:1884", "tcp-1884-2 tcp [::1]:1884"}},
		{"a comment may follow a listener", "listener 1884 # ours\n", Options{}, []string{"tcp-1884 tcp :1884"}},
		{"a unix socket", "listener 0 run.sock\n", Options{}, []string{"unix-run.sock unix run.sock"}},
		{"websockets", "listener 8080\nprotocol websockets\n", Options{}, []string{"ws-8080 ws :8080"}},
		{"port and bind_address make the default listener", "port 1885\nbind_address 127.0.0.1\n", Options{}, []string{"tcp-1885 tcp 127.0.0.1:1885"}},
		{"bind_address alone has port 1883", "bind_address 192.0.2.1\n", Options{}, []string{"tcp-1883 tcp 192.0.2.1:1883"}},
		{"-p replaces port", "port 1885\n", Options{Port: 1999}, []string{"tcp-1999 tcp :1999"}},
		{"-p leaves listeners alone", "listener 1884\n", Options{Port: 1999}, []string{"tcp-1884 tcp :1884"}},
		{"options before a listener make a default listener", "max_connections 5\nlistener 1884\n", Options{}, []string{"tcp-1884 tcp :1884", "tcp-1883 tcp :1883"}},
		{"a global allow_anonymous makes none", "allow_anonymous true\nlistener 1884\n", Options{}, []string{"tcp-1884 tcp :1884"}},
		{"leading spaces and carriage returns are skipped", "  listener   1884  127.0.0.1 \r\n", Options{}, []string{"tcp-1884 tcp 127.0.0.1:1884"}},
		{"included files begin at the default listener", "listener 1883\ninclude_dir included\n", Options{}, []string{"tcp-1883 tcp :1883", "tcp-1884 tcp 127.0.0.1:1884"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := importText(t, tt.text, tt.opts)
			var got []string
			for _, l := range c.Listeners {
				got = append(got, l.Name+" "+string(l.Transport)+" "+filepath.ToSlash(l.Address))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("listeners %q, want %q", got, tt.want)
			}
		})
	}
}

func TestWhoMayConnect(t *testing.T) {
	tests := []struct {
		name, text     string
		authenticators string // of the first listener
		policies       string
	}{
		{"without listener anyone on this machine", "", anyoneName, allowAllName},
		{"an explicit refusal holds without listener", "allow_anonymous false\n", "", allowAllName},
		{"a password file holds without listener", "password_file files/passwd\n", "password_file", allowAllName},
		{"with a listener nobody", "listener 1883\n", "", allowAllName},
		{"allow_anonymous believes user names without password_file", "listener 1883\nallow_anonymous true\n", anyoneName, allowAllName},
		{"passwords alone", "listener 1883\npassword_file files/passwd\nacl_file files/acl\n", "password_file", "acl_file"},
		{"passwords and anonymous", "listener 1883\nallow_anonymous 1\npassword_file files/passwd\n", anonymousName + " password_file", allowAllName},
		{"global settings may follow", "listener 1883 127.0.0.1\nlistener 1884 127.0.0.1\npassword_file files/passwd\n", "password_file", allowAllName},
		{"a path with a space", "listener 1883\npassword_file  files/pass word \n", "password_file", allowAllName},
		{"settings of another listener do not count", "per_listener_settings true\nlistener 1883\nlistener 1884\nallow_anonymous true\nacl_file files/acl\n", "", allowAllName},
		{"settings of this listener count", "per_listener_settings true\nlistener 1883\nallow_anonymous true\nacl_file files/acl\nlistener 1884\n", anyoneName, "acl_file"},
		{"settings before the first listener do not count per listener", "per_listener_settings true\nallow_anonymous true\nlistener 1883\n", "", allowAllName},
		{"the certificate names the user", "listener 8883\ncertfile files/server.crt\nkeyfile files/server.key\ncafile files/ca.crt\nrequire_certificate true\nuse_identity_as_username true\nallow_anonymous true\n", "", allowAllName},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := importText(t, tt.text, Options{})
			l := c.Listeners[0]
			if got := strings.Join(l.Authenticators, " "); got != tt.authenticators {
				t.Errorf("authenticators %q, want %q", got, tt.authenticators)
			}
			if got := strings.Join(l.Policies, " "); got != tt.policies {
				t.Errorf("policies %q, want %q", got, tt.policies)
			}
			for _, a := range c.Authenticators {
				if a.BelieveUsername != (a.Name == anyoneName) {
					t.Errorf("authenticator %+v believes user names", a)
				}
			}
			for _, r := range config.Risks(c) {
				if !r.Accepted {
					t.Errorf("risk %s of %s is not accepted", r.Name, r.Listener)
				}
			}
		})
	}
}

// What of a certificate names the user, as Mosquitto has it; and a session may
// outlast it there.
func TestWhatNamesTheUserOfACertificate(t *testing.T) {
	const door = "listener 8883\ncertfile files/server.crt\nkeyfile files/server.key\ncafile files/ca.crt\nrequire_certificate true\n"
	for text, want := range map[string]config.Identity{
		"":                                config.IdentityNone,
		"use_identity_as_username true\n": config.IdentityCommonName,
		"use_subject_as_username true\n":  config.IdentitySubject,
		"use_subject_as_username false\n": config.IdentityNone,
		"use_identity_as_username false\nuse_subject_as_username true\n": config.IdentitySubject,
		"use_subject_as_username true\nuse_identity_as_username true\n":  config.IdentityCommonName,
	} {
		c, warnings := importText(t, door+text, Options{})
		l := c.Listeners[0]
		if l.Identity != want || l.TLS.DisconnectOnExpiry || l.TLS.HostMatch != config.HostMatchNone {
			t.Errorf("%q: identity %s, tls %+v; want %s", text, l.Identity, l.TLS, want)
		}
		both := strings.Count(text, " true") == 2
		if warned(warnings, 6, "use_subject_as_username: has no effect beside use_identity_as_username") != both {
			t.Errorf("%q: warnings %v", text, warnings)
		}
	}
}

func TestWarnings(t *testing.T) {
	tests := []struct {
		name, text string
		opts       Options
		line       int
		want       string
	}{
		{"no listener", "", Options{}, 0, "only this machine can connect"},
		{"refusal obeyed without listener", "allow_anonymous false\n", Options{}, 1, "allow_anonymous: is obeyed"},
		{"passwords without listener", "password_file files/passwd\n", Options{}, 1, "clients without credentials are refused"},
		{"an open listener", "listener 1883\nallow_anonymous true\n", Options{}, 1, "(risk anonymous)"},
		{"clear-text passwords", "listener 1883\npassword_file files/passwd\n", Options{}, 1, "(risk cleartext_passwords)"},
		{"everything allowed", "listener 1883\nallow_anonymous true\n", Options{}, 1, "(risk allow_all)"},
		{"the implied policy", "listener 1883\nallow_anonymous true\n", Options{}, 1, allowAllName},
		{"nobody gets in", "listener 1883\n", Options{}, 1, "nobody can connect"},
		{"a folder for nothing", "persistence_location files\n", Options{}, 1, "persistence_location: has no effect without persistence"},
		{"a file for nothing", "persistence false\npersistence_file x.db\n", Options{}, 2, "persistence_file: has no effect without persistence"},
		{"saving nothing", "autosave_on_changes true\n", Options{}, 1, "autosave_on_changes: has no effect without persistence"},
		{"saving now and then", "persistence true\nautosave_interval 1800\n", Options{}, 2, "autosave_interval: has no effect: what is acknowledged is on the disk"},
		{"syslog", "log_dest syslog\n", Options{}, 1, "goes to stderr"},
		{"trailing words", "max_qos 1 yes\n", Options{}, 1, `what follows "1"`},
		{"port twice", "port 1883\nport 1884\n", Options{}, 2, "the last one counts"},
		{"useless -p", "listener 1883\n", Options{Port: 5}, 0, "has no effect"},
		{"implied default listener", "max_connections 4\nlistener 1884\n", Options{}, 1, "make a default listener on port 1883"},
		{"lost setting", "per_listener_settings true\nacl_file files/acl\nlistener 1883\n", Options{}, 2, "belongs after a listener"},
		{"unset per_listener_settings", "per_listener_settings true\nper_listener_settings false\n", Options{}, 2, "stays true"},
		{"nested include", "include_dir included\n", Options{}, 2, "only the main file includes"},
		{"idle cafile", "listener 8883\ncertfile files/server.crt\nkeyfile files/server.key\ncafile files/ca.crt\n", Options{}, 4, "no effect without require_certificate"},
		{"sessions are owned", "", Options{}, 0, "mqtt.session_owner: client_id"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, ws := importText(t, tt.text, tt.opts); !warned(ws, tt.line, tt.want) {
				t.Errorf("no warning on line %d says %q: %v", tt.line, tt.want, ws)
			}
		})
	}
}

func TestMosquittosDefaults(t *testing.T) {
	c, _ := importText(t, "listener 1883\n", Options{})
	got := c.EffectiveLimits(0)
	d := config.Defaults().Limits
	want := config.Limits{ListenerLimits: config.ListenerLimits{
		ConnectTimeout: d.ConnectTimeout, WriteTimeout: d.WriteTimeout, PacketSizeUnauthenticated: 100_000,
		PacketSize: 2_000_000, TopicLevels: 200, ReceiveMaximum: 20, Inflight: 20, QueueMessages: 1000,
		QueueFull: config.DropNewest, OutputBytes: d.OutputBytes, TopicAlias: 10, TopicAliasOut: 10, QoS: 2,
	}, BufferBytes: d.BufferBytes}
	if got != want {
		t.Errorf("limits %+v, want %+v", got, want)
	}
	l := c.Listeners[0]
	if l.GeneratedClientIDPrefix != "auto-" || !l.AllowEmptyClientID || l.V3RefusalCode != 5 ||
		l.OnDeniedPublish != config.DeniedDrop || l.WebSocket.Path != "*" {
		t.Errorf("listener %+v lacks Mosquitto's defaults", l)
	}
	if c.SysInterval != 10*time.Second || !c.MQTT.Retain || c.MQTT.QueueQoS0 || c.Log.Level != config.LogInfo || len(c.Log.Outputs) != 0 {
		t.Errorf("configuration %+v lacks Mosquitto's defaults", c)
	}
	if c.MQTT.SessionOwner != config.OwnerPrincipal {
		t.Errorf("sessions belong to %s, want principal", c.MQTT.SessionOwner)
	}
	if c.MQTT.RetainedSource != config.RetainedCheck || c.Reload != config.ReloadManual || c.Control.Socket != "" {
		t.Errorf("retained_source %s, reload %s, control %+v; want check, manual and none", c.MQTT.RetainedSource, c.Reload, c.Control)
	}
}

func TestEveryOptionMaps(t *testing.T) {
	c, _ := importText(t, `# a comment
listener 8883 127.0.0.1
max_connections 5
max_qos 1
max_topic_alias 3
cafile files/ca.crt
certfile files/server.crt
keyfile files/server.key
crlfile files/ca.crl
require_certificate true
use_identity_as_username false
tls_version tlsv1.2
ciphers ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305:RC4-SHA
ciphers_tls1.3 TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384
protocol websockets
password_file files/passwd
acl_file files/acl
auto_id_prefix gen-
allow_zero_length_clientid true
clientid_prefixes dev-
max_keepalive 60
max_packet_size 0
message_size_limit 1000
max_inflight_messages 0
max_queued_messages 0
max_queued_bytes 4096
queue_qos0_messages true
retain_available false
check_retain_source false
persistent_client_expiration 2m
persistence true
persistence_location files
persistence_file kept.db
autosave_interval 60
autosave_on_changes true
log_dest stdout
log_dest topic
log_dest file my.log
log_type error
log_type warning
connection_messages false
sys_interval 0
set_tcp_nodelay false
pid_file my.pid
user nobody
`, Options{})
	l, lim := c.Listeners[0], c.EffectiveLimits(0)
	tls := config.TLS{
		Certificate: "files/server.crt", Key: "files/server.key", ClientCA: "files/ca.crt",
		CRL: config.Many[string]{"files/ca.crl"}, ClientAuth: config.ClientAuthRequire, HandshakeTimeout: 10 * time.Second,
	}
	if got := *l.TLS; filepath.ToSlash(got.Certificate) != tls.Certificate || filepath.ToSlash(got.Key) != tls.Key ||
		filepath.ToSlash(got.ClientCA) != tls.ClientCA || filepath.ToSlash(got.CRL[0]) != tls.CRL[0] ||
		got.ClientAuth != tls.ClientAuth || got.MinVersion != config.TLS12 || got.MaxVersion != config.TLS13 {
		t.Errorf("tls %+v, want %+v", got, tls)
	}
	suites := []string{"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
		"TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_256_GCM_SHA384"}
	if !slices.Equal(l.TLS.CipherSuites, suites) {
		t.Errorf("cipher suites %v, want %v", l.TLS.CipherSuites, suites)
	}
	if l.Transport != config.WSS || l.Identity != config.IdentityNone || l.TCPNoDelay || l.GeneratedClientIDPrefix != "gen-" || !slices.Equal(l.ClientIDPrefixes, []string{"dev-"}) {
		t.Errorf("listener %+v", l)
	}
	if lim.Connections != 5 || lim.QoS != 1 || lim.TopicAlias != 3 || lim.KeepAliveMax != 60 || lim.PacketSize != 0 || lim.MessageSize != 1000 ||
		lim.Inflight != 65535 || lim.ReceiveMaximum != 65535 || lim.QueueMessages != 0 || lim.QueueBytes != 4096 || lim.SessionExpiry != 60*24*time.Hour {
		t.Errorf("limits %+v", lim)
	}
	if !c.MQTT.QueueQoS0 || c.MQTT.Retain || c.MQTT.RetainedSource != config.RetainedKeep || c.SysInterval != 0 || c.RunAs != "nobody" ||
		filepath.ToSlash(c.PIDFile) != "my.pid" {
		t.Errorf("configuration %+v", c)
	}
	if st := c.Storage; st.Type != config.StorageDisk || filepath.ToSlash(st.Dir) != "files/kept.store" || st.Durability != config.DurabilityAlways {
		t.Errorf("storage %+v, want a disk in files/kept.store that always keeps what is acknowledged", st)
	}
	lg := c.Log
	if lg.Level != config.LogWarn || lg.Connections || filepath.ToSlash(lg.File) != "my.log" || !slices.Equal(lg.Outputs, []config.LogOutput{config.LogStdout, config.LogTopic}) {
		t.Errorf("log %+v", lg)
	}
}

func TestPersistenceIsADisk(t *testing.T) {
	defaults := config.Defaults().Storage
	for text, want := range map[string]string{
		"":                             "",
		"persistence false\n":          "",
		"persistence_location files\n": "",
		"persistence true\n":           "mosquitto.store",
		"retained_persistence true\n":  "mosquitto.store",
		"persistence true\nretained_persistence false\n":                       "",
		"persistence true\npersistence_location files/\n":                      "files/mosquitto.store",
		"persistence true\npersistence_file kept.db\n":                         "kept.store",
		"persistence true\npersistence_file kept\n":                            "kept.store",
		"persistence_file a b.db\npersistence_location files\npersistence 1\n": "files/a b.store",
	} {
		c, ws := importText(t, text, Options{})
		want := filepath.FromSlash(want)
		st := defaults
		if st.Dir = want; want != "" {
			st.Type = config.StorageDisk
		}
		if c.Storage != st {
			t.Errorf("%q keeps its state in %+v, want %+v", text, c.Storage, st)
		}
		if warned(ws, 1, "persistence: ") {
			t.Errorf("%q is warned about: %v", text, ws)
		}
	}
}

func TestLogTypes(t *testing.T) {
	for text, want := range map[string]config.LogLevel{
		"":                                 config.LogInfo,
		"log_type error\n":                 config.LogError,
		"log_type notice\n":                config.LogInfo,
		"log_type all\n":                   config.LogDebug,
		"log_type debug\nlog_type error\n": config.LogDebug,
		"log_type all\nlog_type none\n":    config.LogOff,
		"log_dest none\n":                  config.LogOff,
		"log_dest none\nlog_dest stdout\n": config.LogInfo,
	} {
		if c, _ := importText(t, text, Options{}); c.Log.Level != want {
			t.Errorf("%q logs %s, want %s", text, c.Log.Level, want)
		}
	}
	if c, _ := importText(t, "log_type error\n", Options{Verbose: true}); c.Log.Level != config.LogDebug {
		t.Errorf("-v logs %s, want debug", c.Log.Level)
	}
}

func TestIncludeDirIsReadInByteOrder(t *testing.T) {
	c, _ := importText(t, "include_dir included\n", Options{})
	// 1.conf says 5, B.conf 7, a.conf allows anonymous: digits, capitals, small letters.
	if got := c.Limits.QueueMessages; got != 7 {
		t.Errorf("max_queued_messages is %d, want 7: B.conf comes after 1.conf", got)
	}
	if len(c.Listeners[0].Authenticators) != 1 {
		t.Error("a.conf was not read")
	}
	want := []string{"included/", "included/1.conf", "included/B.conf", "included/a.conf"}
	for i, s := range c.Sources[1:] {
		if sum, err := config.ReadSum(s.Path); err != nil || sum != s.Sum || filepath.ToSlash(s.Path) != want[i] {
			t.Errorf("source %d is %s with sum %x, want %s with %x (%v)", i, s.Path, s.Sum, want[i], sum, err)
		}
	}
	if len(c.Sources) != 1+len(want) || c.Sources[0].Path != c.File {
		t.Errorf("sources %v, want the file itself and %q", c.Sources, want)
	}
}

func TestRecognise(t *testing.T) {
	for text, want := range map[string]bool{
		"listener 1883\n":                           true,
		"# comment\n\n  port 1883\n":                true,
		"pid_file /run/mosquitto/mosquitto.pid\n":   true,
		"not_an_option at all\n":                    true,
		"persistence\n":                             true,
		"# only comments\n#allow_anonymous false\n": true,
		"# only comments\n":                         false,
		"":                                          false,
		"listeners:\n  - address: :1883\n":          false,
		"listeners: []\n":                           false,
		"# sallyport\nlimits: {qos: 1}\n":           false,
		"---\nlisteners: []\n":                      false,
		"{listeners: []}\n":                         false,
		"- a\n":                                     false,
		"\"listeners\": []\n":                       false,
		"<hivemq>\n":                                false,
		"#listener 1883\nlisteners: []\n":           false,
		"\ufefflistener 1883\n":                     true,
	} {
		if got := Recognise([]byte(text)); got != want {
			t.Errorf("Recognise(%q) = %v, want %v", text, got, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		"", "listener 1883\nallow_anonymous true\n", "per_listener_settings true\nlistener 0 /x\n", "#\n", " \n", "listener\n",
		"log_dest file a b\nlog_type all\n", "persistent_client_expiration 9y\n", "ciphers a:b\ncertfile x\nkeyfile y\n",
		"port 1\nport 2\nbind_address ::1\n", "max_packet_size 99999999999999999999\n", "include_dir\n", "\r\n\r", "user\tx\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		Recognise(data)
		if strings.Contains(string(data), "include_dir") {
			return // reads folders of the machine
		}
		r := newReader("mosquitto.conf", Options{})
		r.file(r.path, data, false)
		c := r.build()
		if err := r.problems.Sort().Err(); err != nil {
			_ = err.Error()
			return
		}
		for _, risk := range config.Risks(c) {
			if !risk.Accepted {
				t.Errorf("%q leaves the risk %s", data, risk.Name)
			}
		}
		for _, a := range c.Authenticators {
			if a.Type == config.Anonymous && c.Listeners[0].Address == "" {
				t.Errorf("%q opens a door without address", data)
			}
		}
	})
}

// TestCiphers holds that each of Mosquitto's lists is about its own versions, and
// that what can't be meant exactly is refused.
func TestCiphers(t *testing.T) {
	const door = "listener 8883 127.0.0.1\ncertfile files/server.crt\nkeyfile files/server.key\nallow_anonymous true\n"
	all12 := 10
	for _, tt := range []struct {
		name, text string
		want       []string // nil: the 1.2 and 1.3 suites of the other list are not looked at
		n          int      // how many in all
		warns      string
	}{
		{"neither", "", nil, 0, ""},
		{"only the old", "ciphers ECDHE-RSA-AES128-GCM-SHA256\n", []string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}, 1 + 3, ""},
		{"only the new", "ciphers_tls1.3 TLS_AES_256_GCM_SHA384\n", []string{"TLS_AES_256_GCM_SHA384"}, all12 + 1, "may be refused"},
		{"both", "ciphers ECDHE-RSA-AES128-GCM-SHA256\nciphers_tls1.3 TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256\n", []string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}, 4, ""},
		{"an old list under tlsv1.3", "tls_version tlsv1.3\nciphers ECDHE-RSA-AES128-GCM-SHA256\n", nil, 0, "no use with tlsv1.3"},
		{"a new list under tlsv1.3", "tls_version tlsv1.3\nciphers_tls1.3 TLS_AES_128_GCM_SHA256\n", []string{"TLS_AES_128_GCM_SHA256"}, 1, "may be refused"},
		{"exclusions of what there is", "ciphers ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-SHA:!SHA1:!aNULL:!MD5:!RC4\n", []string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}, 1 + 3, ""},
		{"what is not here", "ciphers DHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:AES128-SHA\n", []string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}, 1 + 3, "DHE-RSA-AES128-GCM-SHA256:AES128-SHA"},
	} {
		c, ws := importText(t, door+tt.text, Options{})
		got := c.Listeners[0].TLS.CipherSuites
		if len(got) != tt.n {
			t.Errorf("%s: %d suites %v, want %d", tt.name, len(got), got, tt.n)
		}
		for _, s := range tt.want {
			if !slices.Contains(got, s) {
				t.Errorf("%s: %v lacks %s", tt.name, got, s)
			}
		}
		if text := fmt.Sprint(ws); tt.warns == "" && (strings.Contains(text, "ciphers")) || !strings.Contains(text, tt.warns) {
			t.Errorf("%s: warnings %s, want %q", tt.name, text, tt.warns)
		}
	}
	for _, text := range []string{
		"ciphers HIGH\n", "ciphers ECDHE-RSA-AES128-GCM-SHA256:DEFAULT\n", "ciphers ECDHE+AESGCM\n", "ciphers ECDHE-RSA-AES128-GCM-SHA256:@STRENGTH\n",
		"ciphers ECDHE-RSA-AES128-GCM-SHA256:!HIGH\n", "ciphers AES128-SHA:RC4-SHA\n", "ciphers_tls1.3 TLS_AES_128_CCM_SHA256\n",
		"ciphers_tls1.3 ECDHE-RSA-AES128-GCM-SHA256\n", "ciphers ECDHE-RSA-AES128-GCM-SHA256:!ECDHE-RSA-AES128-GCM-SHA256\n",
		"tls_version tlsv1.1\n", "tls_version tlsv1\n",
	} {
		r := newReader("mosquitto.conf", Options{})
		r.file(r.path, []byte(door+text), false)
		r.build()
		if err := r.problems.Err(); err == nil || !strings.Contains(err.Error(), "ciphers") && !strings.Contains(err.Error(), "tls_version") {
			t.Errorf("%q: %v, want a refusal of ciphers or tls_version", text, err)
		}
	}
}
