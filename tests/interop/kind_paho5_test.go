package interop

import (
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"testing"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
)

// paho5Kind is paho.golang, MQTT 5.
type paho5Kind struct{}

func (paho5Kind) version() int { return 5 }

// dialPlace opens a TCP, TLS or Unix connection, all that paho.golang leaves to its caller.
func dialPlace(p place) (net.Conn, error) {
	addr := net.JoinHostPort(p.Host, strconv.Itoa(p.Port))
	switch p.Transport {
	case "unix":
		return net.Dial("unix", p.Path)
	case "tls":
		c, err := tlsConfig(p)
		if err != nil {
			return nil, err
		}
		return tls.Dial("tcp", addr, c)
	}
	return net.Dial("tcp", addr)
}

func (paho5Kind) connect(ctx context.Context, l login, took func(message)) (*paho.Client, net.Conn, *paho.Connack, error) {
	conn, err := dialPlace(l.Place)
	if err != nil {
		return nil, nil, nil, &refused{0, err.Error()}
	}
	c := paho.NewClient(paho.ClientConfig{
		ClientID: l.ID, Conn: packets.NewThreadSafeConn(conn),
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
			took(fromPaho(r.Packet))
			return true, nil
		}},
	})
	hello := &paho.Connect{
		ClientID: l.ID, CleanStart: !l.Keep, KeepAlive: 30,
		Username: l.User, UsernameFlag: l.User != "", Password: []byte(l.Password), PasswordFlag: l.Password != "",
	}
	if l.Keep {
		hour := uint32(3600)
		hello.Properties = &paho.ConnectProperties{SessionExpiryInterval: &hour, RequestProblemInfo: true}
	}
	if w := l.Will; w != nil {
		hello.WillMessage = &paho.WillMessage{Topic: w.Topic, Payload: w.Payload, QoS: w.QoS, Retain: w.Retain}
	}
	ack, err := c.Connect(ctx, hello)
	if err != nil {
		_ = conn.Close() // the refusal is what is reported
		code := 0
		if ack != nil {
			code = int(ack.ReasonCode)
		}
		return nil, nil, nil, &refused{code, err.Error()}
	}
	return c, conn, ack, nil
}

func fromPaho(p *paho.Publish) message {
	m := message{Topic: p.Topic, Payload: p.Payload, QoS: p.QoS, Retain: p.Retain}
	if x := p.Properties; x != nil {
		m.ContentType, m.Response, m.Correlation = x.ContentType, x.ResponseTopic, string(x.CorrelationData)
		if x.MessageExpiry != nil {
			m.Expiry = *x.MessageExpiry
		}
		for _, u := range x.User {
			m.User = append(m.User, [2]string{u.Key, u.Value})
		}
	}
	return m
}

func (k paho5Kind) listen(t *testing.T, l login, filter string, qos byte) (*listener, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out := newListener()
	c, conn, ack, err := k.connect(ctx, l, func(m message) { out.messages <- m })
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = conn.Close() }) // a second close is harmless
	s, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: qos}}})
	if err != nil {
		return nil, &refused{0, err.Error()}
	}
	if s.Reasons[0] != qos {
		return nil, &refused{int(s.Reasons[0]), "SUBACK"}
	}
	out.resumed = &ack.SessionPresent
	out.abort = func() { _ = conn.Close() } // it shows at the broker, which is what is tested
	out.leave = func() {
		if err := c.Disconnect(&paho.Disconnect{}); err != nil {
			t.Errorf("disconnect: %v", err)
		}
		<-c.Done()
	}
	return out, nil
}

func (k paho5Kind) publish(t *testing.T, l login, m message, payloads ...[]byte) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, _, _, err := k.connect(ctx, l, func(message) {})
	if err != nil {
		return err
	}
	if payloads == nil {
		payloads = [][]byte{m.Payload}
	}
	props := &paho.PublishProperties{ContentType: m.ContentType, ResponseTopic: m.Response, CorrelationData: []byte(m.Correlation)}
	if m.Expiry != 0 {
		props.MessageExpiry = &m.Expiry
	}
	for _, u := range m.User {
		props.User.Add(u[0], u[1])
	}
	for _, p := range payloads {
		if _, err := c.Publish(ctx, &paho.Publish{Topic: m.Topic, QoS: m.QoS, Retain: m.Retain, Payload: p, Properties: props}); err != nil {
			return &refused{0, err.Error()}
		}
	}
	return c.Disconnect(&paho.Disconnect{})
}

// publishOn sends m on a connection that exists.
func publishOn(t *testing.T, c *paho.Client, m message) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := c.Publish(ctx, &paho.Publish{Topic: m.Topic, QoS: m.QoS, Payload: m.Payload})
	return err
}
