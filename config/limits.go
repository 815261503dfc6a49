package config

import (
	"reflect"
	"time"
)

// Limits bounds what clients can make the broker hold. Where the comment
// does not say otherwise, 0 is no limit beyond the protocol's own.
type Limits struct {
	ListenerLimits `yaml:",inline"`

	// Sessions that the broker keeps, connected or not. A CONNECT that needs one more is refused (0x97; MQTT 3: 3).
	Sessions int `yaml:"sessions"`
	// Sessions of one principal, so that one user can't take all. Anonymous clients of one listener are one principal and are not bounded by it.
	SessionsPerPrincipal int `yaml:"sessions_per_principal"`
	// Retained messages. A PUBLISH that would retain one more is refused (0x97).
	RetainedMessages int `yaml:"retained_messages"`
	// Bytes of retained messages, topics included.
	RetainedBytes Size `yaml:"retained_bytes"`
	// Bytes that all queues and output buffers hold together.
	BufferBytes Size `yaml:"buffer_bytes"`
}

// ListenerLimits are the limits that a listener may override.
type ListenerLimits struct {
	// Connections of the listener at a time; newcomers beyond it are closed at once.
	Connections int `yaml:"connections"`
	// Time from accept (or the end of the TLS handshake) to a complete CONNECT. At least 100ms; it can't be switched off.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	// Output that makes no progress for this long ends the connection. At least 100ms; it can't be switched off.
	WriteTimeout time.Duration `yaml:"write_timeout"`
	// The longest keep alive, in seconds. A longer one (or none) gets this as server keep alive in MQTT 5, and is refused with 2 in MQTT 3, where the client can't be told.
	KeepAliveMax uint16 `yaml:"keep_alive_max"`
	// The largest packet of a client that is not authenticated yet. At least 256; it can't be switched off.
	PacketSizeUnauthenticated Size `yaml:"packet_size_unauthenticated"`
	// The largest packet, also told to MQTT 5 clients; at most 268435455.
	PacketSize Size `yaml:"packet_size"`
	// A PUBLISH with a larger payload is acknowledged and dropped.
	MessageSize Size `yaml:"message_size"`
	// Levels of a topic or filter.
	TopicLevels int `yaml:"topic_levels"`
	// Bytes of a topic or filter; at most 65535.
	TopicBytes int `yaml:"topic_bytes"`
	// Bytes of a client id; at most 65535.
	ClientIDBytes int `yaml:"client_id_bytes"`
	// User properties of one packet.
	UserProperties int `yaml:"user_properties"`
	// Subscriptions of one client.
	Subscriptions int `yaml:"subscriptions"`
	// Filters in one SUBSCRIBE or UNSUBSCRIBE.
	FiltersPerSubscribe int `yaml:"filters_per_subscribe"`
	// QoS 1 and 2 messages that a client may send before it has our acknowledgement (receive maximum): 1 to 65535.
	ReceiveMaximum uint16 `yaml:"receive_maximum"`
	// QoS 1 and 2 messages that we send before we have the client's acknowledgement, at most; its own receive maximum counts too: 1 to 65535.
	Inflight uint16 `yaml:"inflight"`
	// Messages waiting for one session.
	QueueMessages int `yaml:"queue_messages"`
	// Bytes of the messages waiting for one session.
	QueueBytes Size `yaml:"queue_bytes"`
	// What happens when a session's queue is full: drop-newest, drop-oldest or disconnect.
	QueueFull QueueFull `yaml:"queue_full"`
	// Bytes waiting for a slow client's socket before QoS 0 messages to it are dropped.
	OutputBytes Size `yaml:"output_bytes"`
	// Topic aliases that a client may use (topic alias maximum); 0 is none.
	TopicAlias uint16 `yaml:"topic_alias"`
	// Topic aliases that we use towards a client that allows them, at most; 0 is none.
	TopicAliasOut uint16 `yaml:"topic_alias_out"`
	// The highest QoS: 0, 1 or 2.
	QoS uint8 `yaml:"qos"`
	// The longest that a session is kept after its connection ended. MQTT 5 clients are told when they get less than they asked for; an MQTT 3 session without clean session gets this. 0 keeps it until the client ends it.
	SessionExpiry time.Duration `yaml:"session_expiry"`
}

// LimitOverrides is ListenerLimits with presence: a nil field keeps what
// stands under the top-level limits. Keys and meanings are the same.
type LimitOverrides struct {
	Connections               *int           `yaml:"connections"`
	ConnectTimeout            *time.Duration `yaml:"connect_timeout"`
	WriteTimeout              *time.Duration `yaml:"write_timeout"`
	KeepAliveMax              *uint16        `yaml:"keep_alive_max"`
	PacketSizeUnauthenticated *Size          `yaml:"packet_size_unauthenticated"`
	PacketSize                *Size          `yaml:"packet_size"`
	MessageSize               *Size          `yaml:"message_size"`
	TopicLevels               *int           `yaml:"topic_levels"`
	TopicBytes                *int           `yaml:"topic_bytes"`
	ClientIDBytes             *int           `yaml:"client_id_bytes"`
	UserProperties            *int           `yaml:"user_properties"`
	Subscriptions             *int           `yaml:"subscriptions"`
	FiltersPerSubscribe       *int           `yaml:"filters_per_subscribe"`
	ReceiveMaximum            *uint16        `yaml:"receive_maximum"`
	Inflight                  *uint16        `yaml:"inflight"`
	QueueMessages             *int           `yaml:"queue_messages"`
	QueueBytes                *Size          `yaml:"queue_bytes"`
	QueueFull                 *QueueFull     `yaml:"queue_full"`
	OutputBytes               *Size          `yaml:"output_bytes"`
	TopicAlias                *uint16        `yaml:"topic_alias"`
	TopicAliasOut             *uint16        `yaml:"topic_alias_out"`
	QoS                       *uint8         `yaml:"qos"`
	SessionExpiry             *time.Duration `yaml:"session_expiry"`
}

// EffectiveLimits is what holds on listener i: the top-level limits with the
// listener's own in their place.
func (c *Config) EffectiveLimits(i int) Limits {
	l := c.Limits
	to := reflect.ValueOf(&l.ListenerLimits).Elem()
	from := reflect.ValueOf(c.Listeners[i].Limits)
	for f := range from.NumField() {
		if p := from.Field(f); !p.IsNil() {
			to.FieldByName(from.Type().Field(f).Name).Set(p.Elem())
		}
	}
	return l
}

// overrides reports whether the limit called name is set in o.
func (o LimitOverrides) overrides(name string) bool {
	f, ok := structFields(reflect.ValueOf(&o).Elem())[name]
	return ok && !f.IsNil()
}

// explainKey tells the limits of the broker from mistakes in spelling.
func (LimitOverrides) explainKey(key string) string {
	if _, ok := structFields(reflect.ValueOf(&Limits{}).Elem())[key]; ok {
		return "is a limit of the whole broker; set it under the top-level limits"
	}
	return ""
}
