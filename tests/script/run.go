package script

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Peer is one connection to the broker under test.
type Peer interface {
	// Send gives the broker bytes. An error means that the broker has ended
	// the connection.
	Send(b []byte) error
	// Recv returns bytes from the broker; none, with a nil error, when the
	// broker has nothing more to send now, and io.EOF when it has ended the
	// connection and all bytes were returned.
	Recv() ([]byte, error)
	// Drop ends the connection as a broken network does.
	Drop()
}

// World is a broker under test and its clock.
type World interface {
	// Dial connects to a listener; "" is the first one.
	Dial(listener string) (Peer, error)
	// Settle returns when the broker has done all it can do now.
	Settle()
	// Sleep lets time pass.
	Sleep(d time.Duration)
}

// Run plays c. The error names the line that failed and ends with what every
// peer had received until then.
func Run(w World, c Case) error {
	r := &run{world: w, peers: map[string]*peer{}, vars: map[string]string{}}
	for i := 0; i < len(c.steps); {
		n := 1
		for c.steps[i].anyTurn && i+n < len(c.steps) && c.steps[i+n].anyTurn && c.steps[i+n].peer == c.steps[i].peer {
			n++
		}
		if err := r.play(c.steps[i : i+n]); err != nil {
			return r.report(c, c.steps[i], err)
		}
		i += n
	}
	if err := r.leftovers(); err != nil {
		return r.report(c, c.steps[len(c.steps)-1], err)
	}
	return nil
}

type run struct {
	world World
	peers map[string]*peer
	order []string
	vars  map[string]string
	log   []string
}

// peer is the script's end of a connection.
type peer struct {
	Peer
	name    string
	version int
	buf     []byte
	live    bool // dialled, and its end not yet seen by the script
	leaving bool // a DISCONNECT was sent: its end needs no line
}

func (r *run) report(c Case, s step, err error) error {
	return fmt.Errorf("%s:%d: %s\n\t%s\n\t%w\n%s", c.File, s.line, c.Name, s.text, err, strings.Join(r.log, "\n"))
}

func (r *run) note(p *peer, format string, a ...any) {
	r.log = append(r.log, "\t\t"+p.name+" "+fmt.Sprintf(format, a...))
}

// play plays one step, or a group of <~ steps of one peer.
func (r *run) play(steps []step) error {
	s := steps[0]
	if s.verb == verbSleep {
		r.world.Sleep(s.pause)
		r.world.Settle()
		return nil
	}
	p := r.peers[s.peer]
	if p == nil || !p.live {
		if s.verb >= verbExpect && s.verb != verbNothing {
			return fmt.Errorf("peer %s is not connected", s.peer)
		}
		var err error
		if p, err = r.dial(s); err != nil {
			return err
		}
	} else if s.verb == verbOpen {
		return fmt.Errorf("peer %s is connected already", s.peer)
	}
	switch s.verb {
	case verbOpen:
		return nil
	case verbSend, verbSendRaw:
		return r.send(p, s)
	case verbDrop:
		r.note(p, "> drop")
		p.Drop()
		p.live = false
		r.world.Settle()
		return nil
	case verbNothing:
		return r.expectNothing(p)
	case verbClosed:
		return r.expectClosed(p)
	default:
		return r.expect(p, steps)
	}
}

func (r *run) dial(s step) (*peer, error) {
	conn, err := r.world.Dial(s.door)
	if err != nil {
		return nil, fmt.Errorf("dial listener %q: %w", s.door, err)
	}
	p := &peer{Peer: conn, name: s.peer, version: 4, live: true}
	if s.version != 0 {
		p.version = s.version
	}
	if r.peers[s.peer] == nil {
		r.order = append(r.order, s.peer)
	}
	r.peers[s.peer] = p
	return p, nil
}

func (r *run) send(p *peer, s step) error {
	b := s.raw
	if s.verb == verbSend {
		if s.version != 0 {
			p.version = s.version
		}
		packet := Packet{Type: s.packet.Type, Fields: slices.Clone(s.packet.Fields)}
		for i, f := range packet.Fields {
			if name := variable(f.Value); name != "" {
				val, ok := r.vars[name]
				if !ok {
					return fmt.Errorf("nothing is stored as {%s}", name)
				}
				packet.Fields[i].Value = val
			}
		}
		var err error
		if b, err = encode(p.version, packet); err != nil {
			return err
		}
		p.leaving = packet.Type == "DISCONNECT"
	}
	r.note(p, "> %s", strings.TrimSpace(strings.TrimPrefix(strings.TrimPrefix(s.text, s.peer), " >")))
	if err := p.Send(b); err != nil {
		// The broker may have closed while it still had something to say: the
		// expectations that follow decide.
		r.note(p, "(send: %v)", err)
	}
	r.world.Settle()
	return nil
}

// next returns the next packet from the broker, nil if there is none now;
// io.EOF at the end of the connection.
func (r *run) next(p *peer) (*Packet, error) {
	for {
		packet, n, err := decode(p.version, p.buf)
		if err == nil {
			p.buf = p.buf[n:]
			r.note(p, "< %s", packet)
			return &packet, nil
		}
		if !errors.Is(err, errShort) {
			return nil, fmt.Errorf("the broker sent a bad packet: %w", err)
		}
		b, err := p.Recv()
		p.buf = append(p.buf, b...)
		switch {
		case len(b) > 0:
			continue
		case err == nil && len(p.buf) > 0:
			return nil, fmt.Errorf("the broker sent only a part of a packet: % x", p.buf[:min(len(p.buf), 64)])
		case err == nil:
			return nil, nil
		}
		if len(p.buf) > 0 {
			return nil, fmt.Errorf("the broker closed within a packet: % x", p.buf[:min(len(p.buf), 64)])
		}
		r.note(p, "< closed")
		return nil, io.EOF
	}
}

func (r *run) expect(p *peer, steps []step) error {
	for len(steps) > 0 {
		got, err := r.next(p)
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("the broker closed the connection")
		}
		if err != nil {
			return err
		}
		if got == nil {
			return fmt.Errorf("nothing arrived")
		}
		var mismatch error
		i := slices.IndexFunc(steps, func(s step) bool {
			err := match(s, *got, r.vars)
			if err != nil {
				mismatch = err
			}
			return err == nil
		})
		if i < 0 {
			return fmt.Errorf("got %s: %w", got, mismatch)
		}
		steps = slices.Delete(slices.Clone(steps), i, i+1)
	}
	return nil
}

func (r *run) expectNothing(p *peer) error {
	got, err := r.next(p)
	switch {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("the broker closed the connection")
	case err != nil:
		return err
	case got != nil:
		return fmt.Errorf("got %s", got)
	}
	return nil
}

func (r *run) expectClosed(p *peer) error {
	got, err := r.next(p)
	switch {
	case errors.Is(err, io.EOF):
		p.live = false
		return nil
	case err != nil:
		return err
	case got != nil:
		return fmt.Errorf("got %s before the close", got)
	}
	return fmt.Errorf("the connection is open")
}

// leftovers fails for packets and closes that no line expected.
func (r *run) leftovers() error {
	r.world.Settle()
	for _, name := range r.order {
		p := r.peers[name]
		if !p.live {
			continue
		}
		got, err := r.next(p)
		switch {
		case errors.Is(err, io.EOF):
			if !p.leaving {
				return fmt.Errorf("at the end: the broker closed the connection of %s", name)
			}
		case err != nil:
			return fmt.Errorf("at the end, %s: %w", name, err)
		case got != nil:
			return fmt.Errorf("at the end: %s got %s", name, got)
		}
	}
	// All have been looked at: one that goes may leave something to another.
	for _, name := range r.order {
		if p := r.peers[name]; p.live {
			p.Drop()
		}
	}
	return nil
}

// match compares a packet with an expectation and stores what {name} stands for.
func match(s step, got Packet, vars map[string]string) error {
	if got.Type != s.packet.Type {
		return fmt.Errorf("want %s", s.packet.Type)
	}
	for _, key := range s.absent {
		if v, ok := got.get(key); ok {
			return fmt.Errorf("%s is %s, want none", key, showValue(key, v))
		}
	}
	bound := map[string]string{}
	used := make([]bool, len(got.Fields))
	for _, want := range s.packet.Fields {
		// A key that repeats (user-prop, sub-id) matches in order.
		i := slices.IndexFunc(got.Fields, func(f Field) bool { return f.Key == want.Key })
		for i >= 0 && i < len(used) && (used[i] || got.Fields[i].Key != want.Key) {
			i++
		}
		if i < 0 || i == len(used) {
			return fmt.Errorf("%s is missing", want.Key)
		}
		used[i] = true
		have := got.Fields[i].Value
		if name := variable(want.Value); name != "" {
			if old, ok := vars[name]; !ok {
				bound[name] = have
				continue
			} else {
				want.Value = old
			}
		} else if want.Value == "*" {
			continue
		}
		if have != want.Value {
			return fmt.Errorf("%s is %s, want %s", want.Key, showValue(want.Key, have), showValue(want.Key, want.Value))
		}
	}
	for i, f := range got.Fields {
		if !used[i] && !s.loose {
			return fmt.Errorf("%s=%s was not expected", f.Key, showValue(f.Key, f.Value))
		}
	}
	for name, val := range bound {
		vars[name] = val
	}
	return nil
}
