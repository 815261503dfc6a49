// Package store keeps the broker's durable state: sessions, subscriptions,
// queues, what is in flight, retained messages and wills. One contract serves
// memory and disk.
//
// The contract is asynchronous: a caller collects operations in a Batch and
// hands it over with Commit; it is kept for good when done is called with nil,
// and an acknowledgement may leave only then. done is called exactly
// once, possibly before Commit returns and from any goroutine, and batches
// complete in the order in which they were committed; after an error nothing
// is promised of the batch and nobody may be told that it is kept.
package store

import (
	"errors"

	"sallyport/session"
)

// ErrClosed is given to the completion of a batch that came after Close.
var ErrClosed = errors.New("store is closed")

// Kind says what an Op does.
type Kind uint8

// The operations of a batch. All but those on retained messages and items name a session
// by its number, and do nothing to one that was never put or has been deleted, so
// that what comes late for it is nobody's.
const (
	PutSession         Kind = iota + 1 // Client, Owner, Expiry; Group
	DeleteSession                      // with its subscriptions, queue and flights
	PutSubscription                    // Sub
	DeleteSubscription                 // Topic: the filter
	PutEntry                           // Entry; PacketID, if it is on its way already
	SetFlight                          // Entry.Seq, PacketID, State: on its way to the client
	DeleteEntry                        // Entry: acknowledged, expired or dropped
	AddIncoming                        // PacketID: QoS 2 message received
	DeleteIncoming                     // PacketID: released
	PutRetained                        // Topic: its retained message is the present one
	DeleteRetained                     // Topic: likewise, if there is one after all
	PutWill                            // Message, Expiry, At: a will whose delay runs
	DeleteWill
	PutItem    // Item
	DeleteItem // Item, without its Value
)

// Op is one change. Only the fields its Kind names are set, beside Session.
//
// An entry may be deleted before it is put, by whoever was faster: then it is
// never kept. It is deleted once. Which message of a topic is retained is asked of
// the store itself when the batch is handed over, for the same reason.
type Op struct {
	Kind     Kind
	State    session.State
	Group    bool // the session is of a shared subscription, and Client its filter
	PacketID uint16
	Expiry   uint32 // seconds: of a session, or of the message of a will
	Session  uint64 // number of the session, never 0 and never used again
	Client   string
	Owner    *session.Origin // whose rights count while the client is away, too
	Sub      *session.Subscription
	Topic    string
	Entry    session.Entry
	Message  *session.Message
	At       int64 // nanoseconds since 1970
	Item     *Item
}

// Item is a piece of the broker's own state: an account, an entry of a block list. It is
// found by its table, or by that and its name. The Value is whatever its owner writes,
// a secret perhaps, and is shown to nobody.
type Item struct {
	Table string
	Name  string
	Value []byte
}

// Batch is a list of changes that are kept together or not at all. The zero Batch is empty.
type Batch struct{ Ops []Op }

// Add appends op.
func (b *Batch) Add(op Op) { b.Ops = append(b.Ops, op) }

// Empty reports whether there is nothing to keep.
func (b *Batch) Empty() bool { return b == nil || len(b.Ops) == 0 }

// Reset empties the batch for reuse.
func (b *Batch) Reset() {
	clear(b.Ops)
	b.Ops = b.Ops[:0]
}

// Store is the contract.
type Store interface {
	// Retain makes m the retained message of its topic for Retained and
	// ScanRetained, at once; it is kept for good by a batch with PutRetained.
	// Unretain likewise, with DeleteRetained.
	Retain(m *session.Message)
	Unretain(topic string)
	// UnretainIf is Unretain if over is true of the message of that moment, and
	// reports whether it was. over may not call the store.
	UnretainIf(topic string, over func(*session.Message) bool) bool
	// Commit keeps b, which the store doesn't use after it has returned. done may be
	// nil: nobody waits, and that messages were sent or wait no more may be kept a
	// little later.
	Commit(b *Batch, done func(error))
	// Retained returns the retained message of a topic.
	Retained(topic string) (*session.Message, bool)
	// ScanRetained yields retained messages that filter matches, in order of
	// their topics, after the topic `after` ("" begins), until yield returns
	// false or work entries were looked at. It returns where to go on and
	// whether the scan is complete. yield may not call the store.
	ScanRetained(filter, after string, work int, yield func(*session.Message) bool) (cursor string, complete bool)
	// EachRetained is ScanRetained for the messages of all topics, those that begin
	// with $ included.
	EachRetained(after string, work int, yield func(*session.Message) bool) (cursor string, complete bool)
	// RetainedCount is the number of retained messages and their bytes.
	RetainedCount() (messages, bytes int64)
	// Items yields all that was kept of a table, in no order, until yield returns an
	// error, which it returns. The Item is the caller's. yield may not call the store.
	Items(table string, yield func(Item) error) error
	// Close ends the store; pending batches are completed first.
	Close() error
}
