package scram

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/certs"
	"sallyport/client"
	"sallyport/config"
	"sallyport/packet"

	"github.com/xdg-go/scram"
)

// verifiers are alice's for the password "wonderland" and the salt "sixteen bytes 16",
// with 4096 iterations, as the other implementation derives them.
func verifiers(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for name, h := range map[string]scram.HashGeneratorFcn{"SCRAM-SHA-256": scram.SHA256, "SCRAM-SHA-512": scram.SHA512} {
		c, err := h.NewClient("alice", "wonderland", "")
		if err != nil {
			t.Fatal(err)
		}
		k, err := c.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "sixteen bytes 16", Iters: 4096})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "alice:%s$%d:%s$%s:%s\n", name, k.Iters, base64.StdEncoding.EncodeToString([]byte(k.Salt)), base64.StdEncoding.EncodeToString(k.StoredKey), base64.StdEncoding.EncodeToString(k.ServerKey))
	}
	return b.String()
}

// broker starts one whose users the other implementation made.
func broker(t *testing.T) *sallyport.Server {
	t.Helper()
	dir := t.TempDir()
	text := `
listeners:
  - {name: tcp, transport: tcp, address: "127.0.0.1:0", authenticators: [scram], policies: [all]}
  - {name: tls, transport: tls, address: "127.0.0.1:0", authenticators: [scram], policies: [all], tls: {certificate: tls/server.crt, key: tls/server.key}}
  - {name: wss, transport: wss, address: "127.0.0.1:0", authenticators: [scram], policies: [all], tls: {certificate: tls/server.crt, key: tls/server.key}}
authenticators:
  - {name: scram, type: scram, file: verifiers, scram: {iterations: 4096}}
policies:
  - {name: all, type: allow_all}
sys_interval: 0
`
	if err := os.WriteFile(filepath.Join(dir, "verifiers"), []byte(verifiers(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := certs.Quickstart(filepath.Join(dir, "tls"), []string{"localhost"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse([]byte(text), filepath.Join(dir, "sallyport.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	srv, err := sallyport.New(cfg, sallyport.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	return srv
}

// other is the other implementation as our client's method.
type other struct {
	method, name, password string
	altered                bool // the binding of no channel
}

func (o *other) Method() string { return o.method }

func (o *other) Begin(nc net.Conn) (client.Exchange, error) {
	h := scram.SHA256
	if strings.HasPrefix(o.method, "SCRAM-SHA-512") {
		h = scram.SHA512
	}
	c, err := h.NewClient(o.name, o.password, "")
	if err != nil {
		return nil, err
	}
	if !strings.HasSuffix(o.method, "-PLUS") {
		return &talk{c.NewConversation()}, nil
	}
	secure, ok := nc.(interface{ ConnectionState() tls.ConnectionState })
	if !ok {
		return nil, errors.New("no TLS")
	}
	state := secure.ConnectionState()
	binding, err := scram.NewTLSExporterBinding(&state)
	if err != nil {
		return nil, err
	}
	if o.altered {
		binding.Data[0] ^= 1
	}
	return &talk{c.NewConversationWithChannelBinding(binding)}, nil
}

// talk is one of its conversations.
type talk struct{ c *scram.ClientConversation }

func (x *talk) First() ([]byte, error) {
	s, err := x.c.Step("")
	return []byte(s), err
}

func (x *talk) Next(data []byte) ([]byte, bool, error) {
	s, err := x.c.Step(string(data))
	return []byte(s), x.c.Done() && x.c.Valid(), err
}

func connecting(srv *sallyport.Server, door string, o *other) (*client.Client, error) {
	target := client.Target{
		Transport: client.Transport(door), Address: srv.Addrs(door)[0].String(),
		TLS: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // what is bound to the channel is what is tested
	}
	c := client.New(client.Options{
		Dial: target.Dial, Authentication: o,
		Connect: packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "c"},
	})
	_, err := c.Connect(context.Background())
	return c, err
}

func TestAnotherImplementationLogsIn(t *testing.T) {
	srv := broker(t)
	for _, door := range []string{"tcp", "tls", "wss"} {
		for _, method := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512-PLUS"} {
			if door == "tcp" && strings.HasSuffix(method, "-PLUS") {
				continue
			}
			t.Run(door+" "+method, func(t *testing.T) {
				c, err := connecting(srv, door, &other{method: method, name: "alice", password: "wonderland"})
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if err := c.Reauthenticate(context.Background()); err != nil {
					t.Errorf("again: %v", err)
				}
				if err := c.Disconnect(context.Background(), nil); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestAnotherImplementationIsRefused(t *testing.T) {
	srv := broker(t)
	for name, tt := range map[string]struct {
		door string
		o    *other
	}{
		"a wrong password":             {"tcp", &other{method: "SCRAM-SHA-256", name: "alice", password: "Wonderland"}},
		"nobody":                       {"tcp", &other{method: "SCRAM-SHA-512", name: "bob", password: "wonderland"}},
		"a binding of another channel": {"tls", &other{method: "SCRAM-SHA-256-PLUS", name: "alice", password: "wonderland", altered: true}},
	} {
		c, err := connecting(srv, tt.door, tt.o)
		refused, ok := errors.AsType[*client.ReasonError](err)
		if !ok || refused.Code != packet.BadUserNameOrPassword {
			t.Errorf("%s: %v, want a CONNACK with 0x86", name, err)
		}
		c.Close()
	}
}
