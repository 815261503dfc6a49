package session

import (
	"cmp"
	"slices"
)

// flights is what is in flight to the client. An identifier's place in the table
// is given by its low bits, and identifiers go up by one: so each is found at
// once, and nothing is allocated for a message. Where a client acknowledges out
// of order the table grows to a few times what is in flight; what then still
// stands in the way of a later identifier is set aside.
type flights struct {
	slots []Outgoing // a power of two, nil: none; ID 0 is a free place
	n     int
	aside map[uint16]*Outgoing // nil: nothing
}

const (
	firstSlots = 4
	// spareSlots is the largest table that is kept, until it is trimmed, when
	// what was in flight is acknowledged: 4 KiB hold a window of 100.
	spareSlots = 128
	// A table grows while it has less than growSlots places for each flight, and
	// shrinks when it has more than shrinkSlots.
	growSlots, shrinkSlots = 4, 16
)

// find is the flight of id, nil if there is none. It is valid until the next add or remove.
func (f *flights) find(id uint16) *Outgoing {
	if len(f.slots) == 0 || id == 0 {
		return nil
	}
	if o := &f.slots[int(id)&(len(f.slots)-1)]; o.ID == id {
		return o
	}
	return f.aside[id]
}

// add makes a flight with the first free identifier after last. The caller knows
// that there is one.
func (f *flights) add(last uint16) *Outgoing {
	id := last + 1
	for id == 0 || f.find(id) != nil {
		id++
	}
	o := f.place(id)
	for ; o == nil || o.ID != 0; o = f.place(id) {
		if len(f.slots) < growSlots*f.n || o == nil {
			f.resize(max(firstSlots, 2*len(f.slots)))
			continue
		}
		f.setAside(o)
	}
	o.ID = id
	f.n++
	return o
}

// place is where id belongs; nil while there is no table.
func (f *flights) place(id uint16) *Outgoing {
	if len(f.slots) == 0 {
		return nil
	}
	return &f.slots[int(id)&(len(f.slots)-1)]
}

// setAside makes the place of o free for a later identifier.
func (f *flights) setAside(o *Outgoing) {
	if f.aside == nil {
		f.aside = make(map[uint16]*Outgoing)
	}
	moved := *o
	f.aside[o.ID] = &moved
	*o = Outgoing{}
}

// remove ends the flight o.
func (f *flights) remove(o *Outgoing) {
	if f.aside != nil && f.aside[o.ID] == o {
		if delete(f.aside, o.ID); len(f.aside) == 0 {
			f.aside = nil
		}
	} else {
		*o = Outgoing{}
	}
	f.n--
	switch size := len(f.slots); {
	case size <= spareSlots:
	case f.n == 0:
		*f = flights{}
	case f.n < size/shrinkSlots:
		f.resize(size / 2)
	}
}

// trim gives an empty table back.
func (f *flights) trim() {
	if f.n == 0 {
		*f = flights{}
	}
}

// resize moves everything into a table of size slots.
func (f *flights) resize(size int) {
	old := *f
	f.slots, f.aside = make([]Outgoing, size), nil
	old.each(func(o *Outgoing) {
		at := f.place(o.ID)
		if at.ID != 0 {
			f.setAside(at)
		}
		*at = *o
	})
}

// each calls do with each flight, in no particular order. do changes nothing but the flight.
func (f *flights) each(do func(*Outgoing)) {
	for i := range f.slots {
		if o := &f.slots[i]; o.ID != 0 {
			do(o)
		}
	}
	for _, o := range f.aside {
		do(o)
	}
}

// sent is the identifiers of all flights in the order in which they were sent.
func (f *flights) sent() []uint16 {
	if f.n == 0 {
		return nil
	}
	type place struct {
		seq uint64
		id  uint16
	}
	all := make([]place, 0, f.n)
	f.each(func(o *Outgoing) { all = append(all, place{o.Seq, o.ID}) })
	slices.SortFunc(all, func(a, b place) int { return cmp.Compare(a.seq, b.seq) })
	ids := make([]uint16, len(all))
	for i, p := range all {
		ids[i] = p.id
	}
	return ids
}
