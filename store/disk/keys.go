package disk

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
)

// The kinds of records, each the first byte of its keys.
const (
	kindMeta         = 'm' // name
	kindSession      = 's' // session
	kindSubscription = 'u' // session, hash of the filter
	kindEntry        = 'q' // session, Seq: one message, or a bundle that begins with it
	kindGone         = 'g' // session, Seq of a bundle: what of it waits no more
	kindRun          = 'n' // session, Seq of the first: messages on their way
	kindFlight       = 'f' // session, Seq: one whose exchange has gone on since
	kindIncoming     = 'i' // session, packet identifier
	kindWill         = 'w' // session
	kindMessage      = 'p' // number of a message that several sessions wait for
	kindRetained     = 'r' // hash of the topic
	kindOrigin       = 'o' // hash of a publisher
	kindItem         = 'a' // hash of the table, hash of the name within it
)

// hashBytes is how much of a hash a key holds.
const hashBytes = 16

func key(kind byte, id uint64) []byte {
	return appendKey(make([]byte, 0, 17), kind, id)
}

func keyOf(kind byte, sid, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(key(kind, sid), seq)
}

func appendKey(b []byte, kind byte, id uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, kind), id)
}

func appendKeyOf(b []byte, kind byte, sid, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(appendKey(b, kind, sid), seq)
}

func appendIncomingKey(b []byte, sid uint64, id uint16) []byte {
	return binary.BigEndian.AppendUint16(appendKey(b, kindIncoming, sid), id)
}

// hash is a name as keys hold it: who has the disk and not its key can't tell which it is.
func (s *Store) hash(dst []byte, name string) []byte {
	h := hmac.New(sha256.New, s.hashKey[:])
	h.Write([]byte(name))
	return append(dst, h.Sum(nil)[:hashBytes]...)
}

func (s *Store) retainedKey(topic string) []byte {
	return s.hash(append(make([]byte, 0, 1+hashBytes), kindRetained), topic)
}

// itemsKey is where the items of a table begin.
func (s *Store) itemsKey(table string) []byte {
	return s.hash(append(make([]byte, 0, 1+2*hashBytes), kindItem), "table\x00"+table)
}

func (s *Store) itemKey(table, name string) []byte {
	return s.hash(s.itemsKey(table), "item\x00"+name)
}

func (s *Store) subscriptionKey(sid uint64, filter string) []byte {
	return s.hash(append(make([]byte, 0, 9+hashBytes), key(kindSubscription, sid)...), filter)
}
