package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// flood is one kind of attack: run is a connection of it, which ends with ctx, or
// when the broker closes it.
type flood struct {
	name string
	held bool // -connections at once, else -workers
	run  func(ctx context.Context, c net.Conn)
}

func floods() []flood {
	hello := clientHello()
	stranger := &tls.Config{InsecureSkipVerify: true, GetClientCertificate: selfSigned()} //nolint:gosec // the attacker doesn't care who it is
	nobody := &tls.Config{InsecureSkipVerify: true}                                       //nolint:gosec // as above
	return []flood{
		{"silent", true, func(_ context.Context, c net.Conn) { untilClosed(c) }},
		{"slow", true, func(ctx context.Context, c net.Conn) {
			for i := range hello {
				if _, err := c.Write(hello[i : i+1]); err != nil {
					return
				}
				select {
				case <-ctx.Done():
					return
				case <-time.After(100 * time.Millisecond):
				}
			}
			untilClosed(c)
		}},
		{"hello", false, func(_ context.Context, c net.Conn) {
			_, _ = c.Write(hello)
			_, _ = c.Read(make([]byte, 1)) // that it was answered; the next one comes
		}},
		{"abort", false, func(_ context.Context, c net.Conn) {
			t := tls.Client(c, stranger)
			if t.Handshake() == nil {
				_, _ = t.Read(make([]byte, 1)) // the alert
			}
		}},
		{"full", false, func(_ context.Context, c net.Conn) { _ = tls.Client(c, nobody).Handshake() }},
	}
}

// untilClosed reads until the broker closes c.
func untilClosed(c net.Conn) {
	buffer := make([]byte, 256)
	for {
		if _, err := c.Read(buffer); err != nil {
			return
		}
	}
}

// begin starts a flood. What it returns waits for its end and tells how many
// connections were opened in a second.
func (b *bench) begin(ctx context.Context, f flood) (opened func() float64) {
	n := b.workers
	if f.held {
		n = b.connections
	}
	var all sync.WaitGroup
	var count atomic.Int64
	began := time.Now()
	for i := range n {
		all.Go(func() {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(i%b.prefixes), 1)}}
			for ctx.Err() == nil {
				c, err := d.DialContext(ctx, "tcp", b.address)
				if err != nil {
					wait(ctx) // no descriptor or no port: the next one may be there
					continue
				}
				count.Add(1)
				end := context.AfterFunc(ctx, func() { _ = c.Close() })
				f.run(ctx, c)
				end()
				_ = c.(*net.TCPConn).SetLinger(0) // else the ports would run out
				_ = c.Close()
				if f.held {
					wait(ctx)
				}
			}
		})
	}
	return func() float64 {
		all.Wait()
		return float64(count.Load()) / time.Since(began).Seconds()
	}
}

func wait(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(50 * time.Millisecond):
	}
}

// clientHello is what a client of crypto/tls says first.
func clientHello() []byte {
	client, server := net.Pipe()
	defer client.Close()
	go func() { _ = tls.Client(client, &tls.Config{ServerName: "localhost"}).Handshake() }() // ends with the pipe
	hello := make([]byte, 4<<10)
	n, err := server.Read(hello)
	if err != nil {
		panic(err) // a pipe gives what it was given
	}
	return hello[:n]
}

// selfSigned is a certificate that no CA signed, whatever is asked for.
func selfSigned() func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return nil, err }
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "stranger"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
	}
}
