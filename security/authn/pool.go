package authn

import (
	"fmt"
	"net/netip"
	"sync"
)

// PoolOptions bounds what authentication may take.
type PoolOptions struct {
	Workers int   // hashes computed at once; at least 1
	Memory  int64 // bytes for all workers' hashes together
	Queue   int   // jobs that may wait; at least 1
	// Working is told true when a worker begins while no other works, and false when the
	// last one has found nothing more to do; one call at a time. It may not wait for the pool.
	Working func(bool)
	// Worked is called by a worker after each job, before it takes the next; nil: nothing.
	Worked func()
}

// Pool runs jobs on a fixed number of workers. What waits is queued by network
// and served one network after the other, so that a flood from one delays the
// others by at most one job per round. When the queue is full, a newcomer
// displaces the youngest job of the network with the most jobs, provided that
// one still has more afterwards; else the newcomer is refused.
type Pool struct {
	memoryPerWorker int64
	limit           int
	told            func(working bool) // or nil
	worked          func()             // or nil
	running         sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	work   sync.Cond  // a job was added, or closed was set
	flows  map[netip.Prefix]*flow
	ring   []*flow // those with jobs; served from index turn on
	turn   int
	queued int
	busy   int // workers that have a job
	closed bool
}

// flow is the waiting jobs of one network.
type flow struct {
	prefix netip.Prefix
	jobs   []*Job // the oldest first
}

// Job is one piece of work for the pool. Exactly one of Run and Drop is called,
// once: Run by a worker, Drop with the reason when the job is given up.
type Job struct {
	Run  func()
	Drop func(err error)
}

// leastMemory is the memory of the smallest hash, in bytes.
const leastMemory = 8 << 10

// NewPool starts the workers. It fails when the memory is not enough for even
// the smallest hash on every worker.
func NewPool(o PoolOptions) (*Pool, error) {
	if o.Workers < 1 || o.Workers > 1024 {
		return nil, fmt.Errorf("authn: workers %d must be from 1 to 1024", o.Workers)
	}
	if o.Queue < 1 {
		return nil, fmt.Errorf("authn: queue %d must be at least 1", o.Queue)
	}
	p := &Pool{
		memoryPerWorker: o.Memory / int64(o.Workers),
		limit:           o.Queue,
		told:            o.Working,
		worked:          o.Worked,
		flows:           map[netip.Prefix]*flow{},
	}
	if p.memoryPerWorker < leastMemory {
		return nil, fmt.Errorf("authn: hash memory of %d bytes is too little for %d workers", o.Memory, o.Workers)
	}
	p.work.L = &p.mu
	for range o.Workers {
		p.running.Go(p.worker)
	}
	return p, nil
}

// MemoryPerWorker is what one hash may take, in KiB: the Limits.Memory for
// every password file whose hashes the pool computes.
func (p *Pool) MemoryPerWorker() uint32 { return uint32(min(p.memoryPerWorker>>10, 1<<32-1)) }

// SourcePrefix is the network that addr counts as in the queue: the address
// itself for IPv4, /64 for IPv6. All without an address count as one.
func SourcePrefix(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no address: a local transport
	}
	return prefix
}

// Submit queues a job of a network. It never waits: ErrBusy says that the
// queue is full, and then neither Run nor Drop is called.
func (p *Pool) Submit(prefix netip.Prefix, job *Job) error {
	displaced, err := p.enqueue(prefix, job)
	if displaced != nil {
		displaced.Drop(ErrBusy)
	}
	return err
}

func (p *Pool) enqueue(prefix netip.Prefix, job *Job) (displaced *Job, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	f := p.flows[prefix]
	if p.queued >= p.limit {
		waiting := 0
		if f != nil {
			waiting = len(f.jobs)
		}
		if displaced = p.displace(waiting); displaced == nil {
			return nil, ErrBusy
		}
	}
	if f = p.flows[prefix]; f == nil {
		f = &flow{prefix: prefix}
		p.flows[prefix] = f
		p.ring = append(p.ring, f)
	}
	f.jobs = append(f.jobs, job)
	p.queued++
	p.work.Signal()
	return displaced, nil
}

// displace takes the youngest job of the longest flow, if that one stays
// longer than a flow with waiting jobs and one more; mu is held.
func (p *Pool) displace(waiting int) *Job {
	var longest *flow
	for _, f := range p.ring {
		if longest == nil || len(f.jobs) > len(longest.jobs) {
			longest = f
		}
	}
	if longest == nil || len(longest.jobs) < waiting+2 {
		return nil
	}
	last := len(longest.jobs) - 1
	job := longest.jobs[last]
	longest.jobs[last] = nil
	longest.jobs = longest.jobs[:last]
	p.queued--
	return job
}

// next waits for the job whose turn it is; nil ends the worker. had says that the
// worker comes from another job.
func (p *Pool) next(had bool) *Job {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.queued == 0 || p.closed {
		if had {
			p.count(-1)
			had = false
		}
		if p.closed {
			return nil
		}
		p.work.Wait()
	}
	if !had {
		p.count(1)
	}
	if p.turn >= len(p.ring) {
		p.turn = 0
	}
	f := p.ring[p.turn]
	job := f.jobs[0]
	f.jobs[0] = nil
	f.jobs = f.jobs[1:]
	p.queued--
	if len(f.jobs) > 0 {
		p.turn++
		return job
	}
	// Without jobs it leaves the ring; the one behind it moves to its place and is next.
	delete(p.flows, f.prefix)
	copy(p.ring[p.turn:], p.ring[p.turn+1:])
	p.ring[len(p.ring)-1] = nil
	p.ring = p.ring[:len(p.ring)-1]
	return job
}

// count adds a worker that has a job, or takes one away, and tells; mu is held.
func (p *Pool) count(n int) {
	was := p.busy > 0
	p.busy += n
	if is := p.busy > 0; is != was && p.told != nil {
		p.told(is)
	}
}

func (p *Pool) worker() {
	for job := p.next(false); job != nil; job = p.next(true) {
		job.Run()
		if p.worked != nil {
			p.worked()
		}
	}
}

// Queued is the number of waiting jobs.
func (p *Pool) Queued() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queued
}

// Close drops what waits with ErrClosed, and returns when the workers have
// finished what they were at.
func (p *Pool) Close() {
	p.mu.Lock()
	var left []*Job
	for _, f := range p.ring {
		left = append(left, f.jobs...)
	}
	p.flows, p.ring, p.queued = map[netip.Prefix]*flow{}, nil, 0
	p.closed = true
	p.work.Broadcast()
	p.mu.Unlock()
	for _, job := range left {
		job.Drop(ErrClosed)
	}
	p.running.Wait()
}
