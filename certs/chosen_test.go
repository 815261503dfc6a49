package certs

import (
	"crypto/tls"
	"testing"
)

// TestAClientIsVouchedForByAnAnchorOfNow: two authorities vouch for an intermediate,
// and the first is taken out between a client's handshake and its CONNECT. The
// handshake tells of both.
func TestAClientIsVouchedForByAnAnchorOfNow(t *testing.T) {
	w := newWorld(t)
	second := newAuthority(t, "second", nil)
	sub := newAuthority(t, "sub", w.root)
	template := *sub.cert
	template.Raw, template.SerialNumber = nil, sub.cert.SerialNumber.Lsh(sub.cert.SerialNumber, 8)
	crossed, err := sign(&template, second.cert, &sub.key.PublicKey, second.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, key := sub.leaf(t, nil)
	client := w.client(key, leaf, sub.cert, crossed)

	for _, gone := range []*authority{w.root, second} {
		w.certs("ca.crt", w.root.cert, second.cert)
		s := w.load()
		stays := w.root
		if gone == w.root {
			stays = second
		}
		state := seenBy(t, s, client)
		if state == nil || len(state.VerifiedChains) != 2 {
			t.Fatalf("the handshake: %+v", state)
		}
		w.certs("ca.crt", stays.cert)
		w.reload(s)
		chain := s.Chosen(state.VerifiedChains)
		if len(chain) != 3 || !chain[2].Equal(stays.cert) {
			t.Errorf("without %s it is vouched for by %s", gone.cert.Subject, chain[len(chain)-1].Subject)
		}
		if err := s.Keeps(chain); err != nil {
			t.Errorf("it is refused at CONNECT: %v", err)
		}
	}
}

// seenBy is what s sees of a handshake with client; nil if it fails.
func seenBy(t *testing.T, s *Server, client *tls.Config) *tls.ConnectionState {
	t.Helper()
	var state *tls.ConnectionState
	config := s.Config().Clone()
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c, err := s.configFor(hello)
		if err != nil {
			return nil, err
		}
		c, verify := c.Clone(), c.VerifyConnection
		c.VerifyConnection = func(now tls.ConnectionState) error {
			err := verify(now)
			if err == nil {
				state = &now
			}
			return err
		}
		return c, nil
	}
	if _, serverErr, clientErr := connect(t, config, client); serverErr != nil || clientErr != nil {
		t.Logf("server: %v, client: %v", serverErr, clientErr)
		return nil
	}
	return state
}
