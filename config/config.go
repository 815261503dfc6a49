package config

import (
	"io/fs"
	"net/netip"
	"time"
)

// Config is a whole configuration. It is plain data: Load and the importers
// fill it, nothing changes it afterwards.
type Config struct {
	// File is the path that the configuration was read from.
	File string `yaml:"-"`
	// Sources is what it was read from: File, and the files that an importer was
	// sent to with their folders.
	Sources []Source `yaml:"-"`

	// The doors of the broker, at least one. Each has its own transport, limits and security settings.
	Listeners []Listener `yaml:"listeners"`
	// Who a client is: the methods that listeners may name in their chains.
	Authenticators []Authenticator `yaml:"authenticators"`
	// What a client may do: the policies that listeners may name.
	Policies []Policy `yaml:"policies"`
	// Bounds for every listener and for the broker as a whole. A listener may override most of them.
	Limits Limits `yaml:"limits"`
	// What the broker offers of MQTT.
	MQTT MQTT `yaml:"mqtt"`
	// How much password checking may cost.
	Hashing Hashing `yaml:"hashing"`
	// The operator's log.
	Log Log `yaml:"log"`
	// How often the topics under $SYS are published; 0 switches them off.
	SysInterval time.Duration `yaml:"sys_interval"`
	// When changed files are put in force: auto (the configuration and every file that it names are watched; what has been unchanged for a second is read, all together) or manual (on SIGHUP and sallyport ctl reload only, which work with auto too).
	Reload ReloadMode `yaml:"reload"`
	// How the running broker is spoken to.
	Control Control `yaml:"control"`
	// How the broker stops.
	Shutdown Shutdown `yaml:"shutdown"`
	// Where sessions, queues and retained messages live.
	Storage Storage `yaml:"storage"`
	// What feeds the connections: epoll (an event loop for each processor, on Linux), goroutine (one goroutine per connection, on every platform), or auto, which is epoll where there is one.
	Driver Driver `yaml:"driver"`
	// A file that holds the process id while the broker runs; empty for none. What stands there must be a regular file, not a link; it is made anew.
	PIDFile string `yaml:"pid_file"`
	// The user that the broker becomes after its ports are open, when it is started as root; empty stays.
	RunAs string `yaml:"run_as"`
	// Refuse to start, instead of warning, when a file with secrets can be read by others.
	StrictFiles bool `yaml:"strict_files"`
	// Demand that Go's FIPS 140-3 module is active, and refuse what is outside it: password hashes other than PBKDF2, ChaCha20, X25519 alone, TLS below 1.2, JKS and legacy PKCS#12. No right password is remembered then, whatever hashing.cache_ttl defaults to. See docs/fips.md.
	FIPS bool `yaml:"fips"`

	origin places // of a YAML file; nil for an importer
}

// Listener is one door.
type Listener struct {
	// A unique name for logs, metrics and policies; by default transport and port, such as tls-8883.
	Name string `yaml:"name"`
	// How bytes arrive: tcp, tls, ws (WebSocket), wss (WebSocket over TLS) or unix (a socket in the file system).
	Transport Transport `yaml:"transport"`
	// Where to listen: host:port; an empty host means every IPv4 and IPv6 address, localhost means 127.0.0.1 and ::1, port 0 any free port. For unix it is the path of the socket.
	Address string `yaml:"address"`
	// Permissions of a unix socket, as an octal number in quotes.
	SocketMode fs.FileMode `yaml:"socket_mode"`
	// Send small packets at once instead of letting the kernel collect them (TCP_NODELAY).
	TCPNoDelay bool `yaml:"tcp_nodelay"`
	// Certificate and rules of TLS; needed by tls and wss, refused with the others.
	TLS *TLS `yaml:"tls"`
	// Take the user name from the client's certificate, and ask for no password: none, common_name, subject (the whole name, spelled as Mosquitto does), or a text with placeholders such as "${cert.san.dns}" or "device-${cert.serial_number}", each of which must stand for exactly one value. A client without certificate, where client_auth is optional, goes on to the authenticators. See docs/identity.md.
	Identity Identity `yaml:"identity"`
	// Settings of ws and wss.
	WebSocket WebSocket `yaml:"websocket"`
	// The proxies that all connections come through, with a PROXY header of version 1 or 2 before anything else, also before TLS; without this section none is expected and a header is refused.
	ProxyProtocol *ProxyProtocol `yaml:"proxy_protocol"`
	// The proxies whose X-Forwarded-For tells the client's address, on ws and wss; without this section the field is ignored.
	ForwardedFor *ForwardedFor `yaml:"forwarded_for"`
	// The authenticators to ask, by name and in order. If none accepts, the client is refused; an empty list refuses everyone whom identity does not name.
	Authenticators []string `yaml:"authenticators"`
	// The policies to ask, by name. One deny is final, else one allow is needed; an empty list refuses everything.
	Policies []string `yaml:"policies"`
	// Policies to ask beside those, by name, and never to obey: where they would answer otherwise as a whole, that is counted and logged. A policy may stand here alone.
	Shadow []string `yaml:"shadow"`
	// Source addresses and networks that may connect; empty is all. Checked before a byte is read.
	Allow []netip.Prefix `yaml:"allow"`
	// Source addresses and networks that may not connect; stronger than allow.
	Deny []netip.Prefix `yaml:"deny"`
	// If not empty, a client id must begin with one of these.
	ClientIDPrefixes []string `yaml:"client_id_prefixes"`
	// How a client id is bound to the user name, so that nobody can squat on another's: any (not at all), equals_username or starts_with_username. Under the last, dev1 may use the id dev10.
	ClientID ClientIDRule `yaml:"client_id"`
	// Let clients come without an id and give them one. MQTT 3.1 never allows it.
	AllowEmptyClientID bool `yaml:"allow_empty_client_id"`
	// What the ids that the broker gives begin with.
	GeneratedClientIDPrefix string `yaml:"generated_client_id_prefix"`
	// Risks that you accept on this listener, by name: anonymous, cleartext_passwords, allow_all. See the section on risks.
	AcceptRisk []RiskName `yaml:"accept_risk"`
	// What happens to a client that publishes where it may not: drop (the message; MQTT 5 is told 0x87, MQTT 3 gets a plain acknowledgement) or disconnect.
	OnDeniedPublish DeniedPublish `yaml:"on_denied_publish"`
	// What happens to a subscription at a QoS that the policies do not allow: refuse, or downgrade to the highest that they do.
	OnDeniedQoS DeniedQoS `yaml:"on_denied_qos"`
	// The code with which every failed CONNECT before MQTT 5 is refused: 5 (not authorized) or 4 (bad user name or password). MQTT 5 gets 0x86.
	V3RefusalCode uint8 `yaml:"v3_refusal_code"`
	// How long after it last authenticated a connection may stay: 0 is as long as its credential is valid, else from 10s to 8760h (a year). It ends with 0x87, by chance up to a tenth of this and 5 minutes earlier; an MQTT 5 client of enhanced authentication that authenticates again before stays. See docs/ending.md.
	MaxAuthAge time.Duration `yaml:"max_auth_age"`
	// How long after its CONNECT a connection may stay, whatever it does: 0 is any time, else from 10s to 8760h (a year). It ends with 0xA0 (maximum connect time), by chance as much earlier; the session is kept.
	MaxConnectionLifetime time.Duration `yaml:"max_connection_lifetime"`
	// Bounds that differ from those under limits, for this listener only.
	Limits LimitOverrides `yaml:"limits"`
}

// WebSocket is how a ws or wss listener upgrades.
type WebSocket struct {
	// The path of the URL that is MQTT, all others are not found; "*" is every path.
	Path string `yaml:"path"`
	// Web pages that may connect, as origins (https://app.example.org); "*" is every page. Empty: the listener's own host where certificates authenticate, every page elsewhere. A request without Origin is no web page and is let through.
	Origins []string `yaml:"origins"`
}

// Authenticator is one method to find out who a client is.
type Authenticator struct {
	// A unique name for chains and logs.
	Name string `yaml:"name"`
	// password_file (user names and passwords in a file), accounts (those of the account database, which sallyport ctl user keeps in the store), jwt (tokens), scram (enhanced authentication of MQTT 5, by which the password never leaves the client), anonymous (clients without any credential), certificate (a verified client certificate names the user), unix_peer (the system says whose process is at the other end of a Unix socket) or all_of (several authenticators, all of which are necessary). See docs/authentication.md.
	Type AuthenticatorType `yaml:"type"`
	// For password_file: the file that sallyport passwd writes; Mosquitto's files are read too. For scram: the file that sallyport passwd --scram writes; without one it is the account database.
	File string `yaml:"file"`
	// For a file: a reload may leave no user in it. Otherwise a file that became empty is taken for a mistake and the reload is refused.
	AllowEmpty bool `yaml:"allow_empty"`
	// Principals are equal when realm and name are. By default the authenticator's name, and for accounts, and scram without a file, the word accounts; two that hold the same users may share one. Not for anonymous, which is one principal per listener.
	Realm string `yaml:"realm"`
	// For accounts: how passwords are kept. There is one account database, however many authenticators ask it, and one such section.
	Accounts *Accounts `yaml:"accounts"`
	// For anonymous: also accept a client that sends a user name, believe the name and ignore the password. Anyone can then be anyone; it exists because a mosquitto.conf with allow_anonymous and without password_file means it.
	BelieveUsername bool `yaml:"believe_username"`
	// For jwt: which tokens are accepted, and what they mean. See docs/tokens.md.
	JWT *JWT `yaml:"jwt"`
	// For scram: the methods, and what strangers are told.
	SCRAM *SCRAM `yaml:"scram"`
	// For certificate: how it names its client.
	Certificate *CertificateAuthenticator `yaml:"certificate"`
	// For all_of: which ones.
	AllOf *AllOf `yaml:"all_of"`
	// What is made of the CONNECT before the authenticator sees it, step by step.
	Prepare []Transformation `yaml:"prepare"`
	// What becomes of a client for whom a step of prepare fails: refuse, or next (the next authenticator is asked).
	OnNull OnNull `yaml:"on_null"`
	// What must hold of whomever it accepts.
	Require *Requirement `yaml:"require"`
	// What the names of groups that come from outside (a token, a directory) mean here; one that is not listed means nothing.
	Groups map[string]Many[string] `yaml:"groups"`
	// Likewise, of roles.
	Roles map[string]Many[string] `yaml:"roles"`
	// What the account under the client's name (see type accounts) has to do with it, whatever proved the name: if_known (one that is disabled, locked, or not valid now refuses the client), required (there must be one; the client has its groups, roles and attributes too) or ignored. For accounts, and scram without a file, it is always required.
	Account AccountRule `yaml:"account"`
	// What becomes of a client when the authenticator can't tell, since who would know is down or does not answer in time: refuse (0x88, before MQTT 5 code 3), or next (the next authenticator is asked). That a credential is wrong is never passed on.
	OnError OnError `yaml:"on_error"`
	// How long an answer may take, the wait in the queue included.
	Timeout time.Duration `yaml:"timeout"`
	// How many clients it is asked about at the same time, each of the others waits; password hashes are bounded by hashing.workers instead, for all authenticators together, and of tokens and SCRAM only so many are computed at once as Go uses processors but one.
	Concurrency int `yaml:"concurrency"`
	// How many may wait, served fairly between networks; the next is answered at once with 0x89 (MQTT 3: 3). Password hashes: hashing.queue.
	Queue int `yaml:"queue"`
}

// Policy is one source of rules.
type Policy struct {
	// A unique name for listeners and logs.
	Name string `yaml:"name"`
	// permissions (Sallyport's permission file), accounts (the roles of the account database, which sallyport ctl role keeps in the store, by the groups and roles that a client has), mosquitto_acl (a Mosquitto acl_file), token (what the client's own token permits) or allow_all (everything is allowed).
	Type PolicyType `yaml:"type"`
	// The file with the rules; none for accounts, token and allow_all.
	File string `yaml:"file"`
	// A reload may leave no rule in the file. Otherwise a file that became empty is taken for a mistake and the reload is refused.
	AllowEmpty bool `yaml:"allow_empty"`
	// For mosquitto_acl: refuse at SUBSCRIBE what the file does not grant. Otherwise, as in Mosquitto, every subscription is granted and messages are withheld at delivery.
	Strict bool `yaml:"strict"`
}

// MQTT is what the broker offers where the standard leaves a choice.
type MQTT struct {
	// Keep retained messages. When off, clients are told so and a retained PUBLISH is refused (0x9A).
	Retain bool `yaml:"retain"`
	// Allow $share subscriptions.
	SharedSubscriptions bool `yaml:"shared_subscriptions"`
	// Allow + and # in subscriptions.
	WildcardSubscriptions bool `yaml:"wildcard_subscriptions"`
	// Allow subscription identifiers.
	SubscriptionIdentifiers bool `yaml:"subscription_identifiers"`
	// Queue QoS 0 messages too for a session whose client is away.
	QueueQoS0 bool `yaml:"queue_qos0"`
	// Send a message that matches several subscriptions of a client once, with all their identifiers, instead of once for each.
	MergeOverlapping bool `yaml:"merge_overlapping"`
	// Answer 0x10 (no matching subscribers) to a PUBLISH that nobody receives. It tells publishers who listens.
	NoMatchingSubscribers bool `yaml:"no_matching_subscribers"`
	// When a QoS 1 message that a member of a shared subscription got and did not acknowledge moves to another member: session_end or disconnect.
	SharedRedeliver SharedRedeliver `yaml:"shared_redeliver"`
	// Who may resume, take over or end a session: principal (only the one that made it) or client_id (whoever presents the id).
	SessionOwner SessionOwner `yaml:"session_owner"`
	// Which retained messages a new subscriber gets: check (those whose publisher would still be allowed to publish them) or keep (all).
	RetainedSource RetainedSource `yaml:"retained_source"`
	// What becomes of a subscription that a reload no longer allows: revoke (it ends) or withhold (it stays, and brings nothing).
	OnPolicyChange PolicyChange `yaml:"on_policy_change"`
	// What an MQTT 5 client is told of why a policy refused it: none, or id (a short identifier, which the log line has too and sallyport ctl explain explains).
	DenyReason DenyReason `yaml:"deny_reason"`
	// Tell MQTT 5 clients in words what was wrong with their packets (reason strings). Of what a policy decided only deny_reason tells.
	ReasonStrings bool `yaml:"reason_strings"`
	// Response information for clients that ask for it in CONNECT; empty for none.
	ResponseInformation string `yaml:"response_information"`
}

// Hashing bounds the cost of password checks. The most memory that checking
// can take is workers times memory.
type Hashing struct {
	// How many passwords are checked at the same time. 0 is two, and one where there is one processor.
	Workers int `yaml:"workers"`
	// The most memory that one hash may ask for; a stored hash that needs more is refused.
	Memory Size `yaml:"memory"`
	// How many clients may wait for a check; the next is answered at once with 0x89 (MQTT 3: 3).
	Queue int `yaml:"queue"`
	// No failed CONNECT is answered sooner than this, so that the time tells nothing. 0 is one and a half times what the slowest password hash costs here, as measured, and 10ms at least.
	AuthFailureFloor time.Duration `yaml:"auth_failure_floor"`
	// How long a right password is remembered (as a keyed digest), so that a reconnecting fleet costs little; at most 10m, 0 is never. A change of the account ends it at once.
	CacheTTL time.Duration `yaml:"cache_ttl"`
	// How long the same client's same wrong credentials are remembered, so that a device that tries them again and again costs one check; at most 1m, 0 is never.
	WrongTTL time.Duration `yaml:"wrong_ttl"`
	// How many of each are remembered.
	CacheEntries int `yaml:"cache_entries"`
}

// AtOnce is how many passwords are checked at the same time on a machine whose Go uses so
// many processors: workers, or what its 0 stands for. On one processor a second hash would
// make no login quicker, and the messages of others wait for two (docs/performance.md).
func (h Hashing) AtOnce(processors int) int {
	if h.Workers > 0 {
		return h.Workers
	}
	return min(2, max(1, processors))
}

// Log is the operator's log.
type Log struct {
	// The least that is logged: debug, info, warn, error, or off for nothing.
	Level LogLevel `yaml:"level"`
	// text or json, one line an event.
	Format LogFormat `yaml:"format"`
	// A file to append to, made with mode 0600. A broker started as root follows no link to it.
	File string `yaml:"file"`
	// Where else the log goes: stderr, stdout, or topic ($SYS/broker/log/LEVEL). Empty is stderr, or nothing else when file is set.
	Outputs []LogOutput `yaml:"outputs"`
	// Log each connection and its end.
	Connections bool `yaml:"connections"`
}

// Control is how the running broker is spoken to.
type Control struct {
	// The path of a Unix socket for sallyport ctl, made with mode 0600; empty for none.
	Socket string `yaml:"socket"`
}

// Shutdown is how the broker stops on SIGTERM or SIGINT.
type Shutdown struct {
	// The longest that an orderly stop may take.
	Timeout time.Duration `yaml:"timeout"`
	// Publish the wills of the clients that the stop disconnects.
	PublishWills bool `yaml:"publish_wills"`
}

// Storage is where state lives.
type Storage struct {
	// memory (sessions, queues and retained messages end with the process) or disk (they are kept in dir).
	Type StorageType `yaml:"type"`
	// For disk: the folder, made with mode 0700 where it is missing. It belongs to the broker's user alone, and to one broker at a time.
	Dir string `yaml:"dir"`
	// For disk: what an acknowledgement says: always (a loss of power loses nothing that was acknowledged), interval (at most what was acknowledged within the last interval) or os (the system decides when it writes).
	Durability Durability `yaml:"durability"`
	// For durability interval: how often the disk is made to hold what was acknowledged; 1ms to 1h.
	Interval time.Duration `yaml:"interval"`
	// For disk: with less free space than this nothing more is kept, and messages that would have to be are refused (0x97); 0 switches it off.
	MinFree Size `yaml:"min_free"`
	// For disk: encryption of what is kept; without this section nothing is encrypted.
	Encryption *Encryption `yaml:"encryption"`
}

// Encryption is how a store is encrypted.
type Encryption struct {
	// Where the key is found: 32 bytes, written as 64 hexadecimal digits or in base64. Who loses it has lost the store.
	Key Secret `yaml:"key"`
}
