package sallyport_test

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"sallyport"
	"sallyport/config"
)

func newServer(t *testing.T, cfg *config.Config) *sallyport.Server {
	t.Helper()
	s, err := sallyport.New(cfg, sallyport.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestTheProcessFileOfARunningBrokerOutlivesAStartThatFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	first := newServer(t, load(t, reloadBase+"pid_file: "+path+"\n"))
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	port := first.Addrs("door")[0].(*net.TCPAddr).Port
	again := strings.Replace(reloadBase, "127.0.0.1:0", fmt.Sprintf("127.0.0.1:%d", port), 1)
	if _, err := sallyport.New(load(t, again+"pid_file: "+path+"\n"), sallyport.Options{Log: slog.New(slog.DiscardHandler)}); err == nil {
		t.Fatal("a second broker starts on the same port")
	}
	if text, err := os.ReadFile(path); err != nil || strings.TrimSpace(string(text)) != fmt.Sprint(os.Getpid()) {
		t.Errorf("pid_file holds %q, %v", text, err)
	}
	if err := first.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("pid_file is left behind")
	}
}

func TestTheProcessFileFollowsNoLink(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("making a link needs a right there")
	}
	dir := t.TempDir()
	victim, path := filepath.Join(dir, "victim"), filepath.Join(dir, "pid")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, path); err != nil {
		t.Fatal(err)
	}
	if err := newServer(t, load(t, reloadBase+"pid_file: "+path+"\n")).Start(); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(victim); err != nil || string(text) != "precious" {
		t.Errorf("what the link points to holds %q, %v", text, err)
	}
	if st, err := os.Lstat(path); err != nil || !st.Mode().IsRegular() {
		t.Errorf("pid_file is %v, %v", st, err)
	}
}

func TestTheProcessFileReplacesNoDevice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := sallyport.New(load(t, reloadBase+"pid_file: "+path+"\n"), sallyport.Options{Log: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("a socket is taken for pid_file")
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the socket is gone: %v", err)
	}
}

func TestRootWritesNoLogThroughALink(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root writes where others may not")
	}
	dir := t.TempDir()
	victim, path := filepath.Join(dir, "victim"), filepath.Join(dir, "log")
	if err := os.WriteFile(victim, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, path); err != nil {
		t.Fatal(err)
	}
	_, err := sallyport.New(load(t, reloadBase+"log: {file: "+path+"}\n"), sallyport.Options{})
	if err == nil || !strings.Contains(err.Error(), "log file") {
		t.Errorf("New: %v, want a refusal of the link", err)
	}
}
