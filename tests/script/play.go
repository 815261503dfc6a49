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
	each(t, dir, func(t *testing.T, c Case) {
		synctest.Test(t, func(t *testing.T) {
			if err := Run(newWorld(t, c.Settings), c); err != nil {
				t.Error(err)
			}
		})
	})
}

// PlayOutside is Play without a bubble, for worlds with sockets: these keep the
// time by themselves.
func PlayOutside(t *testing.T, dir string, newWorld func(t *testing.T, settings map[string]string) World) {
	each(t, dir, func(t *testing.T, c Case) {
		if err := Run(newWorld(t, c.Settings), c); err != nil {
			t.Error(err)
		}
	})
}

// each runs play for every case below dir.
func each(t *testing.T, dir string, play func(t *testing.T, c Case)) {
	cases, err := ParseDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		rel, err := filepath.Rel(dir, c.File)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.ToSlash(rel)+"/"+c.Name, func(t *testing.T) { play(t, c) })
	}
}
