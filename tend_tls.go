package sallyport

import (
	"crypto/x509"
	"fmt"
	"hash/maphash"
	"log/slog"
	"slices"
	"strings"
	"time"

	"sallyport/audit"
	"sallyport/certs"
	"sallyport/certs/staple"
	"sallyport/config"
	"sallyport/control"
	"sallyport/security"
)

// How often the certificates in use are looked at, when and how often an operator
// is told that one ends, and how often connected clients are gone through for those
// who are due.
const (
	certificatesEvery = time.Minute
	expiryTold        = 24 * time.Hour
	expirySoon        = 30 * 24 * time.Hour
	recheckWalk       = 30 * time.Second
)

// tending remembers what has been told of certificates and who is due.
type tlsTender struct {
	told map[string]time.Time // by what was told
	due  map[string]*recheck  // by listener
	seed maphash.Seed
}

// recheck is the clients of one listener who are due, a part of them at a time. Who
// has had the first look has the second one a recheckWalk later.
type recheck struct {
	walked        time.Time
	part          uint64
	first, second []*security.Principal
	looked        int // how many of first and of second have had it
}

// tendTLS watches over certificates until done is closed: those that end are
// warned about each day, and connected clients' are held against revocation lists
// and responders again. Start owns it.
func (s *Server) tendTLS(done <-chan struct{}) {
	t := &tlsTender{told: make(map[string]time.Time), due: make(map[string]*recheck), seed: maphash.MakeSeed()}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var looked time.Time
	for {
		select {
		case <-done:
			return
		case now := <-tick.C:
			if now.Sub(looked) >= certificatesEvery {
				looked = now
				s.tellEnds(t, now)
			}
			s.recheckClients(t, now)
		}
	}
}

// levels makes one level of a topic of a listener's name.
var levels = strings.NewReplacer("/", "_", "+", "_", "#", "_")

// tellEnds warns of certificates and revocation lists that end, once a day each.
func (s *Server) tellEnds(t *tlsTender, now time.Time) {
	s.mu.Lock()
	w := s.world
	s.mu.Unlock()
	tell := func(listener, kind, what, text string) {
		key := listener + "\x00" + kind + "\x00" + what
		if last, told := t.told[key]; told && now.Sub(last) < expiryTold {
			return
		}
		t.told[key] = now
		s.audit.Record(audit.CertificateAlarm, slog.String("listener", listener), slog.String("what", kind), slog.String("certificate", what), slog.String("text", text))
	}
	first := make(map[string]int64)
	defer func() { s.Metrics().Certificates.Set(first) }()
	for name, srv := range w.tls {
		srv.Rotate()
		for _, c := range srv.InUse() {
			gauge := levels.Replace(name) + "/" + c.Use
			if end, known := first[gauge]; !known || c.Certificate.NotAfter.Unix() < end {
				first[gauge] = c.Certificate.NotAfter.Unix()
			}
			if text := ends(c.Certificate, now); text != "" {
				tell(name, c.Use, c.Certificate.Subject.String()+" serial "+c.Certificate.SerialNumber.Text(16), text+" ("+c.File+")")
			}
		}
		for _, l := range srv.Lists() {
			if l.Alarm() {
				tell(name, "crl", l.Source, l.String()+l.Err)
			}
		}
	}
	for key, last := range t.told {
		if now.Sub(last) > 2*expiryTold {
			delete(t.told, key) // it is not in use any more
		}
	}
}

// ends says how soon a certificate ends, or that it has; "" from 30 days on.
func ends(c *x509.Certificate, now time.Time) string {
	left := c.NotAfter.Sub(now)
	switch {
	case left < 0:
		return "expired on " + c.NotAfter.UTC().Format(time.RFC3339)
	case left < expirySoon:
		return fmt.Sprintf("expires in %d days, on %s", int(left/(24*time.Hour)), c.NotAfter.UTC().Format(time.RFC3339))
	}
	return ""
}

// recheckClients ends the connections whose certificate was revoked meanwhile. In
// each half of recheck_interval every client has its turn, in which it is looked at
// twice: the first look asks for what is too old of what is remembered, and the
// second sees the answer. The looks are spread evenly, since an issuer's responder
// is asked one question at a time, and handshakes wait behind those.
func (s *Server) recheckClients(t *tlsTender, now time.Time) {
	s.mu.Lock()
	cfg, w := s.cfg, s.world
	s.mu.Unlock()
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		if l.TLS == nil || l.TLS.ClientAuth == config.ClientAuthNone || l.TLS.RecheckInterval == 0 {
			delete(t.due, l.Name)
			continue
		}
		r := t.due[l.Name]
		if r == nil {
			r = &recheck{walked: now}
			t.due[l.Name] = r
		}
		n := s.endRevoked(r.look(now, w.trusts))
		if n > 0 {
			s.log.Warn("clients disconnected: their certificates were revoked", "listener", l.Name, "disconnected", n)
		}
		if now.Sub(r.walked) >= recheckWalk {
			s.nextRecheck(t, r, l, now)
		}
	}
}

// nextRecheck finds the clients of l who are due in the time after now.
func (s *Server) nextRecheck(t *tlsTender, r *recheck, l *config.Listener, now time.Time) {
	parts := uint64(max(1, l.TLS.RecheckInterval/2/recheckWalk))
	r.part = (r.part + 1) % parts
	r.walked, r.looked, r.first, r.second = now, 0, nil, r.first
	s.broker.Revoke(func(p *security.Principal) bool {
		if p.Listener == l.Name && p.Chain != nil && maphash.String(t.seed, p.ClientID)%parts == r.part {
			r.first = append(r.first, p)
		}
		return false
	}, "")
}

// look has those looked at whose time has come, and returns the chains of who is not
// trusted: a principal may be another value by now, its chain stays.
func (r *recheck) look(now time.Time, trusts func(*security.Principal) bool) map[*security.CertChain]bool {
	share := min(1, float64(now.Sub(r.walked))/float64(recheckWalk))
	to := int(share * float64(max(len(r.first), len(r.second))))
	var out map[*security.CertChain]bool
	for _, list := range [][]*security.Principal{r.first, r.second} {
		for _, p := range list[min(r.looked, len(list)):min(to, len(list))] {
			if trusts(p) {
				continue
			}
			if out == nil {
				out = make(map[*security.CertChain]bool)
			}
			out[p.Chain] = true
		}
	}
	r.looked = to
	return out
}

// endRevoked ends the connections of those with these chains, as far as they are there still.
func (s *Server) endRevoked(who map[*security.CertChain]bool) int {
	if len(who) == 0 {
		return 0
	}
	return s.broker.Revoke(func(p *security.Principal) bool { return p.Chain != nil && who[p.Chain] }, "the client certificate was revoked or is not trusted any more")
}

// stapleAlarm is what becomes of alarms about the status of listener's certificates.
func (s *Server) stapleAlarm(listener string) func(staple.Alarm) {
	return func(a staple.Alarm) {
		s.audit.Record(audit.CertificateAlarm, slog.String("listener", listener), slog.String("what", "staple_"+string(a.Kind)),
			slog.String("certificate", a.Certificate+" serial "+a.Serial), slog.String("text", a.Reason))
	}
}

// certificateStates is the certificates that a listener depends on, those that end first at the top.
func certificateStates(srv *certs.Server) []control.CertificateStatus {
	var all []control.CertificateStatus
	for _, c := range srv.InUse() {
		all = append(all, control.CertificateStatus{
			Use: c.Use, Subject: c.Certificate.Subject.String(), Serial: c.Certificate.SerialNumber.Text(16),
			NotAfter: c.Certificate.NotAfter.UTC(), File: c.File,
		})
	}
	slices.SortStableFunc(all, func(a, b control.CertificateStatus) int { return a.NotAfter.Compare(b.NotAfter) })
	return all
}

func listStates(srv *certs.Server) []control.ListStatus {
	var all []control.ListStatus
	for _, l := range srv.Lists() {
		all = append(all, control.ListStatus{Source: l.Source, Issuer: l.Issuer, Entries: l.Entries, NextUpdate: l.NextUpdate.UTC(), Error: l.Err})
	}
	return all
}

func stapleStates(srv *certs.Server) []control.StapleStatus {
	var all []control.StapleStatus
	for _, x := range srv.Staples() {
		all = append(all, control.StapleStatus{
			Certificate: x.Certificate, Serial: x.Serial, Status: x.Status, Stapled: x.Stapled, Expires: x.Expires.UTC(),
			NextRequest: x.NextRequest.UTC(), Error: x.LastError,
		})
	}
	return all
}
