//go:build unix

package owner

import (
	"io/fs"
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
