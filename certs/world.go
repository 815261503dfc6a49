package certs

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"

	"sallyport/certs/acme"
	"sallyport/certs/keystore"
	"sallyport/certs/staple"
	"sallyport/certs/tickets"
	"sallyport/internal/suites"
)

// world is what one (re)load made: immutable, but for what its keepers remember.
type world struct {
	plain      *tls.Config
	alpn       map[string]*tls.Config // plain, confirming one protocol
	nobody     *tls.Config            // for a server name that is refused
	identities []*identity
	directory  *keystore.Directory // nil with one certificate
	acme       *acme.Keeper        // nil where files have the certificates
	byPair     map[*keystore.Pair]*identity
	protocols  []string // of alpn, favourite first
	clientCA   string   // the file
	speaks     *suites.Set
	trust      *trust
	tickets    *tickets.Binding // nil without resumption
	scope      tickets.Scope    // of tickets
	keepers    keepers
}

// identity is a certificate with its key, and its status.
type identity struct {
	pair   *keystore.Pair
	cert   *tls.Certificate
	staple *staple.Staple // nil where nothing is stapled
}

// certificate is what i shows to a client.
func (i *identity) certificate(hello *tls.ClientHelloInfo) *tls.Certificate {
	if i.staple != nil {
		return i.staple.Certificate(hello)
	}
	return i.cert
}

// build reads everything; shared is a world whose keepers may be used again.
func build(o *ServerOptions, shared *world) (*world, []Warning, error) {
	w := &world{
		alpn: make(map[string]*tls.Config), byPair: make(map[*keystore.Pair]*identity),
		protocols: o.ALPN, clientCA: o.ClientCAFile, acme: o.ACME,
	}
	var wrong []suites.Wrong
	if w.speaks, wrong = o.Choice.Set(); wrong != nil {
		return nil, nil, o.Choice.Err()
	}
	warnings, err := w.loadPairs(o)
	if err != nil {
		return nil, nil, err
	}
	var more []Warning
	var ring *tickets.Ring
	if ring, more, err = fleetRing(o); err != nil {
		return nil, nil, err
	}
	warnings = append(warnings, more...)
	if w.trust, more, err = loadTrust(o); err != nil {
		return nil, nil, err
	}
	warnings = append(warnings, more...)
	// From here on nothing is read: what is begun on the network is not given up again.
	if w.keepers, err = newKeepers(o, shared, ring); err != nil {
		return nil, nil, err
	}
	if err := w.trust.judge(o, w.keepers.online); err != nil {
		w.close(shared)
		return nil, nil, err
	}
	warnings = append(warnings, w.keepStatus(o)...)
	if o.Idle && w.keepers.stapler != nil {
		w.keepers.stapler.Close() // its preconditions are all that is wanted
	}
	w.configure(o)
	return w, warnings, nil
}

// loadPairs reads the server's own certificates.
func (w *world) loadPairs(o *ServerOptions) ([]Warning, error) {
	var pairs []*keystore.Pair
	var found []keystore.Warning
	if o.ACME != nil {
		pair, err := obtained(o.ACME)
		if err != nil {
			return nil, err
		}
		if pair != nil {
			pairs = append(pairs, pair)
		}
	} else if o.Directory != nil {
		var err error
		if w.directory, found, err = o.Directory.Load(); err != nil {
			return nil, err
		}
		pairs = w.directory.Pairs
	} else {
		pair, list, err := keystore.Source{
			File: o.CertFile, KeyFile: o.KeyFile, Password: o.Password, KeyPassword: o.KeyPassword, Alias: o.Alias,
		}.Load()
		if err != nil {
			return nil, err
		}
		pairs, found = []*keystore.Pair{pair}, list
	}
	warnings := fromStore(found)
	for _, p := range pairs {
		if why := p.OutsideFIPS(); o.FIPS && why != "" {
			return nil, fmt.Errorf("%s %s", p.File, why)
		}
		if err := w.speaks.Fits(suites.KeyOf(p.Leaf().PublicKey)); err != nil {
			return nil, fmt.Errorf("%s: %w", p.File, err)
		}
		warnings = append(warnings, inspectLeaf(p.File, p.Leaf(), o.Now())...)
		cert := p.Certificate()
		i := &identity{pair: p, cert: &cert}
		w.identities = append(w.identities, i)
		w.byPair[p] = i
	}
	return warnings, nil
}

// keepStatus begins to keep the OCSP status of each certificate.
func (w *world) keepStatus(o *ServerOptions) []Warning {
	var warnings []Warning
	for _, i := range w.identities {
		warn := func(text string) { warnings = append(warnings, Warning{File: i.pair.File, Text: text}) }
		if w.keepers.stapler == nil {
			if staple.Demanded(i.pair.Leaf()) {
				warn("certificate demands that its OCSP status is stapled, and ocsp_stapling is off: clients may refuse it")
			}
			continue
		}
		var notes []staple.Warning
		var err error
		// Without its preconditions the listener serves nevertheless, and says so.
		i.staple, notes, err = w.keepers.stapler.Add(i.cert, nil)
		if err != nil {
			warn("no OCSP status can be stapled: " + err.Error())
		}
		for _, n := range notes {
			warn(string(n))
		}
	}
	return warnings
}

// configure makes the configurations of handshakes.
func (w *world) configure(o *ServerOptions) {
	w.plain = &tls.Config{
		GetCertificate: w.certificateFor,
		ClientAuth:     o.ClientAuth,
		ClientCAs:      w.trust.pool,
		Time:           o.Now,
		// The broker flushes in batches: small first records only cost writes.
		DynamicRecordSizingDisabled: true,
		// Called on resumption too, unlike VerifyPeerCertificate.
		VerifyConnection: w.verifyConnection,
	}
	w.plain.SessionTicketsDisabled = o.NoResumption
	w.speaks.Apply(w.plain)
	for _, protocol := range o.ALPN {
		c := w.plain.Clone()
		c.NextProtos = []string{protocol}
		w.alpn[protocol] = c
	}
	w.scope = tickets.Scope{
		Listener: o.Name, Trust: tickets.TrustOf(w.trust.anchors), ClientAuth: o.ClientAuth, Rules: fmt.Sprintf("%v", o.Choice),
	}
	w.bindTickets()
	// No certificate and no resumption: crypto/tls sends unrecognized_name, which
	// it does for no other answer.
	w.nobody = w.plain.Clone()
	w.nobody.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }
	w.nobody.SessionTicketsDisabled = true
}

// bindTickets gives the configurations that serve handshakes their ticket keys.
func (w *world) bindTickets() {
	if w.keepers.ring == nil {
		return
	}
	configs := []*tls.Config{w.plain}
	for _, c := range w.alpn {
		configs = append(configs, c)
	}
	w.tickets = w.keepers.ring.Bind(w.scope, configs...)
}

func (w *world) verifyConnection(state tls.ConnectionState) error {
	if err := w.speaks.Permits(suites.Of(&state)); err != nil {
		return err
	}
	return w.trust.verifyShown(context.Background(), &state)
}

// configFor chooses the configuration of one handshake.
func (s *Server) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	w := s.world.Load()
	if w.acme != nil && acme.IsChallenge(hello) {
		return w.acme.ChallengeConfig(), nil
	}
	if len(w.identities) == 0 {
		return w.nobody, nil // there is no certificate yet
	}
	if w.tickets != nil {
		w.tickets.Refresh()
	}
	if w.directory != nil {
		// Here, since certificateFor is not called in a resumption.
		if _, known := w.directory.Lookup(hello.ServerName); !known {
			return w.nobody, nil
		}
	}
	for _, protocol := range w.protocols {
		if slices.Contains(hello.SupportedProtos, protocol) {
			return w.alpn[protocol], nil
		}
	}
	return w.plain, nil
}

// certificateFor chooses among the certificates of a name the first whose key the
// client can verify with, in an order of cost.
func (w *world) certificateFor(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if w.directory == nil {
		return w.identities[0].certificate(hello), nil
	}
	pairs, known := w.directory.Lookup(hello.ServerName)
	if !known {
		return nil, nil
	}
	var best *identity
	for _, p := range pairs {
		i := w.byPair[p]
		if len(pairs) > 1 && hello.SupportsCertificate(i.cert) != nil {
			continue
		}
		if best == nil || cost(i.pair) < cost(best.pair) {
			best = i
		}
	}
	if best == nil {
		best = w.byPair[pairs[0]] // crypto/tls finds out what is wrong
	}
	return best.certificate(hello), nil
}

// cost orders types of keys by what a handshake costs us.
func cost(p *keystore.Pair) int {
	return slices.Index([]string{"ECDSA", "Ed25519", "RSA"}, p.KeyType())
}

// close ends what w does on the network and heir does not use.
func (w *world) close(heir *world) {
	w.forget()
	w.keepers.close(heir)
}

// forget ends the keeping of the status of w's certificates.
func (w *world) forget() {
	for _, i := range w.identities {
		if i.staple != nil {
			i.staple.Close()
		}
	}
}

// fromStore are warnings of package keystore.
func fromStore(list []keystore.Warning) []Warning {
	var all []Warning
	for _, x := range list {
		all = append(all, Warning(x))
	}
	return all
}
