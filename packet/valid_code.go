package packet

// validCode reports whether c is defined for a packet of type t.
func validCode(v Version, t Type, c Code) bool {
	if v != V5 {
		switch t {
		case CONNACK:
			return c <= V3NotAuthorized
		case SUBACK:
			return c <= GrantedQoS2 || c == V3SubackFailure
		}
		return c == Success
	}
	switch t {
	case CONNACK:
		return validConnack(c)
	case PUBACK, PUBREC:
		return validPuback(c)
	case PUBREL, PUBCOMP:
		return c == Success || c == PacketIDNotFound
	case SUBACK:
		return validSuback(c)
	case UNSUBACK:
		return validUnsuback(c)
	case DISCONNECT:
		return validDisconnect(c)
	case AUTH:
		return c == Success || c == ContinueAuthentication || c == ReAuthenticate
	}
	return false
}

// validConnack is the table of MQTT 5.0, 3.2.2.2.
func validConnack(c Code) bool {
	switch c {
	case Success, BadAuthenticationMethod, TopicNameInvalid, PacketTooLarge, QuotaExceeded,
		PayloadFormatInvalid, RetainNotSupported, QoSNotSupported, UseAnotherServer,
		ServerMoved, ConnectionRateExceeded:
		return true
	}
	return UnspecifiedError <= c && c <= Banned
}

// validPuback is the table of MQTT 5.0, 3.4.2.1.
func validPuback(c Code) bool {
	switch c {
	case Success, NoMatchingSubscribers, UnspecifiedError, ImplementationSpecificError,
		NotAuthorized, TopicNameInvalid, PacketIDInUse, QuotaExceeded, PayloadFormatInvalid:
		return true
	}
	return false
}

// validSuback is the table of MQTT 5.0, 3.9.3.
func validSuback(c Code) bool {
	switch c {
	case Success, GrantedQoS1, GrantedQoS2, UnspecifiedError, ImplementationSpecificError,
		NotAuthorized, TopicFilterInvalid, PacketIDInUse, QuotaExceeded,
		SharedSubsNotSupported, SubIDsNotSupported, WildcardSubsNotSupported:
		return true
	}
	return false
}

// validUnsuback is the table of MQTT 5.0, 3.11.3.
func validUnsuback(c Code) bool {
	switch c {
	case Success, NoSubscriptionExisted, UnspecifiedError, ImplementationSpecificError,
		NotAuthorized, TopicFilterInvalid, PacketIDInUse:
		return true
	}
	return false
}

// validDisconnect is the table of MQTT 5.0, 3.14.2.1, for both senders.
func validDisconnect(c Code) bool {
	switch c {
	case Success, DisconnectWithWill, UnspecifiedError, MalformedPacket, ProtocolError,
		ImplementationSpecificError, NotAuthorized, ServerBusy, ServerShuttingDown,
		KeepAliveTimeout, SessionTakenOver, TopicFilterInvalid, TopicNameInvalid:
		return true
	}
	return ReceiveMaximumExceeded <= c && c <= WildcardSubsNotSupported
}
