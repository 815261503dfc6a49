//go:build unix

package control

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// keeper is a double of the store.
type keeper struct {
	backup     *copied
	err        error
	key        []byte
	configured bool
}

func (k *keeper) Backup() (Backup, error) { return k.backup, k.err }

func (k *keeper) RotateKey(key []byte) (bool, error) {
	k.key = key
	return k.configured, k.err
}

// copied is a backup of so many bytes, which then fails with err.
type copied struct {
	bytes  int
	err    error
	closed chan struct{}
}

func (c *copied) Send(w io.Writer) error {
	piece := bytes.Repeat([]byte("x"), 64<<10)
	for left := c.bytes; left > 0; {
		n, err := w.Write(piece[:min(len(piece), left)])
		if err != nil {
			return err
		}
		left -= n
	}
	return c.err
}

func (c *copied) Close() error {
	close(c.closed)
	return nil
}

func newCopied(n int, err error) *copied { return &copied{n, err, make(chan struct{})} }

func TestABackupIsStreamed(t *testing.T) {
	k := &keeper{}
	p := open(t, func(o *Options) { o.Store = k })
	for _, tt := range []struct {
		bytes int
		err   error
		log   string
	}{
		{0, nil, `result="sent 0 bytes"`},
		{5 << 20, nil, `result="sent 5242880 bytes"`},
		{70_000, errors.New("the disk is gone"), `result="failed after 70000 bytes: the disk is gone"`},
	} {
		k.backup = newCopied(tt.bytes, tt.err)
		body, err := p.caller.Stream(p.ctx, "POST", "/backup")
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, body)
		if err := errors.Join(err, body.Close()); err != nil || n != int64(tt.bytes) {
			t.Errorf("%d bytes came, %v; want %d", n, err, tt.bytes)
		}
		<-k.backup.closed
		// A request that follows on the same connection finds the line written.
		ask[Status](t, p, "GET", "/status", nil)
		if line := fmt.Sprintf("msg=control_action action=backup actor=\"uid %d pid %d\" addr=unix", os.Geteuid(), os.Getpid()); !strings.Contains(p.log.String(), tt.log) || tellsPeers && !strings.Contains(p.log.String(), line) {
			t.Errorf("the log lacks %s or %s:\n%s", tt.log, line, p.log)
		}
	}
}

func TestABackupThatNobodyReadsEnds(t *testing.T) {
	k := &keeper{backup: newCopied(1<<30, nil)}
	p := open(t, func(o *Options) {
		o.Store = k
		o.bounds.complete()
		o.bounds.stall = 50 * time.Millisecond
	})
	body, err := p.caller.Stream(p.ctx, "POST", "/backup")
	if err != nil {
		t.Fatal(err)
	}
	<-k.backup.closed
	if n, err := io.Copy(io.Discard, body); err == nil || n >= 1<<30 {
		t.Errorf("%d bytes came, %v, want them cut off", n, err)
	}
	_ = body.Close() // it is broken
}

// What takes longer than any other answer may goes on as long as it is read.
func TestALongBackupIsNotCutOffByTheBoundOfAnswers(t *testing.T) {
	k := &keeper{backup: newCopied(8<<20, nil)}
	p := open(t, func(o *Options) {
		o.Store = k
		o.bounds.complete()
		o.bounds.read, o.bounds.write = 50*time.Millisecond, 50*time.Millisecond
	})
	body, err := p.caller.Stream(p.ctx, "POST", "/backup")
	if err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	for begin := time.Now(); time.Since(begin) < 200*time.Millisecond; n++ {
		if _, err := io.CopyN(io.Discard, body, 1); err != nil {
			t.Fatalf("after %d bytes: %v", n, err)
		}
	}
	rest, err := io.Copy(io.Discard, body)
	if n += rest; err != nil {
		t.Errorf("after %d bytes: %v", n, err)
	}
	if err := body.Close(); err != nil || n != 8<<20 {
		t.Errorf("%d bytes came, %v", n, err)
	}
}

func TestWhyThereIsNoBackup(t *testing.T) {
	p := open(t, nil)
	refused(t, p, "POST", "/backup", nil, http.StatusConflict, "no_store")
	refused(t, p, "POST", "/store/rotate-key", nil, http.StatusConflict, "no_store")
	k := &keeper{err: &Error{Status: http.StatusConflict, Code: "backup_running", Message: "m"}}
	p = open(t, func(o *Options) { o.Store = k })
	refused(t, p, "POST", "/backup", nil, http.StatusConflict, "backup_running")
	refused(t, p, "POST", "/backup", map[string]string{"a": "b"}, http.StatusBadRequest, "bad_request")
	if _, err := p.caller.Stream(p.ctx, "POST", "/backup"); err == nil || err.Error() != "m" {
		t.Errorf("Stream: %v, want the refusal", err)
	}
	if !strings.Contains(p.log.String(), `action=backup`) || !strings.Contains(p.log.String(), `result="refused: m"`) {
		t.Errorf("the log does not tell of it:\n%s", p.log)
	}
}

func TestTheKeyOfTheStoreIsChanged(t *testing.T) {
	const secret = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	k := &keeper{configured: true}
	p := open(t, func(o *Options) { o.Store = k })
	if r := ask[RotateKeyResult](t, p, "POST", "/store/rotate-key", nil); !r.Configured || k.key != nil {
		t.Errorf("%+v, key %x, want the configured one", r, k.key)
	}
	k.configured = false
	if r := ask[RotateKeyResult](t, p, "POST", "/store/rotate-key", RotateKeyRequest{secret}); r.Configured || len(k.key) != 32 || k.key[1] != 1 {
		t.Errorf("%+v, key %x", r, k.key)
	}
	k.key = nil
	for _, body := range []any{RotateKeyRequest{secret[:60]}, map[string]any{"new_key": []string{secret}}, map[string]string{"key": secret}, secret} {
		e := refused(t, p, "POST", "/store/rotate-key", body, http.StatusBadRequest, "bad_request")
		if k.key != nil || strings.Contains(e.Message, secret[:8]) {
			t.Errorf("%v: key %x, %v", body, k.key, e)
		}
	}
	k.err = errors.New("the disk is gone")
	refused(t, p, "POST", "/store/rotate-key", RotateKeyRequest{secret}, http.StatusInternalServerError, "failed")
	log := p.log.String()
	if strings.Contains(log, secret[:8]) {
		t.Errorf("the log holds a key:\n%s", log)
	}
	for _, text := range []string{
		`target="the key that the configuration names" result=done`, `target="a key that was given" result="done; the configuration names another key"`,
		`result="refused: new_key:`, `result="refused: the disk is gone"`,
	} {
		if !strings.Contains(log, text) {
			t.Errorf("the log lacks %s:\n%s", text, log)
		}
	}
}
