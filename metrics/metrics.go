// Package metrics is what the broker counts. Counters are plain atomics; hot
// paths add up locally and add once per batch.
package metrics

import "sync/atomic"

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
	PublishDenied     atomic.Int64
	SubscribeDenied   atomic.Int64
	SessionsExpired   atomic.Int64
	LimitsReached     atomic.Int64
	StoreFailures     atomic.Int64
	Panics            atomic.Int64

	Connections    atomic.Int64 // gauge
	ConnectionsMax atomic.Int64 // gauge, the highest yet
	Sessions       atomic.Int64 // gauge
	Subscriptions  atomic.Int64 // gauge
	Shared         atomic.Int64 // gauge, shared subscriptions
	BufferedBytes  atomic.Int64 // gauge, queues and output buffers
	Queued         atomic.Int64 // gauge, messages waiting in queues
}

// Dropped is the number of messages that some receiver did not get, for whatever reason.
func (m *Broker) Dropped() int64 {
	return m.DroppedQueueFull.Load() + m.DroppedOutputFull.Load() + m.DroppedExpired.Load() + m.DroppedTooLarge.Load() +
		m.DroppedDenied.Load() + m.DroppedNoMember.Load() + m.PublishDropped.Load()
}
