package websocket

import (
	"bytes"
	"errors"
	"net/textproto"
	"strings"
)

// errHeadTooLarge is returned when a head exceeds MaxHead.
var errHeadTooLarge = errors.New("request line and headers are longer than 8 KiB")

// head collects the bytes of an HTTP/1.1 head up to its empty line. It checks
// each byte as it arrives, so that the verdict doesn't depend on the chunks.
type head struct {
	buf  []byte
	done bool
}

// feed consumes bytes of b up to the end of the head and returns how many.
func (h *head) feed(b []byte) (int, error) {
	for i, c := range b {
		if len(h.buf) == MaxHead {
			return i, errHeadTooLarge
		}
		afterCR := len(h.buf) > 0 && h.buf[len(h.buf)-1] == '\r'
		switch {
		case afterCR != (c == '\n'):
			// Bare CR or bare LF: parsers differ on them, which is how requests are smuggled.
			return i, errors.New("line does not end in CR LF")
		case c < 0x20 && c != '\r' && c != '\n' && c != '\t', c == 0x7f:
			return i, errors.New("control character in the head")
		}
		h.buf = append(h.buf, c)
		if c == '\n' && bytes.HasSuffix(h.buf, []byte("\r\n\r\n")) {
			h.done = true
			return i + 1, nil
		}
	}
	return len(b), nil
}

// parse splits a complete head into its first line and fields, and lets go of
// the buffer. The strings share one copy of it.
func (h *head) parse() (line string, fields map[string][]string, err error) {
	text := strings.TrimSuffix(string(h.buf), "\r\n\r\n")
	h.buf = nil
	line, rest, more := strings.Cut(text, "\r\n")
	fields = make(map[string][]string)
	for n := 0; more; n++ {
		if n == maxFields {
			return "", nil, errors.New("more than 100 header fields")
		}
		var field string
		field, rest, more = strings.Cut(rest, "\r\n")
		if field == "" || field[0] == ' ' || field[0] == '\t' {
			return "", nil, errors.New("folded header line") // RFC 9112, 5.2
		}
		name, value, found := strings.Cut(field, ":")
		if !found || !isToken(name) {
			// Also a space before the colon (RFC 9112, 5.1).
			return "", nil, errors.New("malformed header name")
		}
		key := textproto.CanonicalMIMEHeaderKey(name)
		fields[key] = append(fields[key], strings.Trim(value, " \t"))
	}
	return line, fields, nil
}

// isToken reports whether s is an RFC 9110 token, of at least one character.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !alnum && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// list splits the comma-separated values of a field.
func list(values []string) []string {
	var all []string
	for _, v := range values {
		for item := range strings.SplitSeq(v, ",") {
			if item = strings.Trim(item, " \t"); item != "" {
				all = append(all, item)
			}
		}
	}
	return all
}

// has reports whether a comma-separated field holds item, ignoring case.
func has(values []string, item string) bool {
	for _, v := range list(values) {
		if strings.EqualFold(v, item) {
			return true
		}
	}
	return false
}
