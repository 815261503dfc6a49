package main

import (
	"context"
	"errors"
	"io"
	"time"

	"sallyport/packet"
	"sallyport/tests/crash"
)

const willDelay = 1 // seconds

// willer leaves wills behind, with a delay: it connects, goes with DISCONNECT
// 0x04, and stays away until the will has come or is owed no more. That the
// broker closes the connection tells that it has read DISCONNECT.
type willer struct {
	*client
	n int
}

func (w *willer) live(ctx context.Context) {
	for ctx.Err() == nil {
		if !w.run.up.Load() || w.run.pause.Load()%2 == 1 {
			pause(ctx, 5*time.Millisecond)
			continue
		}
		w.n++
		id := crash.ID{Publisher: w.name, N: w.n}
		kind := crash.WillVoid
		if err := w.once(ctx, id); errors.Is(err, io.EOF) {
			kind = crash.WillEnded
		}
		w.run.record(crash.Event{Kind: kind, Client: w.name, Msg: id})
		if kind == crash.WillVoid {
			pause(ctx, time.Duration(20+w.rng.IntN(500))*time.Millisecond)
		}
		for ctx.Err() == nil && w.run.willDue(id) {
			pause(ctx, 10*time.Millisecond)
		}
	}
}

// once leaves one will; io.EOF says that it has.
func (w *willer) once(ctx context.Context, id crash.ID) error {
	c, err := dial(w.run.addr, w.v)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = c.nc.Close() })()
	defer func() { _ = c.nc.Close() }()
	hello := w.connectPacket()
	hello.Will = &packet.Will{QoS: 2, Topic: "crash/will/" + w.name, Payload: makePayload(id, 40)}
	hello.Will.Props.WillDelay = willDelay
	hello.Will.Props.Mark(packet.PropWillDelay)
	w.run.record(crash.Event{Kind: crash.WillSet, Client: w.name, Msg: id, Topic: hello.Will.Topic, QoS: hello.Will.QoS})
	w.run.record(crash.Event{Kind: crash.Connecting, Client: w.name, Keep: true})
	ack, err := c.connect(hello)
	if err != nil || ack.Code != packet.Success {
		return errors.New("no CONNACK")
	}
	w.run.record(crash.Event{Kind: crash.Connected, Client: w.name, Present: ack.SessionPresent})
	pause(ctx, time.Duration(w.rng.IntN(30))*time.Millisecond)
	if w.rng.IntN(5) == 0 {
		cut(c.nc, w.rng.IntN(2) == 0)
		return errors.New("cut")
	}
	return c.goodbye(packet.DisconnectWithWill)
}
