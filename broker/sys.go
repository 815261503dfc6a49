package broker

import (
	"runtime"
	"strconv"
	"time"

	"sallyport/store"
)

// housekeep publishes the $SYS tree, removes expired retained messages and lets
// stale routes go; it ends with the broker.
func (b *Broker) housekeep() {
	defer b.work.Done()
	sweep := time.NewTicker(sweepInterval)
	defer sweep.Stop()
	routes := time.NewTicker(routeSweep)
	defer routes.Stop()
	var publish <-chan time.Time
	var last *sysState
	if b.opt.SysInterval > 0 {
		last = &sysState{sent: make(map[string]string)}
		t := time.NewTicker(b.opt.SysInterval)
		defer t.Stop()
		publish = t.C
		b.guarded(func() { b.publishSys(last) })
	}
	for {
		select {
		case <-publish:
			b.guarded(func() { b.publishSys(last) })
		case <-sweep.C:
			b.guarded(b.sweepRetained)
		case <-routes.C:
			b.guarded(b.sweepRoutes)
		case <-b.done:
			return
		}
	}
}

// sysState remembers what was published, since unchanged values are not repeated.
type sysState struct {
	sent map[string]string
	load [6]loads
	at   int64
}

// loads is a rate per minute, averaged over 1, 5 and 15 minutes.
type loads struct {
	last int64
	avg  [3]float64
}

func (l *loads) update(total int64, seconds float64) {
	rate := float64(total-l.last) / seconds * 60
	l.last = total
	for i, minutes := range [3]float64{1, 5, 15} {
		share := min(1, seconds/(60*minutes))
		l.avg[i] += (rate - l.avg[i]) * share
	}
}

// publishSys publishes the values of $SYS that have changed, under the names
// that Mosquitto made customary.
func (b *Broker) publishSys(s *sysState) {
	m := &b.metrics
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	retained, _ := b.store.RetainedCount()
	online, sessions := m.Connections.Load(), m.Sessions.Load()
	i := func(n int64) string { return strconv.FormatInt(n, 10) }
	values := [][2]string{
		{"version", b.opt.Version},
		{"uptime", i((b.now()-b.started.UnixNano())/1e9) + " seconds"},
		{"clients/connected", i(online)},
		{"clients/active", i(online)},
		{"clients/disconnected", i(max(0, sessions-online))},
		{"clients/inactive", i(max(0, sessions-online))},
		{"clients/total", i(max(sessions, online))},
		{"clients/maximum", i(m.ConnectionsMax.Load())},
		{"clients/expired", i(m.SessionsExpired.Load())},
		{"messages/received", i(m.PacketsReceived.Load())},
		{"messages/sent", i(m.PacketsSent.Load())},
		{"messages/stored", i(retained + m.Queued.Load())},
		{"publish/messages/received", i(m.PublishReceived.Load())},
		{"publish/messages/sent", i(m.PublishSent.Load())},
		{"publish/messages/dropped", i(m.Dropped())},
		{"bytes/received", i(m.BytesReceived.Load())},
		{"bytes/sent", i(m.BytesSent.Load())},
		{"subscriptions/count", i(m.Subscriptions.Load())},
		{"shared_subscriptions/count", i(m.Shared.Load())},
		{"retained messages/count", i(retained)},
		{"heap/current", i(int64(mem.HeapInuse))},
		{"store/messages/count", i(retained + m.Queued.Load())},
		{"store/messages/bytes", i(m.BufferedBytes.Load())},
	}
	now := b.now()
	if s.at != 0 {
		seconds := max(float64(now-s.at)/1e9, 0.001)
		for k, l := range []struct {
			name  string
			total int64
		}{
			{"messages/received", m.PacketsReceived.Load()}, {"messages/sent", m.PacketsSent.Load()},
			{"publish/received", m.PublishReceived.Load()}, {"publish/sent", m.PublishSent.Load()},
			{"bytes/received", m.BytesReceived.Load()}, {"bytes/sent", m.BytesSent.Load()},
		} {
			s.load[k].update(l.total, seconds)
			for j, span := range [3]string{"1min", "5min", "15min"} {
				values = append(values, [2]string{"load/" + l.name + "/" + span, strconv.FormatFloat(s.load[k].avg[j], 'f', 2, 64)})
			}
		}
	}
	s.at = now
	for name, end := range m.Certificates.All() {
		values = append(values, [2]string{"certificates/" + name + "/not_after", i(end)})
	}
	t := turn{now: now}
	for _, v := range values {
		name := "$SYS/broker/" + v[0]
		if v[1] == "" || s.sent[name] == v[1] {
			continue
		}
		s.sent[name] = v[1]
		b.publishInternal(&t, inbound{topic: name, payload: []byte(v[1]), retain: true})
	}
	t.flush()
}

// publishInternal publishes a message of the broker itself, through the same gate.
func (b *Broker) publishInternal(t *turn, in inbound) {
	in.expiryAt, in.origin = -1, b.internalFrom
	var batch store.Batch
	b.outside.RLock()
	b.publishFor(t, b.internal, &in, &batch)
	b.outside.RUnlock()
	b.commit(&batch, func(error) {}) // a value is published again when it changes; else nothing is promised
}

// Announce publishes a message of the broker itself, not retained, under $SYS.
func (b *Broker) Announce(name string, payload []byte) {
	t := turn{now: b.now()}
	b.publishInternal(&t, inbound{topic: name, payload: payload})
	t.flush()
}
