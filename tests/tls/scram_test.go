package tls_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"sallyport/internal/scram"
	"sallyport/packet"
)

// throughOpenSSL sends a CONNECT with a method of SCRAM over TLS 1.2 as OpenSSL
// speaks it, with or without an extended master secret, and returns the answer.
func (s *site) throughOpenSSL(t *testing.T, extended bool, method, first string) (packet.Type, packet.Code) {
	t.Helper()
	options := "-ExtendedMasterSecret"
	if extended {
		options = "ExtendedMasterSecret"
	}
	conf := s.write("openssl.cnf", []byte("openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = sys\n[sys]\nOptions = "+options+"\n"))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "openssl", "s_client", "-quiet", "-tls1_2", "-connect", s.addr())
	cmd.Env = append(cmd.Environ(), "OPENSSL_CONF="+conf)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); _ = cmd.Wait() }() // it is not to end by itself
	c := packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "c"}
	c.Props.AuthMethod, c.Props.AuthData = method, []byte(first)
	c.Props.Mark(packet.PropAuthMethod, packet.PropAuthData)
	if _, err := in.Write(packet.AppendConnect(nil, &c)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	var head []byte
	for {
		b, err := r.ReadByte()
		if err != nil {
			t.Fatalf("%v\n%s", err, said.String())
		}
		head = append(head, b)
		h, n, err := packet.ReadHeader(head)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			continue
		}
		body := make([]byte, h.Length)
		if _, err := io.ReadFull(r, body); err != nil {
			t.Fatal(err)
		}
		if h.Type == packet.CONNACK {
			return h.Type, packet.Code(body[1])
		}
		return h.Type, packet.Code(body[0])
	}
}

// TestPlusNeedsAnExtendedMasterSecret: without one two TLS 1.2 channels can share their
// exporter (RFC 9266, 4.2), so that -PLUS is not offered, and who says so is believed.
func TestPlusNeedsAnExtendedMasterSecret(t *testing.T) {
	s := newSite(t)
	a := newAuthority(t, "ca", nil)
	key := newKey(t, "p256")
	s.write("server.crt", pemOf(a.issue("broker.example", key, nil)))
	s.write("server.key", keyPEM(t, key))
	v, err := scram.NewVerifier(scram.SHA256, "wonderland", []byte("sixteen bytes 16"), 4096)
	if err != nil {
		t.Fatal(err)
	}
	s.write("verifiers", []byte("alice:"+v.Encode()+"\n"))
	s.write("sallyport.yaml", []byte(`
listeners:
  - {name: door, transport: tls, address: "127.0.0.1:0", tls: {certificate: server.crt, key: server.key}, authenticators: [scram], policies: [all]}
authenticators:
  - {name: scram, type: scram, file: verifiers, scram: {iterations: 4096}}
policies:
  - {name: all, type: allow_all}
sys_interval: 0
`))
	s.start()
	for _, tt := range []struct {
		extended      bool
		method, first string
		want          packet.Type
		code          packet.Code
	}{
		{true, "SCRAM-SHA-256-PLUS", "p=tls-exporter,,n=alice,r=abcdefghijkl", packet.AUTH, packet.ContinueAuthentication},
		{false, "SCRAM-SHA-256-PLUS", "p=tls-exporter,,n=alice,r=abcdefghijkl", packet.CONNACK, packet.BadAuthenticationMethod},
		{true, "SCRAM-SHA-256", "y,,n=alice,r=abcdefghijkl", packet.CONNACK, packet.BadUserNameOrPassword},
		{false, "SCRAM-SHA-256", "y,,n=alice,r=abcdefghijkl", packet.AUTH, packet.ContinueAuthentication},
		{true, "SCRAM-SHA-256", "n,,n=alice,r=abcdefghijkl", packet.AUTH, packet.ContinueAuthentication},
		{false, "SCRAM-SHA-256", "n,,n=alice,r=abcdefghijkl", packet.AUTH, packet.ContinueAuthentication},
	} {
		t.Run(fmt.Sprintf("%s %.1s, extended %v", tt.method, tt.first, tt.extended), func(t *testing.T) {
			if got, code := s.throughOpenSSL(t, tt.extended, tt.method, tt.first); got != tt.want || code != tt.code {
				t.Errorf("the broker says %s with 0x%02x, want %s with 0x%02x\n%s", got, byte(code), tt.want, byte(tt.code), s.log)
			}
		})
	}
}
