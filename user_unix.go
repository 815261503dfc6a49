//go:build unix

package sallyport

import (
	"fmt"
	"os/user"
	"strconv"
	"syscall"
)

// noFollow makes an open fail where the last part of the path is a symbolic link.
const noFollow = syscall.O_NOFOLLOW

// becomeUser gives up root for the named user; for anybody else, and for an
// empty name, it does nothing.
func becomeUser(name string) error {
	if name == "" || name == "root" || syscall.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return fmt.Errorf("uid of %s: %w", name, err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return fmt.Errorf("gid of %s: %w", name, err)
	}
	// Groups first: afterwards there is no right to change them.
	if err := syscall.Setgroups([]int{gid}); err != nil {
		return fmt.Errorf("setgroups: %w", err)
	}
	if err := syscall.Setgid(gid); err != nil {
		return fmt.Errorf("setgid: %w", err)
	}
	if err := syscall.Setuid(uid); err != nil {
		return fmt.Errorf("setuid: %w", err)
	}
	return nil
}
