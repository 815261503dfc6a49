package listener

// Socket is an accepted connection as a descriptor, for a driver that makes its
// own system calls.
type Socket struct {
	// FD is nonblocking and closed on exec, and known to no poller. Its receiver
	// closes it.
	FD int
	Info
	// Stream is what lies between the socket and MQTT: TLS, WebSocket, or both.
	// It is nil for TCP and Unix. It may hold bytes already, in both directions:
	// the receiver calls Read and Take once before it waits for the socket.
	Stream *Stream
	// Done is to be called once, when FD is closed: it makes room under
	// Options.MaxConnections.
	Done func()
}

// ServeSockets is [Listener.Serve] with descriptors. It returns
// [errors.ErrUnsupported] at once where the system has none to give, which is
// everywhere but on Linux; Serve can be called then. After another error the
// listener is good for nothing but Close.
//
// Handler h is called on the accepting goroutine, or that of a handshake, from
// several of them at a time, and must not block.
func (l *Listener) ServeSockets(h func(Socket)) error { return l.serveSockets(h) }
