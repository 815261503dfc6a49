//go:build !unix

package listener

import "io/fs"

// restrictSocket does nothing: here a socket has no mode before it is bound.
func restrictSocket(uintptr, fs.FileMode) {}

// outOfFiles is never true: this system has no such limit worth a spare descriptor.
func outOfFiles(error) bool { return false }
