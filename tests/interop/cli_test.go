package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestCommandsAgainstMosquitto plays the scenarios with sallyport's own
// commands against a real Mosquitto.
func TestCommandsAgainstMosquitto(t *testing.T) {
	t.Parallel()
	passwd := write(t, filepath.Join(t.TempDir(), "passwd"), "")
	mosquittoPasswd(t, "-b", passwd, userName, passWord)
	_, port := startMosquitto(t, "listener PORT 127.0.0.1\npassword_file "+passwd+"\n")
	for _, v := range []int{3, 4, 5} {
		t.Run(versions[v], func(t *testing.T) {
			t.Parallel()
			s := &stage{kind: sallyportKind(v), root: "it/" + versions[v], place: place{Transport: "tcp", Host: "127.0.0.1", Port: port}}
			t.Run("every QoS", s.everyQoS)
			t.Run("retained", s.retained)
			t.Run("will", s.will)
			t.Run("shared", s.shared)
			t.Run("kept session", s.keptSession)
			if v == 5 {
				t.Run("properties", s.properties)
			}
		})
	}
}

// flags are those of a command that connects to b as the ordinary user.
func (b *broker) flags(verb string, more ...string) []string {
	p := b.places["tcp"]
	return append([]string{verb, "-h", p.Host, "-p", strconv.Itoa(p.Port)}, more...)
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	secret := write(t, b.file("secret"), passWord+"\nsecond line\n")
	user := []string{"-u", userName, "--password-file", secret}

	t.Run("a timeout exits with 27, with or without messages", func(t *testing.T) {
		r := runCmd(t, "", sallyport, b.flags("sub", append(user, "-t", "it/silence", "-W", "1")...)...)
		if r.code != 27 || r.stdout != "" {
			t.Errorf("exit code %d, output %q; want 27 and none", r.code, r.stdout)
		}
	})
	t.Run("lines become messages, counted, with topics", func(t *testing.T) {
		sub := start(t, sallyport, b.flags("sub", append(user, "-d", "-v", "-t", "it/lines/#", "-q", "2", "--count", "3")...)...)
		sub.await(t, 0, "received SUBACK")
		input := "one\n\nthree is last"
		mustRun(t, input, sallyport, b.flags("pub", append(user, "-t", "it/lines/x", "-q", "2", "-l")...)...)
		if code := sub.wait(t, patience); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
		if got, want := sub.stdout(), "it/lines/x one\nit/lines/x \nit/lines/x three is last\n"; got != want {
			t.Errorf("printed %q, want %q", got, want)
		}
	})
	t.Run("a password comes from the environment", func(t *testing.T) {
		args := b.flags("pub", "-u", userName, "--password-env", "IT_SECRET", "-t", "it/env", "-m", "x", "-q", "1")
		if r := runEnv(t, []string{"IT_SECRET=" + passWord}, "", sallyport, args...); r.code != 0 {
			t.Errorf("exit code %d\n%s", r.code, r.stderr)
		}
		if r := runEnv(t, []string{"IT_SECRET=wrong"}, "", sallyport, args...); r.code != 1 || strings.Contains(r.stderr, "wrong") {
			t.Errorf("a wrong one: exit code %d, want 1 and no secret in\n%s", r.code, r.stderr)
		}
	})
	t.Run("a file others can read is a warning", func(t *testing.T) {
		loose := write(t, b.file("loose"), passWord)
		if err := os.Chmod(loose, 0o644); err != nil {
			t.Fatal(err)
		}
		r := mustRun(t, "", sallyport, b.flags("pub", "-u", userName, "--password-file", loose, "-t", "it/x", "-m", "x")...)
		if !strings.Contains(r.stderr, "warning: others can read") {
			t.Errorf("no warning in %q", r.stderr)
		}
	})
	t.Run("a denied publish tells its reason", func(t *testing.T) {
		r := runCmd(t, "", sallyport, b.flags("pub", append(user, "-V", "mqttv5", "-t", "not/granted", "-m", "x", "-q", "1")...)...)
		if r.code != 1 || !strings.Contains(r.stderr, "0x87") {
			t.Errorf("exit code %d, want 1 and 0x87 in %q", r.code, r.stderr)
		}
	})
	t.Run("no server is a failure with a hint", func(t *testing.T) {
		r := runCmd(t, "", sallyport, "pub", "-h", "127.0.0.1", "-p", strconv.Itoa(freePort(t)), "-t", "it/x", "-m", "x")
		if r.code != 1 || !strings.Contains(r.stderr, "hint:") {
			t.Errorf("exit code %d, stderr %q", r.code, r.stderr)
		}
	})
	t.Run("a wrong flag exits with 2", func(t *testing.T) {
		if r := runCmd(t, "", sallyport, "sub", "--no-such-flag"); r.code != 2 {
			t.Errorf("exit code %d, want 2", r.code)
		}
	})
	b.stop(t)
}

func TestCheckTellsEveryMistake(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "sallyport.yaml"), `listeners:
  - {name: a, address: "127.0.0.1:1883", authenticators: [nobody], policies: [rules]}
  - name: b
    address: "127.0.0.1:1883"
    adress: typo
    policies: [rules]
policies:
  - {name: rules, type: permissions, file: missing.yaml}
limits:
  connections: many
`)
	r := runCmd(t, "", sallyport, "check", "-c", path)
	if r.code != 1 {
		t.Errorf("exit code %d, want 1", r.code)
	}
	for _, want := range []string{":5:5: listeners[1].adress", ":10:16: limits.connections"} {
		if !strings.Contains(r.stderr, path+want) {
			t.Errorf("no %q in:\n%s", want, r.stderr)
		}
	}
	// What can only be judged once the file has a form: all of that at once, too.
	path = write(t, path, `listeners:
  - {name: a, address: "127.0.0.1:1883", authenticators: [nobody], policies: [rules]}
  - name: b
    address: "127.0.0.1:1883"
    policies: [rules]
policies:
  - {name: rules, type: permissions, file: missing.yaml}
`)
	r = runCmd(t, "", sallyport, "check", "-c", path)
	if r.code != 1 {
		t.Errorf("exit code %d, want 1", r.code)
	}
	for _, want := range []string{":2:59: listeners[0].authenticators", ":4:14: listeners[1].address", ":7:44: policies[0].file"} {
		if !strings.Contains(r.stderr, path+want) {
			t.Errorf("no %q in:\n%s", want, r.stderr)
		}
	}
	if serve := runCmd(t, "", sallyport, "serve", "-c", path); serve.code != 1 {
		t.Errorf("serve: exit code %d, want 1", serve.code)
	}
}

// TestInsecureStartIsRefused shows that a listener open to others needs its risks named.
func TestInsecureStartIsRefused(t *testing.T) {
	t.Parallel()
	const text = `listeners:
  - {name: a, address: "0.0.0.0:%d", authenticators: [guests], policies: [all]%s}
authenticators:
  - {name: guests, type: anonymous}
policies:
  - {name: all, type: allow_all}
`
	path := filepath.Join(t.TempDir(), "sallyport.yaml")
	port := freePort(t)
	write(t, path, fmt.Sprintf(text, port, ""))
	r := runCmd(t, "", sallyport, "serve", "-c", path)
	if r.code != 1 || !strings.Contains(r.stderr, "anonymous") || !strings.Contains(r.stderr, "allow_all") {
		t.Errorf("exit code %d, want 1 and both risks in:\n%s", r.code, r.stderr)
	}
	write(t, path, fmt.Sprintf(text, port, ", accept_risk: [anonymous, allow_all]"))
	p := start(t, sallyport, "serve", "-c", path)
	p.await(t, 0, "msg=listening")
	if p.count("msg=risk_accepted") != 2 {
		t.Errorf("accepted risks are not told:\n%s", p.text())
	}
	p.stop(t)
}
