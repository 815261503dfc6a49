package authn

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
)

func prefix(s string) netip.Prefix { return SourcePrefix(netip.MustParseAddr(s)) }

func newPool(t testing.TB, workers, queue int) *Pool {
	t.Helper()
	p, err := NewPool(PoolOptions{Workers: workers, Memory: 64 << 20, Queue: queue})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// hold keeps a pool's only worker busy until the returned function is called.
func hold(t testing.TB, p *Pool) (release func()) {
	t.Helper()
	held, free := make(chan struct{}), make(chan struct{})
	job := &Job{Run: func() { close(held); <-free }, Drop: func(error) {}}
	if err := p.Submit(prefix("192.0.2.99"), job); err != nil {
		t.Fatal(err)
	}
	<-held
	return sync.OnceFunc(func() { close(free) })
}

// record collects what happens to jobs, in order.
type record struct {
	mu  sync.Mutex
	log []string
	all sync.WaitGroup
}

func (r *record) job(name string) *Job {
	r.all.Add(1)
	note := func(s string) {
		r.mu.Lock()
		r.log = append(r.log, s)
		r.mu.Unlock()
		r.all.Done()
	}
	return &Job{Run: func() { note(name) }, Drop: func(err error) { note(name + " dropped") }}
}

func (r *record) submit(t *testing.T, p *Pool, from, name string) error {
	t.Helper()
	err := p.Submit(prefix(from), r.job(name))
	if err != nil {
		r.all.Done()
	}
	return err
}

func TestPoolServesNetworksInTurn(t *testing.T) {
	p := newPool(t, 1, 100)
	release := hold(t, p)
	defer release()
	var r record
	for i := range 4 {
		for _, err := range []error{r.submit(t, p, "198.51.100.1", fmt.Sprint("a", i))} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = r.submit(t, p, "198.51.100.2", "b0") // can't fail: the queue has room
	_ = r.submit(t, p, "2001:db8::1", "c0")
	_ = r.submit(t, p, "2001:db8::2", "c1")
	release()
	r.all.Wait()
	if got, want := strings.Join(r.log, " "), "a0 b0 c0 a1 c1 a2 a3"; got != want {
		t.Errorf("order %s, want %s", got, want)
	}
}

func TestFloodFromOneNetworkDoesNotStarveAnother(t *testing.T) {
	p := newPool(t, 1, 4)
	release := hold(t, p)
	defer release()
	var r record
	for i := range 4 {
		if err := r.submit(t, p, "198.51.100.1", fmt.Sprint("a", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.submit(t, p, "198.51.100.1", "a4"); !errors.Is(err, ErrBusy) {
		t.Errorf("a full queue answers %v to the one who filled it", err)
	}
	for _, from := range []string{"198.51.100.2", "198.51.100.3"} {
		if err := r.submit(t, p, from, "n"+from[len(from)-1:]); err != nil {
			t.Errorf("a full queue answers %v to %s", err, from)
		}
	}
	// Now 2 + 1 + 1: to displace once more would gain nothing in fairness.
	if err := r.submit(t, p, "198.51.100.2", "n2 again"); !errors.Is(err, ErrBusy) {
		t.Errorf("an even queue answers %v", err)
	}
	release()
	r.all.Wait()
	if got, want := strings.Join(r.log, ", "), "a3 dropped, a2 dropped, a0, n2, n3, a1"; got != want {
		t.Errorf("order %s, want %s", got, want)
	}
}

func TestPoolCloses(t *testing.T) {
	p := newPool(t, 1, 4)
	release := hold(t, p)
	var r record
	_ = r.submit(t, p, "198.51.100.1", "a") // can't fail: the queue has room
	closed := make(chan struct{})
	go func() { p.Close(); close(closed) }()
	r.all.Wait()
	if r.log[0] != "a dropped" {
		t.Errorf("log %v", r.log)
	}
	release()
	<-closed
	if err := p.Submit(prefix("198.51.100.1"), &Job{}); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed pool answers %v", err)
	}
	p.Close() // a second time changes nothing
}

// Work that follows on work is one piece; the end of the pool ends it, too.
func TestPoolTellsWhenItWorks(t *testing.T) {
	told := make(chan bool, 10)
	p, err := NewPool(PoolOptions{Workers: 2, Memory: 64 << 20, Queue: 10, Working: func(working bool) { told <- working }})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		first, second := hold(t, p), hold(t, p)
		done := make(chan struct{})
		if err := p.Submit(prefix("192.0.2.1"), &Job{Run: func() { close(done) }}); err != nil {
			t.Fatal(err)
		}
		if !<-told {
			t.Error("the first job is told as the end")
		}
		first()
		<-done
		if len(told) > 0 {
			t.Errorf("told %t while a worker has a job", <-told)
		}
		second()
		if <-told {
			t.Error("the end is told as a beginning")
		}
	}
	release := hold(t, p)
	if !<-told {
		t.Error("the next job is told as the end")
	}
	closed := make(chan struct{})
	go func() { p.Close(); close(closed) }()
	release()
	<-closed
	if len(told) != 1 || <-told {
		t.Error("a pool that is closed does not tell that it has ended its work")
	}
}

func TestPoolBounds(t *testing.T) {
	for _, o := range []PoolOptions{
		{Workers: 0, Memory: 1 << 30, Queue: 1},
		{Workers: 2000, Memory: 1 << 30, Queue: 1},
		{Workers: 1, Memory: 1 << 30, Queue: 0},
		{Workers: 4, Memory: 4 << 10, Queue: 1},
		{Workers: 1, Memory: -1, Queue: 1},
	} {
		if p, err := NewPool(o); err == nil {
			p.Close()
			t.Errorf("%+v is accepted", o)
		}
	}
	p, err := NewPool(PoolOptions{Workers: 4, Memory: 128 << 20, Queue: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if got := p.MemoryPerWorker(); got != 32<<10 {
		t.Errorf("MemoryPerWorker() = %d KiB, want %d", got, 32<<10)
	}
}

func TestSourcePrefix(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1":         "192.0.2.1/32",
		"::ffff:192.0.2.1":  "192.0.2.1/32",
		"2001:db8:1:2:3::4": "2001:db8:1:2::/64",
		"fe80::1%eth0":      "fe80::/64",
	} {
		if got := prefix(in).String(); got != want {
			t.Errorf("SourcePrefix(%s) = %s, want %s", in, got, want)
		}
	}
	if SourcePrefix(netip.Addr{}).IsValid() {
		t.Error("no address has a prefix")
	}
}

// Nothing new is begun until what comes after a job is done.
func TestAWorkerTellsAfterEachJob(t *testing.T) {
	var steps []string // of the one worker; read after Close
	p, err := NewPool(PoolOptions{Workers: 1, Memory: 64 << 20, Queue: 10, Worked: func() { steps = append(steps, "told") }})
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Add(2)
	for range 2 {
		if err := p.Submit(netip.Prefix{}, &Job{Run: func() { steps = append(steps, "ran"); done.Done() }, Drop: func(err error) { t.Error(err); done.Done() }}); err != nil {
			t.Fatal(err)
		}
	}
	done.Wait()
	p.Close()
	if want := []string{"ran", "told", "ran", "told"}; !slices.Equal(steps, want) {
		t.Errorf("%q, want %q", steps, want)
	}
}
