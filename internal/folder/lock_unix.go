//go:build unix

package folder

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// Lock takes the file at path, which is made with mode 0600, for this process
// until the result is closed or the process ends. It does not wait: [ErrLocked]
// is within the error when somebody else has it, also within this process.
func Lock(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrLocked
	}
	_ = f.Close() // nothing was written
	return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
}
