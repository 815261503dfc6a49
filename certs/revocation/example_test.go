package revocation_test

import (
	"context"
	"crypto/tls"
	"log"
	"net/netip"
	"sync/atomic"

	"sallyport/certs/revocation"
)

// A listener keeps one Online for its life, and a checker that a reload replaces.
func Example() {
	online, err := revocation.NewOnline(revocation.OnlineOptions{
		Allow: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")}, // where the company's responder is
	})
	if err != nil {
		log.Fatal(err)
	}
	defer online.Close()

	var current atomic.Pointer[revocation.Checker]
	reload := func() error {
		lists, err := revocation.Load("devices.crl")
		if err != nil {
			return err // the old checker stays
		}
		c, err := revocation.New(revocation.Options{Lists: lists, Points: true, OCSP: revocation.HardFail, Online: online})
		if err != nil {
			return err
		}
		current.Store(c)
		return nil
	}
	if err := reload(); err != nil {
		log.Fatal(err)
	}
	_ = &tls.Config{
		ClientAuth: tls.RequireAndVerifyClientCert,
		// Called for resumed sessions, too, unlike VerifyPeerCertificate.
		VerifyConnection: func(state tls.ConnectionState) error {
			return current.Load().Check(context.Background(), state.VerifiedChains)
		},
	}
}
