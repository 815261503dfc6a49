package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"time"

	"sallyport/internal/scram"
	"sallyport/packet"
)

// source is the address of attempt i: of a network of its own, since who fails often
// waits.
func source(i int) net.IP { return net.IPv4(127, byte(1+i/250/4), byte(1+i%250), byte(1+i/250%4)) }

const patience = 30 * time.Second

// conn is a client's connection.
type conn struct {
	net.Conn
	buf []byte
}

func dial(address string, from net.IP) (*conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from}, Timeout: patience}
	c, err := d.DialContext(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c}, c.SetDeadline(time.Now().Add(patience))
}

// next reads one packet.
func (c *conn) next() (packet.Header, []byte, error) {
	for {
		h, n, err := packet.ReadHeader(c.buf)
		if err != nil {
			return h, nil, err
		}
		if n > 0 && len(c.buf) >= n+int(h.Length) {
			body := c.buf[n : n+int(h.Length)]
			c.buf = c.buf[n+int(h.Length):]
			return h, body, nil
		}
		more := make([]byte, 4096)
		m, err := c.Read(more)
		if err != nil {
			return h, nil, fmt.Errorf("read: %w", err)
		}
		c.buf = append(c.buf, more[:m]...)
	}
}

// exchange sends a packet and reads the next: the time from the one to the other.
func (c *conn) exchange(sent []byte) (time.Duration, packet.Header, []byte, error) {
	began := time.Now()
	if _, err := c.Write(sent); err != nil {
		return 0, packet.Header{}, nil, err
	}
	h, body, err := c.next()
	return time.Since(began), h, body, err
}

func hello() *packet.Connect {
	return &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "timing"}
}

// login is a CONNECT with a password: from its last byte to its answer.
func login(address string, from net.IP, k kind) ([]time.Duration, error) {
	c, err := dial(address, from)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	p := hello()
	p.HasUsername, p.Username, p.HasPassword, p.Password = true, k.user, true, []byte(k.password)
	p.ClientID += k.user
	took, h, body, err := c.exchange(packet.AppendConnect(nil, p))
	if err != nil {
		return nil, err
	}
	return []time.Duration{took}, k.judge(h, body)
}

// judge holds a CONNACK against what the kind is to be answered.
func (k kind) judge(h packet.Header, body []byte) error {
	if h.Type != packet.CONNACK {
		return fmt.Errorf("answered with %v", h.Type)
	}
	a, err := packet.DecodeConnack(packet.V5, h.Flags, body, packet.Limits{})
	if err != nil {
		return err
	}
	if a.Code != k.code {
		return fmt.Errorf("answered with %v, want %v", a.Code, k.code)
	}
	return nil
}

// begin sends a CONNECT that names a method, and tells the time of its answer.
func (c *conn) begin(method string, data []byte) (time.Duration, packet.Header, []byte, error) {
	p := hello()
	p.Props.AuthMethod, p.Props.AuthData = method, data
	p.Props.Mark(packet.PropAuthMethod)
	p.Props.Mark(packet.PropAuthData)
	return c.exchange(packet.AppendConnect(nil, p))
}

// goOn sends an AUTH of the method, and tells the time of its answer.
func (c *conn) goOn(method string, data []byte) (time.Duration, packet.Header, []byte, error) {
	p := packet.Auth{Code: packet.ContinueAuthentication}
	p.Props.AuthMethod, p.Props.AuthData = method, data
	p.Props.Mark(packet.PropAuthMethod)
	p.Props.Mark(packet.PropAuthData)
	return c.exchange(packet.AppendAuth(nil, &p))
}

// handshake is SCRAM: the time of the broker's first answer, and of its second.
func handshake(address string, from net.IP, k kind) ([]time.Duration, error) {
	c, err := dial(address, from)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	method := scram.Method{Hash: scram.SHA256}
	x, err := scram.NewClient(scram.ClientOptions{Method: method, Name: k.user, Password: k.password})
	if err != nil {
		return nil, err
	}
	first, err := x.First()
	if err != nil {
		return nil, err
	}
	one, h, body, err := c.begin(method.String(), first)
	if err != nil {
		return nil, err
	}
	if h.Type != packet.AUTH {
		return nil, errors.Join(errors.New("no challenge"), k.judge(h, body))
	}
	a, err := packet.DecodeAuth(packet.V5, h.Flags, body, packet.Limits{})
	if err != nil {
		return nil, err
	}
	// The derivation is the client's own work, and paid before the clock runs again.
	second, _, err := x.Next(a.Props.AuthData)
	if err != nil {
		return nil, err
	}
	two, h, body, err := c.goOn(method.String(), second)
	if err != nil {
		return nil, err
	}
	return []time.Duration{one, two}, k.judge(h, body)
}

// present is a bad token by OAUTHBEARER: the time of the refusal, which the broker gives
// after it has said that the token is bad.
func present(address string, from net.IP, k kind) ([]time.Duration, error) {
	c, err := dial(address, from)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	const method = "OAUTHBEARER"
	_, h, body, err := c.begin(method, []byte("n,,\x01auth=Bearer "+k.password+"\x01\x01"))
	if err != nil {
		return nil, err
	}
	if h.Type != packet.AUTH {
		return nil, errors.Join(errors.New("not told that the token is bad"), k.judge(h, body))
	}
	took, h, body, err := c.goOn(method, []byte{1})
	if err != nil {
		return nil, err
	}
	return []time.Duration{took}, k.judge(h, body)
}

// unoffered is a method that no listener offers, with a name as SCRAM has it.
func unoffered(address string, from net.IP, k kind) ([]time.Duration, error) {
	c, err := dial(address, from)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	took, h, body, err := c.begin("SCRAM-SHA-512", []byte("n,,n="+k.user+",r=fyko+d2lbbFgONRv9qkxdawL"))
	if err != nil {
		return nil, err
	}
	return []time.Duration{took}, k.judge(h, body)
}

// smirnov is the test of Kolmogorov and Smirnov over two sorted samples: the greatest
// distance of their distributions, and how probable one as great is by chance.
func smirnov(a, b []time.Duration) (d, p float64) {
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		at := min(a[i], b[j])
		for i < len(a) && a[i] == at {
			i++
		}
		for j < len(b) && b[j] == at {
			j++
		}
		d = max(d, math.Abs(float64(i)/float64(len(a))-float64(j)/float64(len(b))))
	}
	n := math.Sqrt(float64(len(a)) * float64(len(b)) / float64(len(a)+len(b)))
	lambda := (n + 0.12 + 0.11/n) * d
	if lambda < 0.2 {
		return d, 1
	}
	for k := 1; k <= 100; k++ {
		term := 2 * math.Exp(-2*float64(k*k)*lambda*lambda)
		if k%2 == 0 {
			term = -term
		}
		p += term
	}
	return d, min(max(p, 0), 1)
}

// freeAddresses are as many different ones.
func freeAddresses(n int) (list []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all at the end, or one could come twice
		list = append(list, l.Addr().String())
	}
	return list, nil
}

// await returns once somebody listens.
func await(ctx context.Context, address string, ended <-chan struct{}) error {
	for {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ended:
			return io.ErrUnexpectedEOF
		case <-time.After(10 * time.Millisecond):
		}
	}
}
