package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// start measures how long a start takes.
func start(ctx context.Context, b *bench) error {
	c := contents{retained: b.scaled(1_000_000), sessions: b.scaled(100_000), each: 10, payload: 64}
	store := b.path("start")
	began := time.Now()
	if err := fill(ctx, store, c); err != nil {
		return err
	}
	size, err := folderBytes(store)
	if err != nil {
		return err
	}
	b.say("start: %d retained messages and %d sessions with %d messages each: %d MiB, made in %v", c.retained, c.sessions, c.each, size>>20, time.Since(began).Round(time.Second))
	var took []time.Duration
	for range b.runs {
		v, err := b.serve(ctx, store, "")
		if err != nil {
			return err
		}
		err = v.holds(c)
		_, most := v.memory()
		settle(ctx, 5*time.Second) // for the memory that loading needed to be given back
		now, _ := v.memory()
		v.stop()
		if err != nil {
			return err
		}
		took = append(took, v.took)
		b.say("start: listens after %.2f s (goal: under 10 s); %d MiB resident at most until then, %d MiB 5 s later", v.took.Seconds(), most>>20, now>>20)
	}
	slices.Sort(took)
	b.say("start: median %.2f s", took[len(took)/2].Seconds())
	return os.RemoveAll(store)
}

// holds reports an error if the broker has not found what was put into its store.
func (v *broker) holds(c contents) error {
	sessions, retained, err := v.opened()
	if err != nil {
		return err
	}
	if sessions != c.sessions || retained < c.retained { // the broker retains some of its own
		return fmt.Errorf("the broker found %d sessions and %d retained messages", sessions, retained)
	}
	return nil
}

func settle(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// folderBytes is the size of a folder's files.
func folderBytes(dir string) (n int64, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		info, err := e.Info()
		switch {
		case errors.Is(err, os.ErrNotExist): // it was one of those that come and go
		case err != nil:
			return 0, err
		default:
			n += info.Size()
		}
	}
	return n, nil
}
