//go:build !linux

package bench

import "context"

// startLoops has no loops here.
func (l *load) startLoops(context.Context, int64) (bool, error) { return false, nil }
