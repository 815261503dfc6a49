package client

import (
	"crypto/tls"
	"fmt"
	"net"
	"sync"

	"sallyport/internal/scram"
)

// SCRAMOptions say who logs in by SCRAM.
type SCRAMOptions struct {
	// Method is SCRAM-SHA-256, SCRAM-SHA-512, or one of these with -PLUS, which is bound
	// to the TLS channel and needs one.
	Method   string
	Name     string
	Password string
	// MinIterations and MaxIterations bound what a server may ask for; 0 is 4,096, which
	// is the least, and 2,000,000.
	MinIterations, MaxIterations int
}

// SCRAM is the methods of RFC 5802 and 7677 as an Authentication: the server never sees
// the password, and has to prove that it knows the verifier of it.
//
// Without -PLUS it says that it does not bind channels ("n"), and never that it would and
// the server can't ("y"): MQTT servers don't tell which methods they have.
type SCRAM struct {
	options scram.ClientOptions

	mu     sync.Mutex    // guards the field below
	salted *scram.Salted // of the last success, which spares the next login the iterations
}

// NewSCRAM makes an Authentication. The error names what of the options can't be used.
func NewSCRAM(o SCRAMOptions) (*SCRAM, error) {
	m, ok := scram.ParseMethod(o.Method)
	if !ok {
		return nil, fmt.Errorf("no method %q of SCRAM", o.Method)
	}
	s := &SCRAM{options: scram.ClientOptions{
		Method: m, Name: o.Name, Password: o.Password, MinIterations: o.MinIterations, MaxIterations: o.MaxIterations,
	}}
	probe := s.options
	if m.Plus {
		probe.Binding = &scram.Binding{Type: scram.Exporter, Data: []byte{0}}
	}
	if _, err := scram.NewClient(probe); err != nil {
		return nil, err
	}
	return s, nil
}

// Method implements Authentication.
func (s *SCRAM) Method() string { return s.options.Method.String() }

// Begin implements Authentication.
func (s *SCRAM) Begin(nc net.Conn) (Exchange, error) {
	o := s.options
	s.mu.Lock()
	o.Salted = s.salted
	s.mu.Unlock()
	if o.Method.Plus {
		secure, ok := nc.(interface{ ConnectionState() tls.ConnectionState })
		if !ok {
			return nil, fmt.Errorf("%s needs TLS", s.Method())
		}
		state := secure.ConnectionState()
		var err error
		if o.Binding, err = scram.TLSExporter(&state); err != nil {
			return nil, err
		}
	}
	c, err := scram.NewClient(o)
	if err != nil {
		return nil, err
	}
	return &scramExchange{s, c}, nil
}

type scramExchange struct {
	s *SCRAM
	*scram.Client
}

// Next implements Exchange.
func (x *scramExchange) Next(data []byte) (reply []byte, done bool, err error) {
	reply, done, err = x.Client.Next(data)
	if done {
		x.s.mu.Lock()
		x.s.salted = x.Salted()
		x.s.mu.Unlock()
	}
	return reply, done, err
}
