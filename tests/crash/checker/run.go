package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/packet"
	"sallyport/tests/crash"
)

// maxEvents bounds what is remembered between two settlements.
const maxEvents = 400_000

var errEnded = errors.New("the broker has ended by itself")

// run is a broker, its clients, and what they have seen.
type run struct {
	opt   options
	addr  string
	dir   string
	rng   *rand.Rand // owned by the loop of rounds
	child *child
	begun time.Time
	out   io.Writer

	up    atomic.Bool  // clients may connect
	pause atomic.Int32 // odd: publishers only finish what is on its way

	publishers  []*publisher
	subscribers []*subscriber
	willers     []*willer
	absent      map[*client]int // rounds for which it stays away; owned by the loop of rounds

	mu     sync.Mutex // guards the fields below
	judge  *crash.Judge
	counts map[string]int
}

func newRun(o options, dir string, port int, out io.Writer) *run {
	r := &run{
		opt: o, dir: dir, addr: fmt.Sprintf("127.0.0.1:%d", port), out: out, begun: time.Now(),
		rng:   rand.New(rand.NewPCG(o.seed, 0)),
		judge: crash.NewJudge(), counts: map[string]int{}, absent: map[*client]int{},
	}
	for i := range o.publishers {
		p := &publisher{client: r.client(fmt.Sprintf("p%d", i), i), rate: o.rate, reuse: i%2 == 0}
		p.role = p
		r.publishers = append(r.publishers, p)
	}
	for i := range o.subscribers {
		s := r.subscriber(fmt.Sprintf("s%d", i), i)
		qos := byte(2 - i/2%2)
		s.filters = []*filter{
			{filter: []string{"crash/plain/#", "crash/plain/+"}[i%2], qos: qos, wanted: true},
			{filter: "crash/keep/#", qos: 3 - qos, wanted: true},
			{filter: "crash/will/#", qos: 2, wanted: true},
			{filter: "crash/extra/+", qos: qos, wanted: true},
		}
		s.lazy = i%3 == 2
	}
	for g := range o.groups {
		for i := range o.members {
			s := r.subscriber(fmt.Sprintf("g%d-%d", g, i), i+g)
			s.shared, s.lazy = true, i == 1
			s.filters = []*filter{{filter: fmt.Sprintf("$share/g%d/crash/plain/#", g), qos: byte(2 - g%2), wanted: true}}
		}
	}
	for i := range o.wills {
		r.willers = append(r.willers, &willer{client: r.client(fmt.Sprintf("w%d", i), 0)})
	}
	return r
}

// client makes a client; every other one speaks MQTT 3.1.1.
func (r *run) client(name string, i int) *client {
	v := packet.V5
	if i%2 == 1 {
		v = packet.V311
	}
	n := uint64(1 + len(r.publishers) + len(r.subscribers) + len(r.willers))
	return &client{name: name, v: v, run: r, rng: rand.New(rand.NewPCG(r.opt.seed, n))}
}

func (r *run) subscriber(name string, i int) *subscriber {
	s := &subscriber{client: r.client(name, i), held: map[uint16]crash.ID{}}
	s.role = s
	r.subscribers = append(r.subscribers, s)
	return s
}

// record gives an event to the judge.
func (r *run) record(e crash.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.At = time.Since(r.begun)
	r.judge.Record(e)
}

func (r *run) count(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[what]++
}

func (r *run) willDue(id crash.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.judge.WillDue(id)
}

func (r *run) violations() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.judge.Counts.Violations
}

func (r *run) events() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.judge.Events()
}

// all runs the rounds. An error says that the run could not be made; what the
// broker broke is with the judge.
func (r *run) all(ctx context.Context) error {
	runtime.LockOSThread() // the kernel ties the broker to the thread that started it
	defer runtime.UnlockOSThread()
	var clients sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer clients.Wait()
	defer cancel()
	defer r.child.kill()

	if err := r.begin(ctx); err != nil {
		return err
	}
	for _, p := range r.publishers {
		clients.Go(func() { p.live(ctx) })
	}
	for _, s := range r.subscribers {
		clients.Go(func() { s.live(ctx) })
	}
	for _, w := range r.willers {
		clients.Go(func() { w.live(ctx) })
	}
	end := r.begun.Add(r.opt.duration)
	for round := 1; ; round++ {
		switch err := r.round(ctx); {
		case errors.Is(err, errEnded):
			return nil // that is recorded
		case err != nil:
			return err
		}
		last := round >= r.opt.rounds || time.Now().After(end) || r.violations() > 0
		if last || round%r.opt.settle == 0 || r.events() > maxEvents {
			if err := r.settle(ctx); err != nil {
				return err
			}
			r.report(round)
		}
		if last || r.violations() > 0 {
			return nil
		}
		r.pause.Store(r.pause.Load() &^ 1) // the pause of settle is over
	}
}

// begin starts the broker and lets the clients in.
func (r *run) begin(ctx context.Context) error {
	if err := r.child.start(); err != nil {
		return err
	}
	if err := r.child.await(ctx, r.addr, r.opt.startLimit); err != nil {
		return err
	}
	r.record(crash.Event{Kind: crash.Started})
	if r.rng.IntN(3) == 0 {
		if err := r.readRetained(); err != nil {
			return err
		}
	}
	r.up.Store(true)
	return nil
}

// round is some load, cut connections, and a kill.
func (r *run) round(ctx context.Context) error {
	r.shuffle()
	load := r.opt.loadMin + time.Duration(r.rng.Int64N(int64(r.opt.loadMax-r.opt.loadMin)+1))
	end := time.Now().Add(load)
	for time.Now().Before(end) && ctx.Err() == nil {
		pause(ctx, min(time.Until(end), time.Duration(r.rng.IntN(60))*time.Millisecond))
		if c := r.someone(); r.rng.IntN(2) == 0 {
			c.cut(r.rng.IntN(2) == 0)
		}
	}
	if !r.child.running() {
		r.record(crash.Event{Kind: crash.Fault, Client: "broker", Note: fmt.Sprintf("it has ended by itself: %v", r.child.cmd.ProcessState)})
		return errEnded
	}
	if ctx.Err() != nil || !r.opt.kill {
		return ctx.Err()
	}
	r.end()
	for r.rng.IntN(6) == 0 { // killed while it starts
		if err := r.child.start(); err != nil {
			return err
		}
		pause(ctx, time.Duration(r.rng.IntN(80))*time.Millisecond)
		r.end()
	}
	return r.begin(ctx)
}

// end kills the broker.
func (r *run) end() {
	r.record(crash.Event{Kind: crash.Killed})
	if r.opt.term {
		r.child.stop(r.opt.startLimit)
	} else {
		r.child.kill()
	}
	r.up.Store(false)
}

// someone is a client.
func (r *run) someone() *client {
	i := r.rng.IntN(len(r.publishers) + len(r.subscribers))
	if i < len(r.publishers) {
		return r.publishers[i].client
	}
	return r.subscribers[i-len(r.publishers)].client
}

// shuffle decides who stays away, who begins anew and who changes a subscription.
func (r *run) shuffle() {
	away := func(c *client, in, rounds int) {
		switch r.absent[c]--; {
		case r.absent[c] > 0:
		case r.rng.IntN(in) == 0:
			r.absent[c] = 1 + r.rng.IntN(rounds)
			c.away.Store(true)
			c.cut(r.rng.IntN(2) == 0)
		default:
			r.absent[c] = 0
			c.away.Store(false)
		}
	}
	for _, p := range r.publishers {
		away(p.client, 20, 2)
	}
	for i, s := range r.subscribers {
		away(s.client, 6, 5)
		if s.shared {
			continue
		}
		if r.rng.IntN(4) == 0 {
			s.toggle.Store(true)
		}
		if i >= 2 && r.rng.IntN(6) == 0 { // the first two keep theirs throughout
			s.renew.Store(true)
			s.cut(r.rng.IntN(2) == 0)
		}
	}
}

// settle brings everyone online, lets the publishers finish, waits until all
// that is due has come, and lets the judge judge what is missing.
func (r *run) settle(ctx context.Context) error {
	r.pause.Add(1)
	for _, p := range r.publishers {
		p.away.Store(false)
	}
	for _, s := range r.subscribers {
		s.away.Store(false)
	}
	clear(r.absent)
	r.drain(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, p := range r.publishers {
		if n := p.waiting.Load(); n > 0 {
			r.record(crash.Event{Kind: crash.Fault, Client: p.name, Note: fmt.Sprintf("%d messages are not acknowledged although it is online", n)})
		}
	}
	pause(ctx, 200*time.Millisecond) // for what comes twice
	if err := r.readRetained(); err != nil {
		return fmt.Errorf("read retained messages: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.judge.Settle()
	return nil
}

// drain waits until nothing is due, or nothing has come for a while.
func (r *run) drain(ctx context.Context) {
	least, since := -1, time.Now()
	for ctx.Err() == nil {
		n := r.due()
		if n == 0 {
			return
		}
		if least < 0 || n < least {
			least, since = n, time.Now()
		}
		if time.Since(since) > r.opt.quiet {
			return
		}
		pause(ctx, 30*time.Millisecond)
	}
}

// due is how much has to come still.
func (r *run) due() (n int) {
	for _, p := range r.publishers {
		if p.idle.Load() != r.pause.Load() {
			n += 1 + int(p.waiting.Load())
		}
	}
	for _, s := range r.subscribers {
		if !s.settled.Load() || s.renew.Load() {
			n++
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return n + r.judge.Outstanding()
}

// report is a line about what has been so far.
func (r *run) report(round int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &r.judge.Counts
	fmt.Fprintf(r.out, "%7.1fs round %d: %d kills, %d messages acknowledged, %d delivered, %d violations\n",
		time.Since(r.begun).Seconds(), round, c.Kills, c.Acknowledged, c.Delivered, c.Violations)
}

// logFile is where the broker's output goes.
func logFile(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, "broker.log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
}
