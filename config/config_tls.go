package config

import (
	"net/netip"
	"time"
)

// TLS is the certificate of a listener and what it asks of clients.
type TLS struct {
	// How to obtain the certificate from an ACME server such as Let's Encrypt, and renew it; what names a certificate or a key is then left out.
	ACME *ACME `yaml:"acme"`
	// The server's certificate and its chain: PEM, or a PKCS#12 (.p12, .pfx) or Java key store (.jks), which holds the key too. What it is, its content tells.
	Certificate string `yaml:"certificate"`
	// The certificate's private key, PEM (PKCS#1, PKCS#8, SEC1; encrypted ones need password). Not for a key store.
	Key string `yaml:"key"`
	// Where the password of the key store or of the encrypted key is found.
	Password *Secret `yaml:"password"`
	// Where the password of the private key in a Java key store is found, if it is unlike the store's.
	KeyPassword *Secret `yaml:"key_password"`
	// Which entry of a key store to use; needed where it has several private keys.
	Alias string `yaml:"alias"`
	// A folder of certificates among which clients choose by the server name that they send (SNI), in the place of certificate.
	Certificates *CertificateFolder `yaml:"certificates"`
	// Certificates that sign client certificates: a PEM file, a folder of such files, or a PKCS#12 or Java trust store.
	ClientCA string `yaml:"client_ca"`
	// Where the password of a PKCS#12 or Java trust store is found.
	ClientCAPassword *Secret `yaml:"client_ca_password"`
	// Whether clients show a certificate: none, optional or require. optional and require need client_ca. Under optional a certificate that is shown must be good: a bad one is refused, and its client is not asked for a password.
	ClientAuth ClientAuth `yaml:"client_auth"`
	// Files with revocation lists of the authorities of client_ca, PEM or DER; one, or a list of them.
	CRL Many[string] `yaml:"crl"`
	// Also fetch the lists that certificates name (distribution points over http and https), in the background; a handshake waits for them as long as ocsp_timeout allows.
	CRLDistributionPoints bool `yaml:"crl_distribution_points"`
	// What becomes of a certificate whose issuer has no revocation list that covers it: reject, accept_ca (authorities pass, clients don't; what Mosquitto does) or accept.
	CRLMissing CRLMissing `yaml:"crl_missing"`
	// What becomes of certificates whose issuer's list has expired: reject (new connections only), or accept.
	CRLExpired CRLExpired `yaml:"crl_expired"`
	// Whether the issuers' OCSP responders are asked about client certificates: none, hard_fail (without an answer the client is refused) or soft_fail (without an answer it passes).
	OCSP OCSPPolicy `yaml:"ocsp"`
	// How long one handshake waits for lists and answers from the network.
	OCSPTimeout time.Duration `yaml:"ocsp_timeout"`
	// Networks that may be asked for lists and answers although they are not public. Certificates name whom to ask, so loopback, private and link-local addresses are refused otherwise.
	RevocationNetworks []netip.Prefix `yaml:"revocation_networks"`
	// How soon a connected client whose certificate was revoked is ended at the latest: each is held against lists and responders twice in that time, and what was fetched gets a third as old; 5m to 168h, 0 is never.
	RecheckInterval time.Duration `yaml:"recheck_interval"`
	// What becomes of connected clients whose certificate a changed client_ca or crl would refuse: revalidate (they are disconnected, spread over up to three seconds if they are many) or keep (they stay until recheck_interval finds them).
	OnTrustChange TrustChange `yaml:"on_trust_change"`
	// SPIFFE trust domains, such as example.org: a client certificate must then be the X.509-SVID of a workload in one of them. Whoever is in client_ca may sign for each.
	TrustDomains []string `yaml:"trust_domains"`
	// Whether a client certificate must be for the address that the client comes from: none (no), ip (the address is one of its alternative names) or dns (one of its DNS names, of at most 8 without wildcards, resolves to the address within 2 seconds; who can't be looked up is refused).
	HostMatch HostMatch `yaml:"host_match"`
	// The client id that a client with a certificate must use, as a text with placeholders such as "${cert.cn}"; empty for any.
	ClientIDMustMatch string `yaml:"client_id_must_match"`
	// End a session when a certificate of the client's chain expires (MQTT 5 is told 0x87), whatever authenticated the client. Its will is published.
	DisconnectOnExpiry bool `yaml:"disconnect_on_expiry"`
	// Staple the OCSP status of the server's own certificates into handshakes; without this section nothing is stapled.
	OCSPStapling *OCSPStapling `yaml:"ocsp_stapling"`
	// The protocols to confirm to clients that offer them (ALPN), favourite first; by default mqtt. On wss it is always http/1.1.
	ALPN []string `yaml:"alpn"`
	// Let clients resume their sessions with tickets, which spares both sides the dearest part of a handshake. What is asked of a client's certificate is asked again.
	Resumption bool `yaml:"resumption"`
	// A file with the keys of tickets, which sallyport tls ticket-key makes, for brokers that resume each other's sessions; without one the broker has keys of its own, a new one each day, and the last for a week.
	TicketKeys string `yaml:"ticket_keys"`
	// The oldest version to accept, in quotes. What is below "1.2" needs legacy.
	MinVersion TLSVersion `yaml:"min_version"`
	// The newest version to accept, in quotes.
	MaxVersion TLSVersion `yaml:"max_version"`
	// The cipher suites to accept, by the names of IANA, Java or OpenSSL, which sallyport tls suites lists; empty is every one that is not legacy. Each accepted version needs one that the certificate's key can serve. Among those of TLS 1.3 Go chooses by itself: a handshake that came to one which the list lacks is refused, so clients must not offer it.
	CipherSuites []string `yaml:"cipher_suites"`
	// The groups to agree on keys with, by the names that sallyport tls suites lists, such as X25519MLKEM768 or secp256r1; empty is all of them. Go's order of preference holds, hybrid groups first.
	Groups []string `yaml:"groups"`
	// Accept only hybrid groups, which hold against quantum computers too. They are of TLS 1.3: it needs min_version "1.3".
	RequirePostQuantum bool `yaml:"require_post_quantum"`
	// Allow min_version below "1.2" and cipher suites that are legacy (without forward secrecy, 3DES, RC4, CBC with SHA-256), which still have to be named. A warning at every start says which there are.
	Legacy bool `yaml:"legacy"`
	// Time for the handshake.
	HandshakeTimeout time.Duration `yaml:"handshake_timeout"`
	// How many handshakes may be under way at once. When there is no place left they are shared evenly between source addresses: a newcomer takes that of the oldest handshake of the address (IPv6: /64) that holds the most.
	Handshakes int `yaml:"handshakes"`
}

// CertificateFolder is certificates that clients choose by server name.
type CertificateFolder struct {
	// The folder. For each certificate it holds NAME.crt, NAME.cer or NAME.pem beside NAME.key, or NAME.pem with the key in it, or a store NAME.p12, NAME.pfx or NAME.jks. Their names are those in the certificates, exact or with a wildcard in place of the first label.
	Dir string `yaml:"dir"`
	// Where the password of the stores and encrypted keys is found.
	Password *Secret `yaml:"password"`
	// The file whose certificate serves clients that send no name, or one that none is for.
	Default string `yaml:"default"`
	// Refuse such clients instead (alert unrecognized_name).
	StrictSNI bool `yaml:"strict_sni"`
}

// OCSPStapling is how the status of the server's own certificates is kept at hand.
type OCSPStapling struct {
	// Whom to ask instead of the responder that the certificate names; needed where it names none.
	OverrideURL string `yaml:"override_url"`
	// How long a response is kept before the next request, which is made at the latest when half of its validity is over.
	CacheInterval time.Duration `yaml:"cache_interval"`
	// How long the handshake of a client that asks waits where no response is cached.
	StapleWait time.Duration `yaml:"staple_wait"`
}

// ProxyProtocol is the proxies before a listener.
type ProxyProtocol struct {
	// Addresses and networks of the proxies. Every connection from them must begin with a PROXY header, and no other address may connect. On a unix socket it stays empty: whoever may connect is trusted.
	Trusted []netip.Prefix `yaml:"trusted"`
	// The version of the header to accept: any, "1" or "2" (in quotes).
	Version ProxyVersion `yaml:"version"`
	// Take the user name from what a version 2 header says about the client's certificate (its common name, verified by the proxy), and ask for no password. Whoever controls the proxy can then be anyone.
	ProxyIdentity bool `yaml:"proxy_identity"`
}

// ForwardedFor is the proxies before a WebSocket listener.
type ForwardedFor struct {
	// Addresses and networks of the proxies whose X-Forwarded-For is believed: the rightmost address in it that is none of them is the client's.
	Trusted []netip.Prefix `yaml:"trusted"`
}
