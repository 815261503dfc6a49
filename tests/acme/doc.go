// Package acme tests certs/acme against Pebble, the ACME server that Let's
// Encrypt keeps for the tests of clients: it runs within the test, refuses a
// quarter of all nonces, and connects to what it was told like the true one, over
// the loopback, with a name server that sends every name there.
//
// It is a module of its own, so that Pebble's licence and modules stay out of the
// product's. It follows the product's go.mod: when that names newer modules, "go
// mod tidy" is due here.
package acme
