//go:build !386 && !s390x

package broker

import (
	"net"
	"syscall"
)

const hasLoops = true

// overLoops starts loops and returns what gives them a connection.
func (x *bed) overLoops() func(nc net.Conn) {
	x.t.Helper()
	ls, err := x.b.NewLoops(2)
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() {
		if err := ls.Close(); err != nil {
			x.t.Error(err)
		}
	})
	return func(nc net.Conn) { ls.Serve(descriptor(nc), nil, Info{Listener: "test"}, func() {}) }
}

// descriptor takes the descriptor out of a connection.
func descriptor(nc net.Conn) int {
	raw, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		panic(err)
	}
	fd := -1
	if e := raw.Control(func(of uintptr) { fd, err = syscall.Dup(int(of)) }); e != nil || err != nil {
		panic("the descriptor can't be had")
	}
	_ = nc.Close() // fd keeps the connection
	return fd
}
