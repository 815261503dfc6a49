//go:build !unix

package broker

// rawReads says that a socket can be read by its descriptor.
const rawReads = false

func (r *reader) tryRead(uintptr) bool { return true }
