package script_test

import (
	"testing"

	"sallyport/test/script"
)

// TestScripts plays every transcript against a whole broker.
//
// Scripts: test/script
func TestScripts(t *testing.T) {
	script.Play(t, ".", newBrokerWorld)
}
