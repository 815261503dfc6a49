package broker

// Stream is what lies between the bytes of a socket and those of MQTT, TLS or
// WebSocket for one, for a driver that makes the system calls itself. Receive
// and Read are called by one goroutine, Send and Take by one at a time; both
// sides may run beside each other.
type Stream interface {
	// Receive takes bytes that the socket gave. They may be used until Read says
	// that more is needed.
	Receive(wire []byte)
	// Read gives MQTT bytes. An error for which More is true says that more has to
	// be received first, io.EOF that the peer has ended in order.
	Read(p []byte) (int, error)
	// More reports whether an error of Read is none.
	More(err error) bool
	// Send puts MQTT bytes into the pending output. It keeps nothing of them.
	Send(mqtt []byte) error
	// Take gives the pending output, nil where there is none: of Send, and what
	// the layers have to say themselves. written is a buffer that Take gave
	// before, or nil.
	Take(written []byte) []byte
	// Pending reports whether Take has something to give.
	Pending() bool
	// CloseWrite puts the last words of the layers into the pending output.
	CloseWrite() error
}
