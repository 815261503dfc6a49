package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"sallyport/session"
	"sallyport/store"
	"sallyport/store/disk"
)

const (
	turnoverQueues = 1000
	turnoverDepth  = 10
)

// turnover measures queues that are short and never empty.
func turnover(ctx context.Context, b *bench) (err error) {
	dir := b.path("turnover")
	st, err := disk.Open(disk.Options{Dir: dir, Durability: map[string]disk.Durability{"interval": disk.Interval, "os": disk.System}[b.durability]})
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, st.Close(), os.RemoveAll(dir)) }()
	f := newFiller(st)
	for q := range turnoverQueues {
		f.session(uint64(q+1), fmt.Sprintf("device-%d", q))
	}
	rounds := uint64(max(10*turnoverDepth, b.scaled(10_000_000)/turnoverQueues))
	live, from := 0, publishers()
	began := time.Now()
	for seq := uint64(1); seq <= rounds; seq++ {
		for q := range uint64(turnoverQueues) {
			m := message(fmt.Sprintf("plant/%d/device/%d/cmd", q/100, q), 256, from[seq%uint64(len(from))])
			f.entry(q+1, seq, m)
			if seq > turnoverDepth {
				f.add(store.Op{Kind: store.DeleteEntry, Session: q + 1, Entry: session.Entry{Seq: seq - turnoverDepth}})
			}
			if seq > rounds-turnoverDepth {
				live += written(m, m.Origin)
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if seq == 2*turnoverDepth || seq%max(1, rounds/4) == 0 {
			if err := f.wait(); err != nil {
				return err
			}
			if err := b.look(st, dir, seq); err != nil {
				return err
			}
		}
	}
	size, err := folderBytes(dir)
	if err != nil {
		return err
	}
	took := time.Since(began)
	n := rounds * turnoverQueues
	b.say("turnover: %d messages through %d queues that hold %d: %.0f a second; %.1f MiB on the disk, %.1f times what is in the queues, %.1f MiB (goal: under 10)",
		n, turnoverQueues, turnoverDepth, float64(n)/took.Seconds(), float64(size)/(1<<20), float64(size)/float64(live), float64(live)/(1<<20))
	return nil
}

// look reads the head of each queue.
func (b *bench) look(st *disk.Store, dir string, seq uint64) error {
	var took []int64
	for q := range uint64(turnoverQueues) {
		begin := time.Now()
		page, err := st.Page(q+1, seq-turnoverDepth+1, seq, turnoverDepth, session.PageBytes)
		if err != nil {
			return err
		}
		took = append(took, time.Since(begin).Nanoseconds())
		if len(page) != turnoverDepth || page[0].Seq != seq-turnoverDepth+1 {
			return fmt.Errorf("queue %d has %d messages after %d", q, len(page), seq)
		}
	}
	size, err := folderBytes(dir)
	if err != nil {
		return err
	}
	slices.Sort(took)
	us := func(n int64) float64 { return float64(n) / 1e3 }
	b.say("turnover: after %d messages: the head of a queue is read in %.0f us (p50), %.0f us (p99), %.0f us at most; %.1f MiB on the disk",
		seq*turnoverQueues, us(took[len(took)/2]), us(took[len(took)*99/100]), us(took[len(took)-1]), float64(size)/(1<<20))
	return nil
}
