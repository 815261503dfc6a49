package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"sallyport/certs/keystore"
	"sallyport/certs/revocation"
)

// trust is what client certificates are held against.
type trust struct {
	auth     tls.ClientAuthType
	anchors  []*x509.Certificate
	known    map[string]struct{} // the anchors, as asIssuer
	pool     *x509.CertPool      // the anchors; nil without client CAs
	timeless *x509.CertPool      // the anchors, as timeless
	lists    *revocation.Lists   // of files, nil without
	checker  *revocation.Checker // nil where nothing is asked about revocation
	now      func() time.Time
}

// loadTrust reads the client CAs and the revocation lists.
func loadTrust(o *ServerOptions) (*trust, []Warning, error) {
	if o.ClientCAFile == "" {
		return newTrust(o, nil), nil, nil
	}
	store, found, err := keystore.TrustSource{Path: o.ClientCAFile, Password: o.ClientCAPassword}.Load()
	if err != nil {
		return nil, nil, fmt.Errorf("client CA: %w", err)
	}
	if why := store.OutsideFIPS(); o.FIPS && why != "" {
		return nil, nil, fmt.Errorf("client CA: %s %s", o.ClientCAFile, why)
	}
	t, warnings := newTrust(o, store.Certificates), fromStore(found)
	for _, c := range t.anchors {
		if o.Now().After(c.NotAfter) {
			warnings = append(warnings, Warning{File: o.ClientCAFile, Text: "the CA certificate " + c.Subject.String() + " in it has expired"})
		}
	}
	if files := o.Revocation.CRLFiles; len(files) > 0 {
		if t.lists, err = revocation.Load(files...); err != nil {
			return nil, nil, err
		}
		warnings = append(warnings, inspectLists(t.lists, o)...)
	}
	return t, warnings, nil
}

func newTrust(o *ServerOptions, anchors []*x509.Certificate) *trust {
	t := &trust{auth: o.ClientAuth, anchors: anchors, now: o.Now, known: make(map[string]struct{}), timeless: x509.NewCertPool()}
	if len(anchors) == 0 {
		return t
	}
	t.pool = x509.NewCertPool()
	for _, c := range anchors {
		t.pool.AddCert(c)
		t.known[asIssuer(c)] = struct{}{}
		t.timeless.AddCert(timeless(c))
	}
	return t
}

// judge makes the checker of what was loaded; online is nil where nothing is asked.
func (t *trust) judge(o *ServerOptions, online *revocation.Online) (err error) {
	if r := &o.Revocation; r.on() {
		t.checker, err = revocation.New(revocation.Options{
			Lists: t.lists, Points: r.Points, Missing: r.Missing, Expired: r.Expired, OCSP: r.OCSP,
			Online: online, Wait: r.Wait, Outside: o.Outside, Anchors: t.anchors, Now: o.Now,
		})
	}
	return err
}

// inspectLists warns about lists that refuse everybody, and about a missing end.
func inspectLists(lists *revocation.Lists, o *ServerOptions) []Warning {
	var all []Warning
	now := o.Now()
	refused := ": client certificates of it are refused"
	if o.Revocation.Expired == revocation.AcceptExpired {
		refused = ", and is used all the same"
	}
	for _, s := range lists.States(now) {
		list := "list of " + s.Issuer
		switch {
		case s.NextUpdate.IsZero():
			all = append(all, Warning{File: s.Source, Text: list + " has no next update: it never expires"})
		case now.After(s.NextUpdate):
			all = append(all, Warning{File: s.Source, Text: list + " has expired" + refused})
		case now.Before(s.ThisUpdate):
			all = append(all, Warning{File: s.Source, Text: list + " is not valid yet: client certificates of it are refused"})
		case s.Alarm():
			all = append(all, Warning{File: s.Source, Text: list + " has a tenth of its validity left, until " + s.NextUpdate.UTC().Format(time.RFC3339)})
		}
	}
	return all
}

// verifyShown judges what a client showed in its handshake, resumed or not: that
// its chain is one is known.
func (t *trust) verifyShown(ctx context.Context, state *tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return nil // ClientAuth decides whether that is allowed
	}
	chains := state.VerifiedChains
	if state.DidResume {
		// The chains are those of the first handshake, with the anchors and the
		// time of then.
		if chains = t.standing(chains); len(chains) == 0 {
			return errors.New("the certificate of the resumed session is not trusted any more")
		}
	}
	if t.checker == nil {
		return nil
	}
	return t.checker.Check(ctx, chains)
}

// standing returns the chains that still end in an anchor and are valid now.
func (t *trust) standing(chains [][]*x509.Certificate) [][]*x509.Certificate {
	var all [][]*x509.Certificate
	now := t.now()
next:
	for _, chain := range chains {
		if len(chain) == 0 {
			continue
		}
		if _, anchored := t.known[asIssuer(chain[len(chain)-1])]; !anchored {
			continue
		}
		for _, c := range chain {
			if now.Before(c.NotBefore) || now.After(c.NotAfter) {
				continue next
			}
		}
		all = append(all, chain)
	}
	return all
}

// verifyNew does with a chain what a handshake does.
func (t *trust) verifyNew(chain []*x509.Certificate) ([][]*x509.Certificate, error) {
	if t.pool == nil {
		return nil, errors.New("the listener has no CA of client certificates") // and not the system's
	}
	o := x509.VerifyOptions{
		Roots: t.pool, Intermediates: x509.NewCertPool(), CurrentTime: t.now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, // as crypto/tls has it
	}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	verified, err := chain[0].Verify(o)
	if err == nil && t.checker != nil {
		err = t.checker.Check(context.Background(), verified)
	}
	return verified, err
}

// timeless is a copy of c that was always valid and always will be: crypto/x509
// can't be told to leave dates alone, but reads them here and not in the DER.
func timeless(c *x509.Certificate) *x509.Certificate {
	t := *c
	t.NotBefore, t.NotAfter = time.Time{}, time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) // RFC 5280, 4.1.2.5
	return &t
}

// asIssuer is what of a CA's certificate decides about the chains below it: its
// name, its key, and every extension. A renewal usually changes none of them.
func asIssuer(c *x509.Certificate) string {
	b := make([]byte, 0, len(c.Raw)+8*len(c.Extensions))
	add := func(part []byte) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part))) // parts can't run into each other
		b = append(b, part...)
	}
	add(c.RawSubject)
	add(c.RawSubjectPublicKeyInfo)
	for _, e := range c.Extensions {
		add([]byte(e.Id.String()))
		add(e.Value)
		if e.Critical {
			add([]byte("critical"))
		}
	}
	return string(b)
}
