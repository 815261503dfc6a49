package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"sallyport/packet"

	"github.com/alecthomas/kong"
)

// propertyFlags collects every -D COMMAND NAME VALUE, by packet.
type propertyFlags struct {
	used        bool
	connect     packet.Properties
	publish     packet.Properties
	will        packet.Properties
	subscribe   packet.Properties
	unsubscribe packet.Properties
	disconnect  packet.Properties
	alias       uint16 // the topic alias of publish
}

// Decode takes the three arguments of a -D, or the four of a user property.
func (f *propertyFlags) Decode(ctx *kong.DecodeContext) error {
	var arg [3]string
	for i, name := range []string{"COMMAND", "NAME", "VALUE"} {
		token, err := ctx.Scan.PopValue(name)
		if err != nil {
			return err
		}
		if token.Type == kong.EOLToken {
			return fmt.Errorf("missing %s (-D COMMAND NAME VALUE)", name)
		}
		arg[i] = token.String()
	}
	second := ""
	if arg[1] == "user-property" {
		token, err := ctx.Scan.PopValue("VALUE")
		if err != nil {
			return err
		}
		if token.Type == kong.EOLToken {
			return fmt.Errorf("user-property takes a key and a value")
		}
		second = token.String()
	}
	return f.set(arg[0], arg[1], arg[2], second)
}

// shared are the properties that a PUBLISH and a will have in common.
const shared = "payload-format-indicator message-expiry-interval content-type response-topic correlation-data user-property "

// allowed names the properties of each command, as mosquitto's tools do.
func (f *propertyFlags) allowed() map[string]struct {
	into  *packet.Properties
	names string
} {
	return map[string]struct {
		into  *packet.Properties
		names string
	}{
		"connect": {&f.connect, "session-expiry-interval receive-maximum maximum-packet-size topic-alias-maximum " +
			"request-response-information request-problem-information user-property"},
		"publish":     {&f.publish, shared + "topic-alias"},
		"will":        {&f.will, shared + "will-delay-interval"},
		"subscribe":   {&f.subscribe, "subscription-identifier user-property"},
		"unsubscribe": {&f.unsubscribe, "user-property"},
		"disconnect":  {&f.disconnect, "session-expiry-interval reason-string user-property"},
	}
}

func (f *propertyFlags) set(command, name, value, second string) error {
	allowed := f.allowed()
	a, ok := allowed[command]
	if !ok {
		return fmt.Errorf("-D %s: the command is one of %s", command, strings.Join(slices.Sorted(maps.Keys(allowed)), ", "))
	}
	if !slices.Contains(strings.Fields(a.names), name) {
		return fmt.Errorf("-D %s %s: the properties of %s are %s", command, name, command, strings.Join(strings.Fields(a.names), ", "))
	}
	f.used = true
	if err := f.store(a.into, name, value, second); err != nil {
		return fmt.Errorf("-D %s %s %s: %w", command, name, value, err)
	}
	return nil
}

func (f *propertyFlags) store(p *packet.Properties, name, value, second string) (err error) {
	number := func(least, most uint64) (n uint64) {
		n, err = strconv.ParseUint(value, 10, 64)
		if err != nil || n < least || n > most {
			err = fmt.Errorf("the value is a number from %d to %d", least, most)
		}
		return n
	}
	text := func() string {
		if len(value) > 65535 {
			err = fmt.Errorf("the value is longer than 65,535 bytes")
		}
		return value
	}
	const max16, max32 = 1<<16 - 1, 1<<32 - 1
	var id packet.PropertyID
	switch name {
	case "user-property":
		p.User = append(p.User, packet.UserProperty{Key: value, Value: second})
		return nil
	case "topic-alias":
		f.alias = uint16(number(1, max16))
		return err
	case "session-expiry-interval":
		id, p.SessionExpiry = packet.PropSessionExpiry, uint32(number(0, max32))
	case "receive-maximum":
		id, p.ReceiveMaximum = packet.PropReceiveMaximum, uint16(number(1, max16))
	case "maximum-packet-size":
		id, p.MaximumPacketSize = packet.PropMaximumPacketSize, uint32(number(1, max32))
	case "topic-alias-maximum":
		id, p.TopicAliasMaximum = packet.PropTopicAliasMaximum, uint16(number(0, max16))
	case "request-response-information":
		id, p.RequestResponseInfo = packet.PropRequestResponseInfo, byte(number(0, 1))
	case "request-problem-information":
		id, p.RequestProblemInfo = packet.PropRequestProblemInfo, byte(number(0, 1))
	case "payload-format-indicator":
		id, p.PayloadFormat = packet.PropPayloadFormat, byte(number(0, 1))
	case "message-expiry-interval":
		id, p.MessageExpiry = packet.PropMessageExpiry, uint32(number(0, max32))
	case "will-delay-interval":
		id, p.WillDelay = packet.PropWillDelay, uint32(number(0, max32))
	case "subscription-identifier":
		id, p.SubscriptionID = packet.PropSubscriptionID, uint32(number(1, 268435455))
	case "content-type":
		id, p.ContentType = packet.PropContentType, text()
	case "response-topic":
		id, p.ResponseTopic = packet.PropResponseTopic, text()
	case "correlation-data":
		id, p.CorrelationData = packet.PropCorrelationData, []byte(text())
	case "reason-string":
		id, p.ReasonString = packet.PropReasonString, text()
	}
	p.Mark(id)
	return err
}
