package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sallyport/session"
	"sallyport/store"
	"sallyport/store/disk"
)

const (
	storeKeyHex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	newKeyHex   = "ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
)

// commitAll commits ops and waits.
func commitAll(t *testing.T, s *disk.Store, ops ...store.Op) {
	t.Helper()
	for i := range ops {
		if op := &ops[i]; op.Kind == store.PutRetained {
			s.Retain(op.Message)
			op.Topic = op.Message.Topic
		}
	}
	done := make(chan error, 1)
	s.Commit(&store.Batch{Ops: ops}, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// makeStore makes a store with a bit of everything, and closes it.
func makeStore(t *testing.T, key []byte) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "store")
	s, err := disk.Open(disk.Options{Dir: dir, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	owner := &session.Origin{Realm: "people", Name: "alice", ClientID: "c1"}
	m := func(topic, payload string, qos byte) *session.Message {
		m := session.NewMessage(topic, []byte(payload), []byte{0x01, 0x01})
		m.QoS, m.Origin = qos, owner
		return m
	}
	sub := session.NewSubscription("a/#", "", 7)
	sub.QoS, sub.NoLocal = 1, true
	many := m("a/many", "for two", 2)
	many.Expires = 1_893_456_000_000_000_000
	commitAll(t, s,
		store.Op{Kind: store.PutSession, Session: 1, Client: "c1", Owner: owner, Expiry: 3600},
		store.Op{Kind: store.PutSession, Session: 2, Client: "c\x1b[2J\u202e2", Owner: owner, Expiry: 60},
		store.Op{Kind: store.PutSubscription, Session: 1, Sub: sub},
		store.Op{Kind: store.PutEntry, Session: 1, Entry: session.Entry{Seq: 1, Msg: many, QoS: 2}},
		store.Op{Kind: store.PutEntry, Session: 2, Entry: session.Entry{Seq: 1, Msg: many, QoS: 1}},
		store.Op{Kind: store.PutEntry, Session: 1, Entry: session.Entry{Seq: 2, Msg: m("a/b", "secret", 1), QoS: 1}},
		store.Op{Kind: store.SetFlight, Session: 1, Entry: session.Entry{Seq: 1}, PacketID: 9, State: session.AwaitComp},
		store.Op{Kind: store.AddIncoming, Session: 1, PacketID: 3},
		store.Op{Kind: store.PutWill, Session: 1, Message: m("will", "gone", 0), At: 1_893_456_000_000_000_000},
		store.Op{Kind: store.PutRetained, Message: m("kept", "x", 0)})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func keyFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// files is the content of a folder.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		m[filepath.Base(name)] = string(data)
	}
	return m
}

func TestStoreCommandsReadAndChangeNothing(t *testing.T) {
	key, err := hex.DecodeString(storeKeyHex)
	if err != nil {
		t.Fatal(err)
	}
	for _, encrypted := range []bool{false, true} {
		var flags []string
		var dir string
		if encrypted {
			dir, flags = makeStore(t, key), []string{"--key-file", keyFile(t, " \n"+storeKeyHex+"\n")}
		} else {
			dir = makeStore(t, nil)
		}
		before := files(t, dir)
		for _, c := range []struct {
			args []string
			says []string
		}{
			{[]string{"check"}, []string{"2 sessions, 1 subscription, 3 queued messages, 1 will, 1 retained message\n", "nothing is wrong"}},
			{[]string{"check", "--json"}, []string{`"session": 2`, `"problem_count": 0`, `"problems": []`}},
			{[]string{"stats"}, []string{"queued                   2", "of 3 messages\n", fmt.Sprintf("format 1, %sencrypted", map[bool]string{false: "not "}[encrypted])}},
			{[]string{"stats", "--json"}, []string{fmt.Sprintf(`"encrypted": %v`, encrypted), `"kind": "retained"`}},
			{[]string{"dump"}, []string{
				`{"kind":"session","client":"c1","expiry":3600,"owner":{"client":"c1","realm":"people","user":"alice"}}`,
				`"client":"c\u001b[2J\u202e2"`,
				`{"kind":"subscription","client":"c1","filter":"a/#","no_local":true,"subscription_ids":[7],"qos":1}`,
				`{"kind":"queued","client":"c1","seq":1,"packet_id":9,"awaits":"PUBCOMP","topic":"a/many","qos":2,"bytes":7,"expires":"2030-01-01T00:00:00Z","publisher":`,
				`"seq":2,"topic":"a/b","qos":1,"bytes":6`,
				`{"kind":"incoming","client":"c1","packet_id":3}`,
				`{"kind":"will","client":"c1","topic":"will","qos":0,"bytes":4,"due":"2030-01-01T00:00:00Z"`,
				`{"kind":"retained","topic":"kept","qos":0,"bytes":1,"publisher":`,
			}},
			{[]string{"dump", "--payload"}, []string{`"payload":"` + base64.StdEncoding.EncodeToString([]byte("secret")) + `","properties":"AQE="`}},
		} {
			s := newShell(t, "")
			args := slices.Concat([]string{"store"}, c.args, flags, []string{dir})
			if code := s.run(args...); code != exitOK || s.stderr.String() != "" {
				t.Errorf("%q: exit code %d, %s", args, code, s.stderr)
			}
			for _, want := range c.says {
				if !strings.Contains(s.stdout.String(), want) {
					t.Errorf("%q prints\n%swithout %q", args, s.stdout, want)
				}
			}
			if c.args[0] == "dump" {
				dumpedLines(t, s.stdout.String(), len(c.args) > 1)
			}
		}
		if !maps.Equal(before, files(t, dir)) {
			t.Error("files have changed")
		}
	}
}

// dumpedLines holds that every line is JSON, and free of payloads unless they are wanted.
func dumpedLines(t *testing.T, out string, payloads bool) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) != 10 {
		t.Errorf("%d lines, want 10:\n%s", len(lines), out)
	}
	for _, line := range lines {
		var d dumped
		if err := json.Unmarshal([]byte(line), &d); err != nil || d.Kind == "" {
			t.Errorf("%q: %v", line, err)
		}
		if (len(d.Payload) > 0) != (payloads && d.Topic != "") {
			t.Errorf("payload %q in %s", d.Payload, line)
		}
	}
}

func TestStoreCommandsRefuse(t *testing.T) {
	key, err := hex.DecodeString(storeKeyHex)
	if err != nil {
		t.Fatal(err)
	}
	plain, sealed := makeStore(t, nil), makeStore(t, key)
	right, wrong, short := keyFile(t, storeKeyHex), keyFile(t, newKeyHex), keyFile(t, storeKeyHex[1:])
	used := makeStore(t, key)
	s, err := disk.Open(disk.Options{Dir: used, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, c := range []struct {
		name string
		args []string
		code int
		says []string
	}{
		{"no key", []string{"check", sealed}, exitFailure, []string{"encrypted", "hint: --key-file"}},
		{"another key", []string{"stats", sealed, "--key-file", wrong}, exitFailure, []string{"not the store's"}},
		{"a short key", []string{"dump", sealed, "--key-file", short}, exitFailure, []string{"the key must be 32 bytes"}},
		{"a key for nothing", []string{"check", plain, "--key-file", right}, exitFailure, []string{"not encrypted", "hint: "}},
		{"a key from two places", []string{"check", plain, "--key-file", right, "--key-env", "X"}, exitUsage, []string{"exclude each other"}},
		{"a variable that is not set", []string{"check", plain, "--key-env", "X"}, exitUsage, []string{"X is not set"}},
		{"a file that is not there", []string{"check", plain, "--key-file", right + "x"}, exitFailure, []string{"read --key-file"}},
		{"a store in use", []string{"check", used, "--key-file", right}, exitFailure, []string{"in use by a running process", "hint: is its broker running?"}},
		{"rotate in use", []string{"rotate-key", used, "--key-file", right, "--new-key-file", wrong}, exitFailure, []string{"in use by a running process"}},
		{"rotate without the old key", []string{"rotate-key", sealed, "--new-key-file", wrong}, exitUsage, []string{"--key-file"}},
		{"rotate without the new key", []string{"rotate-key", sealed, "--key-file", right}, exitUsage, []string{"--new-key-file"}},
		{"rotate with the wrong key", []string{"rotate-key", sealed, "--key-file", wrong, "--new-key-file", right}, exitFailure, []string{"not the store's"}},
		{"rotate what has no key", []string{"rotate-key", plain, "--key-file", right, "--new-key-file", wrong}, exitFailure, []string{"not encrypted"}},
		{"no folder", []string{"check", plain + "x"}, exitFailure, []string{"there is no such folder"}},
		{"rotate no folder", []string{"rotate-key", plain + "x", "--key-file", right, "--new-key-file", wrong}, exitFailure, []string{"no such file"}},
		{"a folder of something else", []string{"check", t.TempDir()}, exitFailure, []string{"no store of Sallyport's"}},
		{"no command", []string{}, exitUsage, []string{"store"}},
	} {
		sh := newShell(t, "")
		if code := sh.run(append([]string{"store"}, c.args...)...); code != c.code {
			t.Errorf("%s: exit code %d, want %d: %s", c.name, code, c.code, sh.stderr)
		}
		for _, want := range c.says {
			if !strings.Contains(sh.stderr.String(), want) {
				t.Errorf("%s: %q, want %q", c.name, sh.stderr, want)
			}
		}
		if out := sh.stderr.String() + sh.stdout.String(); strings.Contains(out, storeKeyHex[2:20]) {
			t.Errorf("%s: a key is in %q", c.name, out)
		}
	}
}

func TestStoreRotateKeyChangesTheKey(t *testing.T) {
	key, err := hex.DecodeString(storeKeyHex)
	if err != nil {
		t.Fatal(err)
	}
	dir, old, next := makeStore(t, key), keyFile(t, storeKeyHex), keyFile(t, newKeyHex)
	s := newShell(t, "")
	if code := s.run("store", "rotate-key", "--key-file", old, "--new-key-file", next, dir); code != exitOK {
		t.Fatalf("exit code %d: %s", code, s.stderr)
	}
	for file, want := range map[string]int{old: exitFailure, next: exitOK} {
		if code := newShell(t, "").run("store", "check", "--key-file", file, dir); code != want {
			t.Errorf("check with %s: exit code %d, want %d", file, code, want)
		}
	}
	s = newShell(t, "")
	s.env.getenv = func(name string) string { return map[string]string{"NEW": newKeyHex, "OLD": storeKeyHex}[name] }
	if code := s.run("store", "rotate-key", "--key-env", "NEW", "--new-key-env", "OLD", dir); code != exitOK {
		t.Errorf("by the environment: exit code %d: %s", code, s.stderr)
	}
}

func TestStoreCheckAndDumpTellOfDamage(t *testing.T) {
	dir := makeStore(t, nil)
	for round := range 2 { // by the second what was in the log is in a table
		s, err := disk.Open(disk.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		for n := uint64(10); n < 300 && round == 0; n++ {
			commitAll(t, s, store.Op{Kind: store.PutEntry, Session: 1, Entry: session.Entry{Seq: n, Msg: session.NewMessage("t", bytes.Repeat([]byte{byte(n)}, 900), nil), QoS: 1}})
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	var data []byte // of the largest: in a small one every block is needed at once
	table := ""
	for _, name := range tables {
		d, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(d) > len(data) {
			data, table = d, name
		}
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(table, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{{[]string{"check"}, "checksum"}, {[]string{"check", "--json"}, "checksum"}, {[]string{"dump"}, "problem: queued records: "}, {[]string{"dump"}, `"kind":"retained"`}, {[]string{"stats"}, "store check"}} {
		sh := newShell(t, "")
		code := sh.run(slices.Concat([]string{"store"}, c.args, []string{dir})...)
		if out := sh.stdout.String() + sh.stderr.String(); code != exitFailure || !strings.Contains(out, c.want) || strings.Contains(out, "carrier") {
			t.Errorf("%q: exit code %d, %q, want %q", c.args, code, out, c.want)
		}
	}
}
