package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"sallyport/packet"
)

const (
	mostClients = 50_000
	longest     = 20 * time.Minute // that a fleet may take to connect
)

// fleet is clients that connect all at once, and stay.
type fleet struct {
	address  string
	clients  int
	networks int
	patience time.Duration
	prove    proof
	conns    []net.Conn // of each client
	// first and most bound the random wait after an attempt that came to nothing; it
	// doubles until most.
	first, most time.Duration
}

func newFleet(b *bench) *fleet {
	return &fleet{address: b.fleet, clients: b.clients, networks: b.networks, patience: b.patience,
		conns: make([]net.Conn, b.clients), first: 2 * time.Second, most: 8 * time.Second}
}

// arrival is how a fleet came in.
type arrival struct {
	Seconds  float64 // until all were connected
	Accepted int
	Busy     int     // attempts that were answered 0x89
	Late     int     // attempts without an answer: no connection, closed, or out of patience
	Median   float64 // seconds from the first attempt of a client until it was connected
	Last     float64 // of 99 in a hundred
	Error    string  // why it did not
}

// obey does what the lines of in say, and answers each with a line of JSON, until in
// ends.
//
//	prove LINE   who they are; LINE is one for [parseProof]
//	come         those who are not connected connect
//	cut          the connections are no more, without a DISCONNECT
func (f *fleet) obey(ctx context.Context, in io.Reader, out io.Writer) error {
	defer f.cut()
	lines := bufio.NewScanner(in)
	answers := json.NewEncoder(out)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for lines.Scan() {
		var a arrival
		command, rest, _ := strings.Cut(lines.Text(), " ")
		switch command {
		case "prove":
			var err error
			if f.prove, err = parseProof(f.clients, rest); err != nil {
				return err
			}
		case "come":
			a = f.come(ctx)
		case "cut":
			if n := f.cut(); n > 0 {
				a.Error = fmt.Sprintf("%d of the fleet were disconnected by then", n)
			}
		default:
			return fmt.Errorf("what is %q", command)
		}
		if err := answers.Encode(&a); err != nil {
			return err
		}
	}
	return lines.Err()
}

// come connects all who are not connected, and returns when they are.
func (f *fleet) come(ctx context.Context) (a arrival) {
	ctx, cancel := context.WithTimeoutCause(ctx, longest, fmt.Errorf("not connected within %s", longest))
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var all sync.WaitGroup
	var mu sync.Mutex // guards a and took
	var took []float64
	began := time.Now()
	for i, c := range f.conns {
		if c != nil {
			continue
		}
		all.Go(func() {
			c, busy, late, err := f.connect(ctx, i)
			if err != nil {
				fail(err)
			}
			mu.Lock()
			defer mu.Unlock()
			a.Busy, a.Late = a.Busy+busy, a.Late+late
			if c != nil {
				f.conns[i] = c
				a.Accepted++
				took = append(took, time.Since(began).Seconds())
			}
		})
	}
	all.Wait()
	a.Seconds = time.Since(began).Seconds()
	if ctx.Err() != nil {
		a.Error = context.Cause(ctx).Error()
	}
	if n := len(took); n > 0 {
		slices.Sort(took)
		a.Median, a.Last = took[n/2], took[n*99/100]
	}
	return a
}

// connect tries until client i is connected. An answer that no client of the fleet may
// get is an error.
func (f *fleet) connect(ctx context.Context, i int) (c net.Conn, busy, late int, err error) {
	for most := f.first; ; most = min(2*most, f.most) {
		c, code, err := f.attempt(ctx, i)
		switch {
		case ctx.Err() != nil:
			if c != nil {
				_ = c.Close() // it is given up
			}
			return nil, busy, late, nil
		case errors.Is(err, errProof) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.EADDRNOTAVAIL):
			return nil, busy, late, err
		case err != nil:
			late++
		case code == packet.Success:
			return c, busy, late, nil
		case code == packet.ServerBusy:
			busy++
		default:
			return nil, busy, late, fmt.Errorf("%s is answered 0x%02x", userOf(i), byte(code))
		}
		select {
		case <-ctx.Done():
			return nil, busy, late, nil
		case <-time.After(most/4 + rand.N(most*3/4)):
		}
	}
}

// attempt is one CONNECT and its answer; the connection is nil unless that is Success.
func (f *fleet) attempt(ctx context.Context, i int) (net.Conn, packet.Code, error) {
	ctx, cancel := context.WithTimeout(ctx, f.patience)
	defer cancel()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(i%f.networks), 1)}}
	c, err := d.DialContext(ctx, "tcp", f.address)
	if err != nil {
		return nil, 0, err
	}
	end := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	code, err := f.greet(c, i)
	if !end() && err == nil {
		err = ctx.Err() // too late: the deadline is in force
	}
	if err != nil || code != packet.Success {
		_ = c.Close()
		return nil, code, err
	}
	return c, code, nil
}

// greet sends the CONNECT, answers what the broker asks, and reads the CONNACK.
func (f *fleet) greet(c net.Conn, i int) (packet.Code, error) {
	hello := packet.Connect{Version: packet.V5, CleanStart: true, ClientID: userOf(i)}
	next, err := f.prove(i, &hello)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errProof, err)
	}
	if _, err := c.Write(packet.AppendConnect(nil, &hello)); err != nil {
		return 0, err
	}
	for buffer := make([]byte, 512); ; {
		h, body, err := receive(c, buffer)
		switch {
		case err != nil:
			return 0, err
		case h.Type == packet.CONNACK:
			return welcome(h, body, next)
		case h.Type != packet.AUTH || next == nil:
			return 0, fmt.Errorf("%s in place of a CONNACK", h.Type)
		}
		answer, err := reply(h, body, hello.Props.AuthMethod, next)
		if err != nil {
			return 0, err
		}
		if _, err := c.Write(answer); err != nil {
			return 0, err
		}
	}
}

// receive reads one packet of our own broker, which sends no other after it, into buffer.
func receive(c net.Conn, buffer []byte) (packet.Header, []byte, error) {
	for have := 0; ; {
		n, err := c.Read(buffer[have:])
		if n == 0 && err != nil {
			return packet.Header{}, nil, err
		}
		have += n
		h, from, err := packet.ReadHeader(buffer[:have])
		switch {
		case err != nil:
			return h, nil, err
		case from > 0 && from+h.Length > len(buffer):
			return h, nil, fmt.Errorf("%s of %d bytes in place of a CONNACK", h.Type, h.Length)
		case from > 0 && have >= from+h.Length:
			return h, buffer[from : from+h.Length], nil
		}
	}
}

// welcome reads a CONNACK, whose success ends the exchange if there is one.
func welcome(h packet.Header, body []byte, next exchange) (packet.Code, error) {
	ack, err := packet.DecodeConnack(packet.V5, h.Flags, body, packet.Limits{})
	switch {
	case err != nil:
		return 0, err
	case ack.Code != packet.Success || next == nil:
		return ack.Code, nil
	}
	if _, done, err := next(ack.Props.AuthData); err != nil || !done {
		return 0, fmt.Errorf("%w: done is %t, %v", errProof, done, err)
	}
	return ack.Code, nil
}

// reply answers an AUTH.
func reply(h packet.Header, body []byte, method string, next exchange) ([]byte, error) {
	asked, err := packet.DecodeAuth(packet.V5, h.Flags, body, packet.Limits{})
	if err != nil {
		return nil, err
	}
	data, done, err := next(asked.Props.AuthData)
	if err != nil || done {
		return nil, fmt.Errorf("%w: done is %t, %v", errProof, done, err)
	}
	answer := packet.Auth{Code: packet.ContinueAuthentication}
	withMethod(&answer.Props, method, data)
	return packet.AppendAuth(nil, &answer), nil
}

// cut ends all connections as a network does that fails, and returns how many the
// broker had ended, or said something on, before.
func (f *fleet) cut() (gone int) {
	for i, c := range f.conns {
		if c == nil {
			continue
		}
		if !silent(c) {
			gone++
		}
		_ = c.(*net.TCPConn).SetLinger(0) // a reset
		_ = c.Close()
		f.conns[i] = nil
	}
	return gone
}
