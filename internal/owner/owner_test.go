package owner

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAFileBelongsToWhoMadeIt(t *testing.T) {
	info, err := os.Stat(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	uid, known := Of(info)
	if want := os.Geteuid(); known != (want >= 0) || known && uid != want {
		t.Errorf("Of = %d, %t, want user %d", uid, known, want)
	}
}

func TestAFileIsGivenToTheOwnerOfAnother(t *testing.T) {
	old, err := os.Create(filepath.Join(t.TempDir(), "old"))
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	other := 12345
	if os.Geteuid() != 0 {
		other = os.Geteuid() // only root can give a file away
	} else if err := old.Chown(other, other); err != nil {
		t.Fatal(err)
	}
	fresh, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	want, err := old.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if err := Give(fresh, want); err != nil {
		t.Fatal(err)
	}
	got, err := fresh.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if uid, known := Of(got); known && uid != other {
		t.Errorf("it belongs to user %d, want %d", uid, other)
	}
}
