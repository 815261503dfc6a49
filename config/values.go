package config

import "sallyport/internal/certfield"

// Transport is how bytes arrive at a listener.
type Transport string

// The transports.
const (
	TCP    Transport = "tcp"
	TLSTCP Transport = "tls"
	WS     Transport = "ws"
	WSS    Transport = "wss"
	Unix   Transport = "unix"
)

// Choices lists the transports.
func (Transport) Choices() []string { return []string{"tcp", "tls", "ws", "wss", "unix"} }

// Secure reports whether t encrypts.
func (t Transport) Secure() bool { return t == TLSTCP || t == WSS }

// Web reports whether t speaks WebSocket.
func (t Transport) Web() bool { return t == WS || t == WSS }

// Identity is what of a client certificate becomes the user name: one of the
// identities below, or a template.
type Identity string

// The identities.
const (
	IdentityNone       Identity = "none"
	IdentityCommonName Identity = "common_name"
	IdentitySubject    Identity = "subject"
)

// Template is what the identity makes a user name of, the zero Template for none.
func (i Identity) Template() (certfield.Template, error) {
	switch i {
	case IdentityNone:
		return certfield.Template{}, nil
	case IdentityCommonName:
		return certfield.ParseTemplate("${cert.cn}")
	case IdentitySubject:
		return certfield.ParseTemplate("${cert.subject.rfc2253}")
	}
	return certfield.ParseTemplate(string(i))
}

// HostMatch is what a client certificate has to do with the client's address.
type HostMatch string

// The demands.
const (
	HostMatchNone HostMatch = "none"
	HostMatchIP   HostMatch = "ip"
	HostMatchDNS  HostMatch = "dns"
)

// Choices lists the demands.
func (HostMatch) Choices() []string { return []string{"none", "ip", "dns"} }

// ClientIDRule binds client ids to user names.
type ClientIDRule string

// The rules.
const (
	ClientIDAny                ClientIDRule = "any"
	ClientIDEqualsUsername     ClientIDRule = "equals_username"
	ClientIDStartsWithUsername ClientIDRule = "starts_with_username"
)

// Choices lists the rules.
func (ClientIDRule) Choices() []string {
	return []string{"any", "equals_username", "starts_with_username"}
}

// DeniedPublish is what a denied PUBLISH brings.
type DeniedPublish string

// The answers to a denied PUBLISH.
const (
	DeniedDrop       DeniedPublish = "drop"
	DeniedDisconnect DeniedPublish = "disconnect"
)

// Choices lists the answers.
func (DeniedPublish) Choices() []string { return []string{"drop", "disconnect"} }

// DeniedQoS is what a subscription at a denied QoS brings.
type DeniedQoS string

// The answers to a denied QoS.
const (
	QoSRefuse    DeniedQoS = "refuse"
	QoSDowngrade DeniedQoS = "downgrade"
)

// Choices lists the answers.
func (DeniedQoS) Choices() []string { return []string{"refuse", "downgrade"} }

// RiskName names a danger that an operator may accept.
type RiskName string

// The risks.
const (
	RiskAnonymous          RiskName = "anonymous"
	RiskCleartextPasswords RiskName = "cleartext_passwords"
	RiskAllowAll           RiskName = "allow_all"
)

// Choices lists the risks.
func (RiskName) Choices() []string {
	return []string{"anonymous", "cleartext_passwords", "allow_all"}
}

// ClientAuth is whether clients show certificates.
type ClientAuth string

// The answers.
const (
	ClientAuthNone     ClientAuth = "none"
	ClientAuthOptional ClientAuth = "optional"
	ClientAuthRequire  ClientAuth = "require"
)

// Choices lists the answers.
func (ClientAuth) Choices() []string { return []string{"none", "optional", "require"} }

// CRLMissing is what becomes of a certificate that no revocation list covers.
type CRLMissing string

// The answers.
const (
	CRLMissingReject   CRLMissing = "reject"
	CRLMissingAcceptCA CRLMissing = "accept_ca"
	CRLMissingAccept   CRLMissing = "accept"
)

// Choices lists the answers.
func (CRLMissing) Choices() []string { return []string{"reject", "accept_ca", "accept"} }

// CRLExpired is what becomes of a certificate whose issuer's list has expired.
type CRLExpired string

// The answers.
const (
	CRLExpiredReject CRLExpired = "reject"
	CRLExpiredAccept CRLExpired = "accept"
)

// Choices lists the answers.
func (CRLExpired) Choices() []string { return []string{"reject", "accept"} }

// OCSPPolicy is whether responders are asked about client certificates.
type OCSPPolicy string

// The policies.
const (
	OCSPNone     OCSPPolicy = "none"
	OCSPHardFail OCSPPolicy = "hard_fail"
	OCSPSoftFail OCSPPolicy = "soft_fail"
)

// Choices lists the policies.
func (OCSPPolicy) Choices() []string { return []string{"none", "hard_fail", "soft_fail"} }

// TrustChange is what becomes of clients that a reload would not let in again.
type TrustChange string

// The answers.
const (
	TrustRevalidate TrustChange = "revalidate"
	TrustKeep       TrustChange = "keep"
)

// Choices lists the answers.
func (TrustChange) Choices() []string { return []string{"revalidate", "keep"} }

// ProxyVersion is a version of the PROXY protocol.
type ProxyVersion string

// The versions.
const (
	ProxyAny ProxyVersion = "any"
	ProxyV1  ProxyVersion = "1"
	ProxyV2  ProxyVersion = "2"
)

// Choices lists the versions.
func (ProxyVersion) Choices() []string { return []string{"any", "1", "2"} }

// TLSVersion is a version of TLS.
type TLSVersion string

// The versions.
const (
	TLS10 TLSVersion = "1.0"
	TLS11 TLSVersion = "1.1"
	TLS12 TLSVersion = "1.2"
	TLS13 TLSVersion = "1.3"
)

// Choices lists the versions.
func (TLSVersion) Choices() []string { return []string{"1.0", "1.1", "1.2", "1.3"} }

// AuthenticatorType is a method of authentication.
type AuthenticatorType string

// The methods.
const (
	PasswordFile    AuthenticatorType = "password_file"
	AccountDatabase AuthenticatorType = "accounts"
	Tokens          AuthenticatorType = "jwt"
	Anonymous       AuthenticatorType = "anonymous"
	Scram           AuthenticatorType = "scram"
	Certificate     AuthenticatorType = "certificate"
	UnixPeer        AuthenticatorType = "unix_peer"
	AllOfThem       AuthenticatorType = "all_of"
)

// Choices lists the methods.
func (AuthenticatorType) Choices() []string {
	return []string{"password_file", "accounts", "jwt", "scram", "anonymous", "certificate", "unix_peer", "all_of"}
}

// PolicyType is a policy language.
type PolicyType string

// The languages.
const (
	Permissions  PolicyType = "permissions"
	MosquittoACL PolicyType = "mosquitto_acl"
	TokenClaims  PolicyType = "token"
	AllowAll     PolicyType = "allow_all"
	AccountRoles PolicyType = "accounts"
)

// Choices lists the languages.
func (PolicyType) Choices() []string {
	return []string{"permissions", "accounts", "mosquitto_acl", "token", "allow_all"}
}

// SharedRedeliver is when an unacknowledged shared message moves on.
type SharedRedeliver string

// The moments.
const (
	RedeliverAtSessionEnd SharedRedeliver = "session_end"
	RedeliverAtDisconnect SharedRedeliver = "disconnect"
)

// Choices lists the moments.
func (SharedRedeliver) Choices() []string { return []string{"session_end", "disconnect"} }

// SessionOwner is to whom a session belongs.
type SessionOwner string

// The owners.
const (
	OwnerPrincipal SessionOwner = "principal"
	OwnerClientID  SessionOwner = "client_id"
)

// Choices lists the owners.
func (SessionOwner) Choices() []string { return []string{"principal", "client_id"} }

// RetainedSource is which retained messages are sent on.
type RetainedSource string

// The answers.
const (
	RetainedCheck RetainedSource = "check"
	RetainedKeep  RetainedSource = "keep"
)

// Choices lists the answers.
func (RetainedSource) Choices() []string { return []string{"check", "keep"} }

// PolicyChange is what becomes of subscriptions that are no longer allowed.
type PolicyChange string

// The answers.
const (
	PolicyRevoke   PolicyChange = "revoke"
	PolicyWithhold PolicyChange = "withhold"
)

// Choices lists the answers.
func (PolicyChange) Choices() []string { return []string{"revoke", "withhold"} }

// DenyReason is what a refused client is told.
type DenyReason string

// The answers.
const (
	DenyReasonNone DenyReason = "none"
	DenyReasonID   DenyReason = "id"
)

// Choices lists the answers.
func (DenyReason) Choices() []string { return []string{"none", "id"} }

// ReloadMode is when changed files are put in force.
type ReloadMode string

// The modes.
const (
	ReloadAuto   ReloadMode = "auto"
	ReloadManual ReloadMode = "manual"
)

// Choices lists the modes.
func (ReloadMode) Choices() []string { return []string{"auto", "manual"} }

// QueueFull is what happens at a full queue.
type QueueFull string

// The answers to a full queue.
const (
	DropNewest          QueueFull = "drop-newest"
	DropOldest          QueueFull = "drop-oldest"
	QueueFullDisconnect QueueFull = "disconnect"
)

// Choices lists the answers.
func (QueueFull) Choices() []string { return []string{"drop-newest", "drop-oldest", "disconnect"} }

// LogLevel is the least that is logged.
type LogLevel string

// The levels.
const (
	LogDebug LogLevel = "debug"
	LogInfo  LogLevel = "info"
	LogWarn  LogLevel = "warn"
	LogError LogLevel = "error"
	LogOff   LogLevel = "off"
)

// Choices lists the levels.
func (LogLevel) Choices() []string { return []string{"debug", "info", "warn", "error", "off"} }

// LogFormat is how a line looks.
type LogFormat string

// The formats.
const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// Choices lists the formats.
func (LogFormat) Choices() []string { return []string{"text", "json"} }

// LogOutput is where the log goes beside a file.
type LogOutput string

// The outputs.
const (
	LogStderr LogOutput = "stderr"
	LogStdout LogOutput = "stdout"
	LogTopic  LogOutput = "topic"
)

// Choices lists the outputs.
func (LogOutput) Choices() []string { return []string{"stderr", "stdout", "topic"} }

// StorageType is where state lives.
type StorageType string

// The places.
const (
	StorageMemory StorageType = "memory"
	StorageDisk   StorageType = "disk"
)

// Choices lists the types.
func (StorageType) Choices() []string { return []string{"memory", "disk"} }

// Durability is what an acknowledgement says of the disk.
type Durability string

// The promises, from the safest on.
const (
	DurabilityAlways   Durability = "always"
	DurabilityInterval Durability = "interval"
	DurabilityOS       Durability = "os"
)

// Choices lists the promises.
func (Durability) Choices() []string { return []string{"always", "interval", "os"} }

// Driver is what feeds connections.
type Driver string

// The drivers.
const (
	DriverAuto      Driver = "auto"      // the best that the system has
	DriverEpoll     Driver = "epoll"     // event loops, on Linux
	DriverGoroutine Driver = "goroutine" // one goroutine per connection
)

// Choices lists the drivers.
func (Driver) Choices() []string {
	return []string{string(DriverAuto), string(DriverEpoll), string(DriverGoroutine)}
}
