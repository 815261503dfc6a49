package broker

import (
	"sync"

	"sallyport/security"
)

// errands are what is still to be done on behalf of connections that are over: a
// will, or the rest of a fan-out, each with the principal that it is done for. So
// Renew and Revoke reach what no client holds any more. The zero errands is ready
// for use; its lock is a leaf.
type errands struct {
	mu sync.Mutex
	of map[any]*security.Principal // *will or *fan
}

func (e *errands) add(x any, by *security.Principal) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.of == nil {
		e.of = make(map[any]*security.Principal)
	}
	e.of[x] = by
}

// take is who x is to be done for now, nil for nobody; it is the caller's to do. The
// caller holds Broker.outside, so that whoever changes errands can wait for it.
func (e *errands) take(x any) *security.Principal {
	e.mu.Lock()
	defer e.mu.Unlock()
	by := e.of[x]
	delete(e.of, x)
	return by
}

// renew puts other principals in the place of those that renew maps to one; where
// that is no equal one the errand is not done.
func (e *errands) renew(renew func(*security.Principal) *security.Principal) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for x, by := range e.of {
		if by == nil {
			continue
		}
		switch next := renew(by); {
		case next == by:
		case !next.Same(by):
			e.of[x] = nil
		default:
			e.of[x] = inPlaceOf(by, next)
		}
	}
}

// silence drops the wills of principals for whom revoked is true: what else they
// were promised is done.
func (e *errands) silence(revoked func(*security.Principal) bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for x, by := range e.of {
		if _, ok := x.(*will); ok && by != nil && revoked(by) {
			e.of[x] = nil
		}
	}
}
