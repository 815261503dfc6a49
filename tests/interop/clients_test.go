package interop

import (
	"fmt"
	"testing"
)

// clientCase is a client in one version over one transport; it is tried over the others too.
type clientCase struct {
	name   string
	main   string // listener that the scenarios run over
	others []string
	client func(t *testing.T) kind
}

// cases is every client that must work.
func cases() []clientCase {
	tcp := []string{"tls", "unix"}
	web := []string{"tls", "ws", "wss"}
	var all []clientCase
	add := func(name, main string, others []string, client func(t *testing.T) kind) {
		all = append(all, clientCase{name, main, others, client})
	}
	for _, v := range []int{3, 4, 5} {
		add(fmt.Sprintf("mosquitto-clients/%s", versions[v]), "tcp", tcp, func(t *testing.T) kind { return mosquittoKind(t, v) })
		add(fmt.Sprintf("sallyport/%s", versions[v]), "tcp", []string{"tls", "unix", "ws", "wss"}, func(*testing.T) kind { return sallyportKind(v) })
		add(fmt.Sprintf("paho python/%s", versions[v]), "tcp", web, func(t *testing.T) kind { return pythonKind(t, v) })
	}
	add("mqtt.js/3.1.1 over TCP", "tcp", web, func(t *testing.T) kind { return nodeKind(t, 4) })
	add("mqtt.js/5.0 over TCP", "tcp", web, func(t *testing.T) kind { return nodeKind(t, 5) })
	add("mqtt.js/3.1.1 over WebSocket", "ws", nil, func(t *testing.T) kind { return nodeKind(t, 4) })
	add("mqtt.js/5.0 over secure WebSocket", "wss", nil, func(t *testing.T) kind { return nodeKind(t, 5) })
	add("paho.mqtt.golang/3.1", "tcp", []string{"tls", "unix", "ws", "wss"}, func(*testing.T) kind { return paho3Kind{3} })
	add("paho.mqtt.golang/3.1.1", "tcp", []string{"tls", "unix", "ws", "wss"}, func(*testing.T) kind { return paho3Kind{4} })
	add("paho.golang/5.0", "tcp", []string{"tls", "unix"}, func(*testing.T) kind { return paho5Kind{} })
	return all
}

var versions = map[int]string{3: "3.1", 4: "3.1.1", 5: "5.0"}

// TestClients plays every scenario with every client. Each has a broker of its
// own, since refusals slow down the address that they come from.
func TestClients(t *testing.T) {
	t.Parallel()
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBroker(t)
			s := &stage{b: b, kind: c.client(t), place: b.places[c.main], root: "it"}
			s.play(t, c.others)
			b.stop(t)
		})
	}
}
