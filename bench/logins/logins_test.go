package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	load "sallyport/bench"
	"sallyport/packet"
)

// door answers CONNECTs: client i's nth one with what answer says.
type door struct {
	net.Listener
	answer func(user string, n int) (code packet.Code, silent bool)

	mu    sync.Mutex // guards the fields below
	tries map[string]int
	nets  map[string]bool
	conns []net.Conn
}

func open(t *testing.T, answer func(string, int) (packet.Code, bool)) *door {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{Listener: l, answer: answer, tries: map[string]int{}, nets: map[string]bool{}}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go d.serve(c)
		}
	}()
	t.Cleanup(func() { _ = l.Close(); d.closeAll() })
	return d
}

func (d *door) serve(c net.Conn) {
	r := bufio.NewReader(c)
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		return
	}
	body := make([]byte, head[1]) // of less than 128 bytes
	if _, err := io.ReadFull(r, body); err != nil {
		return
	}
	hello, err := packet.DecodeConnect(body, packet.Limits{})
	if err != nil || string(hello.Password) != "secret" || hello.Username != hello.ClientID {
		_ = c.Close()
		return
	}
	d.mu.Lock()
	n := d.tries[hello.Username]
	d.tries[hello.Username]++
	host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	d.nets[host] = true
	d.conns = append(d.conns, c)
	d.mu.Unlock()
	code, silent := d.answer(hello.Username, n)
	if silent {
		_ = c.Close()
		return
	}
	_, _ = c.Write(packet.AppendConnack(nil, packet.V5, &packet.Connack{Code: code}))
}

func (d *door) closeAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.conns {
		_ = c.Close()
	}
}

func fleetOf(address string, clients int) *fleet {
	f := newFleet(&bench{fleet: address, clients: clients, networks: 3, patience: 10 * time.Second})
	f.first, f.most = 4*time.Millisecond, 8*time.Millisecond
	return f
}

// Who is sent away, or not answered, comes again until it is in; and again after a cut.
func TestAFleetComesIn(t *testing.T) {
	d := open(t, func(user string, n int) (packet.Code, bool) {
		switch {
		case user == "device-1" && n < 2:
			return packet.ServerBusy, false
		case user == "device-2" && n < 3:
			return 0, true
		}
		return packet.Success, false
	})
	f := fleetOf(d.Addr().String(), 6)
	in := strings.NewReader("prove password secret\ncome\ncut\ncome\n")
	var out bytes.Buffer
	if err := f.obey(t.Context(), in, &out); err != nil {
		t.Fatal(err)
	}
	var all []arrival
	for r := json.NewDecoder(&out); r.More(); {
		var a arrival
		if err := r.Decode(&a); err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	if len(all) != 4 {
		t.Fatalf("%d answers to four lines", len(all))
	}
	if a := all[1]; a.Accepted != 6 || a.Busy != 2 || a.Late != 3 || a.Error != "" || a.Seconds <= 0 || a.Last < a.Median {
		t.Errorf("the first time: %+v", a)
	}
	if a := all[2]; a.Error != "" {
		t.Errorf("the cut: %+v", a)
	}
	if a := all[3]; a.Accepted != 6 || a.Busy != 0 || a.Late != 0 || a.Error != "" {
		t.Errorf("the second time: %+v", a)
	}
	if len(d.nets) != 3 {
		t.Errorf("they come from %v, want three addresses", d.nets)
	}
}

func TestAWrongAnswerIsAnError(t *testing.T) {
	d := open(t, func(user string, _ int) (packet.Code, bool) {
		if user == "device-3" {
			return packet.BadUserNameOrPassword, false
		}
		return packet.ServerBusy, false // they would come for ever
	})
	f := fleetOf(d.Addr().String(), 5)
	f.prove = byPassword("secret")
	if a := f.come(t.Context()); !strings.Contains(a.Error, "device-3 is answered 0x86") {
		t.Errorf("%+v", a)
	}
}

func TestAFleetEndsWhenItIsTold(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	d := open(t, func(_ string, n int) (packet.Code, bool) {
		if n == 3 {
			cancel()
		}
		return packet.ServerBusy, false
	})
	f := fleetOf(d.Addr().String(), 2)
	f.prove = byPassword("secret")
	if a := f.come(ctx); a.Error == "" || a.Accepted != 0 {
		t.Errorf("%+v", a)
	}
}

func TestUnknownCommandsEndAFleet(t *testing.T) {
	f := fleetOf("127.0.0.1:1", 1)
	if err := f.obey(t.Context(), strings.NewReader("dance\n"), io.Discard); err == nil {
		t.Error("a fleet dances")
	}
}

func TestWhatCantBeIsRefused(t *testing.T) {
	good := func() *bench {
		return &bench{clients: 1, networks: 1, patience: 1, duration: time.Second, rate: 1, pairs: 1, workers: 1, runs: 1}
	}
	for name, spoil := range map[string]func(*bench){
		"no client":       func(b *bench) { b.clients = 0 },
		"too many":        func(b *bench) { b.clients = mostClients + 1 },
		"too many places": func(b *bench) { b.networks = 201 },
		"no time":         func(b *bench) { b.duration = 0 },
		"no run":          func(b *bench) { b.runs = 0 },
		"no worker":       func(b *bench) { b.workers = 0 },
	} {
		b := good()
		spoil(b)
		if err := run(t.Context(), b, nil); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := run(t.Context(), good(), []string{"retina"}); err == nil || !strings.Contains(err.Error(), "retina") {
		t.Errorf("an unknown row: %v", err)
	}
}

// Logins of several arrivals count together, and what others cost does not.
func TestSum(t *testing.T) {
	p := &phase{arrivals: []arrival{{Accepted: 10, Busy: 4, Late: 2, Seconds: 3}, {Accepted: 10, Busy: 2, Seconds: 1}, {Accepted: 20, Seconds: 2}}}
	p.sum(400*time.Millisecond, 8*time.Second)
	if p.cpu != 10*time.Millisecond || p.perSecond != 5 || p.seconds != 2 || p.busy != 2 || p.late != 0 {
		t.Errorf("%+v", p)
	}
}

func TestMedian(t *testing.T) {
	c := course{}
	for _, v := range []float64{9, 1, 5} {
		c.take(&phase{quiet: load.Latency{P99: 1}, during: load.Latency{P99: v}})
	}
	if got := c.median("ratio"); got != 5 {
		t.Errorf("the median ratio is %v", got)
	}
}

func TestMemoryIsRead(t *testing.T) {
	const status = "Name:\tsallyport\nVmHWM:\t   34460 kB\nVmRSS:\t   1024 kB\n"
	if got := kib(status, "VmRSS"); got != 1<<20 {
		t.Errorf("VmRSS = %d", got)
	}
	if got := kib(status, "VmSwap"); got != 0 {
		t.Errorf("VmSwap = %d", got)
	}
}

// An error tells what the broker logged last.
func TestExplain(t *testing.T) {
	v := &broker{log: t.TempDir() + "/log"}
	var text strings.Builder
	for i := range 9 {
		fmt.Fprintf(&text, "line %d\n", i)
	}
	if err := os.WriteFile(v.log, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	cause := errors.New("it failed")
	err := v.explain(cause)
	if !errors.Is(err, cause) || !strings.Contains(err.Error(), "line 8") || strings.Contains(err.Error(), "line 3\n") {
		t.Errorf("%v", err)
	}
	if err := v.explain(nil); err != nil {
		t.Errorf("no error becomes %v", err)
	}
}
