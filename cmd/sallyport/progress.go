package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"sallyport/store/backup"
)

// progress tells at a terminal, in one line, how far a long work is.
type progress struct {
	w     io.Writer // nil: nobody is told
	what  string
	total int64 // bytes; 0: nobody knows
	done  int64
	begin time.Time
	last  time.Time
}

const progressEvery = 200 * time.Millisecond

func newProgress(e *env, quiet bool) *progress {
	if quiet || !e.stderrTTY {
		return &progress{}
	}
	return &progress{w: e.stderr}
}

// start begins a part of the work.
func (p *progress) start(what string, total int64) {
	p.what, p.total, p.done, p.begin = what, total, 0, time.Now()
	p.tell(time.Now())
}

// add says that n bytes more are done.
func (p *progress) add(n int64) {
	p.done += n
	if p.w == nil {
		return
	}
	if now := time.Now(); now.Sub(p.last) >= progressEvery {
		p.tell(now)
	}
}

func (p *progress) tell(now time.Time) {
	if p.w == nil {
		return
	}
	p.last = now
	text := p.what
	if p.total > 0 {
		text += fmt.Sprintf("  %s of %s  %d %%", size(p.done), size(p.total), p.done*100/p.total)
	} else if p.done > 0 {
		text += "  " + size(p.done)
	}
	if took := now.Sub(p.begin); took >= progressEvery && p.done > 0 {
		text += fmt.Sprintf("  %s/s", size(int64(float64(p.done)/took.Seconds())))
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s", text)
}

// end takes the line away.
func (p *progress) end() {
	if p.w != nil {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// watch tells of what v visits, until ctx ends.
func (p *progress) watch(ctx context.Context, what string, v backup.Visitor) backup.Visitor {
	return backup.Visitor{
		Begin: func(h *backup.Header) error {
			p.start(what, h.Bytes())
			if v.Begin == nil {
				return nil
			}
			return v.Begin(h)
		},
		File: func(f backup.File, r io.Reader) error {
			r = &told{ctx: ctx, r: r, p: p}
			if v.File == nil {
				_, err := io.Copy(io.Discard, r)
				return err
			}
			return v.File(f, r)
		},
	}
}

// told is what is read with progress.
type told struct {
	ctx context.Context
	r   io.Reader
	p   *progress
}

func (t *told) Read(b []byte) (int, error) {
	if err := t.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := t.r.Read(b)
	t.p.add(int64(n))
	return n, err
}

// size is a number of bytes for people.
func size(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	x, unit := float64(n)/(1<<10), 0
	for x >= 1024 && unit < 4 {
		x, unit = x/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", x, "KMGTP"[unit])
}
