// Package scram tests SCRAM of a whole broker with another implementation of its
// client, xdg-go's, which MongoDB's driver for Go uses: all four methods, through AUTH
// packets, with and without TLS.
//
// It is a module of its own, so that what only tests need stays out of the product's
// go.mod. It follows the product's: when that names newer modules, "go mod tidy" is due
// here.
package scram
