package listener

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	recordHeader = 5
	// maxRecord is the longest TLS record with its header (RFC 5246, 6.2.3).
	maxRecord = recordHeader + 1<<14 + 2048
	// maxOwed bounds the answers (alerts, key updates) that wait for a peer that
	// asks and doesn't read, in bytes.
	maxOwed = 4 << 10
	// handshakeRead is how much is read from the socket at a time in a handshake.
	handshakeRead = 4 << 10
)

// errUnread is what a peer gets that asks for answers and doesn't read them.
var errUnread = errors.New("listener: the peer does not read the answers it asks for")

// errEmpty tells tls.Conn that there is nothing to read. It remembers every
// other error of a read for good, but not a temporary one.
var errEmpty net.Error = emptyError{}

type emptyError struct{}

func (emptyError) Error() string   { return "listener: no ciphertext in memory" }
func (emptyError) Timeout() bool   { return false }
func (emptyError) Temporary() bool { return true }

// link is the net.Conn beneath a tls.Conn: ciphertext in memory. It hands over
// whole records and never more, so that tls.Conn holds nothing of the next one
// when it is done with one, and an announced record costs what has arrived of it.
//
// During the handshakes it reads from the socket when it runs dry; what it was
// written goes there before that. What is left in either direction afterwards
// belongs to the Stream.
type link struct {
	pool *buffers

	// owned by the reader
	wire    []byte   // received and not handed over; the caller's memory
	part    []byte   // a record in pieces: its beginning, or all of it and wire goes on behind it
	handed  int      // bytes of part
	left    int      // bytes of the record that is being handed over; 0 between records
	opening *opening // nil after the handshakes

	mu      sync.Mutex // guards the fields below
	out     []byte     // written and not taken
	owed    int        // bytes of out that no Send asked for
	sending bool       // within Send or Take
	overrun atomic.Bool
}

// opening is what a link needs during the handshakes.
type opening struct {
	socket net.Conn
	buffer []byte
	read   int // bytes of the peer
}

// receive takes what the socket gave.
func (k *link) receive(wire []byte) {
	if len(k.wire) > 0 {
		wire = append(bytes.Clone(k.wire), wire...) // the caller did not wait for ErrMore
	}
	k.wire = wire
	if len(k.part) == 0 {
		return
	}
	k.fill(recordHeader)
	if len(k.part) >= recordHeader && k.opening == nil {
		k.fill(recordSize(k.part))
	}
}

// fill moves bytes from wire to part until part is n long.
func (k *link) fill(n int) {
	n = min(max(n-len(k.part), 0), len(k.wire))
	k.part = k.pool.append(k.part, k.wire[:n])
	k.wire = k.wire[n:]
}

// recordSize returns the length of the record that b begins with. Of one that
// is too long the header is enough: tls.Conn refuses it by that.
func recordSize(b []byte) int {
	if n := recordHeader + int(binary.BigEndian.Uint16(b[3:])); n <= maxRecord {
		return n
	}
	return recordHeader
}

// front is what is handed over next.
func (k *link) front() []byte {
	if len(k.part) > 0 {
		return k.part[k.handed:]
	}
	return k.wire
}

// next returns how many bytes may be handed over: what is left of the present
// record or the next, 0 unless all of it is there. In a handshake what is there
// will do, since peers that don't speak TLS are known by their first bytes.
func (k *link) next() int {
	have := len(k.front())
	if k.left == 0 {
		if have < recordHeader {
			return 0
		}
		k.left = recordSize(k.front())
	}
	if have < k.left && k.opening == nil {
		return 0
	}
	return min(have, k.left)
}

// Read implements [net.Conn].
func (k *link) Read(p []byte) (int, error) {
	for {
		if k.left == 0 && k.opening != nil && k.opening.read > maxHandshakeBytes {
			return copy(p, overlong[:]), nil
		}
		if n := k.hand(p); n > 0 {
			return n, nil
		}
		k.keep()
		if k.opening == nil {
			return 0, errEmpty
		}
		if err := k.refill(); err != nil {
			return 0, err
		}
	}
}

// hand copies to p what may be handed over: whole records, as many as fit, or
// of one that doesn't fit what does.
func (k *link) hand(p []byte) (n int) {
	for {
		size := k.next()
		if size == 0 || n > 0 && size > len(p)-n {
			return n
		}
		m := copy(p[n:], k.front()[:size])
		n += m
		k.left -= m
		k.skip(m)
		if k.left > 0 || k.opening != nil || n == len(p) {
			return n
		}
	}
}

// skip forgets n bytes of front.
func (k *link) skip(n int) {
	if len(k.part) == 0 {
		k.wire = k.wire[n:]
		return
	}
	if k.handed += n; k.handed == len(k.part) {
		k.pool.put(k.part)
		k.part, k.handed = nil, 0
	}
}

// keep moves the beginning of a record from the caller's memory to ours.
func (k *link) keep() {
	if len(k.wire) > 0 {
		k.part = k.pool.append(k.part, k.wire)
	}
	k.wire = nil
}

// drop forgets all input.
func (k *link) drop() {
	k.pool.put(k.part)
	k.wire, k.part, k.handed, k.left = nil, nil, 0, 0
}

// refill reads from the socket.
func (k *link) refill() error {
	if err := k.flush(); err != nil {
		return err
	}
	n, err := k.opening.socket.Read(k.opening.buffer)
	if n == 0 {
		return err
	}
	k.opening.read += n
	k.receive(k.opening.buffer[:n])
	return nil
}

// flush writes to the socket what is pending.
func (k *link) flush() error {
	out := k.take()
	if len(out) == 0 {
		return nil
	}
	_, err := k.opening.socket.Write(out)
	k.pool.put(out)
	return err
}

// settle ends the handshakes: the socket goes its own way.
func (k *link) settle() {
	k.wire = bytes.Clone(k.wire) // what came behind the handshake
	k.pool.put(k.opening.buffer)
	k.opening = nil
	k.mu.Lock()
	k.owed = 0
	k.mu.Unlock()
}

// Write implements [net.Conn].
func (k *link) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.sending {
		if k.owed += len(p); k.owed > maxOwed && k.opening == nil {
			k.overrun.Store(true)
			return 0, errUnread
		}
	}
	k.out = k.pool.append(k.out, p)
	return len(p), nil
}

// begin makes room for n bytes of output; what is written from here to end is asked for.
func (k *link) begin(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sending = true
	if cap(k.out)-len(k.out) < n {
		old := k.out
		k.out = append(k.pool.get(len(old)+n), old...)
		k.pool.put(old)
	}
}

func (k *link) end() {
	k.mu.Lock()
	k.sending = false
	k.mu.Unlock()
}

// push is Write for output that is asked for and goes out as it is.
func (k *link) push(header, payload []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.out = k.pool.append(k.pool.append(k.out, header), payload)
}

// take returns the pending output, nil if there is none.
func (k *link) take() []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := k.out
	k.out, k.owed = nil, 0
	if len(out) == 0 {
		k.pool.put(out)
		return nil
	}
	return out
}

func (k *link) pending() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.out) > 0
}

// Close implements [net.Conn]. The socket is not the link's to close.
func (k *link) Close() error { return nil }

// LocalAddr implements [net.Conn].
func (k *link) LocalAddr() net.Addr { return &net.TCPAddr{} }

// RemoteAddr implements [net.Conn].
func (k *link) RemoteAddr() net.Addr { return &net.TCPAddr{} }

// SetDeadline implements [net.Conn]. Nothing here waits; the socket has its own.
func (k *link) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements [net.Conn].
func (k *link) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements [net.Conn].
func (k *link) SetWriteDeadline(time.Time) error { return nil }
