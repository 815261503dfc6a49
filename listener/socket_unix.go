//go:build unix

package listener

import (
	"errors"
	"io/fs"
	"syscall"
)

// restrictSocket gives a Unix socket its mode before it is bound, so that there
// is no moment in which others may connect. Linux honours it; elsewhere the
// chmod after binding has to do.
func restrictSocket(fd uintptr, mode fs.FileMode) {
	_ = syscall.Fchmod(int(fd), uint32(mode)) // see above
}

// outOfFiles reports whether accept failed for want of a descriptor.
func outOfFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}
