package interop

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestQuickstart starts from nothing. The first start may find its fixed ports
// taken on a machine that is used for other things; what it made is then
// looked at all the same. The second start has ports of its own.
func TestQuickstart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	first := start(t, sallyport, "quickstart", "--dir", dir)
	first.await(t, 0, "This password is shown once")
	login := regexp.MustCompile(`-u (user-\S+) -P (\S+)`).FindStringSubmatch(first.text())
	if login == nil {
		t.Fatalf("no user and password in:\n%s", first.text())
	}
	user, password := login[1], login[2]
	endQuickstart(t, first)
	checkModes(t, dir)

	before := contents(t, dir)
	mqtt, mqtts := usePorts(t, dir)
	second := start(t, sallyport, "quickstart", "--dir", dir)
	second.await(t, 0, "msg=listening", strconv.Itoa(mqtt))
	second.await(t, 0, "msg=listening", strconv.Itoa(mqtts))
	after := contents(t, dir)
	for name, text := range before {
		if name != "sallyport.yaml" && !strings.HasPrefix(name, "store/") && after[name] != text {
			t.Errorf("the second start changed %s", name)
		}
	}
	if strings.Contains(second.text(), password) {
		t.Error("the second start printed the password")
	}
	quickstartRights(t, dir, mqtt, mqtts, user, password)
	second.stop(t)

	loose := filepath.Join(dir, "passwd")
	if err := os.Chmod(loose, 0o644); err != nil {
		t.Fatal(err)
	}
	third := start(t, sallyport, "quickstart", "--dir", dir)
	third.await(t, 0, "msg=listening", strconv.Itoa(mqtts))
	if third.count("level=WARN", loose) == 0 {
		t.Errorf("no warning about %s, which others can read:\n%s", loose, third.text())
	}
	third.stop(t)
}

// endQuickstart ends the first start, which serves or found a port taken.
func endQuickstart(t *testing.T, p *process) {
	t.Helper()
	ended := false
	eventually(t, "the first start serves or ends", func() bool {
		select {
		case <-p.exited:
			ended = true
		default:
		}
		return ended || p.count("msg=listening", ":1883") > 0
	})
	if !ended {
		p.stop(t)
		return
	}
	if !strings.Contains(p.stderr(), "address already in use") {
		t.Fatalf("the first start failed:\n%s", p.text())
	}
	t.Log("port 8883 or 1883 is taken here: the first start could not serve")
}

// checkModes requires that nobody else can look in.
func checkModes(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %04o, want %04o", path, got, want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// contents is every file below dir by its name.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() { // a folder, or the socket of ctl
			return err
		}
		text, err := os.ReadFile(filepath.Join(dir, path))
		files[path] = string(text)
		return err
	})
	if err != nil || len(files) < 5 {
		t.Fatalf("files of the quickstart: %d, %v", len(files), err)
	}
	return files
}

// usePorts gives the configuration free ports in place of the standard ones.
func usePorts(t *testing.T, dir string) (mqtt, mqtts int) {
	t.Helper()
	path := filepath.Join(dir, "sallyport.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	mqtt, mqtts = freePort(t), freePort(t)
	changed := strings.NewReplacer(`"localhost:1883"`, `"127.0.0.1:`+strconv.Itoa(mqtt)+`"`, `":8883"`, `":`+strconv.Itoa(mqtts)+`"`).Replace(string(text))
	write(t, path, changed)
	return mqtt, mqtts
}

// quickstartRights tries what the printed lines promise, with the real tools.
func quickstartRights(t *testing.T, dir string, mqtt, mqtts int, user, password string) {
	t.Helper()
	k := mosquittoKind(t, 4)
	for _, host := range []string{"localhost", "127.0.0.1", "::1"} {
		l := login{Place: place{Transport: "tls", Host: host, Port: mqtts, CA: filepath.Join(dir, "tls", "ca.crt")}, User: user, Password: password}
		sub, err := k.listen(t, l, "demo/#", 1)
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		m := message{Topic: "demo/hello", Payload: []byte("world"), QoS: 1}
		if err := k.publish(t, l, m); err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		same(t, sub.next(t), m)
		sub.leave()
	}
	for _, g := range []greeting{{}, {user: user}, {user: user, password: password + "x"}, {user: "admin", password: password}} {
		if got := code(t, mqtt, g); got != 5 {
			t.Errorf("%q with password %q: code %d, want 5", g.user, g.password, got)
		}
	}
	w := mustHello(t, mqtt, greeting{id: "rights", user: user, password: password})
	for filter, want := range map[string]int{"demo/#": 1, "demo/a/b": 1, "#": 0x80, "other/x": 0x80, "$SYS/#": 0x80, "+/hello": 0x80} {
		if got := w.subscribe(filter, 1); got != want {
			t.Errorf("SUBSCRIBE %s: %#x, want %#x", filter, got, want)
		}
	}
	w.publish("other/x", "not granted", true)
	w.publish("demo/a", "granted", false)
	if got := payloads(w.received()); len(got) != 1 || got[0] != "granted" {
		t.Errorf("received %q, want only what is granted", got)
	}
}
