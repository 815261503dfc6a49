//go:build !386 && !s390x

package listener

import "sallyport/internal/epoll"

// acceptOne takes a newcomer, without telling the scheduler of a call that can't block.
func acceptOne(fd int) (newcomer, error) {
	n, from, errno := epoll.Accept(fd)
	if errno != 0 {
		return newcomer{}, errno
	}
	return newcomer{fd: n, from: from}, nil
}
