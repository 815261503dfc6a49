package bench

import (
	"errors"
	"io"
	"syscall"
	"time"

	"sallyport/internal/epoll"
)

// run takes turns until the run ends.
func (lp *loop) run() error {
	defer lp.stopSending()
	for _, e := range lp.endpoints {
		if err := lp.start(e); err != nil {
			return err
		}
	}
	rested := lp.r.now()
	for {
		events, err := lp.poll.Ready(), error(nil)
		if lp.ended.Load() {
			return nil
		}
		switch now := lp.r.now(); {
		case events == 0 && len(lp.ready) == 0 && !lp.isDue(now):
			events, err = lp.poll.Park()
			rested = lp.r.now()
		case now-rested > int64(yieldAfter):
			events, err = lp.poll.Yield()
			rested = lp.r.now()
		}
		if err == nil {
			err = lp.turn(events)
		}
		if err != nil {
			if lp.ended.Load() {
				return nil
			}
			return err
		}
	}
}

// start takes what came before the loop did, and lets a publisher begin.
func (lp *loop) start(e *endpoint) error {
	early := e.c.unread()
	e.c.release()
	if err := lp.take(e, early); err != nil {
		return err
	}
	if e.pub != nil {
		lp.touch(e)
	}
	return nil
}

// turn serves events and then every publisher that may send.
func (lp *loop) turn(events int) error {
	for i := range events {
		data, ready := lp.poll.Event(i)
		if data == timerData {
			continue // it has done its work: the loop is awake
		}
		e := lp.endpoints[data]
		if ready&epoll.Out != 0 {
			if err := lp.resume(e); err != nil {
				return err
			}
		}
		if ready&^epoll.Out != 0 {
			if err := lp.read(e); err != nil {
				return err
			}
		}
	}
	lp.collect()
	if lp.schedule != nil && lp.sending {
		if err := lp.advance(); err != nil {
			return err
		}
	}
	select {
	case <-lp.stop:
		lp.stopSending()
	default:
	}
	ready := lp.ready
	lp.ready = lp.ready[:0] // what is touched below is behind the place that is read
	for _, e := range ready {
		e.queued = false
		if err := lp.publish(e); err != nil {
			return err
		}
	}
	if lp.sending && lp.reachedLimits() {
		lp.stopSending()
	}
	return nil
}

// isDue reports whether messages have become due by now.
func (lp *loop) isDue(now int64) bool {
	return lp.schedule != nil && lp.sending && now >= lp.timer.armed
}

// advance lets messages become due and sets the timer for the next.
func (lp *loop) advance() error {
	now := lp.r.now()
	return lp.timer.arm(now, lp.schedule.advance(now, lp.due))
}

// read reads once and takes what came.
func (lp *loop) read(e *endpoint) error {
	had := copy(lp.in, e.part)
	n, errno := epoll.Read(e.fd, lp.in[had:min(len(lp.in), had+loopRead)])
	switch {
	case errno == syscall.EAGAIN:
		return nil
	case errno != 0:
		return errno
	case n == 0:
		return io.EOF
	}
	return lp.take(e, lp.in[:had+n])
}

// take handles the packets of data, keeps what is not whole, and answers.
func (lp *loop) take(e *endpoint, data []byte) error {
	var used int
	var err error
	if e.pub != nil {
		if used, err = e.pub.take(data); used > 0 {
			lp.touch(e)
		}
	} else {
		e.rec.begin()
		used, err = e.rec.take(data)
		e.rec.commit(lp.heard)
	}
	if err != nil {
		return err
	}
	if e.part = append(e.part[:0], data[used:]...); len(e.part) > len(lp.in)-loopRead {
		return errors.New("a packet larger than any that was sent")
	}
	if e.rec != nil && len(e.rec.out) > 0 {
		err = lp.write(e, e.rec.out)
		e.rec.out = e.rec.out[:0]
	}
	return err
}

// touch lets a publisher send at the end of the turn.
func (lp *loop) touch(e *endpoint) {
	if !e.queued && !e.waiting {
		e.queued = true
		lp.ready = append(lp.ready, e)
	}
}

// progress tells p's loop that a receiver of this loop has heard p.
func (lp *loop) progress(p *publisher) {
	home := lp.home[p.number]
	if home == lp {
		lp.touch(lp.seat[p.number])
		return
	}
	if home == nil {
		return // it has sent everything
	}
	if p.stirred.Swap(true) {
		return // in the mail already
	}
	home.mu.Lock()
	home.mail = append(home.mail, p)
	home.mu.Unlock()
	home.poll.Wake()
}

// collect touches the publishers that other loops' receivers have heard.
func (lp *loop) collect() {
	if len(lp.home) == 0 {
		return
	}
	lp.mu.Lock()
	defer lp.mu.Unlock()
	for _, p := range lp.mail {
		p.stirred.Store(false) // before its counters are read
		lp.touch(lp.seat[p.number])
	}
	lp.mail = lp.mail[:0]
}

// publish writes what a publisher has to answer and may send, at once.
func (lp *loop) publish(e *endpoint) error {
	p := e.pub
	out := append(lp.out[:0], p.answers...)
	p.answers = p.answers[:0]
	if lp.sending {
		out = p.fill(out)
	}
	lp.out = out[:0]
	if len(out) == 0 {
		return nil
	}
	if err := lp.write(e, out); err != nil {
		return err
	}
	if lp.sending && p.may() > 0 {
		lp.touch(e)
	}
	return nil
}

// write writes b once; what the socket doesn't take is kept for when it does.
func (lp *loop) write(e *endpoint, b []byte) error {
	if !e.waiting {
		n, errno := epoll.Write(e.fd, b)
		if errno != 0 && errno != syscall.EAGAIN {
			return errno
		}
		if b = b[n:]; len(b) == 0 {
			return nil
		}
		e.waiting = true
		if err := lp.poll.Modify(e.fd, e.index, epoll.In|epoll.Out); err != nil {
			return err
		}
	}
	e.unsent = append(e.unsent, b...)
	return nil
}

// resume goes on with what a socket didn't take.
func (lp *loop) resume(e *endpoint) error {
	n, errno := epoll.Write(e.fd, e.unsent)
	if errno != 0 && errno != syscall.EAGAIN {
		return errno
	}
	e.unsent = append(e.unsent[:0], e.unsent[n:]...)
	if len(e.unsent) > 0 {
		return nil
	}
	e.waiting = false
	if e.pub != nil {
		lp.touch(e)
	}
	return lp.poll.Modify(e.fd, e.index, epoll.In)
}

// reachedLimits reports whether every publisher has sent all it should.
func (lp *loop) reachedLimits() bool {
	for _, e := range lp.endpoints {
		if e.pub != nil && e.pub.sent.Load() < e.pub.limit {
			return false
		}
	}
	return true
}

// stopSending lets the loop's publishers send no more.
func (lp *loop) stopSending() {
	if !lp.sending {
		return
	}
	lp.sending = false
	if lp.schedule != nil {
		_ = lp.timer.arm(0, int64(time.Hour)) // else it would stay expired, and wake the loop
	}
	lp.finished()
}
