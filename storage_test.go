package sallyport_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/config"
	"sallyport/internal/owner"
	"sallyport/packet"
)

// stored is a configuration with a store in dir, and more lines under storage.
func stored(dir, more string) string {
	return reloadBase + "storage:\n  type: disk\n  dir: " + dir + "\n" + more
}

// refused is the error of a start, which must be one.
func refused(t *testing.T, cfg *config.Config) error {
	t.Helper()
	s, err := sallyport.New(cfg, sallyport.Options{Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		t.Error("the broker starts")
		return errors.Join(errors.New("none"), s.Stop())
	}
	return err
}

func TestABrokerMakesItsStoreAndOpensItAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	for i, durability := range []string{"always", "interval", "os"} {
		cfg := load(t, stored(dir, "  durability: "+durability+"\n")+"sys_interval: 0s\n")
		if found, err := sallyport.Check(cfg); err != nil || len(found.Warnings) != 0 {
			t.Errorf("check: %+v, %v", found, err)
		}
		var log bytes.Buffer
		s, err := sallyport.New(cfg, sallyport.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start(); err != nil {
			t.Error(err)
		}
		retain(t, s, "kept/"+durability)
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		want := fmt.Sprintf(`msg="store opened" dir=%s durability=%s encrypted=false sessions=0 retained=%d took=`, dir, durability, i)
		if runtime.GOOS != "windows" && !strings.Contains(log.String(), want) {
			t.Errorf("the log does not hold %s:\n%s", want, log.String())
		}
	}
	info, err := os.Lstat(dir)
	if err != nil || runtime.GOOS != "windows" && info.Mode() != fs.ModeDir|0o700 {
		t.Errorf("the store is %v, %v, want a folder with mode 0700", info, err)
	}
}

// retain publishes a retained message at the door of s and waits for its acknowledgement.
func retain(t *testing.T, s *sallyport.Server, topic string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := client.New(client.Options{
		Dial:    client.Target{Transport: client.TCP, Address: s.Addrs("door")[0].String()}.Dial,
		Connect: packet.Connect{Version: packet.V5, ClientID: "retainer", CleanStart: true},
	})
	if _, err := c.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Publish(ctx, client.Message{Topic: topic, QoS: 1, Retain: true, Payload: []byte("x")}); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestCheckMakesNoStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	if _, err := sallyport.Check(load(t, stored(dir, ""))); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after a check the store is there: %v", err)
	}
}

func TestASecondBrokerIsKeptOutOfTheStore(t *testing.T) {
	cfg := load(t, stored(filepath.Join(t.TempDir(), "store"), ""))
	first := newServer(t, cfg)
	if err := refused(t, cfg); !errors.Is(err, sallyport.ErrStoreInUse) {
		t.Errorf("a second broker: %v, want %v", err, sallyport.ErrStoreInUse)
	}
	if out := elsewhere(t, cfg.File); !strings.Contains(out, sallyport.ErrStoreInUse.Error()) {
		t.Errorf("a second process: %s, want %v", out, sallyport.ErrStoreInUse)
	}
	if err := first.Stop(); err != nil {
		t.Error(err)
	}
	if out := elsewhere(t, cfg.File); !strings.Contains(out, "started") {
		t.Errorf("after the first has stopped: %s", out)
	}
}

// elsewhereConfig names the configuration with which the process that elsewhere
// starts is to run a broker.
const elsewhereConfig = "SALLYPORT_TEST_CONFIG"

// elsewhere starts a broker in a process of its own, stops it and returns what
// it says.
func elsewhere(t *testing.T, path string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestElsewhere$", "-test.v")
	cmd.Env = append(os.Environ(), elsewhereConfig+"="+path)
	out, _ := cmd.CombinedOutput() // what it says tells whether it has failed
	return string(out)
}

func TestElsewhere(t *testing.T) {
	path := os.Getenv(elsewhereConfig)
	if path == "" {
		return // it is not the process that elsewhere starts
	}
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := sallyport.New(cfg, sallyport.Options{Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Error(err)
	}
	t.Logf("started as %d", os.Geteuid())
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}

func TestAStoreThatIsNotTheBrokersAloneIsRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("folders have no modes there")
	}
	for _, tt := range []struct {
		name string
		make func(dir string) error
		want string
	}{
		{"others write to it", func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o720)) }, "others can write"},
		{"its owner may not write to it", func(dir string) error { return os.Mkdir(dir, 0o500) }, "keeps its owner out"},
		{"a link", func(dir string) error { return os.Symlink(t.TempDir(), dir) }, "symbolic link"},
		{"a file", func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, "is a file"},
		{"it is another user's", func(dir string) error {
			if os.Geteuid() != 0 {
				t.Skip("only root can give a folder away")
			}
			return errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, 65534, -1))
		}, "belongs to user 65534, and the broker is user 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			cfg := load(t, stored(dir, "")) // before there is something to complain about
			if err := tt.make(dir); err != nil {
				t.Fatal(err)
			}
			if err := refused(t, cfg); !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New: %v, want %q", err, tt.want)
			}
			if _, err := sallyport.Check(cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Check: %v, want %q", err, tt.want)
			}
		})
	}
}

func TestAFolderThatHoldsNoStoreIsLeftAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "CURRENT"), []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := refused(t, load(t, stored(dir, ""))); !strings.Contains(err.Error(), dir) {
		t.Errorf("New: %v, want a refusal that names the folder", err)
	}
}

func TestAKeyThatCannotBeReadStopsTheStart(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, []byte("c0ffee"), 0o600); err != nil {
		t.Fatal(err)
	}
	for lines, want := range map[string]string{
		"  encryption: {key: {file: " + key + "}}\n":          "storage.encryption.key: the key must be 32 bytes",
		"  encryption: {key: {env: SALLYPORT_NO_SUCH_KEY}}\n": "SALLYPORT_NO_SUCH_KEY: is not set",
	} {
		cfg := load(t, stored(filepath.Join(dir, "store"), lines))
		if err := refused(t, cfg); !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "c0ffee") {
			t.Errorf("New: %v, want %q", err, want)
		}
		if _, err := sallyport.Check(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Check: %v, want %q", err, want)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "store")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a store was made without its key: %v", err)
	}
}

func TestTheStoreOfABrokerThatGivesUpRootIsTheUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give itself up")
	}
	const nobody = 65534
	home, err := os.MkdirTemp("/tmp", "sallyport") // t.TempDir lies in a folder that may be closed to nobody
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	dir, path := filepath.Join(home, "store"), filepath.Join(home, "sallyport.yaml")
	for _, err := range []error{os.Chmod(home, 0o755), os.WriteFile(path, []byte(stored(dir, "")+"run_as: nobody\n"), 0o644)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // it is made, and opened again
		if _, err := sallyport.Check(cfg); err != nil {
			t.Errorf("check: %v", err)
		}
		if out := elsewhere(t, path); !strings.Contains(out, "started as 65534") || strings.Contains(out, "FAIL") {
			t.Fatalf("a broker that becomes nobody: %s", out)
		}
		found := 0
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if uid, _ := owner.Of(info); uid != nobody {
				t.Errorf("%s belongs to user %d", path, uid)
			}
			found++
			return nil
		})
		if err != nil || found < 3 {
			t.Errorf("%d files in the store, %v", found, err)
		}
	}
	// root that stays root does not write there, nor the other way round
	own := load(t, stored(dir, ""))
	if err := refused(t, own); !strings.Contains(err.Error(), "belongs to user 65534") {
		t.Errorf("as root: %v, want a refusal of the folder", err)
	}
	if err := os.Chown(dir, 0, 0); err != nil {
		t.Fatal(err)
	}
	if out := elsewhere(t, path); !strings.Contains(out, "belongs to user 0, and the broker is user 65534") {
		t.Errorf("in a folder of root's: %s", out)
	}
}

func TestTheStoreIsReadBeforeAPortIsOpen(t *testing.T) {
	var order []string
	s, err := sallyport.New(load(t, stored(filepath.Join(t.TempDir(), "store"), "")), sallyport.Options{Log: slog.New(messages{slog.DiscardHandler, &order})})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	said := strings.Join(order, ", ")
	if !strings.Contains(said, "store opened, listening") {
		t.Errorf("the log says %s; want the store to be opened first", said)
	}
}

// messages keeps the messages of a log.
type messages struct {
	slog.Handler
	list *[]string
}

// Enabled implements slog.Handler.
func (messages) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (m messages) Handle(_ context.Context, r slog.Record) error {
	*m.list = append(*m.list, r.Message)
	return nil
}
