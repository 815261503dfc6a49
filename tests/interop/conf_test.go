package interop

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// open lets everybody in on the loopback.
const open = "listener PORT 127.0.0.1\nallow_anonymous true\n"

// anybody is one whom nothing but the option under test concerns.
func anybody() greeting { return greeting{id: randomID(), keepAlive: 30} }

// code is what the broker at port answers to g.
func code(t *testing.T, port int, g greeting) int {
	t.Helper()
	w, code := hello(t, port, g)
	w.leave()
	return code
}

// connack5 connects with MQTT 5 and returns the CONNACK.
func connack5(t *testing.T, port int, cp *paho.Connect) (*paho.Client, *paho.Connack) {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // the client may have closed it
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := paho.NewClient(paho.ClientConfig{Conn: conn})
	ack, err := c.Connect(ctx, cp)
	if ack == nil {
		t.Fatalf("no CONNACK: %v", err)
	}
	return c, ack
}

// TestConf runs options of mosquitto.conf through "serve -c FILE".
func TestConf(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(t *testing.T){
		"without listener and with -p anonymous clients get in on loopback": confNoListener,
		"a listener lets nobody in by default":                              confClosed,
		"per_listener_settings keeps users apart":                           confPerListener,
		"clientid_prefixes refuses other ids":                               confPrefixes,
		"allow_zero_length_clientid false refuses an empty id":              confEmptyID,
		"max_connections closes the one too many":                           confMaxConnections,
		"max_keepalive is told or refused":                                  confKeepAlive,
		"message_size_limit drops what is larger":                           confMessageSize,
		"max_packet_size ends the connection":                               confPacketSize,
		"max_qos, max_topic_alias and retain_available are told":            confTold,
		"max_queued_messages bounds an absent client":                       confQueue,
		"queue_qos0_messages queues QoS 0":                                  confQueueQoS0,
		"persistent_client_expiration ends sessions":                        confExpiration,
		"sys_interval publishes the $SYS tree":                              confSys,
		"log_dest file and topic":                                           confLog,
		"include_dir reads conf files in order, pid_file is kept":           confInclude,
		"unix socket and websockets":                                        confTransports,
		"certificates name the user, revoked ones are refused":              confCertificates,
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); test(t) })
	}
}

func confNoListener(t *testing.T) {
	b, port := startSallyportConf(t, "# nothing\npersistence false\n", "-p", "PORT", "-v")
	if got := code(t, port, anybody()); got != 0 {
		t.Errorf("CONNECT: code %d", got)
	}
	for _, addr := range []string{fmt.Sprintf("127.0.0.1:%d", port), fmt.Sprintf("[::1]:%d", port)} {
		b.await(t, 0, "msg=listening", "addr="+addr)
	}
	if b.stdout() != "" {
		t.Errorf("the log went to stdout:\n%s", b.stdout())
	}
	b.stop(t)
}

func confClosed(t *testing.T) {
	_, port := startSallyportConf(t, "listener PORT 127.0.0.1\n")
	if got := code(t, port, anybody()); got != 5 {
		t.Errorf("CONNECT: code %d, want 5", got)
	}
}

func confPerListener(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	setPassword(t, one, "ann", "1")
	setPassword(t, two, "ben", "2")
	acl := write(t, filepath.Join(dir, "acl"), "user ben\ntopic t\n")
	second := freePort(t)
	_, port := startSallyportConf(t, fmt.Sprintf("per_listener_settings true\nlistener PORT 127.0.0.1\npassword_file %s\nlistener %d 127.0.0.1\npassword_file %s\nacl_file %s\n", one, second, two, acl))
	for _, c := range []struct {
		port       int
		user, pass string
		want       int
	}{{port, "ann", "1", 0}, {port, "ben", "2", 5}, {second, "ben", "2", 0}, {second, "ann", "1", 5}} {
		g := anybody()
		g.user, g.password = c.user, c.pass
		if got := code(t, c.port, g); got != c.want {
			t.Errorf("%s on %d: code %d, want %d", c.user, c.port, got, c.want)
		}
	}
}

func confPrefixes(t *testing.T) {
	_, port := startSallyportConf(t, open+"clientid_prefixes dev-\n")
	for id, want := range map[string]int{"dev-1": 0, "xdev-1": 5, "dev": 5} {
		if got := code(t, port, greeting{id: id}); got != want {
			t.Errorf("client id %s: code %d, want %d", id, got, want)
		}
	}
}

func confEmptyID(t *testing.T) {
	_, port := startSallyportConf(t, open+"allow_zero_length_clientid false\n")
	if got := code(t, port, greeting{}); got != 2 {
		t.Errorf("an empty id: code %d, want 2", got)
	}
	_, port = startSallyportConf(t, open+"auto_id_prefix made-\n")
	_, ack := connack5(t, port, &paho.Connect{CleanStart: true})
	if ack.Properties == nil || !strings.HasPrefix(ack.Properties.AssignedClientID, "made-") {
		t.Errorf("assigned client id: %+v", ack.Properties)
	}
}

func confMaxConnections(t *testing.T) {
	_, port := startSallyportConf(t, open+"max_connections 1\n")
	var first *wire
	eventually(t, "the probe's connection is forgotten", func() (in bool) {
		var code int
		first, code = hello(t, port, anybody())
		return code == 0
	})
	if _, got := hello(t, port, anybody()); got != -1 {
		t.Errorf("a second connection: code %d, want it closed", got)
	}
	first.leave()
	eventually(t, "there is room again", func() bool { return code(t, port, anybody()) == 0 })
}

func confKeepAlive(t *testing.T) {
	_, port := startSallyportConf(t, open+"max_keepalive 20\n")
	for keepAlive, want := range map[uint16]int{20: 0, 21: 2, 0: 2} {
		if got := code(t, port, greeting{id: randomID(), keepAlive: keepAlive}); got != want {
			t.Errorf("keep alive %d in 3.1.1: code %d, want %d", keepAlive, got, want)
		}
	}
	_, ack := connack5(t, port, &paho.Connect{ClientID: randomID(), CleanStart: true, KeepAlive: 600})
	if ack.Properties == nil || ack.Properties.ServerKeepAlive == nil || *ack.Properties.ServerKeepAlive != 20 {
		t.Errorf("server keep alive: %+v, want 20", ack.Properties)
	}
}

func confMessageSize(t *testing.T) {
	_, port := startSallyportConf(t, open+"message_size_limit 10\n")
	sub, pub := mustHello(t, port, anybody()), mustHello(t, port, anybody())
	sub.subscribe("#", 1)
	for _, payload := range []string{"0123456789a", "0123456789"} {
		if !pub.publish("t", payload, false) {
			t.Errorf("%d bytes were not acknowledged", len(payload))
		}
	}
	if got := sub.received(); len(got) != 1 || len(got[0].Payload) != 10 {
		t.Errorf("received %v, want the message of 10 bytes only", got)
	}
}

func confPacketSize(t *testing.T) {
	_, port := startSallyportConf(t, open+"max_packet_size 100\n")
	pub := mustHello(t, port, anybody())
	if !pub.publish("t", strings.Repeat("x", 50), false) {
		t.Error("a packet within the limit was refused")
	}
	if pub.publish("t", strings.Repeat("x", 200), false) {
		t.Error("a packet beyond the limit was acknowledged")
	}
	_, ack := connack5(t, port, &paho.Connect{ClientID: randomID(), CleanStart: true})
	if ack.Properties == nil || ack.Properties.MaximumPacketSize == nil || *ack.Properties.MaximumPacketSize != 100 {
		t.Errorf("maximum packet size: %+v, want 100", ack.Properties)
	}
}

func confTold(t *testing.T) {
	_, port := startSallyportConf(t, open+"max_qos 1\nmax_topic_alias 3\nretain_available false\n")
	_, ack := connack5(t, port, &paho.Connect{ClientID: randomID(), CleanStart: true})
	p := ack.Properties
	if p == nil || p.MaximumQoS == nil || *p.MaximumQoS != 1 {
		t.Errorf("maximum QoS: %+v, want 1", p)
	}
	if p == nil || p.TopicAliasMaximum == nil || *p.TopicAliasMaximum != 3 {
		t.Errorf("topic alias maximum: %+v, want 3", p)
	}
	if p == nil || p.RetainAvailable {
		t.Errorf("retain available: %+v, want false", p)
	}
	sub := mustHello(t, port, anybody())
	if got := sub.subscribe("t", 2); got != 1 {
		t.Errorf("granted QoS %d, want 1", got)
	}
}

// away makes a kept session on t that isn't connected, and returns its greeting.
func away(t *testing.T, port int, qos byte) greeting {
	t.Helper()
	g := anybody()
	g.keep = true
	w := mustHello(t, port, g)
	if got := w.subscribe("t", qos); got != int(qos) {
		t.Fatalf("SUBACK: %d", got)
	}
	w.leave()
	return g
}

// payloads are those of list.
func payloads(list []*packets.PublishPacket) (out []string) {
	for _, p := range list {
		out = append(out, string(p.Payload))
	}
	return out
}

func confQueue(t *testing.T) {
	_, port := startSallyportConf(t, open+"max_inflight_messages 1\nmax_queued_messages 2\n")
	g := away(t, port, 1)
	pub := mustHello(t, port, anybody())
	for i := range 10 {
		pub.publish("t", fmt.Sprint(i), false)
	}
	w := mustHello(t, port, g)
	var got []string
	for p := range collect(w) {
		got = append(got, string(p.Payload))
	}
	// Mosquitto counts the one in flight apart from those that wait.
	if !slices.Equal(got, []string{"0", "1"}) && !slices.Equal(got, []string{"0", "1", "2"}) {
		t.Errorf("received %q, want the first two or three", got)
	}
}

// collect acknowledges what is queued until nothing more comes.
func collect(w *wire) func(yield func(*packets.PublishPacket) bool) {
	return func(yield func(*packets.PublishPacket) bool) {
		for {
			list := w.received()
			if len(list) == 0 {
				return
			}
			for _, p := range list {
				ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
				ack.MessageID = p.MessageID
				if !yield(p) || p.Qos > 0 && ack.Write(w.Conn) != nil {
					return
				}
			}
		}
	}
}

func confQueueQoS0(t *testing.T) {
	for on, want := range map[bool][]string{true: {"zero", "one"}, false: {"one"}} {
		_, port := startSallyportConf(t, open+fmt.Sprintf("queue_qos0_messages %t\n", on))
		g := away(t, port, 1)
		pub := mustHello(t, port, anybody())
		p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
		p.TopicName, p.Payload = "t", []byte("zero")
		if err := p.Write(pub); err != nil {
			t.Fatal(err)
		}
		pub.publish("t", "one", false)
		if got := payloads(mustHello(t, port, g).received()); !slices.Equal(got, want) {
			t.Errorf("queue_qos0_messages %t: received %q, want %q", on, got, want)
		}
	}
}

func confExpiration(t *testing.T) {
	_, port := startSallyportConf(t, open+"persistent_client_expiration 1s\nsys_interval 1\n")
	g := away(t, port, 1)
	watch := mustHello(t, port, anybody())
	watch.subscribe("$SYS/broker/clients/expired", 0)
	for string(watch.next(t).Payload) != "1" {
	}
	// What would have been queued is not there, nor is the subscription.
	mustHello(t, port, anybody()).publish("t", "late", false)
	if got := payloads(mustHello(t, port, g).received()); len(got) > 0 {
		t.Errorf("an expired session had the messages %q", got)
	}
}

func confSys(t *testing.T) {
	_, port := startSallyportConf(t, open+"sys_interval 1\n")
	w := mustHello(t, port, anybody())
	w.subscribe("$SYS/#", 0)
	missing := map[string]bool{}
	for _, name := range []string{"version", "uptime", "clients/connected", "messages/received", "publish/messages/sent",
		"bytes/received", "subscriptions/count", "retained messages/count", "load/messages/received/1min"} {
		missing["$SYS/broker/"+name] = true
	}
	for len(missing) > 0 {
		m := w.next(t)
		if m.TopicName == "$SYS/broker/version" && !strings.HasPrefix(string(m.Payload), "sallyport version ") {
			t.Errorf("version = %q", m.Payload)
		}
		delete(missing, m.TopicName)
	}
	if w.publish("$SYS/broker/version", "mine", true); len(w.received()) > 0 {
		late := mustHello(t, port, anybody())
		late.subscribe("$SYS/broker/version", 0)
		if m := late.next(t); string(m.Payload) == "mine" {
			t.Error("a client could write to $SYS")
		}
	}
}

func confLog(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	b, port := startSallyportConf(t, open+"log_dest file "+file+"\nlog_dest topic\nlog_type all\n")
	w := mustHello(t, port, anybody())
	w.subscribe("$SYS/broker/log/#", 0)
	noisy := anybody()
	mustHello(t, port, noisy).leave()
	for {
		m := w.next(t)
		if m.TopicName != "$SYS/broker/log/N" {
			continue
		}
		if strings.Contains(string(m.Payload), noisy.id) {
			break
		}
	}
	eventually(t, "the client in the log file", func() bool {
		text, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(text), noisy.id)
	})
	if strings.Contains(b.stderr(), "msg=") {
		t.Errorf("the log went to stderr too:\n%s", b.stderr())
	}
}

func confInclude(t *testing.T) {
	dir := t.TempDir()
	pid := filepath.Join(t.TempDir(), "pid")
	port := freePort(t)
	write(t, filepath.Join(dir, "10.conf"), fmt.Sprintf("listener %d 127.0.0.1\n", port))
	write(t, filepath.Join(dir, "2.conf"), "allow_anonymous true\npid_file "+pid+"\n") // after 10.conf: bytes decide
	write(t, filepath.Join(dir, "ignored.txt"), "no such option\n")
	p := start(t, sallyport, "serve", "-c", write(t, filepath.Join(t.TempDir(), "main.conf"), "max_keepalive 100\ninclude_dir "+dir+"\n"))
	awaitPort(t, p, port)
	if got := code(t, port, anybody()); got != 0 {
		t.Errorf("CONNECT: code %d", got)
	}
	if text, err := os.ReadFile(pid); err != nil || strings.TrimSpace(string(text)) != fmt.Sprint(p.cmd.Process.Pid) {
		t.Errorf("pid_file = %q, %v; want %d", text, err, p.cmd.Process.Pid)
	}
	p.stop(t)
	if _, err := os.Stat(pid); err == nil {
		t.Error("pid_file is left behind")
	}
}

func confTransports(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	web := freePort(t)
	_, port := startSallyportConf(t, open+fmt.Sprintf("listener 0 %s\nlistener %d 127.0.0.1\nprotocol websockets\n", path, web))
	sub := mustHello(t, port, anybody())
	sub.subscribe("#", 1)
	k := sallyportKind(4)
	for _, p := range []place{{Transport: "unix", Path: path}, {Transport: "ws", Host: "127.0.0.1", Port: web, Path: "/anything"}} {
		if err := k.publish(t, login{Place: p}, message{Topic: "t/" + p.Transport, Payload: []byte("x"), QoS: 1}); err != nil {
			t.Errorf("over %s: %v", p.Transport, err)
			continue
		}
		if m := sub.next(t); m.TopicName != "t/"+p.Transport {
			t.Errorf("received %s over %s", m.TopicName, p.Transport)
		}
	}
}

func confCertificates(t *testing.T) {
	ca := newAuthority(t, "device CA")
	server, good, bad := ca.issue(t, "server", true), ca.issue(t, "meter-1", false), ca.issue(t, "meter-2", false)
	acl := write(t, filepath.Join(t.TempDir(), "acl"), "pattern readwrite own/%u\n")
	_, port := startSallyportConf(t, fmt.Sprintf("listener PORT 127.0.0.1\ncafile %s\ncertfile %s\nkeyfile %s\ncrlfile %s\nrequire_certificate true\nuse_identity_as_username true\nacl_file %s\n",
		ca.path, server.cert, server.key, ca.revoke(t, bad), acl))
	connect := func(id identity) (*wire, int) {
		conn, err := dialPlace(place{Transport: "tls", Host: "localhost", Port: port, CA: ca.path, Cert: id.cert, Key: id.key})
		if err != nil {
			return nil, -1
		}
		return helloOn(t, conn, anybody())
	}
	w, got := connect(good)
	if got != 0 {
		t.Fatalf("a good certificate: code %d", got)
	}
	w.subscribe("#", 1)
	w.publish("own/meter-2", "not mine", false)
	w.publish("own/meter-1", "mine", false)
	if got := payloads(w.received()); !slices.Equal(got, []string{"mine"}) {
		t.Errorf("received %q, want only what the certificate's name may", got)
	}
	if _, got := connect(bad); got != -1 {
		t.Errorf("a revoked certificate: code %d, want no connection", got)
	}
	if _, got := connect(identity{}); got != -1 {
		t.Errorf("no certificate: code %d, want no connection", got)
	}
}

// TestConfRefusals shows that unknown options stop the start by name and line.
func TestConfRefusals(t *testing.T) {
	t.Parallel()
	path := write(t, filepath.Join(t.TempDir(), "mosquitto.conf"), "listener 18830\nallow_anonimous true\nplugin /x.so\nmax_qos 7\n")
	for _, verb := range []string{"serve", "check"} {
		r := runCmd(t, "", sallyport, verb, "-c", path)
		if r.code != 1 {
			t.Errorf("%s: exit code %d, want 1", verb, r.code)
		}
		for _, want := range []string{path + ":2: allow_anonimous", path + ":3: plugin", path + ":4: max_qos"} {
			if !strings.Contains(r.stderr, want) {
				t.Errorf("%s: no %q in:\n%s", verb, want, r.stderr)
			}
		}
	}
}
