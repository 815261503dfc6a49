package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"time"
)

// Bounds of storage.interval.
const (
	leastInterval = time.Millisecond
	mostInterval  = time.Hour
)

// storage checks where state is to live, as far as a look from outside tells.
func (k *checker) storage() {
	s := &k.c.Storage
	switch s.Type {
	case StorageMemory:
		for _, key := range []string{"durability", "interval", "min_free"} {
			if k.set("storage." + key) {
				k.wrong("storage."+key, "is only for type disk")
			}
		}
		if s.Dir != "" {
			k.wrong("storage.dir", "is only for type disk")
		}
		if s.Encryption != nil {
			k.wrong("storage.encryption", "is only for type disk")
		}
		return
	case StorageDisk:
	default:
		k.wrong("storage.type", "must be %s", orList(s.Type.Choices()))
		return
	}
	k.storeDir("storage.dir", s.Dir)
	if s.Durability == DurabilityInterval {
		between(k, "storage.interval", s.Interval, leastInterval, mostInterval)
	} else if k.set("storage.interval") {
		k.wrong("storage.interval", "is only for durability interval")
	}
	between(k, "storage.min_free", s.MinFree, 0, maxBytes)
	if s.Encryption != nil {
		k.secret("storage.encryption.key", s.Encryption.Key)
	}
}

// storeDir checks the folder of a store: it is there, or can be made.
func (k *checker) storeDir(key, dir string) {
	if dir == "" {
		k.wrong(key, "is needed")
		return
	}
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if text := notWritableIn(dir); text != "" {
			k.wrong(key, "%s", text)
		}
	case err != nil:
		k.wrong(key, "%s: %s", printable(dir), fileError(err))
	case info.Mode()&fs.ModeSymlink != 0:
		k.wrong(key, "%s is a symbolic link; name the folder itself", printable(dir))
	case !info.IsDir():
		k.wrong(key, "%s is a file, not a folder", printable(dir))
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0:
		k.wrong(key, "others can write to %s, which has mode %04o; chmod 700 keeps them out", printable(dir), info.Mode().Perm())
	default:
		if text := looseDir(dir, "messages"); k.c.StrictFiles && text != "" {
			k.wrong(key, "%s", text)
		}
	}
}

// looseDir describes the permissions of a folder that holds such things when
// others than its owner can look into it; "" when they can't or the platform has
// none.
func looseDir(dir, holds string) string {
	info, err := os.Stat(dir)
	if err != nil || runtime.GOOS == "windows" || info.Mode().Perm()&0o077 == 0 {
		return ""
	}
	return fmt.Sprintf("%s holds %s and has mode %04o; chmod 700 keeps others out", printable(dir), holds, info.Mode().Perm())
}

// warnStorage warns of what others can read.
func (k *checker) warnStorage() {
	s := &k.c.Storage
	if s.Type != StorageDisk {
		return
	}
	if text := looseDir(s.Dir, "messages"); text != "" {
		k.wrong("storage.dir", "%s", text)
	}
	if s.Encryption != nil && s.Encryption.Key.File != "" {
		k.warnLoose("storage.encryption.key.file", s.Encryption.Key.File)
	}
}
