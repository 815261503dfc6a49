package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"sallyport/client"
	"sallyport/packet"
)

// part is a piece of an output format: text as it is, or a field of the message.
type part struct {
	text  string
	field byte // 0: text
}

// formatFields are the letters after % (a subset of mosquitto_sub's).
const formatFields = "tpxXqrmlUIjPCRDEFS"

// parseFormat reads a -F format. What it doesn't know is an error: output that
// silently lacks a field would be found out too late.
func parseFormat(s string) ([]part, error) {
	var parts []part
	var text strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '%' && c != '\\' {
			text.WriteByte(c)
			continue
		}
		if i++; i == len(s) {
			return nil, fmt.Errorf("ends with a single %c", c)
		}
		switch {
		case c == '%' && s[i] == '%':
			text.WriteByte('%')
		case c == '%':
			if strings.IndexByte(formatFields, s[i]) < 0 {
				return nil, fmt.Errorf("unknown field %%%c", s[i])
			}
			if text.Len() > 0 {
				parts = append(parts, part{text: text.String()})
				text.Reset()
			}
			parts = append(parts, part{field: s[i]})
		default:
			const letters, values = `\0aenrtv`, "\\\x00\a\x1b\n\r\t\v"
			at := strings.IndexByte(letters, s[i])
			if at < 0 {
				return nil, fmt.Errorf("unknown escape \\%c", s[i])
			}
			text.WriteByte(values[at])
		}
	}
	if text.Len() > 0 {
		parts = append(parts, part{text: text.String()})
	}
	if len(parts) == 0 {
		return nil, errors.New("is empty")
	}
	return parts, nil
}

// printer writes messages to standard output.
type printer struct {
	out      *bufio.Writer
	parts    []part
	eol      bool
	sanitize bool // the output is a terminal: a message must not steer it
	now      func() time.Time
	printed  int
}

// print writes one message and flushes: what is acknowledged has been printed.
func (p *printer) print(m *client.Message) error {
	now := p.now()
	for _, part := range p.parts {
		if part.field == 0 {
			p.out.WriteString(part.text) // bufio keeps the first error for Flush
			continue
		}
		s := field(part.field, m, now)
		if p.sanitize {
			s = sanitize(s)
		}
		p.out.WriteString(s)
	}
	if p.eol {
		p.out.WriteByte('\n')
	}
	return p.out.Flush()
}

// field renders one letter of formatFields.
func field(f byte, m *client.Message, now time.Time) string {
	switch f {
	case 't':
		return m.Topic
	case 'p':
		return string(m.Payload)
	case 'x':
		return hex.EncodeToString(m.Payload)
	case 'X':
		return strings.ToUpper(hex.EncodeToString(m.Payload))
	case 'q':
		return strconv.Itoa(int(m.QoS))
	case 'r':
		return bit(m.Retain)
	case 'm':
		return strconv.Itoa(int(m.PacketID))
	case 'l':
		return strconv.Itoa(len(m.Payload))
	case 'U':
		return fmt.Sprintf("%d.%09d", now.Unix(), now.Nanosecond())
	case 'I':
		return now.Format("2006-01-02T15:04:05-0700")
	case 'j':
		return messageJSON(m, now)
	case 'P':
		return userText(m.User)
	case 'C':
		return m.ContentType
	case 'R':
		return m.ResponseTopic
	case 'D':
		return string(m.CorrelationData)
	case 'E':
		if !m.HasExpiry {
			return ""
		}
		return strconv.FormatUint(uint64(m.Expiry), 10)
	case 'F':
		return bit(m.PayloadUTF8)
	default: // 'S', the last of formatFields
		var ids []string
		for _, id := range m.SubIDs {
			ids = append(ids, strconv.FormatUint(uint64(id), 10))
		}
		return strings.Join(ids, " ")
	}
}

func bit(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func userText(user []packet.UserProperty) string {
	var pairs []string
	for _, u := range user {
		pairs = append(pairs, u.Key+":"+u.Value)
	}
	return strings.Join(pairs, " ")
}

// jsonMessage is %j. A payload that isn't UTF-8 is in payload_hex instead.
type jsonMessage struct {
	Time            string      `json:"tst"` // RFC 3339 with nanoseconds
	Topic           string      `json:"topic"`
	QoS             byte        `json:"qos"`
	Retain          int         `json:"retain"`
	PacketID        uint16      `json:"mid,omitempty"`
	Length          int         `json:"payloadlen"`
	Payload         *string     `json:"payload,omitempty"`
	PayloadHex      string      `json:"payload_hex,omitempty"`
	ContentType     string      `json:"content_type,omitempty"`
	ResponseTopic   string      `json:"response_topic,omitempty"`
	CorrelationData string      `json:"correlation_data_hex,omitempty"`
	Expiry          *uint32     `json:"message_expiry_interval,omitempty"`
	User            [][2]string `json:"user_properties,omitempty"` // pairs: a key may come twice
	SubIDs          []uint32    `json:"subscription_identifiers,omitempty"`
}

func messageJSON(m *client.Message, now time.Time) string {
	j := jsonMessage{
		Time: now.Format(time.RFC3339Nano), Topic: m.Topic, QoS: m.QoS, PacketID: m.PacketID, Length: len(m.Payload),
		ContentType: m.ContentType, ResponseTopic: m.ResponseTopic,
		CorrelationData: hex.EncodeToString(m.CorrelationData), SubIDs: m.SubIDs,
	}
	if m.Retain {
		j.Retain = 1
	}
	if utf8.Valid(m.Payload) {
		text := string(m.Payload)
		j.Payload = &text
	} else {
		j.PayloadHex = hex.EncodeToString(m.Payload)
	}
	if m.HasExpiry {
		j.Expiry = &m.Expiry
	}
	for _, u := range m.User {
		j.User = append(j.User, [2]string{u.Key, u.Value})
	}
	b, _ := json.Marshal(j) // strings and numbers only: it can't fail
	return string(b)
}
