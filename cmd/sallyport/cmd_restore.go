package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"sallyport/internal/folder"
	"sallyport/store/backup"
	"sallyport/store/disk"
)

// restoreCmd is "sallyport restore".
type restoreCmd struct {
	File string `arg:"" help:"The backup."`
	Dir  string `arg:"" help:"The folder of the store to make: an empty one, or none yet."`

	KeyFile         string `placeholder:"FILE" help:"The key of an encrypted backup, in a file."`
	KeyEnv          string `placeholder:"NAME" help:"The same, in an environment variable."`
	StoreKeyFile    string `placeholder:"FILE" help:"The key of the store in it, if that was encrypted, in a file."`
	StoreKeyEnv     string `placeholder:"NAME" help:"The same, in an environment variable."`
	NewStoreKeyFile string `placeholder:"FILE" help:"Seal every record anew, for the key in this file."`
	NewStoreKeyEnv  string `placeholder:"NAME" help:"The same, with a key in an environment variable."`
	Unencrypted     bool   `help:"Restore an encrypted store as one that is not."`
	Quiet           bool   `help:"Show no progress."`
}

// Help shows examples.
func (*restoreCmd) Help() string {
	return `Makes a store of a backup. Every checksum is verified, and the store opened and read, before the folder has its name; what fails leaves nothing behind.

Examples:

    sallyport restore /backup/today.backup /var/lib/sallyport/store
    sallyport restore --key-file backup.key --store-key-file store.key today.backup store
    sallyport restore --new-store-key-file store.key today.backup store

The last makes an encrypted store of one that was not, or of one with another key: also the key under the key is a new one then.

Run it as the user that the broker runs as: the store has to be that user's.`
}

const restoreWhat = "restore"

// restoreKeys are the keys that a command line names.
type restoreKeys struct{ backup, store, fresh []byte }

// Run restores.
func (c *restoreCmd) Run(e *env) error {
	k, err := c.keys(e)
	if err != nil {
		return err
	}
	if err := vacant(c.Dir); err != nil {
		return &failure{what: restoreWhat, why: err, hint: "a store is restored into an empty folder, or one that is not there yet"}
	}
	p := newProgress(e, c.Quiet)
	h, err := c.restore(e, p, &k)
	p.end()
	if err != nil {
		return c.failed(e, err)
	}
	var out page
	out.line("%s: %s, %s, from %s", c.Dir, counted(h.Sessions, "session"), counted(h.Retained, "retained message"), h.Created.Format(time.RFC3339))
	switch {
	case k.fresh != nil:
		out.line("it is sealed anew, and opens with the new key alone")
	case h.Encrypted && c.Unencrypted:
		out.line("it is not encrypted any more")
	}
	if os.Geteuid() == 0 {
		out.line("it belongs to root: chown -R it to the user that the broker runs as, if that is another")
	}
	return out.print(e)
}

func (c *restoreCmd) keys(e *env) (k restoreKeys, err error) {
	if k.backup, err = readStoreKey(e, "", c.KeyFile, c.KeyEnv); err != nil {
		return k, err
	}
	if k.store, err = readStoreKey(e, "store-", c.StoreKeyFile, c.StoreKeyEnv); err != nil {
		return k, err
	}
	if k.fresh, err = readStoreKey(e, "new-store-", c.NewStoreKeyFile, c.NewStoreKeyEnv); err != nil {
		return k, err
	}
	switch {
	case c.Unencrypted && k.fresh != nil:
		return k, usageError("", "--unencrypted and a new key exclude each other")
	case c.Unencrypted && k.store == nil:
		return k, usageError("", "--unencrypted needs the key of the store: --store-key-file or --store-key-env")
	}
	return k, nil
}

// vacant says why no store can be made at a path.
func vacant(dir string) error {
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no folder", dir)
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	_, err = f.Readdirnames(1)
	if e := f.Close(); err == nil || e != nil {
		return errors.Join(fmt.Errorf("%s is not empty", dir), e)
	}
	if err != io.EOF {
		return err
	}
	return nil
}

// restore makes the store beside its folder, and then gives it the name.
func (c *restoreCmd) restore(e *env, p *progress, k *restoreKeys) (h *backup.Header, err error) {
	parent := filepath.Dir(filepath.Clean(c.Dir))
	tmp, err := os.MkdirTemp(parent, "."+filepath.Base(c.Dir)+".restore-*") // mode 0700
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := os.RemoveAll(tmp); err == nil { // nothing is there any more if it has its name
			err = e
		}
	}()
	dir := filepath.Join(tmp, "store")
	if h, err = c.unpack(e, p, k, dir); err != nil {
		return nil, err
	}
	if k.fresh != nil || c.Unencrypted {
		if dir, err = c.reseal(e, p, k, tmp, dir); err != nil {
			return nil, err
		}
	}
	if err := folder.Sync(dir); err != nil {
		return nil, err
	}
	if err := os.Remove(c.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err // it is not empty any more
	}
	if err := os.Rename(dir, c.Dir); err != nil {
		return nil, err
	}
	return h, folder.Sync(parent)
}

// unpack writes the files of the backup, and reads the store that they are.
func (c *restoreCmd) unpack(e *env, p *progress, k *restoreKeys, dir string) (*backup.Header, error) {
	f, err := os.Open(c.File)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // opened for reading: nothing to lose
	archive, err := backup.Open(f, k.backup)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	h, err := backup.Read(archive, p.watch(e.ctx, "restore", backup.Into(dir)))
	if err != nil {
		return nil, err
	}
	p.start("checking the store", 0)
	return h, check(dir, k.store)
}

// check reads a whole store.
func check(dir string, key []byte) error {
	i, err := disk.Inspect(disk.Options{Dir: dir, Key: key})
	if err != nil {
		return err
	}
	var first error
	n := 0
	_, _, err = i.Check(func(err error) {
		if n++; first == nil {
			first = err
		}
	})
	if err = errors.Join(err, i.Close()); err != nil {
		return err
	}
	if n > 0 {
		return fmt.Errorf("the store in the backup has %s, the first: %w", several(n, "problem"), first)
	}
	return nil
}

// reseal makes a store with other keys of the one in from, which it removes.
func (c *restoreCmd) reseal(e *env, p *progress, k *restoreKeys, tmp, from string) (string, error) {
	dir := filepath.Join(tmp, "sealed")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	p.start("sealing anew", 0)
	err := disk.Reseal(e.ctx, disk.Options{Dir: from, Key: k.store}, disk.Options{Dir: dir, Key: k.fresh}, func(int64) { p.add(0) })
	if err != nil {
		return "", err
	}
	p.start("checking the store", 0)
	return dir, errors.Join(check(dir, k.fresh), os.RemoveAll(from))
}

// failed puts why nothing was restored into words.
func (c *restoreCmd) failed(e *env, err error) error {
	f := &failure{what: restoreWhat, why: err}
	switch {
	case e.ctx.Err() != nil:
		f.why = errors.New("interrupted")
	case errors.Is(err, backup.ErrEncrypted):
		f.hint = "--key-file or --key-env names the key of the backup"
	case errors.Is(err, backup.ErrNotEncrypted):
		f.hint = "somebody may have put it in the place of yours; without --key-file and --key-env it is restored"
	case errors.Is(err, disk.ErrEncrypted):
		f.hint = "--store-key-file or --store-key-env names the key that the store had when it was backed up"
	case errors.Is(err, disk.ErrWrongKey):
		f.hint = "it is the key that the store had when it was backed up"
	case errors.Is(err, disk.ErrNotEncrypted):
		f.hint = "the store was not encrypted: --new-store-key-file makes it so"
	}
	return f
}
