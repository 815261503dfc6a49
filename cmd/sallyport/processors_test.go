package main

import (
	"runtime"
	"testing"
)

func TestSpareProcessorsAreThereWhileHashesAre(t *testing.T) {
	for _, fixed := range []string{"", "3"} {
		t.Setenv("GOMAXPROCS", fixed)
		if fixed == "" {
			runtime.SetDefaultGOMAXPROCS() // whatever the tests were started with
		}
		before := runtime.GOMAXPROCS(0)
		defer runtime.GOMAXPROCS(before)
		hashing := spareProcessors(before)
		for range 2 {
			hashing(true)
			if got := runtime.GOMAXPROCS(0); got != 2*before {
				t.Errorf("GOMAXPROCS is %d while hashes are computed, want %d", got, 2*before)
			}
			hashing(false)
			if got := runtime.GOMAXPROCS(0); got != before {
				t.Errorf("GOMAXPROCS is %d afterwards, want %d", got, before)
			}
		}
	}
}

func TestManyProcessorsNeedNoSpareOnes(t *testing.T) {
	before := runtime.GOMAXPROCS(8)
	defer runtime.GOMAXPROCS(before)
	if spareProcessors(2) != nil {
		t.Error("two workers among eight processors have spare ones")
	}
	if spareProcessors(3) == nil {
		t.Error("three workers among eight processors have none")
	}
}
