package script_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/store/storetest"
	"sallyport/tests/script"
)

// slowWorld waits for commits too, which the broker's rest does not include.
type slowWorld struct{ script.World }

// Settle implements script.World.
func (slowWorld) Settle() {
	time.Sleep(slowest + 10*time.Millisecond)
	synctest.Wait()
}

// slowest is how long a commit takes at most.
const slowest = 50 * time.Millisecond

// TestScriptsOverASlowStore plays the transcripts again over a store whose
// commits take their time: what clients see must not change.
func TestScriptsOverASlowStore(t *testing.T) {
	script.Play(t, ".", func(t *testing.T, settings map[string]string) script.World {
		if strings.HasSuffix(t.Name(), "/a_will_delay_never_ends_early") {
			t.Skip("this case measures less time than a commit takes")
		}
		delay := func(n int) time.Duration { return slowest * time.Duration(n*17%50) / 50 }
		return slowWorld{newWorld(t, settings, storetest.New(storetest.Options{Delay: delay}))}
	})
}
