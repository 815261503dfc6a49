package interop

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
)

// disconnects connects with MQTT 5 and returns where DISCONNECT of the server arrives.
func disconnects(t *testing.T, b *broker, user, password string) <-chan byte {
	t.Helper()
	conn, err := dialPlace(b.places["tcp"])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // the client may have closed it
	codes := make(chan byte, 1)
	c := paho.NewClient(paho.ClientConfig{Conn: conn, OnServerDisconnect: func(d *paho.Disconnect) { codes <- d.ReasonCode }})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := c.Connect(ctx, &paho.Connect{ClientID: randomID(), CleanStart: true, KeepAlive: 60,
		Username: user, UsernameFlag: true, Password: []byte(password), PasswordFlag: true}); err != nil {
		t.Fatal(err)
	}
	return codes
}

// expectDisconnect waits for a DISCONNECT with code.
func expectDisconnect(t *testing.T, codes <-chan byte, want byte) {
	t.Helper()
	select {
	case got := <-codes:
		if got != want {
			t.Errorf("DISCONNECT with %#x, want %#x", got, want)
		}
	case <-time.After(patience):
		t.Errorf("no DISCONNECT, want one with %#x", want)
	}
}

func TestShutdownSaysGoodbye(t *testing.T) {
	t.Parallel()
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		b := newBroker(t)
		codes := disconnects(t, b, userName, passWord)
		old := mustHello(t, b.places["tcp"].Port, greeting{id: "old", user: userName, password: passWord})
		b.signal(t, s)
		expectDisconnect(t, codes, 0x8b)
		if !old.ended() {
			t.Errorf("%v: the 3.1.1 client is still connected", s)
		}
		if code := b.wait(t, 10*time.Second); code != 0 {
			t.Errorf("%v: exit code %d, want 0", s, code)
		}
		if b.stdout() != "" || !strings.Contains(b.stderr(), "msg=stopped") {
			t.Errorf("%v: the log belongs on stderr:\n%s", s, b.text())
		}
	}
}

// TestServesSoon measures from the start of the process to an answer on both families.
func TestServesSoon(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	path := write(t, t.TempDir()+"/mosquitto.conf", fmt.Sprintf("listener %d localhost\nallow_anonymous true\n", port))
	begin := time.Now()
	p := start(t, sallyport, "serve", "-c", path)
	awaitPort(t, p, port)
	for _, host := range []string{"127.0.0.1", "::1", "localhost"} {
		conn, err := net.Dial("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		if _, code := helloOn(t, conn, anybody()); code != 0 {
			t.Errorf("%s: code %d", host, code)
		}
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("served after %v, want 2s", took)
	}
	p.stop(t)
}

func TestReload(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	port := b.places["tcp"].Port
	alice, bob := disconnects(t, b, userName, passWord), disconnects(t, b, "bob", "bob's")
	reader := mustHello(t, port, greeting{id: "reader", user: "bob", password: "bob's"})
	if got := reader.subscribe("it/#", 1); got != 1 {
		t.Fatalf("SUBACK: %#x", got)
	}
	writer := mustHello(t, port, greeting{id: "writer", user: "bob", password: "bob's"})

	// A changed password ends that user's connections and no others.
	setPassword(t, b.file("passwd"), userName, "another")
	b.reload(t, "msg=reloaded")
	expectDisconnect(t, alice, 0x87)
	if got := code(t, port, greeting{id: "a", user: userName, password: passWord}); got != 5 {
		t.Errorf("the old password: code %d, want 5", got)
	}
	if got := code(t, port, greeting{id: "a", user: userName, password: "another"}); got != 0 {
		t.Errorf("the new password: code %d", got)
	}

	// Changed permissions hold at once, for live connections too.
	write(t, b.file("permissions.yaml"), strings.Replace(fixtureRules, "  bob:\n    permissions:\n      - {allow: both", "  bob:\n    permissions:\n      - {allow: publish", 1))
	b.reload(t, "msg=reloaded")
	writer.publish("it/x", "not for bob any more", false)
	if got := payloads(reader.received()); len(got) > 0 {
		t.Errorf("received %q after the right was taken", got)
	}
	write(t, b.file("permissions.yaml"), fixtureRules)
	b.reload(t, "msg=reloaded")
	if got := reader.subscribe("it/#", 1); got != 1 { // the old one went with the right
		t.Fatalf("SUBACK: %#x", got)
	}
	writer.publish("it/x", "again", false)
	if got := payloads(reader.received()); len(got) != 1 || got[0] != "again" {
		t.Errorf("received %q after the right came back, want the one message", got)
	}

	// A broken file changes nothing, whichever it is.
	for _, file := range []string{"permissions.yaml", "passwd", "sallyport.yaml"} {
		good, err := os.ReadFile(b.file(file))
		if err != nil {
			t.Fatal(err)
		}
		write(t, b.file(file), "users: [broken\n")
		b.reload(t, "msg=reload_refused")
		if got := code(t, port, greeting{id: "a", user: userName, password: "another"}); got != 0 {
			t.Errorf("%s is broken: code %d for a client that was right before", file, got)
		}
		write(t, b.file(file), string(good))
	}
	b.reload(t, "msg=reloaded")
	select {
	case got := <-bob:
		t.Errorf("bob was disconnected with %#x: nothing of his login changed", got)
	default:
	}
	b.stop(t)
}

// TestOutOfFiles runs the broker with few file descriptors.
func TestOutOfFiles(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	path := write(t, t.TempDir()+"/mosquitto.conf", fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\n", port))
	p := startCmd(t, exec.Command("sh", "-c", `ulimit -n 64 && exec "$0" serve -c "$1"`, sallyport, path))
	awaitPort(t, p, port)
	eventually(t, "the probe is gone", func() bool { return code(t, port, anybody()) == 0 })

	first := mustHello(t, port, anybody())
	closed := 0
	var crowd []*wire
	for range 100 {
		w, code := hello(t, port, greeting{id: randomID()})
		if code == -1 {
			closed++
		}
		crowd = append(crowd, w)
	}
	if closed < 30 || closed > 90 {
		t.Errorf("%d of 100 newcomers were closed with 64 descriptors", closed)
	}
	begin := cpu(t, p.cmd.Process.Pid)
	second := time.After(time.Second) // what is measured is a second
	<-second
	if used := cpu(t, p.cmd.Process.Pid) - begin; used > 500*time.Millisecond {
		t.Errorf("%v of CPU in an idle second at the limit of open files", used)
	}
	if n := p.count("limit of open files"); n != 1 {
		t.Errorf("the log says it %d times in a minute, want once:\n%s", n, p.text())
	}
	if first.subscribe("t", 1) != 1 {
		t.Error("who was connected before is not served any more")
	}
	for _, w := range crowd {
		_ = w.Close() // most are closed by the broker
	}
	eventually(t, "newcomers are let in again", func() bool { return code(t, port, anybody()) == 0 })
	p.stop(t)
}

// cpu is the processor time that a process has used.
func cpu(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ") // the name may hold spaces
	f := strings.Fields(rest)
	user, err1 := strconv.Atoi(f[11])
	system, err2 := strconv.Atoi(f[12])
	if err1 != nil || err2 != nil {
		t.Fatalf("unexpected form of %s", text)
	}
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100 on Linux
}

// TestHangupReloadsFromTheFirstLineOn sends SIGHUP as soon as the broker says
// that it listens: a start script may do the same, and must not end it.
func TestHangupReloadsFromTheFirstLineOn(t *testing.T) {
	t.Parallel()
	path := write(t, t.TempDir()+"/mosquitto.conf", fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\n", freePort(t)))
	for range 10 {
		p := start(t, sallyport, "serve", "-c", path)
		p.await(t, 0, "msg=listening")
		p.signal(t, syscall.SIGHUP)
		p.await(t, 0, "msg=reloaded")
		p.stop(t)
	}
}
