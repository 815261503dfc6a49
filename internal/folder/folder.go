// Package folder makes what happened to names in a folder last, and keeps a
// folder for one process.
package folder

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
)

// ErrLocked says that another process, or another part of this one, holds the lock.
var ErrLocked = errors.New("is in use already")

// Sync brings the names in a folder to the disk, so that a file that was made,
// renamed or removed stays so after a loss of power. Where folders can't be synced,
// on Windows, it does nothing.
func Sync(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// WriteFile replaces path by data, mode 0600: after a crash it is either the
// old file or the whole new one.
func WriteFile(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // made with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the failure before it is the one to report
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return Sync(dir)
}
