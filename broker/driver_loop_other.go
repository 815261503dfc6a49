//go:build !linux || 386 || s390x

package broker

import "errors"

// Loops is a driver that this system has not.
type Loops struct{}

// Calls is how many system calls the loops have made.
type Calls struct{ Reads, Writes, Waits, Controls uint64 }

// NewLoops returns errors.ErrUnsupported.
func (b *Broker) NewLoops(int) (*Loops, error) { return nil, errors.ErrUnsupported }

// Close does nothing.
func (ls *Loops) Close() error { return nil }

// Calls is zero.
func (ls *Loops) Calls() Calls { return Calls{} }

// Serve is never called: there is no Loops.
func (ls *Loops) Serve(_ int, _ Stream, _ Info, done func()) { done() }
