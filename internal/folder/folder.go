// Package folder makes what happened to names in a folder last.
package folder

import (
	"errors"
	"os"
	"runtime"
)

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
