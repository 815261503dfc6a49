//go:build !unix

package control

import (
	"errors"
	"io/fs"
)

// judgeFolder refuses: nothing here would keep others from the socket.
func judgeFolder(fs.FileInfo, int) error {
	return errors.New("a control socket needs a Unix system, whose permissions keep others out")
}
