//go:build unix

package sallyport

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// noFollow makes an open fail where the last part of the path is a symbolic link.
const noFollow = syscall.O_NOFOLLOW

// ids are those of a user.
type ids struct{ uid, gid int }

// changesUser reports whether becomeUser does something.
func changesUser(name string) bool {
	return name != "" && name != "root" && syscall.Geteuid() == 0
}

// nextUser is the user that the process will be after becomeUser.
func nextUser(name string) (ids, error) {
	if !changesUser(name) {
		return ids{syscall.Geteuid(), syscall.Getegid()}, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return ids{}, err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return ids{}, fmt.Errorf("uid of %s: %w", name, err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return ids{}, fmt.Errorf("gid of %s: %w", name, err)
	}
	return ids{uid, gid}, nil
}

// becomeUser gives up root for the named user; for anybody else, and for an
// empty name, it does nothing.
func becomeUser(name string) error {
	if !changesUser(name) {
		return nil
	}
	u, err := nextUser(name)
	if err != nil {
		return err
	}
	// Groups first: afterwards there is no right to change them.
	if err := syscall.Setgroups([]int{u.gid}); err != nil {
		return fmt.Errorf("setgroups: %w", err)
	}
	if err := syscall.Setgid(u.gid); err != nil {
		return fmt.Errorf("setgid: %w", err)
	}
	if err := syscall.Setuid(u.uid); err != nil {
		return fmt.Errorf("setuid: %w", err)
	}
	return nil
}

// giveDir gives a folder that was just made to a user. Whoever owns the folder
// around it could have put something else there: a link is not followed.
func giveDir(dir string, u ids) error {
	if u.uid == syscall.Geteuid() {
		return nil
	}
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Chown(u.uid, u.gid), f.Close())
}

// writable says why this process can make no files in a folder.
func writable(dir string) error { return syscall.Access(dir, 2|1) }
