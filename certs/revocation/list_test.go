package revocation

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func check(t *testing.T, o Options, chains ...[]*x509.Certificate) error {
	t.Helper()
	if o.Now == nil {
		o.Now = clockNow
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c.Check(context.Background(), chains)
}

func TestListsOfFiles(t *testing.T) {
	root := newCA(t, "root", nil)
	sub := newCA(t, "sub", root)
	impostor := newCA(t, "sub", nil) // the name, not the key
	good, bad, direct := sub.leaf(t), sub.leaf(t), root.leaf(t)
	rootList, subList := root.crl(t), sub.crl(t, revoking(1, bad))
	type lists [][]byte
	for _, c := range []struct {
		name  string
		lists lists
		chain []*x509.Certificate
		want  Cause
	}{
		{"a certificate on no list", lists{subList, rootList}, chain(good, sub, root), none},
		{"a revoked certificate", lists{subList, rootList}, chain(bad, sub, root), Revoked},
		{"only the list of the CA's issuer", lists{rootList}, chain(good, sub, root), NoList},
		{"only the list of the leaf's issuer", lists{subList}, chain(good, sub, root), NoList},
		{"a revoked intermediate", lists{subList, root.crl(t, revoking(2, sub.cert))}, chain(good, sub, root), Revoked},
		{"a chain of two", lists{rootList}, chain(direct, root), none},
		{"an expired list", lists{root.crl(t, from(-48*time.Hour, -time.Second))}, chain(direct, root), ExpiredList},
		{"an expired list that names it", lists{root.crl(t, from(-48*time.Hour, -time.Second), revoking(0, direct))}, chain(direct, root), ExpiredList},
		{"a list from the future", lists{root.crl(t, from(time.Second, time.Hour))}, chain(direct, root), FutureList},
		{"a list of an impostor", lists{rootList, impostor.crl(t)}, chain(good, sub, root), WrongSigner},
		{"an impostor that names it beside the right one", lists{rootList, impostor.crl(t, revoking(0, good)), subList}, chain(good, sub, root), none},
		{"an impostor's empty list beside the right one", lists{rootList, impostor.crl(t, number(9), from(0, time.Hour)), subList}, chain(bad, sub, root), Revoked},
		{"an expired list beside the right one", lists{rootList, subList, sub.crl(t, from(-48*time.Hour, -time.Second))}, chain(bad, sub, root), Revoked},
		{"the newest list counts, revoking", lists{rootList, sub.crl(t, from(-2*time.Hour, time.Hour)), subList}, chain(bad, sub, root), Revoked},
		{"the newest list counts, lifting a hold", lists{rootList, sub.crl(t, revoking(Hold, bad)), sub.crl(t, from(-time.Minute, time.Hour))}, chain(bad, sub, root), none},
		{"a hold", lists{root.crl(t, revoking(Hold, direct))}, chain(direct, root), Revoked},
		{"a reason nobody knows", lists{root.crl(t, revoking(99, direct))}, chain(direct, root), Revoked},
		{"a trust anchor as the client", lists{rootList}, chain(root.cert), none},
		{"a trust anchor as the client that lists itself", lists{root.crl(t, revoking(0, root.cert))}, chain(root.cert), Revoked},
		{"no chain", lists{rootList}, nil, NotVerified},
	} {
		checker, err := New(Options{Lists: mustParse(t, c.lists...), Now: clockNow})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time with remembered signatures
			wantCause(t, c.name, checker.Check(t.Context(), [][]*x509.Certificate{c.chain}), c.want)
		}
	}
}

func TestErrorTellsWhichWhyAndWhen(t *testing.T) {
	root := newCA(t, "root", nil)
	sub := newCA(t, "sub", root)
	err := check(t, Options{Lists: mustParse(t, root.crl(t, revoking(1, sub.cert)), sub.crl(t))}, chain(sub.leaf(t), sub, root))
	e := wantCause(t, "revoked CA", err, Revoked)
	if e == nil {
		t.FailNow()
	}
	if e.Certificate != sub.cert || e.Depth != 1 || e.Reason != 1 || !e.At.Equal(testNow.Add(-30*time.Minute)) || e.Source != "test.crl" || !e.Final() {
		t.Errorf("%+v", e)
	}
	for _, part := range []string{"is revoked", "key compromise", "CA 1 above", "test.crl"} {
		if !strings.Contains(e.Error(), part) {
			t.Errorf("%q does not say %q", e, part)
		}
	}
	if e := wantCause(t, "no list", check(t, Options{Lists: mustParse(t, root.crl(t))}, chain(sub.leaf(t), sub, root)), NoList); e != nil && e.Final() {
		t.Error("a missing list is final")
	}
}

func TestPoliciesForMissingAndExpiredLists(t *testing.T) {
	root := newCA(t, "root", nil)
	sub := newCA(t, "sub", root)
	leaf, bad := sub.leaf(t), sub.leaf(t)
	rootList, subList := root.crl(t), sub.crl(t, revoking(0, bad))
	stale := sub.crl(t, from(-48*time.Hour, -time.Second), revoking(0, bad))
	future := sub.crl(t, from(time.Minute, time.Hour))
	for _, c := range []struct {
		name    string
		lists   [][]byte
		leaf    *x509.Certificate
		missing Missing
		expired Expired
		want    Cause
	}{
		{"Mosquitto: the leaf's list suffices", [][]byte{subList}, leaf, AcceptMissingCA, RejectExpired, none},
		{"Mosquitto: a revoked leaf", [][]byte{subList}, bad, AcceptMissingCA, RejectExpired, Revoked},
		{"Mosquitto: the leaf's list is missing", [][]byte{rootList}, leaf, AcceptMissingCA, RejectExpired, NoList},
		{"Mosquitto: the leaf's list has expired", [][]byte{stale}, leaf, AcceptMissingCA, RejectExpired, ExpiredList},
		{"accept: a list is missing", [][]byte{rootList}, leaf, AcceptMissing, RejectExpired, none},
		{"accept: revoked all the same", [][]byte{subList}, bad, AcceptMissing, RejectExpired, Revoked},
		{"accept missing, not expired", [][]byte{rootList, stale}, leaf, AcceptMissing, RejectExpired, ExpiredList},
		{"accept expired", [][]byte{rootList, stale}, leaf, RejectMissing, AcceptExpired, none},
		{"accept expired: revoked all the same", [][]byte{rootList, stale}, bad, RejectMissing, AcceptExpired, Revoked},
		{"accept expired, not missing", [][]byte{stale}, leaf, RejectMissing, AcceptExpired, NoList},
		{"accept all, not the future", [][]byte{rootList, future}, leaf, AcceptMissing, AcceptExpired, FutureList},
	} {
		o := Options{Lists: mustParse(t, c.lists...), Missing: c.missing, Expired: c.expired}
		wantCause(t, c.name, check(t, o, chain(c.leaf, sub, root)), c.want)
	}
}

func TestOneGoodChainSuffices(t *testing.T) {
	root, other := newCA(t, "root", nil), newCA(t, "root", nil)
	leaf := root.leaf(t)
	o := Options{Lists: mustParse(t, root.crl(t))}
	wantCause(t, "one good chain", check(t, o, chain(leaf, other), chain(leaf, root)), none)
	wantCause(t, "no good chain", check(t, o, chain(leaf, other)), WrongSigner)
	wantCause(t, "no chain", check(t, o), NotVerified)
	wantCause(t, "a chain without end", check(t, o, make([]*x509.Certificate, maxChain+1)), NotVerified)
}

func TestAnchorBelowAnAnchorIsChecked(t *testing.T) {
	root := newCA(t, "root", nil)
	sub := newCA(t, "sub", root)
	leaf := sub.leaf(t)
	o := Options{Lists: mustParse(t, root.crl(t, revoking(0, sub.cert)), sub.crl(t)), Anchors: []*x509.Certificate{sub.cert, root.cert}}
	wantCause(t, "a revoked anchor", check(t, o, chain(leaf, sub)), Revoked)
	o.Anchors = nil
	wantCause(t, "an anchor whose issuer is none", check(t, o, chain(leaf, sub)), none)
}

func TestScopes(t *testing.T) {
	root := newCA(t, "root", nil)
	a, b := root.leaf(t, at("http://crl.test/a.crl")), root.leaf(t, at("http://crl.test/b.crl"))
	plain := root.leaf(t)
	sub := newCA(t, "sub", root)
	subLeaf, subList := sub.leaf(t), sub.crl(t)
	partA, partB := scoped(pointNames("http://crl.test/a.crl")), scoped(pointNames("http://crl.test/b.crl"))
	byName := scoped(tlv(0xa0, tlv(0xa0, tlv(0xa4, root.cert.RawSubject))))
	keys, others := someReasons(0x60, 0x00), someReasons(0x1f, 0x80)
	type lists [][]byte
	for _, c := range []struct {
		name  string
		lists lists
		chain []*x509.Certificate
		want  Cause
	}{
		{"a partition covers its certificates", lists{root.crl(t, partA)}, chain(a, root), none},
		{"a partition revokes", lists{root.crl(t, partA, revoking(0, a))}, chain(a, root), Revoked},
		{"a partition is not complete for others", lists{root.crl(t, partA)}, chain(b, root), NotCovered},
		{"a partition is not complete for those without a point", lists{root.crl(t, partA)}, chain(plain, root), NotCovered},
		{"a newer partition does not replace another", lists{root.crl(t, partA, revoking(0, a)), root.crl(t, partB, from(0, time.Hour), number(7))}, chain(a, root), Revoked},
		{"a partition under the issuer's name", lists{root.crl(t, byName)}, chain(plain, root), none},
		{"users only, for a user", lists{root.crl(t, scoped(onlyUsers))}, chain(plain, root), none},
		{"users only, for a CA", lists{root.crl(t, scoped(onlyUsers)), subList}, chain(subLeaf, sub, root), NotCovered},
		{"CAs only, for a user", lists{root.crl(t, scoped(onlyCAs))}, chain(plain, root), NotCovered},
		{"CAs only, for a CA", lists{root.crl(t, scoped(onlyCAs)), subList}, chain(subLeaf, sub, root), none},
		{"CAs only revokes a CA beside users only", lists{root.crl(t, scoped(onlyUsers)), root.crl(t, scoped(onlyCAs), revoking(0, sub.cert)), subList}, chain(subLeaf, sub, root), Revoked},
		{"some reasons alone", lists{root.crl(t, scoped(keys))}, chain(plain, root), NotCovered},
		{"some reasons alone revoke", lists{root.crl(t, scoped(keys), revoking(1, plain))}, chain(plain, root), Revoked},
		{"some reasons and the others", lists{root.crl(t, scoped(keys)), root.crl(t, scoped(others))}, chain(plain, root), none},
		{"some reasons and the others, expired", lists{root.crl(t, scoped(keys)), root.crl(t, scoped(others), from(-2*time.Hour, -time.Second))}, chain(plain, root), ExpiredList},
		{"a complete list beside a partition that revokes", lists{root.crl(t), root.crl(t, partA, revoking(0, a))}, chain(a, root), Revoked},
	} {
		wantCause(t, c.name, check(t, Options{Lists: mustParse(t, c.lists...)}, c.chain), c.want)
	}
	wantCause(t, "a partition counts as missing for others", check(t, Options{Lists: mustParse(t, root.crl(t, partA)), Missing: AcceptMissing}, chain(b, root)), none)
}

// Reasons of a distribution point narrow those of the list.
func TestReasonsOfADistributionPoint(t *testing.T) {
	root := newCA(t, "root", nil)
	dp := tlv(0x30, tlv(0x30, pointNames("http://crl.test/a.crl"), tlv(0x81, []byte{7, 0x60, 0x00})))
	leaf := root.leaf(t, func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: oidDistributionPoints, Value: dp}}
	})
	list := root.crl(t, scoped(pointNames("http://crl.test/a.crl")))
	wantCause(t, "point for some reasons", check(t, Options{Lists: mustParse(t, list)}, chain(leaf, root)), NotCovered)
}

func TestDeltas(t *testing.T) {
	root := newCA(t, "root", nil)
	other := newCA(t, "root", nil)
	leaf, held := root.leaf(t), root.leaf(t)
	base := root.crl(t, number(5), revoking(Hold, held))
	type lists [][]byte
	for _, c := range []struct {
		name  string
		lists lists
		leaf  *x509.Certificate
		want  Cause
	}{
		{"a delta alone is no list", lists{root.crl(t, number(6), delta(5))}, leaf, NoList},
		{"a delta adds", lists{base, root.crl(t, number(6), delta(5), revoking(1, leaf))}, leaf, Revoked},
		{"a delta leaves the rest", lists{base, root.crl(t, number(6), delta(5), revoking(1, leaf))}, held, Revoked},
		{"a delta removes", lists{base, root.crl(t, number(6), delta(5), revoking(removeFromCRL, held))}, held, none},
		{"a delta of an earlier base fits", lists{base, root.crl(t, number(6), delta(3), revoking(1, leaf))}, leaf, Revoked},
		{"a delta of a later base does not", lists{base, root.crl(t, number(9), delta(8), revoking(removeFromCRL, held))}, held, Revoked},
		{"a delta of a later base revokes", lists{base, root.crl(t, number(9), delta(8), from(-time.Minute, time.Hour), revoking(1, leaf))}, leaf, Revoked},
		{"a delta older than the base does not", lists{base, root.crl(t, number(4), delta(3), revoking(removeFromCRL, held))}, held, Revoked},
		{"of two deltas the newer", lists{base, root.crl(t, number(7), delta(5), revoking(removeFromCRL, held)), root.crl(t, number(6), delta(5), revoking(1, held))}, held, none},
		{"an impostor's delta", lists{base, other.crl(t, number(6), delta(5), revoking(removeFromCRL, held))}, held, Revoked},
		{"a delta of another scope", lists{base, root.crl(t, number(6), delta(5), scoped(onlyUsers), revoking(removeFromCRL, held))}, held, Revoked},
		{"an expired delta", lists{base, root.crl(t, number(6), delta(5), from(-30*time.Minute, -time.Second))}, leaf, ExpiredList},
		{"an expired delta revokes", lists{base, root.crl(t, number(6), delta(5), from(-30*time.Minute, -time.Second), revoking(1, leaf))}, leaf, Revoked},
		{"an expired delta removes nothing", lists{base, root.crl(t, number(6), delta(5), from(-30*time.Minute, -time.Second), revoking(removeFromCRL, held))}, held, ExpiredList},
		{"a delta from the future", lists{base, root.crl(t, number(6), delta(5), from(time.Minute, time.Hour), revoking(removeFromCRL, held))}, held, Revoked},
		{"named twice, the graver counts", lists{base, root.crl(t, number(6), delta(5), revoking(1, held), revoking(removeFromCRL, held))}, held, Revoked},
	} {
		wantCause(t, c.name, check(t, Options{Lists: mustParse(t, c.lists...)}, chain(c.leaf, root)), c.want)
	}
}

func TestListsThatAreRefused(t *testing.T) {
	root := newCA(t, "root", nil)
	leaf := root.leaf(t)
	private := []int{1, 3, 6, 1, 4, 1, 99999, 1}
	entryWith := func(oid []int, critical bool, value []byte) listChange {
		return func(l *x509.RevocationList) {
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{
				SerialNumber: leaf.SerialNumber, RevocationTime: testNow,
				ExtraExtensions: []pkix.Extension{{Id: oid, Critical: critical, Value: value}},
			})
		}
	}
	whole := root.crl(t)
	for _, c := range []struct {
		name, want string
		der        []byte
	}{
		{"an unknown critical extension", "critical extension 1.3.6.1.4.1.99999.1", root.crl(t, with(private, true, []byte{5, 0}))},
		{"an unknown critical extension of an entry", "of an entry", root.crl(t, entryWith(private, true, []byte{5, 0}))},
		{"an entry of another issuer", "indirect", root.crl(t, entryWith(oidCertificateIssuer, true, tlv(0x30, tlv(0xa4, leaf.RawSubject))))},
		{"an entry of another issuer, not critical", "indirect", root.crl(t, entryWith(oidCertificateIssuer, false, tlv(0x30, tlv(0xa4, leaf.RawSubject))))},
		{"an indirect list", "indirect", root.crl(t, scoped(indirect))},
		{"attribute certificates", "attribute certificates", root.crl(t, scoped(onlyAttributes))},
		{"users only and CAs only", "covers nothing", root.crl(t, scoped(onlyUsers, onlyCAs))},
		{"a relative name", "relative", root.crl(t, scoped(tlv(0xa0, tlv(0xa1, tlv(0x30)))))},
		{"a point without names", "malformed issuing", root.crl(t, scoped(tlv(0xa0, tlv(0xa0))))},
		{"a scope with more behind it", "malformed issuing", root.crl(t, scoped(onlyUsers, []byte{5, 0}))},
		{"an empty scope", "malformed issuing", root.crl(t, scoped())},
		{"a scope that is none", "malformed issuing", root.crl(t, with(oidIssuingPoint, true, []byte{5, 0}))},
		{"a flag of two bytes", "malformed issuing", root.crl(t, scoped(tlv(0x81, []byte{0, 0})))},
		{"a scope that is not critical counts as well", "indirect", root.crl(t, with(oidIssuingPoint, false, tlv(0x30, indirect)))},
		{"two scopes", "twice", root.crl(t, scoped(onlyUsers), scoped(onlyCAs))},
		{"a removal in a complete list", "no delta", root.crl(t, revoking(removeFromCRL, leaf))},
		{"a malformed delta indicator", "malformed delta", root.crl(t, with(oidDeltaIndicator, true, []byte{5, 0}))},
		{"a delta with a negative base", "malformed delta", root.crl(t, with(oidDeltaIndicator, true, []byte{2, 1, 0x80}))},
		{"a list cut short", "", whole[:len(whole)-1]},
		{"a list with more behind it", "", append(whole[:len(whole):len(whole)], 0)},
		{"nothing", "", nil},
	} {
		_, err := ParseList(c.der, "x")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := ParseList(root.crl(t, with(private, false, []byte{5, 0}), entryWith(private, false, []byte{5, 0})), "x"); err != nil {
		t.Errorf("unknown extensions that are not critical: %v", err)
	}
}

func TestLoad(t *testing.T) {
	root, sub := newCA(t, "root", nil), newCA(t, "sub", nil)
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	two := toPEM(blockType, root.crl(t), sub.crl(t))
	several, der := write("two.pem", two), write("list.der", root.crl(t))
	l, err := Load(several, der)
	if err != nil || len(l.all) != 3 {
		t.Fatalf("%v, %d lists, want 3", err, len(l.all))
	}
	if s := l.States(testNow); len(s) != 3 || s[2].Source != der || s[1].Issuer != "CN=sub" {
		t.Errorf("%+v", s)
	}
	damaged := []byte(strings.Replace(string(two), "-----END X509 CRL-----", "-----END X509 CRL----", 1))
	for _, c := range []struct{ name, path, want string }{
		{"no file", filepath.Join(dir, "none"), "none"},
		{"an empty file", write("empty", nil), "no PEM revocation list"},
		{"a certificate", write("cert", toPEM("CERTIFICATE", root.cert.Raw)), "no PEM revocation list"},
		{"a certificate in DER", write("cert.der", root.cert.Raw), "list 1"},
		{"a damaged block", write("damaged", damaged), "can't be read"},
		{"one refused among others", write("bad", toPEM(blockType, root.crl(t), root.crl(t, scoped(indirect)))), "list 2: extension 2.5.29.28: indirect"},
		{"a directory", dir, ""},
	} {
		if _, err := Load(several, c.path); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.path) {
			t.Errorf("%s: %v, want %q and the path", c.name, err, c.want)
		}
	}
}

func TestStates(t *testing.T) {
	root := newCA(t, "root", nil)
	for _, c := range []struct {
		name  string
		der   []byte
		left  float64
		alarm bool
	}{
		{"half", root.crl(t, from(-time.Hour, time.Hour)), 0.5, false},
		{"eleven percent", root.crl(t, from(-89*time.Minute, 11*time.Minute)), 0.11, false},
		{"nine percent", root.crl(t, from(-91*time.Minute, 9*time.Minute)), 0.09, true},
		{"expired", root.crl(t, from(-2*time.Hour, -time.Hour)), 0, true},
		{"future", root.crl(t, from(time.Hour, 2*time.Hour)), 1, false},
	} {
		s := mustParse(t, c.der).States(testNow)[0]
		if s.Left < c.left-0.001 || s.Left > c.left+0.001 || s.Alarm() != c.alarm {
			t.Errorf("%s: %v, alarm %v, want %v, %v", c.name, s.Left, s.Alarm(), c.left, c.alarm)
		}
	}
}

func TestRecheckEndsNothingByTimeAlone(t *testing.T) {
	root := newCA(t, "root", nil)
	leaf, bad := root.leaf(t), root.leaf(t)
	for _, c := range []struct {
		name string
		der  []byte
		leaf *x509.Certificate
		want Cause
	}{
		{"an expired list", root.crl(t, from(-2*time.Hour, -time.Hour), revoking(0, bad)), leaf, none},
		{"an expired list that names it", root.crl(t, from(-2*time.Hour, -time.Hour), revoking(0, bad)), bad, Revoked},
		{"a list from the future", root.crl(t, from(time.Hour, 2*time.Hour)), leaf, none},
		{"no list", newCA(t, "other", nil).crl(t), leaf, NoList},
		{"an impostor's list", newCA(t, "root", nil).crl(t), leaf, WrongSigner},
	} {
		checker, err := New(Options{Lists: mustParse(t, c.der), Now: clockNow})
		if err != nil {
			t.Fatal(err)
		}
		wantCause(t, c.name, checker.Recheck([][]*x509.Certificate{chain(c.leaf, root)}), c.want)
	}
}

// A CA may write its name in its lists with other string types than in certificates.
func TestIssuerNameInAnotherEncoding(t *testing.T) {
	a := tlv(0x30, tlv(0x31, tlv(0x30, []byte{6, 3, 0x55, 4, 3}, tlv(0x13, []byte("Test  CA")))))
	b := tlv(0x30, tlv(0x31, tlv(0x30, []byte{6, 3, 0x55, 4, 3}, tlv(0x0c, []byte("test CA")))))
	c := tlv(0x30, tlv(0x31, tlv(0x30, []byte{6, 3, 0x55, 4, 3}, tlv(0x0c, []byte("testCA")))))
	if canonical(a) != canonical(b) {
		t.Errorf("%q and %q differ", canonical(a), canonical(b))
	}
	if canonical(a) == canonical(c) {
		t.Errorf("%q is another name", canonical(c))
	}
}

func TestListOfAnIssuerThatSpellsItsNameOtherwise(t *testing.T) {
	key := newKey(t)
	root, spelled := newCAWith(t, "Test CA", nil, key), newCAWith(t, "test  ca", nil, key)
	good, bad := root.leaf(t), root.leaf(t)
	for _, issuer := range []*ca{root, spelled} {
		lists := mustParse(t, issuer.crl(t, revoking(0, bad)))
		wantCause(t, "good", check(t, Options{Lists: lists}, chain(good, root)), none)
		wantCause(t, "bad", check(t, Options{Lists: lists}, chain(bad, root)), Revoked)
	}
}

func TestNewRefusesPoliciesThatCheckNothing(t *testing.T) {
	n := newOnline(t, OnlineOptions{})
	lists := mustParse(t, newCA(t, "root", nil).crl(t))
	for name, o := range map[string]Options{
		"nothing":                   {},
		"only Online":               {Online: n},
		"points without Online":     {Points: true},
		"OCSP without Online":       {OCSP: HardFail},
		"a policy that is none":     {Lists: lists, Missing: 3},
		"another that is none":      {Lists: lists, Expired: -1},
		"an OCSP policy that isn't": {Lists: lists, OCSP: 3, Online: n},
		"a wait of a minute":        {Lists: lists, Wait: time.Minute},
		"a negative wait":           {Lists: lists, Wait: -1},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, o := range map[string]OnlineOptions{
		"a fetch of a minute": {FetchTimeout: time.Minute}, "lists for ever": {MaxListAge: 1 << 62}, "answers of a second": {MaxAnswerAge: time.Second},
	} {
		if n, err := NewOnline(o); err == nil {
			n.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}
