//go:build unix

package owner

import (
	"io/fs"
	"os"
	"syscall"
)

// Of is the id of the user to whom a file belongs, where the system has such ids.
func Of(info fs.FileInfo) (uid int, known bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}

// Give makes f belong to the user and the group to whom info's file belongs.
func Give(f *os.File, info fs.FileInfo) error {
	present, err := f.Stat()
	if err != nil {
		return err
	}
	is, known := present.Sys().(*syscall.Stat_t)
	should, knownToo := info.Sys().(*syscall.Stat_t)
	if !known || !knownToo || is.Uid == should.Uid && is.Gid == should.Gid {
		return nil
	}
	return f.Chown(int(should.Uid), int(should.Gid))
}
