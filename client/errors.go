package client

import (
	"fmt"

	"sallyport/packet"
)

// ReasonError is a refusal by the server: a CONNACK, acknowledgement or
// DISCONNECT that carries a code of failure.
type ReasonError struct {
	Packet  packet.Type
	Version packet.Version
	Code    packet.Code
	Reason  string // the server's reason string, as received; may be empty
}

// Error names the packet, the code's meaning and the server's own words.
func (e *ReasonError) Error() string {
	text := e.meaning()
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return fmt.Sprintf("%s with code 0x%02x, %s", e.Packet, byte(e.Code), text)
}

func (e *ReasonError) meaning() string {
	if e.Packet != packet.CONNACK || e.Version == packet.V5 {
		return e.Code.String()
	}
	switch e.Code { // MQTT 3.1.1, 3.2.2.3
	case packet.V3UnacceptableVersion:
		return "unacceptable protocol version"
	case packet.V3IdentifierRejected:
		return "identifier rejected"
	case packet.V3ServerUnavailable:
		return "server unavailable"
	case packet.V3BadUserNameOrPassword:
		return "bad user name or password"
	case packet.V3NotAuthorized:
		return "not authorized"
	}
	return e.Code.String()
}

// malformed is a violation by the server that ends the connection; code is
// what it is told.
func malformed(code packet.Code, text string) error { return &packet.Error{Code: code, Text: text} }
