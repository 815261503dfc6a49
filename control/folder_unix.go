//go:build unix

package control

import (
	"fmt"
	"io/fs"
	"syscall"
)

// judgeFolder says why a socket in a folder could be replaced by others; owner
// is who may own it beside root, -1 for anybody.
func judgeFolder(info fs.FileInfo, owner int) error {
	mode := info.Mode().Perm()
	if mode&0o022 != 0 {
		return fmt.Errorf("others can write to it (mode %04o) and so could put a socket of their own there; chmod go-w keeps them out", mode)
	}
	if !tellsPeers && mode&0o077 != 0 {
		return fmt.Errorf("others can enter it (mode %04o), and this system does not tell who connects; chmod 0700 keeps them out", mode)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if ok && owner >= 0 && st.Uid != 0 && int(st.Uid) != owner {
		return fmt.Errorf("it belongs to uid %d, neither root nor the broker's own user", st.Uid)
	}
	return nil
}
