package config

import "time"

// Defaults is a configuration with every default set and no listener.
func Defaults() *Config {
	return &Config{
		Limits: Limits{
			ListenerLimits: ListenerLimits{
				Connections:               100_000,
				ConnectTimeout:            10 * time.Second,
				WriteTimeout:              30 * time.Second,
				PacketSizeUnauthenticated: 16 * KiB,
				PacketSize:                MiB,
				TopicLevels:               128,
				TopicBytes:                4096,
				ClientIDBytes:             256,
				UserProperties:            64,
				Subscriptions:             1000,
				FiltersPerSubscribe:       256,
				ReceiveMaximum:            100,
				Inflight:                  100,
				QueueMessages:             1000,
				QueueBytes:                8 * MiB,
				QueueFull:                 DropNewest,
				OutputBytes:               MiB,
				TopicAlias:                16,
				TopicAliasOut:             16,
				QoS:                       2,
				SessionExpiry:             24 * time.Hour,
			},
			Sessions:             100_000,
			SessionsPerPrincipal: 1000,
			RetainedMessages:     1_000_000,
			RetainedBytes:        512 * MiB,
			BufferBytes:          GiB,
		},
		MQTT: MQTT{
			Retain:                  true,
			SharedSubscriptions:     true,
			WildcardSubscriptions:   true,
			SubscriptionIdentifiers: true,
			ReasonStrings:           true,
			SharedRedeliver:         RedeliverAtSessionEnd,
			SessionOwner:            OwnerPrincipal,
			RetainedSource:          RetainedCheck,
			OnPolicyChange:          PolicyRevoke,
			DenyReason:              DenyReasonNone,
		},
		Hashing: Hashing{
			Memory:       128 * MiB,
			Queue:        1000,
			CacheTTL:     5 * time.Minute,
			WrongTTL:     5 * time.Second,
			CacheEntries: 10_000,
		},
		Log:         Log{Level: LogInfo, Format: LogText, Connections: true},
		SysInterval: 10 * time.Second,
		Reload:      ReloadAuto,
		Shutdown:    Shutdown{Timeout: 8 * time.Second, PublishWills: true},
		Storage:     Storage{Type: StorageMemory, Durability: DurabilityAlways, Interval: 100 * time.Millisecond, MinFree: 256 * MiB},
		Driver:      DriverAuto,
	}
}

// SetDefaults sets the defaults of a listener.
func (l *Listener) SetDefaults() {
	*l = Listener{
		Transport:          TCP,
		SocketMode:         0o660,
		TCPNoDelay:         true,
		Identity:           IdentityNone,
		WebSocket:          WebSocket{Path: "/mqtt"},
		ClientID:           ClientIDAny,
		AllowEmptyClientID: true,
		OnDeniedPublish:    DeniedDrop,
		OnDeniedQoS:        QoSRefuse,
		V3RefusalCode:      5,
	}
}

// SetDefaults sets the defaults of a TLS section.
func (t *TLS) SetDefaults() {
	*t = TLS{
		ClientAuth: ClientAuthNone, HostMatch: HostMatchNone, DisconnectOnExpiry: true, CRLMissing: CRLMissingReject, CRLExpired: CRLExpiredReject, OCSP: OCSPNone,
		OCSPTimeout: 2 * time.Second, RecheckInterval: time.Hour, OnTrustChange: TrustRevalidate,
		ALPN: []string{"mqtt"}, Resumption: true, MinVersion: TLS12, MaxVersion: TLS13,
		HandshakeTimeout: 10 * time.Second, Handshakes: 2048,
	}
}

// SetDefaults sets the defaults of a proxy_protocol section.
func (p *ProxyProtocol) SetDefaults() { *p = ProxyProtocol{Version: ProxyAny} }

// SetDefaults sets the defaults of OCSP stapling.
func (o *OCSPStapling) SetDefaults() {
	*o = OCSPStapling{CacheInterval: time.Hour, StapleWait: 200 * time.Millisecond}
}
