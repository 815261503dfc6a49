package script_test

import (
	"errors"
	"testing"

	"sallyport/broker"
	"sallyport/listener"
	"sallyport/tests/script"
)

// TestScriptsOverSockets plays the transcripts again with every driver over real
// sockets: what clients see must be the same as in memory.
func TestScriptsOverSockets(t *testing.T) {
	for _, d := range drivers() {
		if d.loops > 0 && !hasLoops(t) {
			continue
		}
		for _, kind := range []listener.Transport{listener.TCP, listener.Unix, listener.TLS, listener.WS} {
			t.Run(d.name+"/"+kind.String(), func(t *testing.T) {
				at, still := openDoor(t, d, kind), newStillness(t)
				script.PlayOutside(t, ".", func(t *testing.T, settings map[string]string) script.World {
					return newSocketWorld(t, d, at, still, settings)
				})
			})
		}
	}
}

// hasLoops reports whether the system has event loops.
func hasLoops(t *testing.T) bool {
	t.Helper()
	b := broker.New(broker.Options{})
	defer b.Close()
	loops, err := b.NewLoops(1)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		t.Log("this system has no event loops")
		return false
	case err != nil:
		t.Fatal(err)
	}
	return loops.Close() == nil
}
