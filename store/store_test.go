package store_test

import (
	"testing"
	"time"

	"sallyport/store"
	"sallyport/store/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Contract(t, func(*testing.T) store.Store { return store.NewMemory() })
}

func TestDouble(t *testing.T) {
	storetest.Contract(t, func(*testing.T) store.Store {
		return storetest.New(storetest.Options{Delay: func(n int) time.Duration { return time.Duration(n%3) * 100 * time.Microsecond }})
	})
}

func TestDoubleFailsWhatItIsTold(t *testing.T) {
	d := storetest.New(storetest.Options{Fail: func(n int, b *store.Batch) bool { return n == 1 && b.Ops[0].Kind == store.PutSession }})
	results := make(chan error, 3)
	for range 3 {
		var b store.Batch
		b.Add(store.Op{Kind: store.PutSession})
		d.Commit(&b, func(err error) { results <- err })
	}
	for i, want := range []error{nil, storetest.ErrFailed, nil} {
		if err := <-results; err != want {
			t.Errorf("commit %d: %v, want %v", i, err, want)
		}
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func TestBatchesAreReused(t *testing.T) {
	var b *store.Batch
	if !b.Empty() {
		t.Error("a nil batch isn't empty")
	}
	b = &store.Batch{}
	b.Add(store.Op{Kind: store.PutSession, Client: "c"})
	if b.Empty() {
		t.Error("a batch with an operation is empty")
	}
	b.Reset()
	if !b.Empty() || b.Ops[:1][0].Client != "" {
		t.Error("a reset batch keeps what it held")
	}
}
