package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"sallyport/control"
	"sallyport/internal/folder"
	"sallyport/store/backup"
	"sallyport/store/disk"
)

// backupCmd is "sallyport backup".
type backupCmd struct {
	File string `arg:"" help:"The backup to write."`

	Config  string `short:"c" placeholder:"FILE" help:"The configuration of the running broker, which names its control socket."`
	Socket  string `placeholder:"PATH" help:"The control socket itself."`
	Dir     string `placeholder:"STORE" help:"Instead: the folder of the store of a broker that is stopped."`
	KeyFile string `placeholder:"FILE" help:"Encrypt the backup with the key in a file."`
	KeyEnv  string `placeholder:"NAME" help:"The same with a key in an environment variable."`
	Force   bool   `help:"Replace the file if it is there."`
	Quiet   bool   `help:"Show no progress."`
	JSON    bool   `name:"json" help:"Print the result as JSON."`
}

// Help shows examples.
func (*backupCmd) Help() string {
	return `Writes what a broker keeps on its disk into one file: everything that it has acknowledged before, as it was at one moment, while it goes on serving.

Examples:

    sallyport backup -c sallyport.yaml /backup/today.backup
    sallyport backup -c sallyport.yaml --key-file backup.key /backup/today.backup
    sallyport backup --dir /var/lib/sallyport/store /backup/today.backup

The store's own encryption stays: a backup of an encrypted store needs the key of that store. --key-file and --key-env encrypt the backup itself, with a key of its own (64 hex digits, or base64).

The file has its name when it is whole and on the disk, with mode 0600.`
}

// backedUp is the document of "backup --json".
type backedUp struct {
	File    string `json:"file"`
	Bytes   int64  `json:"bytes"`
	SHA256  string `json:"sha256"`  // of the file
	Sealed  bool   `json:"sealed"`  // the backup is encrypted
	Seconds int64  `json:"seconds"` // that it took

	Created        time.Time `json:"created"`
	Version        string    `json:"version"`
	StoreEncrypted bool      `json:"store_encrypted"`
	StoreBytes     int64     `json:"store_bytes"`
	Sessions       int64     `json:"sessions"`
	Retained       int64     `json:"retained"`
}

const backupWhat = "back up"

// Run makes the backup.
func (c *backupCmd) Run(e *env) error {
	key, err := readStoreKey(e, "", c.KeyFile, c.KeyEnv)
	if err != nil {
		return err
	}
	begin := time.Now()
	out, err := createOutput(c.File, c.Force)
	if err != nil {
		return err
	}
	h, err := c.write(e, out, key)
	if err == nil {
		err = out.finish()
	}
	if err != nil {
		return errors.Join(c.failed(e, err), out.discard())
	}
	return c.tell(e, &backedUp{
		File: c.File, Bytes: out.n, SHA256: hex.EncodeToString(out.sum.Sum(nil)), Sealed: key != nil, Seconds: int64(time.Since(begin).Seconds()),
		Created: h.Created, Version: h.Version, StoreEncrypted: h.Encrypted, StoreBytes: h.Bytes(), Sessions: h.Sessions, Retained: h.Retained,
	})
}

func (c *backupCmd) tell(e *env, b *backedUp) error {
	if c.JSON {
		if err := printJSON(e.stdout, b); err != nil {
			return &failure{what: "print the result", why: err}
		}
		return nil
	}
	var p page
	p.line("%s: %s, %s, %s", b.File, size(b.Bytes), counted(b.Sessions, "session"), counted(b.Retained, "retained message"))
	if b.Sealed {
		p.line("the backup is encrypted: the key that it was given restores it")
	}
	if b.StoreEncrypted {
		p.line("the store is encrypted: what restores it is the key that the store has now")
	}
	p.line("sha256 %s", b.SHA256)
	return p.print(e)
}

// write writes the backup, which is verified on its way.
func (c *backupCmd) write(e *env, out io.Writer, key []byte) (*backup.Header, error) {
	in, err := c.source(e)
	if err != nil {
		return nil, err
	}
	end := func() error { return nil }
	if key != nil {
		s, err := backup.NewSealer(out, key)
		if err != nil {
			return nil, errors.Join(err, in.Close())
		}
		out, end = s, s.Close
	}
	p := newProgress(e, c.Quiet)
	h, err := backup.Read(io.TeeReader(in, out), p.watch(e.ctx, "backup", backup.Visitor{}))
	p.end()
	if err != nil {
		_ = in.Close() // it has failed already
		return nil, err
	}
	return h, errors.Join(end(), in.Close())
}

// source is where the archive comes from.
func (c *backupCmd) source(e *env) (io.ReadCloser, error) {
	if c.Dir != "" {
		if c.Config != "" || c.Socket != "" {
			return nil, usageError("", "--dir is for a stopped broker, -c and --socket are for a running one")
		}
		return frozen(c.Dir)
	}
	socket, err := (&ctlCmd{Config: c.Config, Socket: c.Socket}).socket()
	if err != nil {
		return nil, err
	}
	caller, err := control.Dial(socket)
	if err != nil {
		return nil, err
	}
	body, err := caller.Stream(e.ctx, "POST", "/backup")
	if err != nil {
		caller.Close()
		return nil, ctlFailure(backupWhat, socket, err)
	}
	return &streaming{body, caller}, nil
}

// streaming is a backup that a broker sends.
type streaming struct {
	io.ReadCloser
	caller *control.Caller
}

func (s *streaming) Close() error {
	err := s.ReadCloser.Close()
	s.caller.Close()
	return err
}

// frozen is a backup of a store that nobody uses.
func frozen(dir string) (io.ReadCloser, error) {
	snap, err := disk.Freeze(disk.Options{Dir: dir})
	if err != nil {
		return nil, err
	}
	snap.Created, snap.Version = time.Now(), "sallyport version "+readVersion().Version
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { // it ends when all is read, or r is closed
		out := bufio.NewWriterSize(w, 256<<10)
		err := errors.Join(backup.Write(out, snap.Header, snap.Open), out.Flush())
		_ = w.CloseWithError(err) // it always is nil
		done <- snap.Close()
	}()
	return &freezing{r, done}, nil
}

type freezing struct {
	*io.PipeReader
	done chan error
}

func (f *freezing) Close() error {
	_ = f.PipeReader.Close() // it always is nil
	return <-f.done
}

// failed puts why there is no backup into words.
func (c *backupCmd) failed(e *env, err error) error {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	f := &failure{what: backupWhat, why: err}
	switch {
	case e.ctx.Err() != nil || errors.Is(err, context.Canceled):
		f.why = errors.New("interrupted")
	case errors.Is(err, disk.ErrLocked):
		f.hint = "its broker is running: -c CONFIG asks it instead"
	case c.Dir == "" && (errors.Is(err, backup.ErrTruncated) || errors.Is(err, backup.ErrDamaged) || errors.Is(err, backup.ErrForeign)):
		f.why, f.hint = fmt.Errorf("what came from the broker is no whole backup: %w", err), "the broker's log says why: control_action with action=backup"
	}
	return f
}

// output is a file that has its name when it is whole.
type output struct {
	tmp   *os.File
	path  string
	force bool
	sum   hash.Hash
	n     int64
}

func createOutput(path string, force bool) (*output, error) {
	o := &output{path: path, force: force, sum: sha256.New()}
	if err := o.free(); err != nil {
		return nil, err
	}
	var err error
	o.tmp, err = os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return nil, &failure{what: "write " + path, why: err}
	}
	return o, nil
}

// free reports whether the name may be taken.
func (o *output) free() error {
	info, err := os.Lstat(o.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return &failure{what: "write " + o.path, why: err}
	case info.IsDir():
		return &failure{what: "write " + o.path, why: errors.New("it is a folder")}
	case !o.force:
		return &failure{what: "write " + o.path, why: errors.New("it is there already"), hint: "--force replaces it"}
	}
	return nil
}

func (o *output) Write(b []byte) (int, error) {
	n, err := o.tmp.Write(b)
	o.sum.Write(b[:n])
	o.n += int64(n)
	return n, err
}

// finish gives the file its name, for good.
func (o *output) finish() error {
	if err := o.tmp.Sync(); err != nil {
		return err
	}
	if err := o.tmp.Close(); err != nil {
		return err
	}
	if err := o.free(); err != nil { // it may have come meanwhile
		return err
	}
	if err := os.Rename(o.tmp.Name(), o.path); err != nil {
		return err
	}
	return folder.Sync(filepath.Dir(o.path))
}

// discard takes away what there is of the file.
func (o *output) discard() error {
	_ = o.tmp.Close() // it may be closed
	if err := os.Remove(o.tmp.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
