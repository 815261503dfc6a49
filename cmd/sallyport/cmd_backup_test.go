//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/config"
	"sallyport/packet"
	"sallyport/store/disk"
)

const keepingConfig = `listeners:
  - name: door
    address: "127.0.0.1:0"
    authenticators: [guests]
    policies: [all]
authenticators:
  - {name: guests, type: anonymous, believe_username: true}
policies:
  - {name: all, type: allow_all}
limits: {queue_messages: 1000000, queue_bytes: 64MiB, inflight: 1000}
sys_interval: 0s
reload: manual
control: {socket: control.sock}
storage:
  type: disk
  dir: store
`

// keeping is a folder with a broker that keeps its state in it.
type keeping struct {
	t                   *testing.T
	folder, config, dir string
	log                 *buffer
	server              *sallyport.Server
}

// newKeeping makes the folder; more stands under storage.
func newKeeping(t *testing.T, more string) *keeping {
	t.Helper()
	k := &keeping{t: t, folder: filepath.Join(t.TempDir(), "d")}
	if err := os.Mkdir(k.folder, 0o700); err != nil {
		t.Fatal(err)
	}
	k.config = file(t, k.folder, "sallyport.yaml", keepingConfig+more)
	k.dir = filepath.Join(k.folder, "store")
	return k
}

// start runs the broker, or returns why it does not start.
func (k *keeping) start() error {
	k.log = new(buffer)
	read := func() (*config.Config, error) { return config.Load(k.config) }
	cfg, err := read()
	if err != nil {
		return err
	}
	s, err := sallyport.New(cfg, sallyport.Options{Log: slog.New(slog.NewTextHandler(k.log, nil)), Version: "sallyport test", Read: read})
	if err != nil {
		return err
	}
	k.t.Cleanup(func() { _ = s.Stop() }) // it may have been stopped, and then says so
	k.server = s
	return s.Start()
}

func (k *keeping) mustStart() *keeping {
	k.t.Helper()
	if err := k.start(); err != nil {
		k.t.Fatal(err)
	}
	return k
}

func (k *keeping) stop() {
	k.t.Helper()
	if err := k.server.Stop(); err != nil {
		k.t.Fatal(err)
	}
}

// connect is a client; kept is its session.
func (k *keeping) connect(id string, kept bool, on func(*client.Message) error) *client.Client {
	k.t.Helper()
	c := client.New(client.Options{
		Dial:      client.Target{Transport: client.TCP, Address: k.server.Addrs("door")[0].String()}.Dial,
		Connect:   packet.Connect{Version: packet.V311, ClientID: id, CleanStart: !kept, HasUsername: true, Username: "alice"},
		OnMessage: on,
	})
	if _, err := c.Connect(k.t.Context()); err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { _ = c.Close() }) // nothing is left to send
	return c
}

// subscribed makes a session that waits for t/#.
func (k *keeping) subscribed(id string) {
	k.t.Helper()
	c := k.connect(id, true, nil)
	if _, err := c.Subscribe(k.t.Context(), packet.Subscribe{Filters: []packet.Subscription{{Filter: "t/#", QoS: 1}}}); err != nil {
		k.t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		k.t.Fatal(err)
	}
}

// publish publishes one retained message at QoS 1.
func (k *keeping) publish(topic, text string) {
	k.t.Helper()
	c := k.connect("publisher", false, nil)
	if _, err := c.Publish(k.t.Context(), client.Message{Topic: topic, Payload: []byte(text), QoS: 1, Retain: true}); err != nil {
		k.t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		k.t.Fatal(err)
	}
}

// retained is the retained message of a topic, empty if there is none.
func (k *keeping) retained(topic string) string {
	k.t.Helper()
	got := make(chan string, 10)
	c := k.connect("reader", false, func(m *client.Message) error { got <- string(m.Payload); return nil })
	if _, err := c.Subscribe(k.t.Context(), packet.Subscribe{Filters: []packet.Subscription{{Filter: topic, QoS: 1}}}); err != nil {
		k.t.Fatal(err)
	}
	defer func() { _ = c.Close() }() // nothing is left to send
	select {
	case text := <-got:
		return text
	case <-time.After(10 * time.Second):
		return ""
	}
}

// collect is what a session gets until enough is true of it, by topic.
func (k *keeping) collect(id string, enough func(map[string][]string) bool) map[string][]string {
	k.t.Helper()
	var mu sync.Mutex
	got, done := map[string][]string{}, make(chan struct{})
	c := k.connect(id, true, func(m *client.Message) error {
		mu.Lock()
		defer mu.Unlock()
		if got[m.Topic] = append(got[m.Topic], string(m.Payload)); enough(got) {
			select {
			case <-done:
			default:
				close(done)
			}
		}
		return nil
	})
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		k.t.Error("something is missing")
	}
	if err := c.Close(); err != nil {
		k.t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	return maps.Clone(got) // what the connection had read still comes
}

// says runs a command, which has to end with a code and to say something.
func says(t *testing.T, want int, text string, args ...string) *shell {
	t.Helper()
	s := newShell(t, "")
	if got := s.run(args...); got != want || !strings.Contains(s.stdout.String()+s.stderr.String(), text) {
		t.Errorf("%q: exit code %d, want %d and %q:\n%s%s", args, got, want, text, s.stdout, s.stderr)
	}
	return s
}

// load is publishers that publish, at QoS 1, as fast as they are acknowledged.
type load struct {
	acked [3]atomic.Int64
	ready [3]chan struct{} // closed when that many are
	stop  atomic.Bool
	all   sync.WaitGroup
}

const loadReady = 50

func (k *keeping) load() *load {
	l := &load{}
	for i := range l.acked {
		l.ready[i] = make(chan struct{})
		c := k.connect("p"+strconv.Itoa(i), false, nil)
		l.all.Go(func() {
			for n := int64(1); !l.stop.Load(); n++ {
				text := []byte(fmt.Sprintf("%d %s", n, strings.Repeat("x", 200)))
				_, err := c.Publish(k.t.Context(), client.Message{Topic: "t/" + strconv.Itoa(i), Payload: text, QoS: 1})
				if err == nil && n%10 == 0 {
					_, err = c.Publish(k.t.Context(), client.Message{Topic: fmt.Sprintf("r/%d", i), Payload: text, QoS: 1, Retain: true})
				}
				if err != nil {
					k.t.Error(err)
					return
				}
				if l.acked[i].Store(n); n == loadReady {
					close(l.ready[i])
				}
			}
		})
	}
	return l
}

// number is that of a message of the load.
func number(text string) int64 {
	head, _, _ := strings.Cut(text, " ")
	n, _ := strconv.ParseInt(head, 10, 64) // 0 is a number that none has
	return n
}

func TestABackupOfARunningBrokerHasAllThatItHasAcknowledged(t *testing.T) {
	for _, encrypted := range []bool{false, true} {
		t.Run(fmt.Sprintf("encrypted %t", encrypted), func(t *testing.T) {
			more, backupFlags, restoreFlags := "", []string{}, []string{}
			if encrypted {
				more = "  encryption: {key: {file: store.key}}\n"
				backupFlags = []string{"--key-file", keyFile(t, newKeyHex)}
				restoreFlags = append(backupFlags, "--store-key-file", keyFile(t, storeKeyHex))
			}
			k := newKeeping(t, more)
			file(t, k.folder, "store.key", storeKeyHex)
			k.mustStart()
			k.subscribed("sub")
			l := k.load()
			for _, ready := range l.ready {
				select {
				case <-ready:
				case <-time.After(20 * time.Second):
					t.Fatal("nothing is acknowledged")
				}
			}
			var before [3]int64
			for i := range before {
				before[i] = l.acked[i].Load()
			}
			to := filepath.Join(t.TempDir(), "b.backup")
			s := says(t, exitOK, "1 session, 3 retained messages", append([]string{"backup", "-c", k.config, to}, backupFlags...)...)
			if text := s.stdout.String(); strings.Contains(text, "the store is encrypted") != encrypted || strings.Contains(text, "the backup is encrypted") != encrypted || s.stderr.String() != "" {
				t.Errorf("it says\n%s%s", text, s.stderr)
			}
			if info, err := os.Stat(to); err != nil || info.Mode() != 0o600 {
				t.Errorf("the backup: %v, %v", info, err)
			}
			l.stop.Store(true)
			l.all.Wait()
			k.stop()
			if log := k.log.String(); !strings.Contains(log, "msg=control_action action=backup") || !strings.Contains(log, `result="sent `) {
				t.Errorf("the log lacks the backup:\n%s", log)
			}

			again := newKeeping(t, more)
			file(t, again.folder, "store.key", storeKeyHex)
			says(t, exitOK, "1 session, 3 retained messages", append([]string{"restore", to, again.dir}, restoreFlags...)...)
			if names := left(t, again.folder); !slices.Equal(names, []string{"sallyport.yaml", "store", "store.key"}) {
				t.Errorf("there is %q", names)
			}
			if info, err := os.Stat(again.dir); err != nil || info.Mode() != fs.ModeDir|0o700 {
				t.Errorf("the store: %v, %v", info, err)
			}
			again.mustStart()
			got := again.collect("sub", func(got map[string][]string) bool {
				for i, n := range before {
					if int64(len(got["t/"+strconv.Itoa(i)])) < n {
						return false
					}
				}
				return true
			})
			for topic, list := range got {
				for i, text := range list {
					if number(text) != int64(i+1) {
						t.Fatalf("%s: message %d is %.20q", topic, i+1, text)
					}
				}
			}
			for i, n := range before {
				retained := again.retained("r/" + strconv.Itoa(i))
				if number(retained) < n/10*10 {
					t.Errorf("publisher %d: retained is %.20q, %d messages were acknowledged", i, retained, n)
				}
			}
		})
	}
}

// left is what is in a folder.
func left(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range list {
		names = append(names, x.Name())
	}
	return names
}

func TestAStoppedStoreIsBackedUpAndRestored(t *testing.T) {
	key, err := config.DecodeKey([]byte(storeKeyHex))
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "b")
	dump := func(dir string, flags ...string) string {
		return says(t, exitOK, "", append([]string{"store", "dump", "--payload", dir}, flags...)...).stdout.String()
	}
	sorted := func(text string) string {
		lines := strings.Split(text, "\n")
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	old, fresh := []string{"--key-file", keyFile(t, storeKeyHex)}, []string{"--key-file", keyFile(t, newKeyHex)}
	plain, sealed := makeStore(t, nil), makeStore(t, key)
	for _, tt := range []struct {
		name       string
		from       string
		key, flags []string
		opensWith  []string
	}{
		{"as it is", plain, nil, nil, nil},
		{"an encrypted one as it is", sealed, old, []string{"--store-key-file", old[1]}, old},
		{"encrypted now", plain, nil, []string{"--new-store-key-file", fresh[1]}, fresh},
		{"with keys of its own", sealed, old, []string{"--store-key-file", old[1], "--new-store-key-file", fresh[1]}, fresh},
		{"not encrypted any more", sealed, old, []string{"--store-key-file", old[1], "--unencrypted"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := dump(tt.from, tt.key...)
			before := files(t, tt.from)
			says(t, exitOK, "2 sessions, 1 retained message\n", "backup", "--force", "--dir", tt.from, to)
			if after := files(t, tt.from); len(after) != len(before) {
				t.Errorf("the store has %d files, and had %d", len(after), len(before))
			}
			parent := t.TempDir()
			dir := filepath.Join(parent, "store")
			if tt.key != nil { // an empty folder will do
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			says(t, exitOK, "2 sessions, 1 retained message, from ", append([]string{"restore", to, dir}, tt.flags...)...)
			if names := left(t, parent); !slices.Equal(names, []string{"store"}) {
				t.Errorf("there is %q", names)
			}
			if info, err := os.Stat(dir); err != nil || info.Mode() != fs.ModeDir|0o700 {
				t.Errorf("the store: %v, %v", info, err)
			}
			says(t, exitOK, "nothing is wrong", append([]string{"store", "check", dir}, tt.opensWith...)...)
			if got := dump(dir, tt.opensWith...); sorted(got) != sorted(want) {
				t.Errorf("there is now\n%s\nand was\n%s", got, want)
			}
			opt := disk.Options{Dir: dir}
			if tt.opensWith != nil {
				if opt.Key, err = config.DecodeKey([]byte(storeKeyHex)); tt.opensWith[1] == fresh[1] {
					opt.Key, err = config.DecodeKey([]byte(newKeyHex))
				}
			}
			s, e := disk.Open(opt)
			if err := errors.Join(err, e); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestARestoreThatFailsLeavesNothing(t *testing.T) {
	key, err := config.DecodeKey([]byte(storeKeyHex))
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	plain, sealed := filepath.Join(folder, "plain"), filepath.Join(folder, "sealed")
	backupKey, storeKey := keyFile(t, newKeyHex), keyFile(t, storeKeyHex)
	says(t, exitOK, "", "backup", "--dir", makeStore(t, nil), plain)
	says(t, exitOK, "", "backup", "--dir", makeStore(t, key), sealed, "--key-file", backupKey)
	change := func(from string, to string, by func([]byte) []byte) string {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		return file(t, folder, to, string(by(data)))
	}
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	flipText := func(b []byte) []byte { b[bytes.Index(b, []byte("alice"))] ^= 1; return b }
	cut := func(b []byte) []byte { return b[:len(b)-1] }
	withSealed := []string{"--key-file", backupKey, "--store-key-file", storeKey}
	for _, tt := range []struct {
		name  string
		file  string
		flags []string
		code  int
		says  string
	}{
		{"no file", filepath.Join(folder, "none"), nil, exitFailure, "no such file"},
		{"no backup", storeKey, nil, exitFailure, "no backup of Sallyport's"},
		{"a changed byte", change(plain, "1", flipText), nil, exitFailure, "the backup is damaged: the checksum of 00"},
		{"a changed byte of an encrypted one", change(sealed, "2", flip), withSealed, exitFailure, "the backup is"},
		{"an end that is missing", change(plain, "3", cut), nil, exitFailure, "the backup is cut off"},
		{"an end of an encrypted one that is missing", change(sealed, "4", cut), withSealed, exitFailure, "the backup is cut off"},
		{"half of it", change(plain, "5", func(b []byte) []byte { return b[:len(b)/2] }), nil, exitFailure, "the backup is cut off"},
		{"something behind it", change(plain, "6", func(b []byte) []byte { return append(b, b...) }), nil, exitFailure, "something follows its end"},
		{"a newer version's", change(plain, "7", func(b []byte) []byte { return bytes.Replace(b, []byte(`"format": 1`), []byte(`"format": 9`), 1) }), nil, exitFailure, "newer version of Sallyport: its format is 9"},
		{"a path", change(plain, "8", func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"name": "MANIFEST-00`), []byte(`"name": "../../../etc`), 1)
		}), nil, exitFailure, "is not the name of a store's file"},
		{"another key", sealed, []string{"--key-file", storeKey}, exitFailure, "the key is not the backup's"},
		{"no key", sealed, nil, exitFailure, "hint: --key-file or --key-env"},
		{"a key for what is not encrypted", plain, []string{"--key-file", backupKey}, exitFailure, "the backup is not encrypted"},
		{"no key of the store", sealed, withSealed[:2], exitFailure, "hint: --store-key-file"},
		{"another key of the store", sealed, []string{"--key-file", backupKey, "--store-key-file", backupKey}, exitFailure, "the key is not the store's"},
		{"a key of a store that is not encrypted", plain, []string{"--store-key-file", storeKey}, exitFailure, "the store is not encrypted"},
		{"unencrypted without a key", plain, []string{"--unencrypted"}, exitUsage, "--store-key-file"},
		{"unencrypted with a new key", sealed, append(withSealed, "--unencrypted", "--new-store-key-file", storeKey), exitUsage, "exclude"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			parent := t.TempDir()
			s := says(t, tt.code, tt.says, append([]string{"restore", tt.file, filepath.Join(parent, "store")}, tt.flags...)...)
			if names := left(t, parent); len(names) > 0 {
				t.Errorf("it leaves %q", names)
			}
			for _, secret := range []string{storeKeyHex, newKeyHex} {
				if strings.Contains(s.stderr.String(), secret[:8]) {
					t.Errorf("it tells a key: %s", s.stderr)
				}
			}
		})
	}
	t.Run("a folder that holds something", func(t *testing.T) {
		dir := t.TempDir()
		kept := file(t, dir, "mine", "text")
		says(t, exitFailure, "is not empty", "restore", plain, dir)
		says(t, exitFailure, "is no folder", "restore", plain, kept)
		link := filepath.Join(folder, "link")
		if err := os.Symlink(t.TempDir(), link); err != nil {
			t.Fatal(err)
		}
		says(t, exitFailure, "is no folder", "restore", plain, link)
		if names := left(t, dir); !slices.Equal(names, []string{"mine"}) {
			t.Errorf("there is %q", names)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		parent := t.TempDir()
		s := newShell(t, "")
		ctx, cancel := context.WithCancel(s.env.ctx)
		cancel()
		s.env.ctx = ctx
		if got := s.run("restore", plain, filepath.Join(parent, "store")); got != exitFailure || !strings.Contains(s.stderr.String(), "interrupted") {
			t.Errorf("exit code %d: %s", got, s.stderr)
		}
		if names := left(t, parent); len(names) > 0 {
			t.Errorf("it leaves %q", names)
		}
	})
}

func TestABackupThatFailsLeavesNothing(t *testing.T) {
	k := newKeeping(t, "").mustStart()
	k.publish("a", "x")
	out := t.TempDir()
	to := filepath.Join(out, "b")
	memory := newKeeping(t, "")
	text, err := os.ReadFile(memory.config)
	if err != nil {
		t.Fatal(err)
	}
	file(t, memory.folder, "sallyport.yaml", strings.Replace(string(text), "  type: disk\n  dir: store\n", "  type: memory\n", 1))
	memory.mustStart()
	for _, tt := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no broker named", nil, exitUsage, "-c names the broker's configuration"},
		{"two sources", []string{"-c", k.config, "--dir", k.dir}, exitUsage, "--dir is for a stopped broker"},
		{"a store in use", []string{"--dir", k.dir}, exitFailure, "hint: its broker is running: -c"},
		{"no store", []string{"--dir", out}, exitFailure, "no store of Sallyport's"},
		{"nobody answers", []string{"--socket", filepath.Join(k.folder, "none")}, exitFailure, "is the broker running"},
		{"a broker that keeps nothing", []string{"-c", memory.config}, exitFailure, "the broker keeps nothing on a disk"},
		{"a bad key", []string{"-c", k.config, "--key-file", keyFile(t, "short")}, exitFailure, "key-file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			says(t, tt.code, tt.says, append([]string{"backup", to}, tt.args...)...)
			if names := left(t, out); len(names) > 0 {
				t.Errorf("it leaves %q", names)
			}
		})
	}
	file(t, out, "b", "mine")
	says(t, exitFailure, "hint: --force replaces it", "backup", "-c", k.config, to)
	says(t, exitFailure, "is a folder", "backup", "--force", "-c", k.config, out)
	if data, err := os.ReadFile(to); err != nil || string(data) != "mine" {
		t.Errorf("the file that was there: %q, %v", data, err)
	}
	s := says(t, exitOK, "", "backup", "--json", "--force", "-c", k.config, to)
	var told backedUp
	if err := json.Unmarshal([]byte(s.stdout.String()), &told); err != nil || told.File != to || told.Retained != 1 || told.Version != "sallyport test" || len(told.SHA256) != 64 {
		t.Errorf("%v: %s", err, s.stdout)
	}
	if names := left(t, out); !slices.Equal(names, []string{"b"}) {
		t.Errorf("there is %q", names)
	}
}

func TestWhatAnInterruptedBackupLeavesGoesWithTheNextStart(t *testing.T) {
	k := newKeeping(t, "").mustStart()
	k.publish("a", "x")
	k.stop()
	if err := os.Mkdir(filepath.Join(k.dir, "snapshot"), 0o755); err != nil {
		t.Fatal(err)
	}
	file(t, filepath.Join(k.dir, "snapshot"), "000001.sst", "left")
	to := filepath.Join(t.TempDir(), "b")
	says(t, exitOK, "1 retained message", "backup", "--dir", k.dir, to) // which leaves it out
	k.mustStart()
	if names := left(t, k.dir); slices.Contains(names, "snapshot") {
		t.Errorf("the store holds %q", names)
	}
	says(t, exitOK, "1 retained message", "backup", "--force", "-c", k.config, to)
	if names := left(t, k.dir); slices.Contains(names, "snapshot") {
		t.Errorf("after a backup the store holds %q", names)
	}
}

func TestProgressIsShownAtATerminalAlone(t *testing.T) {
	dir := makeStore(t, nil)
	to := filepath.Join(t.TempDir(), "b")
	for _, tt := range []struct {
		terminal bool
		flags    []string
		shown    bool
	}{{true, nil, true}, {true, []string{"--quiet"}, false}, {false, nil, false}} {
		s := newShell(t, "")
		s.env.stderrTTY = tt.terminal
		if got := s.run(append([]string{"backup", "--force", "--dir", dir, to}, tt.flags...)...); got != exitOK {
			t.Errorf("exit code %d: %s", got, s.stderr)
		}
		if text := s.stderr.String(); strings.Contains(text, "backup  0 B of ") != tt.shown || (text != "") != tt.shown {
			t.Errorf("terminal %t, %q: %q", tt.terminal, tt.flags, text)
		}
	}
	var b buffer
	p := &progress{w: &b, what: "work", total: 4 << 20, done: 1 << 20, begin: time.Unix(0, 0)}
	p.tell(time.Unix(2, 0))
	if want := "\r\x1b[Kwork  1.0 MiB of 4.0 MiB  25 %  512.0 KiB/s"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

func TestTheKeyIsChangedWhileTheBrokerRuns(t *testing.T) {
	const third = "aa0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	k := newKeeping(t, "  encryption: {key: {file: store.key}}\n")
	put := func(key string) { file(t, k.folder, "store.key", key+"\n") }
	rotate := func(code int, text string, flags ...string) {
		t.Helper()
		s := says(t, code, text, append([]string{"ctl", "-c", k.config, "store", "rotate-key"}, flags...)...)
		if out := s.stdout.String() + s.stderr.String(); code == exitOK && strings.Contains(out, "still names another key") != (len(flags) > 0) {
			t.Errorf("%q says\n%s", flags, out)
		}
	}
	refused := func() {
		t.Helper()
		if err := k.start(); !errors.Is(err, disk.ErrWrongKey) {
			t.Errorf("with the old key: %v, want %v", err, disk.ErrWrongKey)
		}
	}
	put(storeKeyHex)
	k.mustStart()
	k.publish("a", "before")
	rotate(exitFailure, "the key that the store has already")
	put("nonsense")
	rotate(exitFailure, "storage.encryption.key: ")
	put(newKeyHex)
	rotate(exitOK, "the new key opens the store, the old one no more")
	says(t, exitOK, "in force", "ctl", "-c", k.config, "reload")
	says(t, exitFailure, "sallyport ctl -c CONFIG store rotate-key", "store", "rotate-key", "--key-file", keyFile(t, newKeyHex), "--new-key-file", keyFile(t, third), k.dir)
	k.publish("a", "between")
	k.stop()
	put(storeKeyHex)
	refused()
	put(newKeyHex)
	k.mustStart()
	if got := k.retained("a"); got != "between" {
		t.Errorf("retained is %q", got)
	}

	rotate(exitFailure, "the key must be 32 bytes", "--new-key-file", keyFile(t, "short"))
	rotate(exitOK, "the old one no more", "--new-key-file", keyFile(t, third))
	log := k.log.String()
	for _, text := range []string{`action=store_rotate_key`, `target="a key that was given"`, `result="done; the configuration names another key"`} {
		if !strings.Contains(log, text) {
			t.Errorf("the log lacks %s:\n%s", text, log)
		}
	}
	for _, key := range []string{storeKeyHex, newKeyHex, third} {
		if strings.Contains(log, key[:8]) {
			t.Errorf("the log holds a key:\n%s", log)
		}
	}
	k.stop()
	refused()
	put(third)
	k.mustStart()
	if got := k.retained("a"); got != "between" {
		t.Errorf("retained is %q", got)
	}
	k.stop()
	plain := newKeeping(t, "").mustStart()
	says(t, exitFailure, "the store is not encrypted", "ctl", "-c", plain.config, "store", "rotate-key")
	says(t, exitOK, "", "ctl", "--json", "-c", plain.config, "status")
}
