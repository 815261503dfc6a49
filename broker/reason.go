package broker

import "sallyport/packet"

// reason is what a client is told in words beside a reason code, empty where
// the words would tell what a policy or another client did.
func reason(code packet.Code) string {
	switch code {
	case packet.QuotaExceeded:
		return "a limit of this server leaves no room"
	case packet.PacketIDNotFound:
		return "no exchange is open under this packet identifier"
	case packet.TopicFilterInvalid:
		return "not a valid topic filter, or longer or deeper than this server allows"
	case packet.SharedSubsNotSupported:
		return "shared subscriptions are switched off here"
	case packet.WildcardSubsNotSupported:
		return "wildcard subscriptions are switched off here"
	}
	return ""
}

// firstReason is the reason for the first refused filter of a SUBACK that has one.
func firstReason(codes []packet.Code) string {
	for _, code := range codes {
		if text := reason(code); text != "" {
			return text
		}
	}
	return ""
}
