package client

import (
	"encoding/binary"
	"errors"
	"math"

	"sallyport/packet"
)

// Message is an application message, sent or received. The fields from
// PayloadUTF8 on are properties of MQTT 5.0 (3.3.2.3) and are not sent before it.
type Message struct {
	Topic    string
	Payload  []byte
	QoS      byte
	Retain   bool
	Dup      bool   // received only
	PacketID uint16 // received only; 0 at QoS 0

	PayloadUTF8     bool
	HasExpiry       bool
	Expiry          uint32 // seconds
	ContentType     string
	ResponseTopic   string
	CorrelationData []byte
	User            []packet.UserProperty
	SubIDs          []uint32 // received only
	Alias           uint16   // topic alias, sent beside the topic; received: 0
}

// Errors of a message that can't be sent.
var (
	ErrQoS           = errors.New("the quality of service is 0, 1 or 2")
	ErrStringTooLong = errors.New("a string is longer than 65,535 bytes") // MQTT 5.0, 1.5.4
)

func (m *Message) check() error {
	if m.QoS > 2 {
		return ErrQoS
	}
	long := len(m.Topic) > math.MaxUint16 || len(m.ContentType) > math.MaxUint16 ||
		len(m.ResponseTopic) > math.MaxUint16 || len(m.CorrelationData) > math.MaxUint16
	for _, u := range m.User {
		long = long || len(u.Key) > math.MaxUint16 || len(u.Value) > math.MaxUint16
	}
	if long {
		return ErrStringTooLong
	}
	return nil
}

// appendProps appends the properties of m that travel with it.
func (m *Message) appendProps(b []byte) []byte {
	if m.PayloadUTF8 {
		b = append(b, byte(packet.PropPayloadFormat), 1)
	}
	if m.HasExpiry {
		b = binary.BigEndian.AppendUint32(append(b, byte(packet.PropMessageExpiry)), m.Expiry)
	}
	if m.ContentType != "" {
		b = appendString(append(b, byte(packet.PropContentType)), m.ContentType)
	}
	if m.ResponseTopic != "" {
		b = appendString(append(b, byte(packet.PropResponseTopic)), m.ResponseTopic)
	}
	if len(m.CorrelationData) > 0 {
		b = appendString(append(b, byte(packet.PropCorrelationData)), m.CorrelationData)
	}
	for _, u := range m.User {
		b = appendString(append(b, byte(packet.PropUser)), u.Key)
		b = appendString(b, u.Value)
	}
	return b
}

func appendString[T string | []byte](b []byte, s T) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// received copies a decoded PUBLISH out of the read buffer.
func received(p *packet.Publish, topic string) *Message {
	m := &Message{
		Topic:         topic,
		Payload:       append([]byte(nil), p.Payload...),
		QoS:           p.QoS,
		Retain:        p.Retain,
		Dup:           p.Dup,
		PacketID:      p.PacketID,
		PayloadUTF8:   p.Props.PayloadUTF8,
		HasExpiry:     p.Props.HasExpiry,
		Expiry:        p.Props.Expiry,
		ContentType:   string(p.Props.ContentType),
		ResponseTopic: string(p.Props.ResponseTopic),
		SubIDs:        append([]uint32(nil), p.Props.SubIDs...),
	}
	if p.Props.CorrelationData != nil {
		m.CorrelationData = append([]byte{}, p.Props.CorrelationData...)
	}
	p.Props.EachUser(func(key, value []byte) bool {
		m.User = append(m.User, packet.UserProperty{Key: string(key), Value: string(value)})
		return true
	})
	return m
}
