package main

import (
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"

	"sallyport"
	"sallyport/config"
	"sallyport/internal/scram"
	"sallyport/packet"
)

// begin starts a broker in this process for a row, and returns the address of the
// fleet's listener.
func begin(t *testing.T, b *bench, r row) string {
	t.Helper()
	if err := os.WriteFile(b.path("sallyport.yaml"), []byte(b.configure(r, "127.0.0.1:0", "127.0.0.1:0")), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(b.path("sallyport.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := sallyport.New(cfg, sallyport.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	return s.Addrs("fleet")[0].String()
}

// What a row prepares lets its clients in, and what it did not prepare doesn't.
func TestRowsLetTheirClientsIn(t *testing.T) {
	for _, r := range rows() {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			b := &bench{dir: t.TempDir(), clients: 3, workers: 1}
			line, err := r.prepare(b)
			if err != nil {
				t.Fatal(err)
			}
			f := fleetOf(begin(t, b, r), 3)
			defer f.cut()
			if f.prove, err = parseProof(3, line); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if a := f.come(t.Context()); a.Accepted != 3 || a.Busy+a.Late > 0 || a.Error != "" {
					t.Errorf("%+v", a)
				}
				if gone := f.cut(); gone > 0 {
					t.Errorf("%d of three were disconnected", gone)
				}
			}
			if (r.hash > 0) != r.cold {
				t.Errorf("cold is %t, and a hash takes %d bytes", r.cold, r.hash)
			}
			if f.prove, err = parseProof(3, wrong(t, r, line)); err != nil {
				t.Fatal(err)
			}
			if _, code, err := f.attempt(t.Context(), 0); code != packet.BadUserNameOrPassword && code != packet.NotAuthorized || err != nil {
				t.Errorf("a wrong proof is answered %#x, %v", byte(code), err)
			}
		})
	}
}

// wrong is a proof that is well made, and not the row's.
func wrong(t *testing.T, r row, line string) string {
	t.Helper()
	if r.name == "token" {
		other, err := r.prepare(&bench{dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		return other
	}
	if r.name != "scram" {
		return line + "r"
	}
	v, err := scram.NewVerifier(scram.SHA256, "another", []byte("a salt of its own"), scram.MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	return "scram " + v.Encode() + " another"
}

// A token says who its client is: the broker takes the name from it alone.
func TestEachClientHasATokenOfItsOwn(t *testing.T) {
	prove, err := parseProof(2, "token "+strings.Repeat("ab", 32))
	if err != nil {
		t.Fatal(err)
	}
	var hello [2]packet.Connect
	for i := range hello {
		if x, err := prove(i, &hello[i]); x != nil || err != nil || hello[i].HasUsername {
			t.Errorf("client %d: %v, %v", i, hello[i].Username, err)
		}
	}
	if string(hello[0].Password) == string(hello[1].Password) {
		t.Error("two clients have the same token")
	}
}

// A broker that has not proved itself ends the measurement: another attempt would
// bring nothing else.
func TestABrokerThatDoesNotProveItselfIsAnError(t *testing.T) {
	r := rows()[2]
	b := &bench{dir: t.TempDir(), clients: 1}
	line, err := r.prepare(b)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = c.Read(make([]byte, 512))
		ack := packet.Connack{}
		withMethod(&ack.Props, "SCRAM-SHA-256", []byte("v=anything"))
		_, _ = c.Write(packet.AppendConnack(nil, packet.V5, &ack))
		_, _ = c.Read(make([]byte, 1))
	}()
	f := fleetOf(l.Addr().String(), 1)
	if f.prove, err = parseProof(1, line); err != nil {
		t.Fatal(err)
	}
	if a := f.come(t.Context()); !strings.Contains(a.Error, errProof.Error()) || a.Accepted+a.Late > 0 {
		t.Errorf("%+v", a)
	}
}

func TestProofsThatAreNone(t *testing.T) {
	for _, line := range []string{"", "dance", "scram", "scram x y", "token", "token abcd", "token " + hex.EncodeToString(make([]byte, 33))} {
		if p, err := parseProof(1, line); p != nil || err == nil {
			t.Errorf("%q is a proof", line)
		}
	}
	if _, err := bySCRAM(""); errors.Is(err, errProof) {
		t.Error("a verifier that is none is blamed on the broker")
	}
}
