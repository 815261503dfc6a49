package revocation

import (
	"context"
	"crypto/x509"
	"testing"
)

// What ParseList accepts is what x509 accepts, and a list that names a serial
// number never makes its certificate good.
func FuzzParseList(f *testing.F) {
	root := newCA(f, "root", nil)
	leaf := root.leaf(f, at("http://crl.test/a.crl"))
	for _, changes := range [][]listChange{
		nil, {revoking(1, leaf)}, {scoped(onlyUsers)}, {scoped(pointNames("http://crl.test/a.crl", "http://b")), revoking(6, leaf)},
		{delta(1), number(2), revoking(removeFromCRL, leaf)}, {scoped(indirect)}, {scoped(someReasons(0x60, 0))},
	} {
		f.Add(root.crl(f, changes...))
	}
	f.Add(toPEM(blockType, root.crl(f), root.crl(f)))
	f.Fuzz(func(t *testing.T, data []byte) {
		lists, err := Parse(data, "fuzz")
		if err != nil {
			return
		}
		if len(lists.all) == 0 {
			t.Fatal("no error and no list")
		}
		for _, l := range lists.all {
			s := l.state(testNow)
			if s.Left < 0 || s.Left > 1 {
				t.Errorf("%v of the validity left", s.Left)
			}
			if l.scope.reasons&^allReasons != 0 {
				t.Errorf("reasons %b", l.scope.reasons)
			}
			// As if the signature were good: scopes and entries are what is tried here.
			l.signer.Store(root.cert)
			entry, listed := l.lookup(leaf)
			finding := judge(leaf, root.cert, []*List{l}, clock{now: testNow, expired: true, future: true})
			if finding.good && (listed || l.base != nil || l.scope.covers(leaf) != allReasons) {
				t.Errorf("good by a list that says %+v (%v)", entry, listed)
			}
		}
		c, err := New(Options{Lists: lists, Now: clockNow})
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Check(context.Background(), [][]*x509.Certificate{chain(leaf, root)}) // must end
	})
}

// Distribution points are read from certificates of CAs that may be sloppy.
func FuzzPoints(f *testing.F) {
	root := newCA(f, "root", nil)
	for _, e := range root.leaf(f, at("http://crl.test/a.crl", "ldap://x")).Extensions {
		if e.Id.Equal(oidDistributionPoints) {
			f.Add(e.Value)
		}
	}
	f.Add(tlv(0x30, tlv(0x30, pointNames("http://a"), tlv(0x81, []byte{7, 0x60, 0x00}), tlv(0xa2, tlv(0xa4)))))
	f.Fuzz(func(t *testing.T, der []byte) {
		c := &x509.Certificate{Extensions: []extension{{Id: oidDistributionPoints, Value: der}}}
		for _, p := range points(c) {
			if u := p.url(); u != "" && !webURL(u) {
				t.Errorf("URL %q", u)
			}
			if p.reasons&^allReasons != 0 {
				t.Errorf("reasons %b", p.reasons)
			}
		}
		if s, err := readScope(der); err == nil && (s.users && s.cas || s.reasons&^allReasons != 0) {
			t.Errorf("scope %+v", s)
		}
	})
}
