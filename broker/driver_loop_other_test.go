//go:build !linux || 386 || s390x

package broker

import "net"

const hasLoops = false

func (x *bed) overLoops(int) func(net.Conn) { panic("this system has no loops") }
