//go:build unix

package control

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asStranger says to the test binary that it is to connect to a socket, as whoever it is.
const asStranger = "SALLYPORT_TEST_SOCKET"

func TestMain(m *testing.M) {
	if path := os.Getenv(asStranger); path != "" {
		stranger(path)
		return
	}
	os.Exit(m.Run())
}

// stranger asks for the status and prints what came.
func stranger(path string) {
	c, err := net.Dial("unix", path)
	if err != nil {
		os.Stdout.WriteString("dial: " + err.Error())
		return
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second)) // a socket takes deadlines
	_, _ = io.WriteString(c, "GET /api/v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	answer, _ := io.ReadAll(c) // closed in whichever way: what came counts
	os.Stdout.WriteString("answer: " + string(answer))
}

func TestAnotherUserIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	const nobody = 65534
	// A binary that nobody may run, in folders that nobody may enter.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := os.MkdirTemp("", "control")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	probe := filepath.Join(folder, "probe")
	if err := errors.Join(os.Chmod(folder, 0o755), os.WriteFile(probe, binary, 0o755)); err != nil {
		t.Fatal(err)
	}
	p := open(t, func(o *Options) { o.Socket = filepath.Join(folder, "s") })
	path := p.options.Socket
	connect := func(uid uint32, path string) string {
		cmd := exec.Command(probe)
		cmd.Dir, cmd.Env = folder, []string{asStranger + "=" + path}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("as uid %d: %v: %s", uid, err, out)
		}
		return string(out)
	}
	if got := connect(0, path); !strings.Contains(got, "200 OK") {
		t.Errorf("root: %q, want the status", got)
	}
	if got := connect(nobody, path); !strings.HasPrefix(got, "dial: ") || !strings.Contains(got, "permission denied") {
		t.Errorf("another user: %q, want the mode to keep it out", got)
	}
	if !tellsPeers {
		return
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if got := connect(nobody, path); got != "answer: " {
		t.Errorf("another user, with the socket open to all: %q, want no answer", got)
	}
	if log := p.log.String(); !strings.Contains(log, "control_refused actor=\"uid 65534 pid ") || !strings.Contains(log, "action=connect") {
		t.Errorf("the log says nothing of it: %s", log)
	}
	theirs := open(t, func(o *Options) { o.Socket, o.UID = filepath.Join(folder, "theirs"), nobody })
	if err := os.Chmod(theirs.options.Socket, 0o666); err != nil {
		t.Fatal(err)
	}
	if got := connect(nobody, theirs.options.Socket); !strings.Contains(got, "200 OK") {
		t.Errorf("the broker's own user: %q, want the status", got)
	}
}

func TestTheSocketIsItsOwnersAlone(t *testing.T) {
	p := open(t, nil)
	if info, err := os.Lstat(p.path); err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("mode %v, %v, want a socket with 0600", info.Mode(), err)
	}
	p.Close()
	p.Close()
	if _, err := os.Lstat(p.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close the socket is there: %v", err)
	}
	if _, err := p.caller.Do(p.ctx, "GET", "/status", nil); err == nil {
		t.Error("after Close it answers")
	}
}

func TestAFolderOfOthersIsRefused(t *testing.T) {
	tests := []struct {
		name string
		mode fs.FileMode
		says string
	}{
		{"others may write", 0o707, "others can write"},
		{"its group may write", 0o770, "others can write"},
		{"others may write, and delete only their own", 0o777 | fs.ModeSticky, "others can write"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			folder := t.TempDir()
			if err := os.Chmod(folder, tt.mode); err != nil {
				t.Fatal(err)
			}
			o := open(t, nil).options
			o.Socket = filepath.Join(folder, "s")
			if s, err := Open(o); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Open = %v, %v; want an error that says %q", s, err, tt.says)
			}
			if _, err := Dial(o.Socket); err == nil {
				t.Error("Dial trusts it")
			}
		})
	}
	t.Run("of another user", func(t *testing.T) {
		folder := t.TempDir()
		if err := os.Chmod(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		if os.Geteuid() != 0 {
			t.Skip("only root can give a folder away")
		}
		if err := os.Chown(folder, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		if err := CheckFolder(filepath.Join(folder, "s"), 0); err == nil || !strings.Contains(err.Error(), "uid 65534") {
			t.Errorf("CheckFolder = %v, want the owner named", err)
		}
		if err := CheckFolder(filepath.Join(folder, "s"), 65534); err != nil {
			t.Errorf("CheckFolder for the owner: %v", err)
		}
	})
	t.Run("that is not there", func(t *testing.T) {
		if err := CheckFolder(filepath.Join(t.TempDir(), "a", "s"), -1); err == nil {
			t.Error("no error")
		}
	})
}

func TestWhatIsInTheWayStays(t *testing.T) {
	p := open(t, nil)
	if _, err := Open(p.options); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second broker: %v, want it refused", err)
	}
	file := p.path + "-file"
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := p.options
	o.Socket = file
	if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("over a file: %v, want it refused", err)
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "mine" {
		t.Errorf("the file: %q, %v", data, err)
	}
	stale := p.path + "-stale"
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	o.Socket = stale
	s, err := Open(o)
	if err != nil {
		t.Fatalf("over a socket that nobody answers on: %v", err)
	}
	s.Close()
}

func TestWhoTheSystemDoesNotTellIsRefusedWhereItCould(t *testing.T) {
	a, err := open(t, nil).admit(nil)
	if (err != nil) != tellsPeers || (len(a.Rights) > 0) == tellsPeers {
		t.Errorf("admit(nil) = %+v, %v, on a system that tells: %v", a, err, tellsPeers)
	}
}
