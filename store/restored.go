package store

import "sallyport/session"

// Restored is what a store kept of one session, as it is found at the next start.
type Restored struct {
	Client   string
	Owner    *session.Origin
	Expiry   uint32 // seconds, as of PutSession
	Subs     []*session.Subscription
	Entries  []RestoredEntry // in order of Seq
	Incoming []uint16        // QoS 2 identifiers received and not released
	Will     *session.Message
	WillAt   int64 // when it is due, in nanoseconds since 1970
}

// RestoredEntry is a message that waits for a client, or is on its way to it.
type RestoredEntry struct {
	session.Entry
	Share    string // filter of the shared subscription that it comes by, empty for none
	PacketID uint16 // 0: it was never sent
	State    session.State
}
