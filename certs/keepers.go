package certs

import (
	"net/netip"
	"slices"
	"time"

	"sallyport/certs/revocation"
	"sallyport/certs/staple"
	"sallyport/certs/tickets"
)

// Revocation is how client certificates are held against the word of their
// issuers; see [revocation.Options]. The zero value asks nothing.
type Revocation struct {
	CRLFiles []string // PEM or DER
	Points   bool     // ask the distribution points that certificates name
	Missing  revocation.Missing
	Expired  revocation.Expired
	OCSP     revocation.OCSP
	Wait     time.Duration // for the network, in one handshake; 0 is 2 s
	// Allow are networks that may be asked although they are not public.
	Allow []netip.Prefix
	// Within is how soon a revocation at a distribution point or responder has to
	// be known to [Server.Keeps], if it is asked twice in that time or more; 0 is
	// whenever lists end and answers get old.
	Within time.Duration
}

// Ages beyond which nothing is remembered, whatever Within allows.
const (
	maxListAge   = 24 * time.Hour
	maxAnswerAge = time.Hour
	minAge       = time.Minute // package revocation takes no less
)

// ages are how old lists and answers may get. Whoever asks each half of Within
// leaves the other half for them, and a sixth of Within is for the network and
// for those who ask late. Answers are asked for again at half of their age.
func (r *Revocation) ages() (list, answer time.Duration) {
	if r.Within == 0 {
		return maxListAge, maxAnswerAge
	}
	return min(max(r.Within/3, minAge), maxListAge), min(max(r.Within/3*2, minAge), maxAnswerAge)
}

func (r *Revocation) on() bool { return len(r.CRLFiles) > 0 || r.online() }

func (r *Revocation) online() bool { return r.Points || r.OCSP != revocation.NoOCSP }

// keepers remember what came from the network. They outlive reloads, unless
// those change what they were made with.
type keepers struct {
	online   *revocation.Online // nil if nothing is to be asked
	asking   asking             // what online was made with
	stapler  *staple.Stapler    // nil if nothing is to be stapled
	stapling Stapling           // what stapler was made with
	ring     *tickets.Ring      // nil without resumption
	fleet    bool               // ring is from a file, which is read at each reload
}

// asking is how the network is asked.
type asking struct {
	allow        []netip.Prefix
	list, answer time.Duration // greatest ages
}

func (a asking) same(b asking) bool {
	return slices.Equal(a.allow, b.allow) && a.list == b.list && a.answer == b.answer
}

// fleetRing reads the ticket keys of a fleet, if o names any.
func fleetRing(o *ServerOptions) (*tickets.Ring, []Warning, error) {
	if o.TicketFile == "" || o.NoResumption {
		return nil, nil, nil
	}
	ring, found, err := tickets.Load(o.TicketFile, o.Now())
	if err != nil {
		return nil, nil, err
	}
	var warnings []Warning
	for _, x := range found {
		warnings = append(warnings, Warning(x))
	}
	return ring, warnings, nil
}

func newKeepers(o *ServerOptions, shared *world, fleet *tickets.Ring) (keepers, error) {
	var k, old keepers
	if shared != nil {
		old = shared.keepers
	}
	switch {
	case o.NoResumption:
	case fleet != nil:
		k.ring, k.fleet = fleet, true
	case old.ring != nil && !old.fleet:
		k.ring = old.ring // so that tickets outlive reloads
	default:
		k.ring = tickets.New(o.Now)
	}
	if o.Stapling != nil {
		k.stapling, k.stapler = *o.Stapling, old.stapler
		if old.stapler == nil || old.stapling != k.stapling {
			s, err := staple.New(stapleOptions(o))
			if err != nil {
				return keepers{}, err
			}
			k.stapler = s
		}
	}
	if o.Revocation.online() {
		k.asking.allow, k.online = o.Revocation.Allow, old.online
		k.asking.list, k.asking.answer = o.Revocation.ages()
		if old.online == nil || !old.asking.same(k.asking) {
			n, err := revocation.NewOnline(revocation.OnlineOptions{
				Allow: k.asking.allow, MaxListAge: k.asking.list, MaxAnswerAge: k.asking.answer, Now: o.Now,
			})
			if err != nil {
				k.online = nil
				k.close(shared)
				return keepers{}, err
			}
			k.online = n
		}
	}
	return k, nil
}

func stapleOptions(o *ServerOptions) staple.Options {
	return staple.Options{
		OverrideURL: o.Stapling.OverrideURL, Interval: o.Stapling.Interval, Wait: o.Stapling.Wait,
		Outside: o.Outside, Now: o.Now, Log: o.Log, Alarm: o.Alarm,
	}
}

// close ends the keepers that heir does not have too.
func (k *keepers) close(heir *world) {
	var keep keepers
	if heir != nil {
		keep = heir.keepers
	}
	if k.stapler != nil && k.stapler != keep.stapler {
		k.stapler.Close()
	}
	if k.online != nil && k.online != keep.online {
		k.online.Close()
	}
}
