package websocket

import (
	"strings"
	"testing"
)

var clientOptions = ClientOptions{
	Host: "broker.example", Path: "/mqtt?a=b", Key: [16]byte([]byte("the sample nonce")),
	Subprotocols: []string{"mqtt"}, Origin: "https://app.example",
}

func TestClientAndServerAgree(t *testing.T) {
	opening, err := AppendRequest(nil, clientOptions)
	if err != nil {
		t.Fatal(err)
	}
	u := NewUpgrade(options)
	if _, done, err := u.Feed(opening); !done || err != nil {
		t.Fatalf("server: %v, %v", done, err)
	}
	r := NewResponse(clientOptions)
	n, done, err := r.Feed(append(u.Response(), 0x82, 0x00))
	if n != len(u.Response()) || !done || err != nil || r.Subprotocol() != "mqtt" {
		t.Errorf("client: %d, %v, %v, %q", n, done, err, r.Subprotocol())
	}
}

func TestClientRefusesToSend(t *testing.T) {
	for name, change := range map[string]func(*ClientOptions){
		"a path that breaks out of its line": func(o *ClientOptions) { o.Path = "/a HTTP/1.1\r\nX: y" },
		"a path without a slash":             func(o *ClientOptions) { o.Path = "mqtt" },
		"no host":                            func(o *ClientOptions) { o.Host = "" },
		"a host that breaks out of its line": func(o *ClientOptions) { o.Host = "a\r\nb" },
		"no subprotocol":                     func(o *ClientOptions) { o.Subprotocols = nil },
		"a malformed subprotocol":            func(o *ClientOptions) { o.Subprotocols = []string{"a b"} },
		"a malformed origin":                 func(o *ClientOptions) { o.Origin = "a\r\nb" },
	} {
		o := clientOptions
		change(&o)
		if got, err := AppendRequest(nil, o); err == nil {
			t.Errorf("%s: sent %q", name, got)
		}
	}
}

func TestClientRefusesAnswers(t *testing.T) {
	const good = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
	if done, err := feedAll(NewResponse(clientOptions).Feed, []byte(good), 5); !done || err != nil {
		t.Fatalf("the good answer: %v, %v", done, err)
	}
	for _, c := range []struct{ name, old, with string }{
		{"another status", "101", "200"},
		{"another protocol", "HTTP/1.1", "ICY"},
		{"a short status line", " 101 Switching Protocols", " 1"},
		{"no upgrade", "Upgrade: websocket\r\n", ""},
		{"a wrong accept", "s3pP", "AAAA"},
		{"a subprotocol that was not offered", ": mqtt", ": chat"},
		{"no subprotocol", "Sec-WebSocket-Protocol: mqtt\r\n", ""},
		{"an extension", "Upgrade: websocket\r\n", "Upgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"},
		{"an endless head", "Upgrade: websocket\r\n", "X: " + strings.Repeat("a", MaxHead)},
	} {
		answer := strings.Replace(good, c.old, c.with, 1)
		if done, err := feedAll(NewResponse(clientOptions).Feed, []byte(answer), len(answer)); done || err == nil {
			t.Errorf("%s: accepted", c.name)
		}
	}
}

func FuzzResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewResponse(clientOptions)
		if done, err := feedAll(r.Feed, b, 7); done && (err != nil || r.Subprotocol() != "mqtt") {
			t.Errorf("done with %v, %q", err, r.Subprotocol())
		}
	})
}
