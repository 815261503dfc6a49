package sallyport

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"

	"sallyport/config"
	"sallyport/internal/turns"
	"sallyport/security"
	"sallyport/security/authn"
)

// willing accepts everybody, and claims to compute.
type willing struct{}

func (willing) Name() string { return "willing" }

func (willing) Authenticate(context.Context, *authn.Credentials) (*security.Principal, error) {
	return &security.Principal{Realm: "r", Name: "alice"}, nil
}

// Tokens and SCRAM are computed in turns with the handshakes of all doors. What may wait
// for others has none, or it would keep them all out.
func TestProofsAreComputedInTurns(t *testing.T) {
	for kind, turned := range map[config.AuthenticatorType]bool{config.Tokens: true, config.Scram: true, config.UnixPeer: false, config.Certificate: false} {
		synctest.Test(t, func(t *testing.T) {
			s := &Server{turns: turns.New(1)}
			lane, err := s.buildLane(&world{lanes: map[string]*authn.Lane{}}, nil, config.Authenticator{Name: "willing", Type: kind})
			if err != nil {
				t.Fatal(err)
			}
			defer lane.Close()
			chain, err := authn.NewChain(authn.ChainOptions{Members: []authn.Member{{Authenticator: willing{}, Lane: lane}}})
			if err != nil {
				t.Fatal(err)
			}
			pool, err := authn.NewPool(authn.PoolOptions{Workers: 1, Memory: 1 << 20, Queue: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			service, err := authn.NewService(authn.ServiceOptions{Pool: pool, Chains: map[string]*authn.Chain{"l": chain}})
			if err != nil {
				t.Fatal(err)
			}
			defer service.Close()
			s.turns.Enter(netip.Prefix{})
			answer := make(chan error, 1)
			service.Begin(&authn.Credentials{Listener: "l", ClientID: "c"}, func(_ *security.Principal, err error) { answer <- err })
			synctest.Wait()
			if waits := len(answer) == 0; waits != turned {
				t.Errorf("%s: waits for a turn: %v, want %v", kind, waits, turned)
			}
			s.turns.Leave()
			if err := <-answer; err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		})
	}
}
