package main

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"sallyport/certs"
)

// Every flood opens connections, again and again, and ends when it is told to.
func TestFloods(t *testing.T) {
	files, err := certs.Quickstart(t.TempDir(), []string{"localhost"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	server, _, err := certs.LoadServer(certs.ServerOptions{CertFile: files.CertFile, KeyFile: files.KeyFile, ClientCAFile: files.CAFile, ClientAuth: tls.VerifyClientCertIfGiven}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range floods() {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		patience := 200 * time.Millisecond // whoever says no more fails by it
		if f.name == "full" {
			patience = 20 * time.Second
		}
		results := make(chan error, 1000)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					_ = c.SetDeadline(time.Now().Add(patience))
					select {
					case results <- tls.Server(c, server.Config()).Handshake():
					default:
					}
				}()
			}
		}()
		b := &bench{address: l.Addr().String(), workers: 2, connections: 2, prefixes: 1}
		ctx, cancel := context.WithCancel(t.Context())
		opened := b.begin(ctx, f)
		for range 3 {
			if err := <-results; (err == nil) != (f.name == "full") {
				t.Errorf("%s: the handshake ends with %v", f.name, err)
			}
		}
		cancel()
		if opened() <= 0 {
			t.Errorf("%s opened nothing", f.name)
		}
		_ = l.Close()
	}
}

func TestUnknownFloodsAreRefused(t *testing.T) {
	if err := run(t.Context(), &bench{}, []string{"tsunami"}); err == nil {
		t.Error("an unknown flood is taken")
	}
	if err := run(t.Context(), &bench{}, nil); err == nil {
		t.Error("no duration is taken")
	}
}
