package sallyport

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
)

// writePID makes pid_file anew. It is written before run_as gives up root, often
// in a folder of others: a link there is replaced and never followed, and what is
// no file is left alone.
func writePID(path string) error {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case !st.Mode().IsRegular() && st.Mode()&fs.ModeSymlink == 0:
		return fmt.Errorf("%s is no regular file", path)
	default:
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strconv.Itoa(os.Getpid()) + "\n")
	return errors.Join(err, f.Close())
}
