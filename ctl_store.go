package sallyport

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"sallyport/control"
	"sallyport/store/backup"
	"sallyport/store/disk"
)

// keeper is what "sallyport backup" and "sallyport ctl store" ask of the store.
type keeper struct {
	s        *Server
	rotating sync.Mutex // one change of the key at a time
}

// storeBackup is a snapshot on its way out.
type storeBackup struct{ *disk.Snapshot }

// Backup implements control.Store.
func (k *keeper) Backup() (control.Backup, error) {
	began := time.Now()
	snap, err := k.s.disk.Load().Snapshot()
	if errors.Is(err, disk.ErrSnapshot) {
		return nil, &control.Error{Status: http.StatusConflict, Code: "backup_running", Message: err.Error()}
	}
	if err != nil {
		return nil, err
	}
	snap.Created, snap.Version = began, k.s.version
	return storeBackup{snap}, nil
}

// Send implements control.Backup.
func (b storeBackup) Send(w io.Writer) error {
	out := bufio.NewWriterSize(w, 256<<10)
	return errors.Join(backup.Write(out, b.Header, b.Open), out.Flush())
}

// RotateKey implements control.Store.
func (k *keeper) RotateKey(key []byte) (configured bool, err error) {
	k.rotating.Lock()
	defer k.rotating.Unlock()
	c := k.s.config().Storage.Encryption
	if c == nil {
		return false, &control.Error{Status: http.StatusConflict, Code: "not_encrypted", Message: "the store is not encrypted"}
	}
	named, err := c.ReadKey(context.Background()) // bounded by itself
	if key == nil {
		if err != nil {
			return false, &control.Error{Status: http.StatusUnprocessableEntity, Code: "no_key", Message: fmt.Sprintf("storage.encryption.key: %v", err)}
		}
		key = named
	}
	st := k.s.disk.Load()
	same, e := st.Opens(key)
	switch {
	case e != nil:
		return false, e
	case same:
		return false, &control.Error{Status: http.StatusConflict, Code: "same_key", Message: "that is the key that the store has already"}
	}
	k.s.storeKeys.add(key) // before: it may fail when the new one is on the disk
	if err := st.RotateKey(key); err != nil {
		return false, err
	}
	if err != nil {
		return false, nil
	}
	return st.Opens(named)
}
