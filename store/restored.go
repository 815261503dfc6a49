package store

import "sallyport/session"

// Restored is what a store kept of one session, as it is found at the next start.
type Restored struct {
	Number     uint64
	Client     string
	Group      bool // it is of a shared subscription, whose filter Client is
	Owner      *session.Origin
	Expiry     uint32 // seconds, as of PutSession
	Subs       []*session.Subscription
	Entries    []RestoredEntry // in order of Seq; those that were never sent may be without their message, which a Pager has
	LastSeq    uint64
	Incoming   []uint16 // QoS 2 identifiers received and not released
	Will       *session.Message
	WillExpiry uint32 // seconds
	WillAt     int64  // when it is due, in nanoseconds since 1970
}

// RestoredEntry is a message that waits for a client, or is on its way to it.
type RestoredEntry struct {
	session.Entry
	Share    string // filter of the shared subscription that it comes by, empty for none
	PacketID uint16 // 0: it was never sent
	State    session.State
}

// Restorer is a Store that has outlived a process.
type Restorer interface {
	// Restore gives up, once, what was kept of sessions when the store was opened,
	// and the highest number that one has had.
	Restore() (kept []*Restored, last uint64)
}

// Pager is a Store that has the messages of sessions ready to be read, so that who
// has many waiting need not hold them: those whose Kept is true.
type Pager interface {
	// Page reads entries of a session whose Seq is first or later, in order, until
	// there are as many bytes or entries as asked for, but one at least. What has been
	// deleted is missing. It blocks for as long as a disk does.
	Page(session, first, last uint64, entries, bytes int) ([]RestoredEntry, error)
}
