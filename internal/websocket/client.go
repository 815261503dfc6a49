package websocket

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ClientOptions is a client's opening handshake.
type ClientOptions struct {
	Host         string   // as in the Host header, with the port unless it is the default one
	Path         string   // with the query, if any; empty is "/"
	Key          [16]byte // random, new for each connection
	Subprotocols []string // at least one, the favourite first
	Origin       string   // optional
}

// AppendRequest appends the request of o. It refuses values that would break
// out of their line.
func AppendRequest(dst []byte, o ClientOptions) ([]byte, error) {
	path := o.Path
	if path == "" {
		path = "/"
	}
	if _, _, err := requestTarget("GET " + path + " HTTP/1.1"); err != nil {
		return dst, fmt.Errorf("websocket: path: %w", err)
	}
	if !isHost(o.Host) {
		return dst, errors.New("websocket: malformed host")
	}
	if len(o.Subprotocols) == 0 || !allTokens(o.Subprotocols) {
		return dst, errors.New("websocket: malformed subprotocol, or none")
	}
	dst = fmt.Appendf(dst, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Protocol: %s\r\n",
		path, o.Host, base64.StdEncoding.EncodeToString(o.Key[:]), strings.Join(o.Subprotocols, ", "))
	if o.Origin != "" {
		if strings.ContainsFunc(o.Origin, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return dst, errors.New("websocket: malformed origin")
		}
		dst = fmt.Appendf(dst, "Origin: %s\r\n", o.Origin)
	}
	return append(dst, "\r\n"...), nil
}

func allTokens(names []string) bool {
	return !slices.ContainsFunc(names, func(s string) bool { return !isToken(s) })
}

// Response reads a server's answer to [AppendRequest] (RFC 6455, 4.1).
type Response struct {
	options     ClientOptions
	head        head
	subprotocol string
	err         error
}

// NewResponse returns a Response to the request of o that has seen no bytes.
func NewResponse(o ClientOptions) *Response { return &Response{options: o} }

// Feed consumes bytes of b and returns how many. Done is true once the upgrade
// is complete; the bytes that are left then belong to frames. An error is final.
func (r *Response) Feed(b []byte) (n int, done bool, err error) {
	if r.err != nil || r.head.done {
		return 0, r.head.done && r.err == nil, r.err
	}
	n, err = r.head.feed(b)
	if err == nil && r.head.done {
		err = r.check()
	}
	if err != nil {
		r.err = fmt.Errorf("websocket: server's answer: %w", err)
		r.head.buf = nil
	}
	return n, r.head.done && r.err == nil, r.err
}

// Subprotocol returns the server's choice, or "" before Feed was done.
func (r *Response) Subprotocol() string { return r.subprotocol }

func (r *Response) check() error {
	line, fields, err := r.head.parse()
	if err != nil {
		return err
	}
	status, found := strings.CutPrefix(line, "HTTP/1.1 ")
	if !found || len(status) < 3 || strings.Trim(status[:3], "0123456789") != "" {
		return errors.New("malformed status line")
	}
	if status[:3] != "101" {
		return fmt.Errorf("upgrade refused with status %s", status[:3])
	}
	if !has(fields["Upgrade"], "websocket") || !has(fields["Connection"], "upgrade") {
		return errors.New("101 without the upgrade")
	}
	key := base64.StdEncoding.EncodeToString(r.options.Key[:])
	if got, err := single(fields, "Sec-Websocket-Accept"); err != nil || got != accept(key) {
		return errors.New("wrong Sec-WebSocket-Accept")
	}
	if len(fields["Sec-Websocket-Extensions"]) > 0 {
		return errors.New("extension that was not offered")
	}
	chosen, err := single(fields, "Sec-Websocket-Protocol")
	if err != nil || !slices.Contains(r.options.Subprotocols, chosen) {
		return errors.New("subprotocol that was not offered, or none")
	}
	r.subprotocol = chosen
	return nil
}
