package broker

import (
	"slices"
	"sync"

	"sallyport/session"
	"sallyport/store"
)

// group is one shared subscription: a share name with a filter (MQTT 5.0,
// 4.8.2). A message goes to a member only when that member can send it at
// once; else it waits here, so nothing unsent is lost with a member.
//
// What waits is given out in order, as far as each member is concerned: it gets
// no message before an earlier one that it may have. A message whose only
// permitted members are busy does not hold up what others may have: see deal.
type group struct {
	b      *Broker
	name   string // $share/name/filter
	filter string
	share  string // the share name

	mu      sync.Mutex // guards the fields below; taken before any client.mu
	members []member
	next    int
	waiting []session.Entry
	bytes   int
	limits  Limits
	number  uint64 // by which the store knows what waits; 0: nothing has had to be kept
	lastSeq uint64
	over    bool   // no member is left
	tries   uint64 // of giving a message away; member.busy
	round   uint64 // of dealing all that waits; member.behind
	unseen  bool   // of what waits, some was not tried with every member that is not behind
	drops
}

type member struct {
	cl  *client
	sub *session.Subscription
	via *session.Via // of what goes to it
	// busy is the last of the group's tries in which it might have had the message
	// and could not take it. behind is the last of its rounds in which this was so for
	// a message that waits: until the next round nothing later is for it.
	busy, behind uint64
}

// groups finds groups by the filter that made them.
type groups struct {
	mu       sync.Mutex
	byFilter map[string]*group
}

func (gs *groups) all() []*group {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	list := make([]*group, 0, len(gs.byFilter))
	for _, g := range gs.byFilter {
		list = append(list, g)
	}
	return list
}

func (gs *groups) find(sub *session.Subscription) *group { return gs.named(sub.Filter) }

// named is the shared subscription of a filter, nil if there is none.
func (gs *groups) named(filter string) *group {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	return gs.byFilter[filter]
}

// ShareFilter is the filter that made the group: for a store.
func (g *group) ShareFilter() string { return g.name }

// join makes the client a member; a group that this makes has the limits. No lock is held.
func (cl *client) join(lim *Limits, sub *session.Subscription) {
	b := cl.b
	for {
		b.groups.mu.Lock()
		g := b.groups.byFilter[sub.Filter]
		if g == nil {
			g = &group{b: b, name: sub.Filter, filter: sub.Topic(), share: sub.Group(), limits: *lim}
			b.groups.byFilter[sub.Filter] = g
		}
		b.groups.mu.Unlock()
		if g.add(cl, sub) {
			return
		}
	}
}

func (cl *client) isMember(g *group) bool {
	for _, x := range cl.groups() {
		if x == g {
			return true
		}
	}
	return false
}

// add enters a member, or its changed subscription; false if the group is over.
// A subscription that has ended meanwhile is not entered: its client may be a
// member with a newer one.
func (g *group) add(cl *client, sub *session.Subscription) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return false
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if sub.Removed {
		g.endIfEmpty()
		return true
	}
	if !cl.isMember(g) {
		// A new slice: others iterate over the old one without the lock.
		cl.extra().shared = append(slices.Clone(cl.groups()), g)
	}
	for i := range g.members {
		if g.members[i].cl == cl {
			g.members[i].sub, g.members[i].via = sub, g.via(sub)
			return true
		}
	}
	g.members = append(g.members, member{cl: cl, sub: sub, via: g.via(sub)})
	g.unseen = true
	if len(g.members) == 1 {
		g.b.tree.Set(g.filter, target{group: g}, sub)
	}
	return true
}

// via is how messages come to the member with sub.
func (g *group) via(sub *session.Subscription) *session.Via {
	return &session.Via{SubIDs: sub.Via().IDs(), Share: g}
}

// groupOf is the shared subscription by which an entry came, nil for none.
func groupOf(v *session.Via) *group {
	if v == nil {
		return nil
	}
	g, _ := v.Share.(*group)
	return g
}

// leave takes a member away; the last one takes the group with it. No lock is held.
func (g *group) leave(cl *client, sub *session.Subscription) {
	g.mu.Lock()
	defer g.mu.Unlock()
	// Where it is not found the client has come back with another subscription.
	for i := range g.members {
		if g.members[i].cl == cl && g.members[i].sub == sub {
			g.members = append(g.members[:i:i], g.members[i+1:]...)
			cl.forgetGroup(g)
			break
		}
	}
	g.endIfEmpty()
}

// forgetGroup is called with g.mu held, so that no join comes between.
func (cl *client) forgetGroup(g *group) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	var rest []*group // a new slice, as in add
	for _, x := range cl.groups() {
		if x != g {
			rest = append(rest, x)
		}
	}
	if cl.extras != nil {
		cl.extras.shared = rest
	}
}

// endIfEmpty ends a group without members. The caller holds g.mu.
func (g *group) endIfEmpty() {
	if len(g.members) > 0 || g.over {
		return
	}
	g.over = true
	g.b.tree.Remove(g.filter, target{group: g})
	g.b.metrics.DroppedNoMember.Add(int64(len(g.waiting)))
	g.b.metrics.BufferedBytes.Add(-int64(g.bytes))
	g.b.metrics.Queued.Add(-int64(len(g.waiting)))
	g.waiting, g.bytes = nil, 0
	if g.number != 0 {
		var batch store.Batch
		batch.Add(store.Op{Kind: store.DeleteSession, Session: g.number})
		g.b.commit(&batch, func(error) {}) // a failure is logged; without members it ends at the next start
	}
	g.b.groups.mu.Lock()
	if g.b.groups.byFilter[g.name] == g {
		delete(g.b.groups.byFilter, g.name)
	}
	g.b.groups.mu.Unlock()
}
