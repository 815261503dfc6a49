package owner

import (
	"os"
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
