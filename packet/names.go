package packet

import "fmt"

// String is the standard's name of the type.
func (t Type) String() string {
	names := [...]string{
		CONNECT: "CONNECT", CONNACK: "CONNACK", PUBLISH: "PUBLISH", PUBACK: "PUBACK",
		PUBREC: "PUBREC", PUBREL: "PUBREL", PUBCOMP: "PUBCOMP", SUBSCRIBE: "SUBSCRIBE",
		SUBACK: "SUBACK", UNSUBSCRIBE: "UNSUBSCRIBE", UNSUBACK: "UNSUBACK",
		PINGREQ: "PINGREQ", PINGRESP: "PINGRESP", DISCONNECT: "DISCONNECT", AUTH: "AUTH",
	}
	if int(t) < len(names) && names[t] != "" {
		return names[t]
	}
	return fmt.Sprintf("packet type %d", uint8(t))
}

// String is the standard's name of the reason code (MQTT 5.0, 2.4), in lower
// case; the return codes of older versions share their numbers with others.
func (c Code) String() string {
	switch c {
	case Success:
		return "success"
	case GrantedQoS1:
		return "granted QoS 1"
	case GrantedQoS2:
		return "granted QoS 2"
	case DisconnectWithWill:
		return "disconnect with will message"
	case NoMatchingSubscribers:
		return "no matching subscribers"
	case NoSubscriptionExisted:
		return "no subscription existed"
	case ContinueAuthentication:
		return "continue authentication"
	case ReAuthenticate:
		return "re-authenticate"
	}
	if s := c.refusal(); s != "" {
		return s
	}
	return fmt.Sprintf("reason code 0x%02x", byte(c))
}

// refusal is the name of a reason code of 0x80 or more, empty if it has none.
func (c Code) refusal() string {
	names := [...]string{
		UnspecifiedError - 0x80:            "unspecified error",
		MalformedPacket - 0x80:             "malformed packet",
		ProtocolError - 0x80:               "protocol error",
		ImplementationSpecificError - 0x80: "implementation specific error",
		UnsupportedProtocolVersion - 0x80:  "unsupported protocol version",
		ClientIDNotValid - 0x80:            "client identifier not valid",
		BadUserNameOrPassword - 0x80:       "bad user name or password",
		NotAuthorized - 0x80:               "not authorized",
		ServerUnavailable - 0x80:           "server unavailable",
		ServerBusy - 0x80:                  "server busy",
		Banned - 0x80:                      "banned",
		ServerShuttingDown - 0x80:          "server shutting down",
		BadAuthenticationMethod - 0x80:     "bad authentication method",
		KeepAliveTimeout - 0x80:            "keep alive timeout",
		SessionTakenOver - 0x80:            "session taken over",
		TopicFilterInvalid - 0x80:          "topic filter invalid",
		TopicNameInvalid - 0x80:            "topic name invalid",
		PacketIDInUse - 0x80:               "packet identifier in use",
		PacketIDNotFound - 0x80:            "packet identifier not found",
		ReceiveMaximumExceeded - 0x80:      "receive maximum exceeded",
		TopicAliasInvalid - 0x80:           "topic alias invalid",
		PacketTooLarge - 0x80:              "packet too large",
		MessageRateTooHigh - 0x80:          "message rate too high",
		QuotaExceeded - 0x80:               "quota exceeded",
		AdministrativeAction - 0x80:        "administrative action",
		PayloadFormatInvalid - 0x80:        "payload format invalid",
		RetainNotSupported - 0x80:          "retain not supported",
		QoSNotSupported - 0x80:             "QoS not supported",
		UseAnotherServer - 0x80:            "use another server",
		ServerMoved - 0x80:                 "server moved",
		SharedSubsNotSupported - 0x80:      "shared subscriptions not supported",
		ConnectionRateExceeded - 0x80:      "connection rate exceeded",
		MaximumConnectTime - 0x80:          "maximum connect time",
		SubIDsNotSupported - 0x80:          "subscription identifiers not supported",
		WildcardSubsNotSupported - 0x80:    "wildcard subscriptions not supported",
	}
	if c < 0x80 || int(c-0x80) >= len(names) {
		return ""
	}
	return names[c-0x80]
}

// V3 is the CONNACK return code before MQTT 5.0 (MQTT 3.1.1, 3.2.2.3) for a
// refusal with c; the return codes themselves, up to 5, stay. A bad password
// and a missing right are one, V3NotAuthorized, so that a stranger can't tell
// them apart; what has no counterpart is V3ServerUnavailable (a malformed
// CONNECT gets no CONNACK at all before 5.0, which is the caller's to see to).
func (c Code) V3() Code {
	if c <= V3NotAuthorized {
		return c
	}
	switch c {
	case UnsupportedProtocolVersion:
		return V3UnacceptableVersion
	case ClientIDNotValid:
		return V3IdentifierRejected
	case BadUserNameOrPassword, NotAuthorized, Banned, BadAuthenticationMethod:
		return V3NotAuthorized
	}
	return V3ServerUnavailable
}
