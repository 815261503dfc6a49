// Package conformance relates the normative statements of MQTT 3.1.1 and 5.0
// to the tests of this module, and writes docs/conformance.md from that.
//
// statements_v311.tsv and statements_v5.tsv list every numbered statement of
// the two standards, each with whom it binds, its section, and a summary in
// our words; the standards are the authority. Two spellings differ from print:
// [MQTT-3.1.2.7] and [MQTT-3-8.3-4] of 3.1.1 are 3.1.2-7 and 3.8.3-4 here, and
// [MQTT-4.2-1] of 5.0 is 4.2.0-1.
//
// # Annotations
//
// A test says which statements it shows in a comment line of its own, above
// the test function or inside it (beside the row of a table it belongs to):
//
//	// MQTT311: 3.1.0-1
//	// MQTT5: 3.1.0-1 3.1.0-2
//
// and a case of a script in tests/script in a line that starts with # instead.
// An identifier that no table holds is an error, and so is an annotation
// outside a test. A statement counts as shown only if its test fails when the
// behaviour is broken; an annotation is a promise of that, not a keyword.
//
// Scripts count only while a test plays them. That test says so with the line
//
//	// Scripts: tests/script
//
// # How the tests of the standard are written
//
// Whatever a client can see is a transcript in tests/script: one file for each
// section of the standard, one case for each claim, played against a whole
// broker with its gate over the in-memory driver and virtual time. See the
// documentation of package script for the format and Play. The harness makes a fresh
// broker per case from its settings, implements script.World and script.Peer
// over the driver, and lets testing/synctest tell when the broker is idle.
// MQTT 3.1 (folder v31) and the choices that the standards leave (folder
// choices) have no numbers; their cases are listed at the end of the table.
//
// What a transcript can't show is a Go test: WebSocket frames here, against a
// broker on loopback; encodings in packet, matching in topic, races in broker.
//
// After changing an annotation run
//
//	go run ./tests/conformance/gen
//
// TestTheTableIsFresh fails until that is done.
package conformance
