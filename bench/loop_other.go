//go:build !linux

package bench

import "context"

// startLoops has no loops here.
func (l *load) startLoops(context.Context, int64, []*publisher, []*receiver) (bool, error) {
	return false, nil
}

// stormLoops has no loops here.
func (r *run) stormLoops(context.Context, int64, *histogram) (bool, error) { return false, nil }
