package backup

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// Into is a Visitor that writes the files into a folder, which is empty, each made
// with mode 0600 and on the disk before the next.
func Into(dir string) Visitor {
	buf := make([]byte, 256<<10)
	return Visitor{File: func(f File, r io.Reader) error {
		out, err := os.OpenFile(filepath.Join(dir, f.Name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.CopyBuffer(struct{ io.Writer }{out}, r, buf)
		return errors.Join(err, out.Sync(), out.Close())
	}}
}
