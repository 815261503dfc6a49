// Package regular opens files that have to be regular ones. A pipe in the place
// of a file would hold up whoever opens it until somebody writes, and a device
// could be read without end; to look at the kind before opening is to look at
// what may be another file by then.
package regular

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// ErrKind says that a path names no regular file: it is within an *fs.PathError.
var ErrKind = errors.New("is not a regular file")

// Open opens the regular file at path for reading, without waiting for anybody,
// and tells what it is. Links are followed.
func Open(path string) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: ErrKind}
	}
	if err != nil {
		_ = f.Close() // nothing was read
		return nil, nil, err
	}
	return f, info, nil
}
