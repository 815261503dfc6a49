package websocket

import (
	"crypto/fips140"
	"crypto/sha1" //nolint:gosec // RFC 6455 names SHA-1; it guards nothing secret
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// acceptGUID is appended to the key before hashing (RFC 6455, 1.3).
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// UpgradeOptions says which opening handshakes a server accepts.
type UpgradeOptions struct {
	// Path is compared with the request's path, byte for byte and before any
	// decoding. Empty accepts every path.
	Path string
	// Subprotocols are the accepted ones, the server's favourite first. The
	// client must offer one of them; none configured accepts no handshake.
	Subprotocols []string
	// CheckOrigin is asked when the request has an Origin header, which
	// browsers always send. Host is the request's. Nil accepts every origin.
	CheckOrigin func(origin, host string) bool
}

// Request is an accepted opening handshake. Query and Header often hold
// credentials: log the Request itself, which hides them.
type Request struct {
	Host        string
	Path        string
	Query       string // after the '?', undecoded
	Origin      string // empty if there was none
	Subprotocol string // the one chosen
	Header      map[string][]string
	key         string
}

// String names the request without its query and headers.
func (r Request) String() string { return "GET " + r.Path + " (" + r.Subprotocol + ")" }

// LogValue implements [slog.LogValuer] without query and headers.
func (r Request) LogValue() slog.Value {
	return slog.GroupValue(slog.String("path", r.Path), slog.String("subprotocol", r.Subprotocol))
}

// HandshakeError is a refused opening handshake: the HTTP status to answer
// with, and a reason for the operator, which the answer does not carry.
type HandshakeError struct {
	Status int
	Reason string
}

func (e *HandshakeError) Error() string {
	return fmt.Sprintf("websocket: handshake refused with %d: %s", e.Status, e.Reason)
}

func refuse(status int, reason string) error { return &HandshakeError{status, reason} }

// Upgrade reads the server's side of one opening handshake (RFC 6455, 4.2).
type Upgrade struct {
	options UpgradeOptions
	head    head
	request *Request
	err     error
}

// NewUpgrade returns an Upgrade that has seen no bytes.
func NewUpgrade(o UpgradeOptions) *Upgrade { return &Upgrade{options: o} }

// Feed consumes bytes of b and returns how many. Done is true once the request
// is complete and accepted; bytes of b that it left then are not part of the
// head, and a client that keeps to RFC 6455, 4.1 sends none before it has the
// response. An error is a *[HandshakeError] and final.
func (u *Upgrade) Feed(b []byte) (n int, done bool, err error) {
	if u.err != nil || u.request != nil {
		return 0, u.request != nil, u.err
	}
	n, err = u.feed(b)
	if err != nil {
		var refused *HandshakeError
		if !errors.As(err, &refused) {
			err = refuse(400, err.Error())
		}
		u.err, u.head.buf = err, nil
	}
	return n, u.request != nil, err
}

func (u *Upgrade) feed(b []byte) (int, error) {
	n := 0
	// What isn't a GET (another method, TLS, plain MQTT) is refused at its first wrong byte.
	for method := "GET "; n < len(b) && len(u.head.buf) < len(method); n++ {
		if b[n] != method[len(u.head.buf)] {
			return n, refuse(400, "not an HTTP GET request")
		}
		u.head.buf = append(u.head.buf, b[n])
	}
	m, err := u.head.feed(b[n:])
	if errors.Is(err, errHeadTooLarge) {
		err = refuse(431, err.Error())
	}
	if err == nil && u.head.done {
		u.request, err = u.parse()
	}
	return n + m, err
}

// Refuse turns the handshake down, accepted or not, for a reason of the
// caller's, and returns the error. Response then answers with 400.
func (u *Upgrade) Refuse(reason string) error {
	u.request, u.err = nil, refuse(400, reason)
	return u.err
}

// Request returns the accepted request, or nil before Feed was done.
func (u *Upgrade) Request() *Request { return u.request }

// Response returns the bytes that answer what was fed: 101, or the refusal, or
// nil while neither is decided. After a refusal the connection is to be closed.
func (u *Upgrade) Response() []byte {
	var refused *HandshakeError
	switch {
	case u.request != nil:
		return fmt.Appendf(nil, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
			"Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
			accept(u.request.key), u.request.Subprotocol)
	case errors.As(u.err, &refused):
		extra := ""
		if refused.Status == 426 {
			extra = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" // RFC 6455, 4.4
		}
		return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\n%sConnection: close\r\nContent-Length: 0\r\n\r\n",
			refused.Status, statusText(refused.Status), extra)
	}
	return nil
}

func statusText(status int) string {
	switch status {
	case 403:
		return "Forbidden"
	case 404:
		return "Not Found"
	case 426:
		return "Upgrade Required"
	case 431:
		return "Request Header Fields Too Large"
	case 505:
		return "HTTP Version Not Supported"
	}
	return "Bad Request"
}

func accept(key string) string {
	var sum [sha1.Size]byte
	// It tells a WebSocket server from another, and guards nothing: FIPS 140-3 does not rule it out.
	fips140.WithoutEnforcement(func() { sum = sha1.Sum([]byte(key + acceptGUID)) }) //nolint:gosec // see the import
	return base64.StdEncoding.EncodeToString(sum[:])
}

// parse judges the complete head (RFC 6455, 4.2.1).
func (u *Upgrade) parse() (*Request, error) {
	line, fields, err := u.head.parse()
	if err != nil {
		return nil, err
	}
	r := &Request{Header: fields}
	if r.Path, r.Query, err = requestTarget(line); err != nil {
		return nil, err
	}
	if err := checkBody(fields); err != nil {
		return nil, err
	}
	if r.Host, err = single(fields, "Host"); err != nil || !isHost(r.Host) {
		return nil, errors.New("no Host header, several, or a malformed one")
	}
	if u.options.Path != "" && r.Path != u.options.Path {
		return nil, refuse(404, "wrong path")
	}
	if r.key, err = checkUpgrade(fields); err != nil {
		return nil, err
	}
	if r.Subprotocol, err = u.choose(fields["Sec-Websocket-Protocol"]); err != nil {
		return nil, err
	}
	if len(fields["Origin"]) > 0 {
		if r.Origin, err = single(fields, "Origin"); err != nil {
			return nil, err
		}
		if check := u.options.CheckOrigin; check != nil && !check(r.Origin, r.Host) {
			return nil, refuse(403, "origin not allowed")
		}
	}
	return r, nil
}

// requestTarget takes a request line apart; only the origin form is accepted.
func requestTarget(line string) (path, query string, err error) {
	target, found := strings.CutPrefix(line, "GET ")
	target, version, spaced := strings.Cut(target, " ")
	if !found || !spaced {
		return "", "", errors.New("malformed request line")
	}
	if version != "HTTP/1.1" {
		if len(version) == len("HTTP/1.1") && strings.HasPrefix(version, "HTTP/") {
			return "", "", refuse(505, "not HTTP/1.1")
		}
		return "", "", errors.New("malformed request line")
	}
	for i := range len(target) {
		if target[i] <= ' ' || target[i] >= 0x7f || target[i] == '#' {
			return "", "", errors.New("malformed request target")
		}
	}
	if !strings.HasPrefix(target, "/") {
		return "", "", errors.New("request target is not a path")
	}
	path, query, _ = strings.Cut(target, "?")
	return path, query, nil
}

// checkBody refuses every sign of a message body: a GET that upgrades has
// none, and a proxy in front may see its end elsewhere than we do.
func checkBody(fields map[string][]string) error {
	for _, name := range []string{"Transfer-Encoding", "Expect", "Trailer"} {
		if len(fields[name]) > 0 {
			return errors.New("request with a body or an expectation")
		}
	}
	if n := fields["Content-Length"]; len(n) > 1 || len(n) == 1 && n[0] != "0" {
		return errors.New("request with a body")
	}
	return nil
}

// checkUpgrade returns the Sec-WebSocket-Key of a request that asks for RFC 6455.
func checkUpgrade(fields map[string][]string) (key string, err error) {
	if !has(fields["Upgrade"], "websocket") {
		return "", refuse(426, "no upgrade to websocket requested")
	}
	if !has(fields["Connection"], "upgrade") {
		return "", errors.New("no Connection: Upgrade")
	}
	version, err := single(fields, "Sec-Websocket-Version")
	if err != nil || version != "13" {
		return "", refuse(426, "not version 13 of the WebSocket protocol")
	}
	key, err = single(fields, "Sec-Websocket-Key")
	if err != nil {
		return "", err
	}
	if raw, err := base64.StdEncoding.Strict().DecodeString(key); err != nil || len(raw) != 16 {
		return "", errors.New("malformed Sec-WebSocket-Key")
	}
	return key, nil
}

// choose picks the subprotocol; names are compared with their case.
// MQTT-6.0.0-3: a client must offer "mqtt"; MQTT-6.0.0-4: we name what we chose.
func (u *Upgrade) choose(offered []string) (string, error) {
	offers := list(offered)
	for _, ours := range u.options.Subprotocols {
		for _, theirs := range offers {
			if ours == theirs {
				return ours, nil
			}
		}
	}
	return "", errors.New("no accepted subprotocol offered")
}

// single returns the value of a field that must be there exactly once.
func single(fields map[string][]string, name string) (string, error) {
	if v := fields[name]; len(v) == 1 && v[0] != "" {
		return v[0], nil
	}
	return "", errors.New(name + " header missing or repeated")
}

// isHost reports whether s has only characters of a host with an optional port.
func isHost(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !alnum && strings.IndexByte("-._~:[]%", c) < 0 {
			return false
		}
	}
	return s != ""
}
