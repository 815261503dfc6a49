package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"sallyport/session"
	"sallyport/store"
)

// Contract tests what every store.Store promises. open makes an empty one.
func Contract(t *testing.T, open func(t *testing.T) store.Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, store.Store)
	}{
		{"every commit is completed exactly once, in order", completions},
		{"commits of several goroutines are each completed once", concurrentCompletions},
		{"Close completes what is pending, and refuses what comes later", closing},
		{"a completion may commit again", nested},
		{"a retained message is there at once", retained},
		{"a scan is in order, by filter, and goes on from its cursor", scans},
		{"a scan sees what stays, once, while others change", scanUnderChange},
		{"only an expired message is expired", expiry},
		{"items are kept by table and name", items},
		{"every message is walked over once, whatever its topic", walk},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			c.test(t, s)
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

func batch(n int) *store.Batch {
	var b store.Batch
	b.Add(store.Op{Kind: store.AddIncoming, Session: 1, PacketID: uint16(n)})
	return &b
}

func items(t *testing.T, s store.Store) {
	keep := func(ops ...store.Op) {
		t.Helper()
		done := make(chan error, 1)
		b := &store.Batch{Ops: ops}
		s.Commit(b, func(err error) { done <- err })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	item := func(table, name, value string) *store.Item {
		return &store.Item{Table: table, Name: name, Value: []byte(value)}
	}
	changed := item("accounts", "eve", "e")
	keep(
		store.Op{Kind: store.PutItem, Item: item("accounts", "ada", "1")}, store.Op{Kind: store.PutItem, Item: item("accounts", "bob", "2")},
		store.Op{Kind: store.PutItem, Item: item("blocks", "ada", "3")}, store.Op{Kind: store.PutItem, Item: item("accounts", "", "")},
		store.Op{Kind: store.PutItem, Item: changed})
	changed.Value[0] = 'x' // it is not the store's
	keep(store.Op{Kind: store.PutItem, Item: item("accounts", "bob", "4")}, store.Op{Kind: store.DeleteItem, Item: item("accounts", "ada", "")},
		store.Op{Kind: store.DeleteItem, Item: item("accounts", "nobody", "")}, store.Op{Kind: store.DeleteItem, Item: item("nothing", "ada", "")})
	for table, want := range map[string]string{"accounts": "[= bob=4 eve=e]", "blocks": "[ada=3]", "account": "[]", "": "[]"} {
		got := []string{}
		err := s.Items(table, func(i store.Item) error {
			if i.Table != table {
				t.Errorf("table %q, want %q", i.Table, table)
			}
			got = append(got, i.Name+"="+string(i.Value))
			return nil
		})
		if slices.Sort(got); err != nil || fmt.Sprint(got) != want {
			t.Errorf("table %q: %v, %v, want %s", table, got, err, want)
		}
	}
	enough, n := errors.New("enough"), 0
	if err := s.Items("accounts", func(store.Item) error { n++; return enough }); !errors.Is(err, enough) || n != 1 {
		t.Errorf("%v after %d items, want the error of whoever reads, after one", err, n)
	}
}

func completions(t *testing.T, s store.Store) {
	const n = 200
	var mu sync.Mutex
	var order []int
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		b := batch(i)
		s.Commit(b, func(err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("commit %d: %v", i, err)
			}
			order = append(order, i)
			wg.Done() // a second completion panics
		})
		b.Reset() // the store has no use for it any more
	}
	wg.Wait()
	if len(order) != n || !slices.IsSorted(order) {
		t.Errorf("completed in the order %v", order)
	}
}

func concurrentCompletions(t *testing.T, s store.Store) {
	var done, work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			last := make(chan int, 100)
			for i := range 50 {
				done.Add(1)
				s.Commit(batch(i), func(error) { last <- i; done.Done() })
			}
			for i := range 50 {
				if got := <-last; got != i {
					t.Errorf("completion %d, want %d", got, i)
				}
			}
		})
	}
	work.Wait()
	done.Wait()
}

func closing(t *testing.T, s store.Store) {
	var mu sync.Mutex
	completed := 0
	for i := range 20 {
		s.Commit(batch(i), func(err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("pending commit %d: %v", i, err)
			}
			completed++
		})
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if completed != 20 {
		t.Errorf("%d completed when Close returned, want 20", completed)
	}
	var got error
	s.Commit(batch(1), nil) // nobody waits
	s.Commit(batch(1), func(err error) { got = err })
	if got != store.ErrClosed {
		t.Errorf("a commit after Close: %v, want ErrClosed", got)
	}
}

func nested(t *testing.T, s store.Store) {
	end := make(chan struct{})
	s.Commit(batch(1), func(error) { s.Commit(batch(2), func(error) { close(end) }) })
	<-end
}

func message(topic, payload string) *session.Message {
	return &session.Message{Topic: topic, Payload: []byte(payload), ExpiryAt: -1}
}

func retained(t *testing.T, s store.Store) {
	if _, ok := s.Retained("a"); ok {
		t.Error("an empty store has a message")
	}
	first, second := message("a", "first"), message("a", "the second")
	s.Retain(first)
	if m, ok := s.Retained("a"); !ok || m != first {
		t.Error("the message is not there")
	}
	s.Retain(second)
	if n, bytes := s.RetainedCount(); n != 1 || bytes != int64(second.Size()) {
		t.Errorf("%d messages with %d bytes, want 1 with %d", n, bytes, second.Size())
	}
	s.Unretain("b")
	s.Unretain("a")
	s.Unretain("a")
	if n, bytes := s.RetainedCount(); n != 0 || bytes != 0 {
		t.Errorf("%d messages with %d bytes, want none", n, bytes)
	}
}

func scans(t *testing.T, s store.Store) {
	var want []string
	for i := range 100 {
		s.Retain(message(fmt.Sprintf("a/%02d/x", i), "v"))
		s.Retain(message(fmt.Sprintf("b/%02d", i), "v"))
		want = append(want, fmt.Sprintf("a/%02d/x", i))
	}
	s.Retain(message("$SYS/x", "v"))
	for _, work := range []int{1, 3, 1000} {
		for _, stop := range []int{1, 7, 1000} {
			var got []string
			cursor, complete := "", false
			for !complete {
				n := 0
				cursor, complete = s.ScanRetained("a/+/x", cursor, work, func(m *session.Message) bool {
					got = append(got, m.Topic)
					n++
					return n < stop
				})
			}
			if !slices.Equal(got, want) {
				t.Errorf("work %d, stopping after %d: %v", work, stop, got)
			}
		}
	}
	n := 0
	s.ScanRetained("#", "", 10_000, func(*session.Message) bool { n++; return true })
	if n != 200 {
		t.Errorf("# yields %d, want 200: what begins with $ is not for it", n)
	}
}

func scanUnderChange(t *testing.T, s store.Store) {
	for i := range 500 {
		s.Retain(message(fmt.Sprintf("stay/%03d", i), "v"))
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			s.Retain(message(fmt.Sprintf("stay/%03d-", i%500), "v"))
			s.Retain(message(fmt.Sprintf("stay/%03d", (i*7)%500), "new"))
			s.Unretain(fmt.Sprintf("stay/%03d-", (i+250)%500))
		}
	}()
	seen := make(map[string]int)
	cursor, complete := "", false
	for !complete {
		cursor, complete = s.ScanRetained("stay/+", cursor, 7, func(m *session.Message) bool {
			seen[m.Topic]++
			return true
		})
	}
	close(stop)
	<-stopped
	for i := range 500 {
		if n := seen[fmt.Sprintf("stay/%03d", i)]; n != 1 {
			t.Errorf("message %d was seen %d times, want once", i, n)
		}
	}
}

func expiry(t *testing.T, s store.Store) {
	m := message("a", "v")
	m.Expires = 100
	s.Retain(m)
	s.Retain(message("b", "v"))
	for _, c := range []struct {
		topic string
		now   int64
		want  bool
	}{{"a", 99, false}, {"none", 100, false}, {"b", 1 << 60, false}, {"a", 100, true}, {"a", 100, false}} {
		if got := s.UnretainIf(c.topic, func(m *session.Message) bool { return m.Expired(c.now) }); got != c.want {
			t.Errorf("UnretainIf(%q) expired at %d = %v, want %v", c.topic, c.now, got, c.want)
		}
	}
	if n, _ := s.RetainedCount(); n != 1 {
		t.Errorf("%d messages, want 1", n)
	}
}

func walk(t *testing.T, s store.Store) {
	want := []string{"$SYS/x", "$other", "/", "a", "a/b", "b"}
	for _, name := range want {
		s.Retain(message(name, "v"))
	}
	for _, work := range []int{0, 1, 2, 1000} {
		for _, stop := range []int{1, 4, 1000} {
			var got []string
			cursor, complete := "", false
			for !complete {
				n := 0
				cursor, complete = s.EachRetained(cursor, work, func(m *session.Message) bool {
					got = append(got, m.Topic)
					n++
					return n < stop
				})
			}
			if !slices.Equal(got, want) {
				t.Errorf("work %d, stopping after %d: %v", work, stop, got)
			}
		}
	}
}
