package script_test

import (
	"testing"

	"sallyport/tests/script"
)

// TestScripts plays every transcript against a whole broker. The transcripts'
// own codec knows the standards and nothing of this broker.
//
// MQTT311: 7.0.0-2
// Scripts: tests/script
func TestScripts(t *testing.T) {
	script.Play(t, ".", newBrokerWorld)
}
