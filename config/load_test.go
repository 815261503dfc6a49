package config

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the expectations of the golden tests")

// wantMark begins the lines of a bad file that hold its expected problems.
const wantMark = "# want: "

// TestBadFiles loads each testdata/*.bad.yaml. Its last lines hold every
// problem that must be reported, without the name of the file.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no bad configurations found: %v", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".bad.yaml"), func(t *testing.T) {
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
			_, err = Parse([]byte(body.String()), path)
			if err == nil {
				t.Fatalf("%s was accepted", path)
			}
			var got strings.Builder
			for line := range strings.Lines(err.Error() + "\n") {
				got.WriteString(strings.ReplaceAll(strings.TrimPrefix(line, path+":"), "testdata/", ""))
			}
			if *update {
				marked := body.String()
				for line := range strings.Lines(got.String()) {
					marked += wantMark + line
				}
				if err := os.WriteFile(path, []byte(marked), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got.String() != want.String() {
				t.Errorf("problems of %s:\n%s\nwant:\n%s", path, got.String(), want.String())
			}
		})
	}
}

func TestGoodFile(t *testing.T) {
	c, err := Load("testdata/everything.good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(c.Listeners); n != 3 {
		t.Fatalf("%d listeners, want 3", n)
	}
	a, ws, unix := c.Listeners[0], c.Listeners[1], c.Listeners[2]
	if ws.Name != "ws-8080" || unix.Name != "unix-socket" {
		t.Errorf("default names %q and %q, want ws-8080 and unix-socket", ws.Name, unix.Name)
	}
	if want := filepath.Join("testdata", "socket"); unix.Address != want || unix.SocketMode != 0o600 {
		t.Errorf("unix socket %s mode %o, want %s mode 600", unix.Address, unix.SocketMode, want)
	}
	if want := filepath.Join("testdata", "files", "server.key"); a.TLS.Key != want {
		t.Errorf("key %s, want %s", a.TLS.Key, want)
	}
	if a.TLS.MinVersion != TLS12 || a.TLS.HandshakeTimeout != 5*time.Second {
		t.Errorf("tls is %+v", a.TLS)
	}
	want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("192.0.2.0/24")}
	for i, p := range want {
		if a.Allow[i] != p {
			t.Errorf("allow[%d] = %s, want %s", i, a.Allow[i], p)
		}
	}
	if !ws.AllowEmptyClientID || ws.V3RefusalCode != 5 || ws.OnDeniedPublish != DeniedDrop || !ws.TCPNoDelay {
		t.Errorf("a listener lacks its defaults: %+v", ws)
	}
	if a.OnDeniedQoS != QoSDowngrade || !slices.Equal(a.Shadow, []string{"permissions", "next"}) || ws.OnDeniedQoS != QoSRefuse || ws.Shadow != nil {
		t.Errorf("on_denied_qos and shadow are %s %v and %s %v", a.OnDeniedQoS, a.Shadow, ws.OnDeniedQoS, ws.Shadow)
	}
	if p, q := c.Policies[0], c.Policies[1]; !p.AllowEmpty || p.Strict || q.AllowEmpty || !q.Strict || !c.Authenticators[0].AllowEmpty {
		t.Errorf("allow_empty and strict were not read: %+v", c)
	}
	if b, d := c.Authenticators[2], c.Authenticators[3]; b.Realm != "people" || b.Accounts.Hash != HashPBKDF2SHA512 || b.Accounts.Upgrade ||
		!slices.Equal(b.Accounts.SCRAM, []SCRAMMethod{SCRAMSHA512, SCRAMSHA256}) || d.Realm != "accounts" || d.Accounts != nil ||
		!reflect.DeepEqual(c.AccountSettings(), *b.Accounts) || !c.HasAccounts() {
		t.Errorf("accounts are %+v and %+v", b, d)
	}
	for _, tt := range []struct {
		c    Config
		want []SCRAMMethod
	}{
		{Config{Authenticators: []Authenticator{{Type: AccountDatabase}}}, nil},
		{Config{Authenticators: []Authenticator{{Type: Scram}}}, []SCRAMMethod{SCRAMSHA256, SCRAMSHA512}},
		{Config{Authenticators: []Authenticator{{Type: Scram, File: "verifiers"}}}, nil},
		{Config{Authenticators: []Authenticator{{Type: Scram, SCRAM: &SCRAM{Methods: []SCRAMMechanism{"SCRAM-SHA-512-PLUS", "SCRAM-SHA-512"}}}}}, []SCRAMMethod{SCRAMSHA512}},
		{Config{Authenticators: []Authenticator{{Type: Scram}, {Type: AccountDatabase, Accounts: &Accounts{SCRAM: []SCRAMMethod{}}}}}, nil},
	} {
		if got := tt.c.AccountSettings().SCRAM; !slices.Equal(got, tt.want) {
			t.Errorf("verifiers are made for %v, want %v", got, tt.want)
		}
	}
	if s := (&Config{Policies: []Policy{{Type: AccountRoles}}}); !s.HasAccounts() || !s.AccountSettings().Upgrade || new(Config).HasAccounts() {
		t.Errorf("settings of a policy alone are %+v", s.AccountSettings())
	}
	if m := c.MQTT; m.RetainedSource != RetainedKeep || m.OnPolicyChange != PolicyWithhold || m.DenyReason != DenyReasonID {
		t.Errorf("mqtt is %+v", m)
	}
	if want := filepath.Join("testdata", "control.sock"); c.Control.Socket != want || c.Reload != ReloadManual {
		t.Errorf("control socket %s and reload %s, want %s and manual", c.Control.Socket, c.Reload, want)
	}
	s := c.Storage
	if s.Type != StorageDisk || s.Dir != filepath.Join("testdata", "store") || s.Durability != DurabilityInterval || s.Interval != 2*time.Second || s.MinFree != GiB {
		t.Errorf("storage is %+v", s)
	}
	if want := filepath.Join("testdata", "files", "store.key"); s.Encryption == nil || s.Encryption.Key.File != want {
		t.Errorf("encryption is %+v, want the key in %s", s.Encryption, want)
	}
	if c.Authenticators[0].Realm != "people" || c.SysInterval != 0 || c.Log.Format != LogJSON {
		t.Errorf("values were not read: %+v", c)
	}
}

func TestWhatGoesWrongAfterLoadingIsToldWithItsPlace(t *testing.T) {
	dir := t.TempDir()
	passwd, path := filepath.Join(dir, "passwd"), filepath.Join(dir, "c.yaml")
	text := "listeners: [{address: \"127.0.0.1:1\", authenticators: [p]}]\nauthenticators: [{name: p, type: password_file, file: passwd}]\n"
	for _, err := range []error{os.WriteFile(passwd, nil, 0o600), os.WriteFile(path, []byte(text), 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(passwd); err != nil {
		t.Fatal(err)
	}
	if ps := c.Check(nil); len(ps) != 1 || ps[0].File != path || ps[0].Line != 2 || ps[0].Lacks != passwd {
		t.Errorf("problems %+v, want one at line 2 of %s", ps, path)
	}
	if ps := (&Config{}).Check(nil); len(ps) == 0 {
		t.Error("an empty configuration has no problem")
	}
}

func TestFilesAreAllThatAReloadReads(t *testing.T) {
	c, err := Load("testdata/everything.good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c.Sources = append(c.Sources, Source{Path: "conf.d"}, Source{Path: "conf.d/a.conf"})
	want := []string{
		"testdata/everything.good.yaml", "conf.d", "conf.d/a.conf", "testdata/files/passwd", "testdata/files/permissions.yaml",
		"testdata/files/server.crt", "testdata/files/server.key", "testdata/files/ca.crt",
	}
	if got := c.Files(); !slices.Equal(got, want) {
		t.Errorf("Files() = %q, want %q", got, want)
	}
}

func TestTheDefaultsOfNewKeysAreTheSafeOnes(t *testing.T) {
	c := Defaults()
	if c.MQTT.RetainedSource != RetainedCheck || c.MQTT.OnPolicyChange != PolicyRevoke || c.MQTT.DenyReason != DenyReasonNone {
		t.Errorf("mqtt is %+v", c.MQTT)
	}
	if c.Reload != ReloadAuto || c.Control.Socket != "" {
		t.Errorf("reload is %s, control is %+v", c.Reload, c.Control)
	}
	if s := c.Storage; s.Type != StorageMemory || s.Durability != DurabilityAlways || s.Interval != 100*time.Millisecond || s.MinFree != 256*MiB || s.Encryption != nil {
		t.Errorf("storage is %+v", s)
	}
}

func TestEffectiveLimits(t *testing.T) {
	c, err := Load("testdata/everything.good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got := c.EffectiveLimits(0)
	want := c.Limits
	want.Connections, want.QoS, want.SessionExpiry, want.QueueFull, want.TopicAlias = 7, 0, 7*24*time.Hour, DropOldest, 0
	if got != want {
		t.Errorf("limits with overrides = %+v, want %+v", got, want)
	}
	if got := c.EffectiveLimits(1); got != c.Limits {
		t.Errorf("limits without overrides = %+v, want those of the top level", got)
	}
	if c.Limits.QoS != 1 || c.Limits.PacketSize != 2*MiB || c.Limits.BufferBytes != 0 || c.Limits.Inflight != 100 {
		t.Errorf("top-level limits = %+v", c.Limits)
	}
}

func TestLoadRefusesWhatIsNoFile(t *testing.T) {
	for _, path := range []string{"testdata", "testdata/nowhere.yaml", os.DevNull} {
		if _, err := Load(path); err == nil || !strings.HasPrefix(err.Error(), path+": ") {
			t.Errorf("Load(%s) = %v, want an error that names it", path, err)
		}
	}
}

func TestStrictFilesRefusesLooseSecrets(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	passwd := write("passwd", "", 0o600)
	write("permissions", "", 0o644)
	path := write("sallyport.yaml", `
strict_files: true
listeners: [{address: "127.0.0.1:1883", authenticators: [p], policies: [q]}]
authenticators: [{name: p, type: password_file, file: passwd}]
policies: [{name: q, type: permissions, file: permissions}]
`, 0o644)
	c, err := Load(path)
	if err != nil {
		t.Fatalf("private files were refused: %v", err)
	}
	if err := os.Chmod(passwd, 0o640); err != nil {
		t.Fatal(err)
	}
	if looseMode(passwd) == "" {
		t.Skip("this platform has no permissions")
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "authenticators[0].file: ") {
		t.Errorf("a loose password file gives %v, want a refusal that names it", err)
	}
	if w := c.Warnings(); len(w) != 1 || w[0].Line != 4 || !strings.Contains(w[0].Text, "0640") {
		t.Errorf("warnings = %v, want one about the mode, with its line", w)
	}
}
