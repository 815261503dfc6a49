package main

import (
	"os"
	"path/filepath"
	"testing"

	"sallyport/session"
	"sallyport/store/disk"
)

func TestWhatIsFilledInIsThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	c := contents{retained: 700, sessions: 30, each: 10, payload: 64}
	if err := fill(t.Context(), dir, c); err != nil {
		t.Fatal(err)
	}
	if n, err := folderBytes(dir); err != nil || n < 1000*64 {
		t.Errorf("folderBytes = %d, %v", n, err)
	}
	st, err := disk.Open(disk.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	kept, last := st.Restore()
	if n, _ := st.RetainedCount(); n != 700 || len(kept) != 30 || last != 30 {
		t.Errorf("%d retained messages, %d sessions, the last is %d", n, len(kept), last)
	}
	for _, k := range kept {
		if len(k.Entries) != 10 || len(k.Subs) != 1 || k.Expiry != session.NeverExpires || k.Owner.ClientID != k.Client {
			t.Errorf("session %+v", k)
		}
	}
	page, err := st.Page(30, 1, 10, 100, 1<<20)
	if err != nil || len(page) != 10 || len(page[9].Msg.Payload) != 64 || page[9].Msg.Origin.ClientID != "publisher-9" {
		t.Errorf("Page = %+v, %v", page, err)
	}
}

func TestUnknownScenariosAreRefused(t *testing.T) {
	if _, err := choose([]string{"start", "nosuch"}); err == nil {
		t.Error("an unknown scenario was taken")
	}
	if all, err := choose(nil); err != nil || len(all) != len(scenarios()) {
		t.Errorf("choose(nil) = %v, %v", all, err)
	}
	if chosen, err := choose([]string{"memory"}); err != nil || len(chosen) != 1 || chosen[0].name != "memory" {
		t.Errorf("choose = %v, %v", chosen, err)
	}
}

func TestTheLogIsRead(t *testing.T) {
	const line = `time=2026-11-29T18:39:41Z level=INFO msg="store opened" dir=/x durability=always encrypted=false sessions=812 retained=20114 took=96ms` + "\n"
	if s, r, err := opened("first\n" + line); s != 812 || r != 20_114 || err != nil {
		t.Errorf("opened = %d, %d, %v", s, r, err)
	}
	if _, _, err := opened("level=INFO msg=listening\n"); err == nil {
		t.Error("a log without a store was read")
	}
}

func TestMemoryIsRead(t *testing.T) {
	const status = "Name:\tsallyport\nVmHWM:\t   34460 kB\nVmRSS:\t   1024 kB\n"
	if got := kib(status, "VmRSS"); got != 1<<20 {
		t.Errorf("VmRSS = %d", got)
	}
	if got := kib(status, "VmSwap"); got != 0 {
		t.Errorf("VmSwap = %d", got)
	}
}

func TestMedian(t *testing.T) {
	if got := median([]float64{3, 1, 2}); got != 2 {
		t.Errorf("median = %v", got)
	}
}

func TestFolderBytesCountsFiles(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "a"), make([]byte, 100), 0o600)
	os.WriteFile(filepath.Join(dir, "b"), make([]byte, 23), 0o600)
	if n, err := folderBytes(dir); n != 123 || err != nil {
		t.Errorf("folderBytes = %d, %v", n, err)
	}
}
