package bench

import (
	"slices"
	"testing"
	"time"

	"sallyport/client/clienttest"
)

func TestQueuesAreDealtToThePublishers(t *testing.T) {
	for _, tt := range []struct {
		publishers, sessions, count, pubs int
		topics                            []int
	}{
		{2, 5, 100, 2, []int{3, 2}},
		{3, 3, 100, 3, []int{1, 1, 1}},
		{8, 2, 100, 2, []int{1, 1}},
		{4, 8, 3, 3, []int{3, 3, 2}},
	} {
		r := &run{Options: Options{Publishers: tt.publishers, Subscribers: tt.sessions, Count: tt.count}}
		pubs, list := r.absent()
		topics := make([]int, pubs)
		for _, a := range list {
			if a.topic != topics[a.of] {
				t.Errorf("%+v: the topics of publisher %d have a gap", tt, a.of)
			}
			topics[a.of]++
		}
		for i, n := range topics {
			if got := shareOf(tt.sessions, pubs, i); got != n {
				t.Errorf("shareOf(%d, %d, %d) = %d, want %d", tt.sessions, pubs, i, got, n)
			}
		}
		if pubs != tt.pubs || !slices.Equal(topics, tt.topics) {
			t.Errorf("%+v: %d publishers with %v topics", tt, pubs, topics)
		}
	}
}

func TestQueuesOfUnequalSizeAreVerified(t *testing.T) {
	inEachForm(t, Queues, func(t *testing.T, b *clienttest.Broker, o Options) {
		o.QoS, o.Publishers, o.Subscribers, o.Count = 1, 3, 7, 200
		r := mustRun(t, o)
		if !r.OK() || r.Sent != 200 || r.Delivered != 200 || r.Measures["acknowledged_p99_us"] <= 0 {
			t.Errorf("%+v", r)
		}
		if n := b.Sessions(); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	})
}

func TestALostQueuedMessageIsFound(t *testing.T) {
	inEachForm(t, Queues, func(t *testing.T, b *clienttest.Broker, o Options) {
		o.QoS, o.Stall = 1, time.Second
		b.Deliver = func(n uint64, send func()) {
			if n != 50 {
				send()
			}
		}
		if r := mustRun(t, o); r.OK() || r.Lost != 1 {
			t.Errorf("%+v, want one lost", r)
		}
	})
}

func TestKeptSessionsAreEndedAndAcknowledgementsTimed(t *testing.T) {
	for qos := byte(0); qos <= 2; qos++ {
		inEachForm(t, P2P, func(t *testing.T, b *clienttest.Broker, o Options) {
			o.QoS, o.Kept = qos, true
			r := mustRun(t, o)
			if !r.OK() || r.Delivered != 400 || (qos > 0) != (r.Measures["acknowledged_p50_us"] > 0) {
				t.Errorf("QoS %d: %+v", qos, r)
			}
			if n := b.Sessions(); n != 0 {
				t.Errorf("QoS %d: %d sessions are left", qos, n)
			}
		})
	}
}
