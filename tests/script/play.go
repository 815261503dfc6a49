package script

import (
	"path/filepath"
	"testing"
	"testing/synctest"
)

// Play runs every case below dir as a test of its own, in a bubble of virtual
// time. newWorld makes the broker that a case's settings ask for, fails the
// test on one it can't make, and ends it with t.Cleanup; World.Settle can be
// synctest.Wait and World.Sleep time.Sleep.
func Play(t *testing.T, dir string, newWorld func(t *testing.T, settings map[string]string) World) {
	cases, err := ParseDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		rel, err := filepath.Rel(dir, c.File)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.ToSlash(rel)+"/"+c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if err := Run(newWorld(t, c.Settings), c); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
