package control

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// CheckFolder says why a control socket can't stand at path: its folder does not
// exist, or is one in which others could put a socket of their own. owner is
// the user id that may own the folder beside root; -1 leaves that unchecked.
func CheckFolder(path string, owner int) error {
	folder := filepath.Dir(path)
	info, err := os.Stat(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the folder %s does not exist", folder)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder", folder)
	}
	if err := judgeFolder(info, owner); err != nil {
		return fmt.Errorf("folder %s: %w", folder, err)
	}
	return nil
}
