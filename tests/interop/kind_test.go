package interop

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"
)

// kind is one client program or library in one protocol version.
type kind interface {
	// listen connects and subscribes; both are acknowledged when it returns.
	// A refusal is a *refused.
	listen(t *testing.T, l login, filter string, qos byte) (*listener, error)
	// publish connects, sends messages that differ only in their payload, and
	// disconnects; what can be acknowledged is when it returns.
	publish(t *testing.T, l login, m message, payloads ...[]byte) error
	// version is 3, 4 or 5, as in CONNECT.
	version() int
}

// login is how a client comes. The scripts in testdata read it as JSON.
type login struct {
	Place    place    `json:"place"`
	ID       string   `json:"id"` // empty: a random one
	User     string   `json:"user"`
	Password string   `json:"password"`
	Keep     bool     `json:"keep"` // the session, for an hour in MQTT 5
	Will     *message `json:"will,omitempty"`
}

// message is what is compared: sent against received.
type message struct {
	Topic       string      `json:"topic"`
	Payload     hexBytes    `json:"payload"`
	QoS         byte        `json:"qos"`
	Retain      bool        `json:"retain"`
	User        [][2]string `json:"user,omitempty"` // user properties, in order
	ContentType string      `json:"contentType,omitempty"`
	Response    string      `json:"response,omitempty"` // response topic
	Correlation string      `json:"correlation,omitempty"`
	Expiry      uint32      `json:"expiry,omitempty"` // seconds, 0 is none
}

// hexBytes are bytes that travel in JSON as hexadecimal digits.
type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

// refused says that the server or the client ended the attempt.
type refused struct {
	code int // of CONNACK, 0 if there was none or the client doesn't tell
	text string
}

func (r *refused) Error() string { return fmt.Sprintf("refused with code %d: %s", r.code, r.text) }

// code is the CONNACK code of err, -1 if it is no refusal.
func refusal(err error) int {
	if r, ok := errors.AsType[*refused](err); ok {
		return r.code
	}
	return -1
}

// listener is a connected subscriber.
type listener struct {
	messages chan message
	resumed  *bool  // session present, nil where the client doesn't tell
	abort    func() // cuts the connection without a DISCONNECT
	leave    func() // disconnects in order
}

func newListener() *listener { return &listener{messages: make(chan message, 256)} }

// next returns the next message.
func (l *listener) next(t *testing.T) message {
	t.Helper()
	select {
	case m := <-l.messages:
		return m
	case <-time.After(patience):
		t.Fatal("no message came")
		return message{}
	}
}

// randomID is a client id no other test has.
func randomID() string { return "it-" + rand.Text()[:16] }

// tlsConfig is how the Go libraries check a place.
func tlsConfig(p place) (*tls.Config, error) {
	pem, err := os.ReadFile(p.CA)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: p.Host}
	c.RootCAs.AppendCertsFromPEM(pem)
	if p.Cert != "" {
		pair, err := tls.LoadX509KeyPair(p.Cert, p.Key)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
