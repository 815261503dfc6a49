package attack_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/config"
	"sallyport/packet"
)

// attended is a broker that runs as a process runs it: its configuration is a
// file, files are watched, and seconds pass when the test says so.
type attended struct {
	*site
	hup   chan struct{}
	ticks chan time.Time
	now   time.Time
}

// attend writes the configuration to its file and runs the broker of s.
func (s *site) attend() *attended {
	s.t.Helper()
	a := &attended{site: s, hup: make(chan struct{}), ticks: make(chan time.Time), now: time.Now()}
	a.write("sallyport.yaml", s.text)
	read := func() (*config.Config, error) { return config.Load(s.path("sallyport.yaml")) }
	cfg, err := read()
	if err != nil {
		s.t.Fatalf("configuration: %v", err)
	}
	if s.srv, err = sallyport.New(cfg, sallyport.Options{Log: s.log.logger(), Read: read, Ticks: a.ticks}); err != nil {
		s.t.Fatalf("New: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.srv.Run(ctx, a.hup) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("Run: %v", err)
		}
		s.stop()
	})
	a.pass()
	return a
}

// watching is attend for a fresh broker.
func watching(t *testing.T, text, permissions string) *attended {
	t.Helper()
	return prepare(t, text, permissions).attend()
}

// second lets a second pass. When it returns, the look before it is over and
// its own has begun.
func (a *attended) second() { a.after(time.Second) }

// moment is less than files have to be left alone before they are read. What is
// written before it and after it is seen as a change of one time: the look before
// may still have seen the first, but after a second it would have been read.
func (a *attended) moment() { a.after(time.Second / 2) }

func (a *attended) after(d time.Duration) {
	a.now = a.now.Add(d)
	a.ticks <- a.now
}

// pass lets so much time pass that what was changed is in force, or refused.
func (a *attended) pass() {
	for range 4 {
		a.second()
	}
}

// hangup is SIGHUP, and returns when it has been obeyed.
func (a *attended) hangup() {
	a.t.Helper()
	before := a.count("reloaded") + a.count("reload_refused")
	a.hup <- struct{}{}
	eventually(a.t, "the reload is over", func() bool { return a.count("reloaded")+a.count("reload_refused") > before })
}

// count is how many times the log has an event.
func (a *attended) count(event string) int {
	return strings.Count(a.log.String(), "msg="+event+" ")
}

// reloads fails unless so many reloads were in force, and so many refused, since the start.
func (a *attended) reloads(inForce, refused int) {
	a.t.Helper()
	if f, r := a.count("reloaded"), a.count("reload_refused"); f != inForce || r != refused {
		a.t.Errorf("%d reloads in force and %d refused, want %d and %d:\n%s", f, r, inForce, refused, a.log)
	}
}

// Permissions under which t/# may be published, and not.
const (
	openT = "everyone:\n  - {allow: both, topic: \"#\"}\n"
	shutT = openT + "  - {deny: publish, topic: \"t/#\"}\n"
)

// mayPublish fails unless the answer to a publish is the wanted one.
func (p *peer) mayPublish(topic string, want bool) {
	p.t.Helper()
	if code := p.publish(topic, "x", 1, false); (code < 0x80) != want {
		p.t.Errorf("publish to %s: 0x%02x, want allowed: %v", topic, byte(code), want)
	}
}

func TestAChangedFileIsInForceWithoutASignal(t *testing.T) {
	a := watching(t, plain("", ""), openT)
	bob := a.as(packet.V5, "bob")
	bob.mayPublish("t/1", true)
	a.write("permissions.yaml", shutT)
	a.pass()
	bob.mayPublish("t/1", false)
	a.write("permissions.yaml", openT)
	a.pass()
	bob.mayPublish("t/1", true)
	a.passwords("alice") // and a password file
	a.pass()
	bob.ended()
	a.reloads(3, 0)
}

func TestATouchedFileIsNotReadAgain(t *testing.T) {
	a := watching(t, plain("", ""), openT)
	later := time.Now().Add(time.Minute)
	for _, name := range []string{"sallyport.yaml", "permissions.yaml", "passwd"} {
		if err := os.Chtimes(a.path(name), later, later); err != nil {
			t.Fatal(err)
		}
		a.pass()
	}
	a.write("permissions.yaml", openT)
	a.pass()
	a.reloads(0, 0)
	a.hangup()
	a.reloads(1, 0) // a signal is obeyed whatever has changed
	a.pass()
	a.reloads(1, 0)
}

func TestAHalfWrittenFileIsNeverInForce(t *testing.T) {
	a := watching(t, plain("", ""), shutT)
	bob := a.as(packet.V5, "bob")
	half := shutT[:strings.Index(shutT, "  - {deny")] // valid, and lacks the deny
	for range 3 {
		a.write("permissions.yaml", half)
		a.moment()
		bob.mayPublish("t/1", false)
		a.write("permissions.yaml", shutT+"# more\n")
		a.moment()
		bob.mayPublish("t/1", false)
	}
	a.pass()
	bob.mayPublish("t/1", false)
	a.reloads(1, 0)
}

func TestFilesThatChangeTogetherAreOneTransaction(t *testing.T) {
	a := watching(t, plain("", ""), openT)
	bob := a.as(packet.V5, "bob")
	a.write("permissions.yaml", shutT)
	a.moment()
	a.passwords("bob", "carol") // a moment later
	a.pass()
	a.reloads(1, 0)
	bob.mayPublish("t/1", false)
	a.as(packet.V5, "carol")

	// One of them is broken: the other isn't taken over alone.
	a.write("permissions.yaml", openT)
	a.passwords("bob", "carol", "dave")
	a.write("passwd", "broken")
	a.pass()
	a.pass()
	a.reloads(1, 1)
	bob.mayPublish("t/1", false)
	a.passwords("bob", "carol", "dave")
	a.pass()
	a.reloads(2, 1)
	bob.mayPublish("t/1", true)
	a.as(packet.V5, "dave")
}

func TestAnEmptiedFileIsRefusedUnlessItIsMeant(t *testing.T) {
	for _, x := range []struct {
		claim, file, text, with, without string
	}{
		{"permissions", "permissions.yaml", "# nothing\n", "type: permissions", "type: permissions, allow_empty: true"},
		{"permissions without a byte", "permissions.yaml", "", "type: permissions", "type: permissions, allow_empty: true"},
		{"passwords", "passwd", "", "type: password_file", "type: password_file, allow_empty: true"},
	} {
		t.Run(x.claim, func(t *testing.T) {
			a := watching(t, plain("", ""), guarded)
			bob := a.as(packet.V5, "bob")
			a.write(x.file, x.text)
			a.pass()
			a.pass()
			a.reloads(0, 1)
			if log := a.log.String(); !strings.Contains(log, "allow_empty: true") || !strings.Contains(log, a.path(x.file)) {
				t.Errorf("the log names neither the file nor allow_empty:\n%s", log)
			}
			bob.mayPublish("bob/x", true)
			a.as(packet.V5, "bob", id("bob2"))
			a.hangup()
			a.reloads(0, 2)
			// The configuration says that it is meant: one more change, one reload.
			a.write("sallyport.yaml", strings.Replace(a.text, x.with, x.without, 1))
			a.pass()
			a.reloads(1, 2)
			if x.file == "passwd" {
				bob.ended()
			} else {
				bob.mayPublish("bob/x", false)
			}
		})
	}
}

func TestAFileThatWasEmptyAtTheStartIsNoReasonToRefuse(t *testing.T) {
	s := prepare(t, plain("", ""), "")
	s.write("passwd", "")
	a := s.attend()
	a.hangup()
	a.reloads(1, 0)
	a.passwords("bob")
	a.pass()
	a.reloads(2, 0)
	a.as(packet.V5, "bob")
	a.write("passwd", "")
	a.pass()
	a.reloads(2, 1) // now it became empty
}

func TestAnEmptyRevocationListIsRefused(t *testing.T) {
	a := newAuthority(t, "clients")
	good, stolen := a.device("good"), a.device("stolen")
	s := byCertificate(t, a, freely, stolen)
	for claim, text := range map[string]string{"no byte": "", "no list": "# none\n", "half a list": a.list(stolen)[:120]} {
		s.write("clients.crl", text)
		if err := s.srv.Reload(s.config(s.text)); err == nil || !strings.Contains(err.Error(), "clients.crl") {
			t.Errorf("%s: reload %v, want a refusal that names the file", claim, err)
		}
		if _, code, err := s.enter("tls", stolen, nil); err == nil && code == 0 {
			t.Errorf("%s: the revoked certificate got in", claim)
		}
		if _, code, err := s.enter("tls", good, nil); err != nil || code != 0 {
			t.Errorf("%s: the good certificate: 0x%02x, %v", claim, byte(code), err)
		}
	}
}

// Mosquitto #588: a file that could not be read on reload opened the broker.
func TestAFileThatCannotBeReadOpensNothing(t *testing.T) {
	for _, file := range []string{"permissions.yaml", "passwd", "sallyport.yaml"} {
		for claim, spoil := range map[string]func(a *attended) error{
			"gone":        func(a *attended) error { return os.Remove(a.path(file)) },
			"a folder":    func(a *attended) error { return os.Mkdir(a.path(file), 0o700) },
			"a dead link": func(a *attended) error { return os.Symlink(a.path("nowhere"), a.path(file)) },
			"unreadable":  func(a *attended) error { a.write(file, "x"); return os.Chmod(a.path(file), 0) },
		} {
			t.Run(file+" is "+claim, func(t *testing.T) {
				a := watching(t, plain("", ""), shutT)
				bob := a.as(packet.V5, "bob")
				was, err := os.ReadFile(a.path(file))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.Remove(a.path(file)); err != nil {
					t.Fatal(err)
				}
				if claim != "gone" {
					if err := spoil(a); err != nil {
						t.Fatal(err)
					}
				}
				a.pass()
				a.pass()
				a.reloads(0, 1) // said once
				a.hangup()
				a.reloads(0, 2) // and when it is asked for
				bob.mayPublish("t/1", false)
				bob.mayPublish("else", true)
				a.as(packet.V5, "bob", id("bob2"))
				c := login(packet.V5, "nobody")
				c.HasUsername, c.HasPassword = false, false
				if ack := a.stranger().connect(c); ack.Code == 0 {
					t.Error("a stranger got in")
				}
				if err := os.RemoveAll(a.path(file)); err != nil {
					t.Fatal(err)
				}
				a.write(file, string(was))
				a.pass()
				a.reloads(0, 2) // what is in force anyway
				a.write("permissions.yaml", openT)
				a.pass()
				a.reloads(1, 2)
				bob.mayPublish("t/1", true)
			})
		}
	}
}

func TestAConfigurationMayComeBeforeTheFilesThatItNames(t *testing.T) {
	a := watching(t, plain("", ""), openT)
	bob := a.as(packet.V5, "bob")
	a.write("sallyport.yaml", strings.Replace(a.text, "file: permissions.yaml", "file: tomorrow.yaml", 1))
	a.pass()
	a.reloads(0, 1)
	a.write("tomorrow.yaml", shutT)
	a.pass()
	a.reloads(1, 1)
	bob.mayPublish("t/1", false)
	a.write("permissions.yaml", shutT) // not the broker's file any more
	a.pass()
	a.reloads(1, 1)
}

func TestManualReloadWatchesNothing(t *testing.T) {
	a := watching(t, plain("", "reload: manual"), openT)
	bob := a.as(packet.V5, "bob")
	a.write("permissions.yaml", shutT)
	a.pass()
	a.reloads(0, 0)
	bob.mayPublish("t/1", true)
	a.hangup()
	a.reloads(1, 0)
	bob.mayPublish("t/1", false)
	a.write("sallyport.yaml", plain("", "reload: auto"))
	a.hangup()
	a.reloads(2, 0)
	a.write("permissions.yaml", openT)
	a.pass()
	a.reloads(3, 0)
	bob.mayPublish("t/1", true)
}

func TestAReloadOfOneKindDoesNotRepeatTheOther(t *testing.T) {
	a := watching(t, plain("", ""), openT)
	for n := range 3 {
		a.write("permissions.yaml", fmt.Sprintf("%s# %d\n", openT, n))
		a.hangup()
		a.pass()
	}
	a.reloads(3, 0)
	a.write("permissions.yaml", "broken")
	a.hangup()
	a.pass()
	a.reloads(3, 1)
}
