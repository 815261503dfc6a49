// Package packet is the wire format of MQTT 3.1, 3.1.1 and 5.0: bytes to
// values and values to bytes, without I/O.
//
// A frame is found with ReadHeader; its body is decoded by the function of its
// type. Decoded strings of control packets are copies; a Publish views the
// buffer it was decoded from and is valid until that buffer is reused.
// Every decoder refuses what the standard calls malformed or a protocol error
// with an *Error that holds the reason code for the peer; its text names the
// field and never holds what the peer sent. Nothing is allocated for a length
// that has only been announced. What needs more than the one packet to judge is
// left to the caller, and the decoder's comment says so.
//
// Encoders write what the version has and leave out the rest. They don't judge
// values, but no value makes them write a length that lies.
package packet

import "fmt"

// Version is the protocol level of a CONNECT (MQTT 5.0, 3.1.2.2).
type Version uint8

// The protocol levels served.
const (
	V31  Version = 3
	V311 Version = 4
	V5   Version = 5
)

// Type is a control packet type (MQTT 5.0, 2.1.2).
type Type uint8

// The control packet types.
const (
	CONNECT     Type = 1
	CONNACK     Type = 2
	PUBLISH     Type = 3
	PUBACK      Type = 4
	PUBREC      Type = 5
	PUBREL      Type = 6
	PUBCOMP     Type = 7
	SUBSCRIBE   Type = 8
	SUBACK      Type = 9
	UNSUBSCRIBE Type = 10
	UNSUBACK    Type = 11
	PINGREQ     Type = 12
	PINGRESP    Type = 13
	DISCONNECT  Type = 14
	AUTH        Type = 15
)

// Error is a refusal of bytes: Code is for the peer, Text for the log.
type Error struct {
	Code  Code
	Text  string
	Limit string // the limit that was crossed, by its name in the configuration; empty: the standard was broken
}

func (e *Error) Error() string { return fmt.Sprintf("%s (0x%02x)", e.Text, byte(e.Code)) }

// Header is a fixed header (MQTT 5.0, 2.1.1). Length is the remaining length in bytes.
type Header struct {
	Type   Type
	Flags  byte
	Length int
}

// UserProperty is one name-value pair (MQTT 5.0, 2.2.2.2, property 0x26).
type UserProperty struct{ Key, Value string }

// Properties holds the properties of every packet but PUBLISH, and of a will.
// Has tells whether a property was present; setters record presence.
type Properties struct {
	present uint64

	PayloadFormat        byte
	MessageExpiry        uint32 // seconds
	ContentType          string
	ResponseTopic        string
	CorrelationData      []byte
	SubscriptionID       uint32
	SessionExpiry        uint32 // seconds
	AssignedClientID     string
	ServerKeepAlive      uint16 // seconds
	AuthMethod           string
	AuthData             []byte
	RequestProblemInfo   byte
	WillDelay            uint32 // seconds
	RequestResponseInfo  byte
	ResponseInfo         string
	ServerReference      string
	ReasonString         string
	ReceiveMaximum       uint16
	TopicAliasMaximum    uint16
	MaximumQoS           byte
	RetainAvailable      byte
	MaximumPacketSize    uint32
	WildcardSubAvailable byte
	SubIDAvailable       byte
	SharedSubAvailable   byte
	User                 []UserProperty
}

// PropertyID identifies a property (MQTT 5.0, 2.2.2.2).
type PropertyID byte

// The property identifiers.
const (
	PropPayloadFormat        PropertyID = 0x01
	PropMessageExpiry        PropertyID = 0x02
	PropContentType          PropertyID = 0x03
	PropResponseTopic        PropertyID = 0x08
	PropCorrelationData      PropertyID = 0x09
	PropSubscriptionID       PropertyID = 0x0B
	PropSessionExpiry        PropertyID = 0x11
	PropAssignedClientID     PropertyID = 0x12
	PropServerKeepAlive      PropertyID = 0x13
	PropAuthMethod           PropertyID = 0x15
	PropAuthData             PropertyID = 0x16
	PropRequestProblemInfo   PropertyID = 0x17
	PropWillDelay            PropertyID = 0x18
	PropRequestResponseInfo  PropertyID = 0x19
	PropResponseInfo         PropertyID = 0x1A
	PropServerReference      PropertyID = 0x1C
	PropReasonString         PropertyID = 0x1F
	PropReceiveMaximum       PropertyID = 0x21
	PropTopicAliasMaximum    PropertyID = 0x22
	PropTopicAlias           PropertyID = 0x23
	PropMaximumQoS           PropertyID = 0x24
	PropRetainAvailable      PropertyID = 0x25
	PropUser                 PropertyID = 0x26
	PropMaximumPacketSize    PropertyID = 0x27
	PropWildcardSubAvailable PropertyID = 0x28
	PropSubIDAvailable       PropertyID = 0x29
	PropSharedSubAvailable   PropertyID = 0x2A
)

// Has reports whether property id is present.
func (p *Properties) Has(id PropertyID) bool { return p.present&(1<<id) != 0 }

// Mark records that property id is present; encoders write the marked properties
// (User needs no mark).
func (p *Properties) Mark(ids ...PropertyID) {
	for _, id := range ids {
		p.present |= 1 << id
	}
}

// Connect is a CONNECT packet (MQTT 5.0, 3.1).
type Connect struct {
	Version     Version
	CleanStart  bool
	KeepAlive   uint16 // seconds, 0 is off
	ClientID    string
	Will        *Will
	HasUsername bool
	Username    string
	HasPassword bool
	Password    []byte
	Props       Properties
}

// Will is the message a server publishes when a client is gone (MQTT 5.0, 3.1.2.5).
type Will struct {
	QoS     byte
	Retain  bool
	Topic   string
	Payload []byte
	Props   Properties // WillDelay and the message's own properties, decoded
	// Forward is the message's properties encoded as they arrived, without the
	// will delay; ExpiryAt is the offset in it of the four bytes of the message
	// expiry interval, -1 if absent.
	Forward  []byte
	ExpiryAt int
}

// Connack is a CONNACK packet. For 3.1 and 3.1.1 Code is the return code 0 to 5.
type Connack struct {
	SessionPresent bool
	Code           Code
	Props          Properties
}

// Publish is a received PUBLISH; its slices view the read buffer.
type Publish struct {
	Dup      bool
	QoS      byte
	Retain   bool
	Topic    []byte
	PacketID uint16 // 0 at QoS 0
	Payload  []byte
	Props    PublishProps
}

// PublishProps views the properties of a received PUBLISH (MQTT 5.0, 3.3.2.3).
type PublishProps struct {
	Raw             []byte // encoded, without the length prefix, as received
	PayloadUTF8     bool   // payload format indicator 1
	HasExpiry       bool
	Expiry          uint32 // seconds
	TopicAlias      uint16 // 0: none
	ContentType     []byte
	ResponseTopic   []byte
	CorrelationData []byte
	UserCount       int
	SubIDs          []uint32 // only a server sends them
}

// PublishOut is a PUBLISH to be sent.
type PublishOut struct {
	Dup      bool
	QoS      byte
	Retain   bool
	Topic    string // empty when only the alias is sent
	Alias    uint16 // 0: none
	PacketID uint16
	Props    []byte   // encoded properties of the message, without the length prefix (see PublishProps.AppendForward)
	ExpiryAt int      // offset in Props of the four expiry bytes, -1: none
	Expiry   uint32   // seconds left, written at ExpiryAt
	SubIDs   []uint32 // subscription identifiers
	Payload  []byte
}

// Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP.
type Ack struct {
	PacketID uint16
	Code     Code
	Reason   string
	User     []UserProperty
}

// Subscription is one topic filter of a SUBSCRIBE with its options (MQTT 5.0, 3.8.3.1).
type Subscription struct {
	Filter            string
	QoS               byte
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte // 0, 1, 2
}

// Subscribe is a SUBSCRIBE packet.
type Subscribe struct {
	PacketID uint16
	SubID    uint32 // 0: none
	Filters  []Subscription
	User     []UserProperty
}

// Unsubscribe is an UNSUBSCRIBE packet.
type Unsubscribe struct {
	PacketID uint16
	Filters  []string
	User     []UserProperty
}

// SubAck is a SUBACK or UNSUBACK: one code per filter, in order.
type SubAck struct {
	PacketID uint16
	Codes    []Code
	Reason   string
	User     []UserProperty
}

// Disconnect is a DISCONNECT packet (before 5.0 it has no fields).
type Disconnect struct {
	Code  Code
	Props Properties
}

// Auth is an AUTH packet (MQTT 5.0, 3.15).
type Auth struct {
	Code  Code
	Props Properties
}

// Limits bounds what a decoder accepts beyond the standard's own limits; 0 is the standard's.
type Limits struct {
	UserProperties int // per packet, a will's included; above: QuotaExceeded
	ClientID       int // bytes; above: ClientIDNotValid
	Filters        int // per SUBSCRIBE or UNSUBSCRIBE; above: QuotaExceeded
}
