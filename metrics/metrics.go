// Package metrics is what the broker counts. Counters are plain atomics; hot
// paths add up locally and add once per batch.
package metrics

import (
	"sync"
	"sync/atomic"
)

// Broker counts what the engine does. All values only grow, except those called gauges.
type Broker struct {
	PacketsReceived  atomic.Int64
	PacketsSent      atomic.Int64
	BytesReceived    atomic.Int64
	BytesSent        atomic.Int64
	PublishReceived  atomic.Int64
	PublishSent      atomic.Int64
	PublishDropped   atomic.Int64
	ConnectsAccepted atomic.Int64
	ConnectsRefused  atomic.Int64

	DroppedQueueFull  atomic.Int64
	DroppedOutputFull atomic.Int64 // QoS 0 at the limit of output bytes
	DroppedExpired    atomic.Int64
	DroppedTooLarge   atomic.Int64 // larger than the receiver's maximum packet size
	DroppedDenied     atomic.Int64 // the receiver may not have it
	DroppedNoMember   atomic.Int64 // shared: no member may or can have it
	DroppedSource     atomic.Int64 // retained: its publisher may not publish it any more
	PublishDenied     atomic.Int64
	SubscribeDenied   atomic.Int64
	// Standing subscriptions, after a change of rules or of their client's rights:
	SubscriptionsRevoked atomic.Int64
	SubscriptionsLowered atomic.Int64
	SessionsExpired      atomic.Int64
	Limits               Limits // crossings, by the limit's name in the configuration
	StoreFailures        atomic.Int64
	Panics               atomic.Int64
	// Connections that ended on time, and re-authentications:
	CredentialsExpired       atomic.Int64
	ConnectionsExpired       atomic.Int64 // at max_auth_age or max_connection_lifetime
	Reauthenticated          atomic.Int64
	ReauthenticationsRefused atomic.Int64

	Connections    atomic.Int64 // gauge
	ConnectionsMax atomic.Int64 // gauge, the highest yet
	Sessions       atomic.Int64 // gauge
	Subscriptions  atomic.Int64 // gauge
	Shared         atomic.Int64 // gauge, shared subscriptions
	BufferedBytes  atomic.Int64 // gauge, queues and output buffers
	Queued         atomic.Int64 // gauge, messages waiting in queues
	Certificates   Ends         // gauges, when the first certificate of a listener and a use ends
}

// Dropped is the number of messages that some receiver did not get, for whatever reason.
func (m *Broker) Dropped() int64 {
	return m.DroppedQueueFull.Load() + m.DroppedOutputFull.Load() + m.DroppedExpired.Load() + m.DroppedTooLarge.Load() +
		m.DroppedDenied.Load() + m.DroppedNoMember.Load() + m.DroppedSource.Load() + m.PublishDropped.Load()
}

// Limits counts how often each limit was crossed. The zero Limits is ready for use.
type Limits struct{ byName sync.Map } // name to *atomic.Int64

// Reached counts one crossing. name is one of the program's own words, never a peer's.
func (l *Limits) Reached(name string) {
	n, ok := l.byName.Load(name)
	if !ok {
		n, _ = l.byName.LoadOrStore(name, new(atomic.Int64))
	}
	n.(*atomic.Int64).Add(1)
}

// Count is how often the limit called name was crossed.
func (l *Limits) Count(name string) int64 {
	if n, ok := l.byName.Load(name); ok {
		return n.(*atomic.Int64).Load()
	}
	return 0
}

// Each calls f for every limit that was crossed.
func (l *Limits) Each(f func(name string, crossings int64)) {
	l.byName.Range(func(k, v any) bool {
		f(k.(string), v.(*atomic.Int64).Load())
		return true
	})
}

// Ends is when things end, by name, in seconds since 1970. The zero Ends is ready for use.
type Ends struct {
	all atomic.Pointer[map[string]int64]
}

// Set replaces all of them; the map must not be changed any more.
func (e *Ends) Set(all map[string]int64) { e.all.Store(&all) }

// All returns them; the map must not be changed.
func (e *Ends) All() map[string]int64 {
	if all := e.all.Load(); all != nil {
		return *all
	}
	return nil
}
