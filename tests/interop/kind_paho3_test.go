package interop

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// paho3Kind is paho.mqtt.golang in MQTT 3.1 or 3.1.1.
type paho3Kind struct{ v int }

func (k paho3Kind) version() int { return k.v }

func (k paho3Kind) connect(l login, took func(message)) (mqtt.Client, *net.Conn, bool, error) {
	p := l.Place
	scheme := map[string]string{"tcp": "tcp", "tls": "ssl", "ws": "ws", "wss": "wss", "unix": "unix"}[p.Transport]
	server := fmt.Sprintf("%s://%s:%d%s", scheme, p.Host, p.Port, p.Path)
	switch p.Transport {
	case "unix":
		server = "unix://" + p.Path
	case "tcp", "tls":
		server = fmt.Sprintf("%s://%s:%d", scheme, p.Host, p.Port)
	}
	o := mqtt.NewClientOptions().AddBroker(server).SetClientID(l.ID).SetProtocolVersion(uint(k.v)).
		SetCleanSession(!l.Keep).SetAutoReconnect(false).SetConnectTimeout(patience).SetOrderMatters(true).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
			took(message{Topic: m.Topic(), Payload: m.Payload(), QoS: m.Qos(), Retain: m.Retained()})
		})
	if l.User != "" {
		o.SetUsername(l.User).SetPassword(l.Password)
	}
	if w := l.Will; w != nil {
		o.SetBinaryWill(w.Topic, w.Payload, w.QoS, w.Retain)
	}
	if p.CA != "" {
		c, err := tlsConfig(p)
		if err != nil {
			return nil, nil, false, err
		}
		o.SetTLSConfig(c)
	}
	// The connection itself is wanted, to cut it without a DISCONNECT.
	var conn net.Conn
	if p.Transport != "ws" && p.Transport != "wss" {
		o.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
			var err error
			conn, err = dialPlace(p)
			return conn, err
		})
	} else {
		o.SetHTTPHeaders(http.Header{})
	}
	c := mqtt.NewClient(o)
	token := c.Connect()
	if !token.WaitTimeout(patience) {
		return nil, nil, false, errors.New("no CONNACK")
	}
	if err := token.Error(); err != nil {
		return nil, nil, false, &refused{connackCode(err), err.Error()}
	}
	return c, &conn, token.(*mqtt.ConnectToken).SessionPresent(), nil
}

func connackCode(err error) int {
	for code, e := range packets.ConnErrors {
		if e != nil && code != packets.ErrNetworkError && errors.Is(err, e) {
			return int(code)
		}
	}
	return 0
}

func (k paho3Kind) listen(t *testing.T, l login, filter string, qos byte) (*listener, error) {
	t.Helper()
	out := newListener()
	c, conn, resumed, err := k.connect(l, func(m message) { out.messages <- m })
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { c.Disconnect(0) })
	token := c.Subscribe(filter, qos, nil)
	if !token.WaitTimeout(patience) {
		return nil, errors.New("no SUBACK")
	}
	if err := token.Error(); err != nil {
		return nil, &refused{0, err.Error()}
	}
	// The library cuts $share/NAME/ off the filter, so the key is not looked at.
	for _, granted := range token.(*mqtt.SubscribeToken).Result() {
		if granted != qos {
			return nil, &refused{int(granted), "SUBACK"}
		}
	}
	out.resumed = &resumed
	out.abort = func() { _ = (*conn).Close() } // it shows at the broker, which is what is tested
	out.leave = func() { c.Disconnect(uint(patience / time.Millisecond)) }
	return out, nil
}

func (k paho3Kind) publish(t *testing.T, l login, m message, payloads ...[]byte) error {
	t.Helper()
	c, _, _, err := k.connect(l, func(message) {})
	if err != nil {
		return err
	}
	if payloads == nil {
		payloads = [][]byte{m.Payload}
	}
	for _, p := range payloads {
		token := c.Publish(m.Topic, m.QoS, m.Retain, p)
		if !token.WaitTimeout(patience) {
			return errors.New("no acknowledgement")
		}
		if err := token.Error(); err != nil {
			return err
		}
	}
	c.Disconnect(250)
	return nil
}
