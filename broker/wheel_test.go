package broker

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/packet"
)

func TestTimersFireOnceAndNeverEarly(t *testing.T) {
	start := int64(1_234_567_891)
	w := newAlarms(start)
	rnd := rand.New(rand.NewPCG(3, 4))
	now, fired := start, make(map[int]int64)
	due := make(map[int]int64)
	timers := make([]*alarm, 5000)
	for i := range timers {
		at := start + rnd.Int64N(int64(400*time.Second))
		due[i] = at
		timers[i] = &alarm{fire: func() {
			if _, again := fired[i]; again {
				t.Errorf("timer %d fired twice", i)
			}
			fired[i] = now
		}}
		w.arm(timers[i], at)
	}
	for i := 0; i < len(timers); i += 7 {
		if !w.disarm(timers[i]) {
			t.Fatalf("timer %d was not armed", i)
		}
		if w.disarm(timers[i]) {
			t.Fatalf("timer %d was armed twice", i)
		}
	}
	for now < start+int64(401*time.Second) {
		step := rnd.Int64N(int64(2 * time.Second))
		now += step
		for _, x := range w.due(now) {
			x.fire()
		}
		for i, at := range due {
			if at2, ok := fired[i]; ok {
				if at2 < at || at2 > at+int64(tick)+int64(2*time.Second) {
					t.Fatalf("timer %d for %d fired at %d", i, at, at2)
				}
				delete(due, i)
			}
		}
	}
	for i := range timers {
		if _, ok := fired[i]; ok == (i%7 == 0) {
			t.Errorf("timer %d: fired %v", i, ok)
		}
	}
	if w.armed != 0 {
		t.Errorf("%d armed at the end, want 0", w.armed)
	}
}

func TestATimerArmedAgainFiresAtItsLastTime(t *testing.T) {
	w := newAlarms(0)
	n := 0
	x := &alarm{fire: func() { n++ }}
	second := int64(time.Second)
	w.arm(x, second)
	w.arm(x, 3*second)
	w.arm(x, 200*second) // more than one turn of the wheel away
	for now := int64(0); now < 199*second; now += second / 10 {
		for _, d := range w.due(now) {
			d.fire()
		}
	}
	if n != 0 {
		t.Fatalf("fired %d times before its time", n)
	}
	for _, d := range w.due(200 * second) {
		d.fire()
	}
	w.arm(x, 0) // in the past: at the next tick
	for _, d := range w.due(201 * second) {
		d.fire()
	}
	if n != 2 {
		t.Errorf("fired %d times, want twice", n)
	}
}

func TestArmingAndDisarmingRace(t *testing.T) {
	w := newAlarms(0)
	var now, fired, disarmed atomic.Int64
	const workers, rounds = 8, 2000
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range rounds {
				done := make(chan struct{})
				x := &alarm{fire: func() { fired.Add(1); close(done) }}
				w.arm(x, now.Load())
				if w.disarm(x) {
					disarmed.Add(1)
				} else {
					<-done
				}
			}
		})
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			for _, d := range w.due(now.Add(int64(tick))) {
				d.fire()
			}
		}
	}()
	wg.Wait()
	close(stop)
	<-stopped
	if n := fired.Load() + disarmed.Load(); n != workers*rounds {
		t.Errorf("%d fired or disarmed, want %d: each exactly one of the two", n, workers*rounds)
	}
}

func TestAPanicInOneTimerLeavesTheOthers(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		c := x.connect(packet.V5, "c", kept(100), willOf("w", "x", 0))
		x.b.absences.arm(&absence{}, x.b.now()) // it has no client: a panic
		x.b.lives.arm(&Conn{}, x.b.now())       // it has no broker: a panic
		x.b.absences.arm(&absence{}, x.b.now())
		c.disconnect(packet.Success)
		x.pass(101 * time.Second)
		if n := x.b.metrics.Panics.Swap(0); n != 3 || x.b.metrics.SessionsExpired.Load() != 1 {
			t.Errorf("%d panics, %d sessions expired; want 3 and 1", n, x.b.metrics.SessionsExpired.Load())
		}
	})
}
