package script_test

import (
	"testing"

	"sallyport/listener"
	"sallyport/tests/script"
)

// TestScriptsOverSockets plays the transcripts again with every driver over real
// sockets: what clients see must be the same as in memory.
func TestScriptsOverSockets(t *testing.T) {
	for _, d := range drivers() {
		for _, kind := range []listener.Transport{listener.TCP, listener.Unix, listener.TLS, listener.WS} {
			t.Run(d.name+"/"+kind.String(), func(t *testing.T) {
				at, still := openDoor(t, kind), newStillness(t)
				script.PlayOutside(t, ".", func(t *testing.T, settings map[string]string) script.World {
					return newSocketWorld(t, d, at, still, settings)
				})
			})
		}
	}
}
