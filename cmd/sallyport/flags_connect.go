package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"sallyport/client"
	"sallyport/packet"

	"github.com/alecthomas/kong"
)

// serverFlags say where the server is and how it is reached.
type serverFlags struct {
	Host   string `short:"h" placeholder:"HOST" help:"Host name or address (localhost)."`
	Port   int    `short:"p" placeholder:"PORT" help:"Port (1883; with TLS 8883, with --ws 80 or 443)."`
	Unix   string `placeholder:"PATH" help:"Connect to a Unix socket instead."`
	WS     bool   `name:"ws" help:"Speak MQTT over WebSocket."`
	WSPath string `name:"ws-path" default:"/mqtt" placeholder:"PATH" help:"Path of the WebSocket (${default})."`

	TLS        bool   `name:"tls" aliases:"tls-use-os-certs" group:"tls" help:"Use TLS and trust the system's authorities."`
	CAFile     string `name:"cafile" group:"tls" placeholder:"FILE" help:"Use TLS and trust the authorities in this PEM file only."`
	Cert       string `group:"tls" placeholder:"FILE" help:"Client certificate chain, PEM."`
	Key        string `group:"tls" placeholder:"FILE" help:"The certificate's private key, PEM."`
	TLSVersion string `name:"tls-version" group:"tls" enum:",tlsv1.2,tlsv1.3" default:"" placeholder:"VERSION" help:"Insist on tlsv1.2 or tlsv1.3."`
	ServerName string `name:"server-name" group:"tls" placeholder:"NAME" help:"Name the certificate must be for (the host)."`
	Insecure   bool   `group:"tls" help:"Accept any certificate. Whoever is in between reads everything: for tests only."`
}

// credentialFlags say who connects. At most one source of a password.
type credentialFlags struct {
	Username       string    `short:"u" group:"login" placeholder:"NAME" help:"User name."`
	PasswordFile   string    `name:"password-file" group:"login" xor:"password" placeholder:"FILE" help:"Read the password from the first line of FILE."`
	PasswordEnv    string    `name:"password-env" group:"login" xor:"password" placeholder:"NAME" help:"Take the password from this environment variable."`
	PasswordPrompt bool      `name:"password-prompt" group:"login" xor:"password" help:"Ask for the password at the terminal."`
	Scram          scramFlag `name:"scram" group:"login" help:"Log in by SCRAM (MQTT 5), which never sends the password: SCRAM-SHA-256, or --scram=METHOD: SCRAM-SHA-512, and over TLS SCRAM-SHA-256-PLUS or SCRAM-SHA-512-PLUS, which nobody in between can pass on."`
	Password       string    `short:"P" name:"pw" group:"login" xor:"password" placeholder:"PASSWORD" help:"The password itself; other users of this machine can see it. Prefer the above."`
}

// connectFlags are what pub and sub share.
type connectFlags struct {
	serverFlags
	credentialFlags

	URL       string        `short:"L" name:"url" placeholder:"URL" help:"mqtt[s]://[user[:password]@]host[:port]/topic, or ws[s]://; in place of host, port, user and topic."`
	ID        string        `short:"i" xor:"id" placeholder:"ID" help:"Client identifier (random)."`
	IDPrefix  string        `short:"I" name:"id-prefix" xor:"id" placeholder:"PREFIX" help:"Begin the random client identifier with this."`
	Version   string        `short:"V" name:"protocol-version" enum:",mqttv31,mqttv311,mqttv5,31,311,5" default:"" placeholder:"VERSION" help:"mqttv31, mqttv311 or mqttv5 (mqttv311; with --scram mqttv5)."`
	KeepAlive uint16        `short:"k" name:"keepalive" default:"60" placeholder:"SECONDS" help:"Keep alive (${default}); 0 is off."`
	Expiry    int64         `short:"x" name:"session-expiry-interval" default:"-1" placeholder:"SECONDS" help:"Keep the session this long after disconnecting (MQTT 5)."`
	Props     propertyFlags `short:"D" name:"property" placeholder:"COMMAND NAME VALUE" help:"Add a property to the MQTT 5 packet COMMAND (connect, publish, will, subscribe, unsubscribe, disconnect), as in: -D publish user-property KEY VALUE."`
	Timeout   int           `short:"W" placeholder:"SECONDS" help:"Give up after this time with exit code 27."`
	Debug     bool          `short:"d" help:"Report each packet on standard error."`
	Quiet     bool          `help:"No warnings."`

	WillTopic   string `name:"will-topic" group:"will" placeholder:"TOPIC" help:"Topic the server publishes to when the connection is lost."`
	WillPayload string `name:"will-payload" group:"will" placeholder:"TEXT" help:"Its payload."`
	WillQoS     byte   `name:"will-qos" group:"will" enum:"0,1,2" default:"0" placeholder:"QOS" help:"Its QoS (${default})."`
	WillRetain  bool   `name:"will-retain" group:"will" help:"Retain it."`

	topic string                // of --url
	auth  client.Authentication // of --scram; nil without
}

func flagGroups() []kong.Group {
	return []kong.Group{
		{Key: "who", Title: "Client:"},
		{Key: "login", Title: "Credentials:"},
		{Key: "tls", Title: "TLS:"},
		{Key: "will", Title: "Will:"},
		{Key: "load", Title: "Load:"},
	}
}

// applyURL spreads --url over the other fields.
func (f *connectFlags) applyURL() error {
	if f.URL == "" {
		return nil
	}
	const hint = "example: -L mqtts://alice@broker.example:8883/demo/hello"
	u, err := url.Parse(f.URL)
	if err != nil {
		// The parser's error repeats the URL, which may hold a password.
		return usageError(hint, "--url is not a URL")
	}
	switch u.Scheme {
	case "mqtt":
	case "mqtts":
		f.TLS = true
	case "ws":
		f.WS = true
	case "wss":
		f.WS, f.TLS = true, true
	default:
		return usageError(hint, "--url begins with mqtt://, mqtts://, ws:// or wss://")
	}
	if u.Hostname() == "" {
		return usageError(hint, "--url has no host")
	}
	f.Host = u.Hostname()
	if port := u.Port(); port != "" {
		if f.Port, err = strconv.Atoi(port); err != nil {
			return usageError(hint, "--url has a malformed port")
		}
	}
	if u.User != nil {
		f.Username = u.User.Username()
		if password, ok := u.User.Password(); ok {
			f.Password = password
		}
	}
	f.topic = strings.TrimPrefix(u.Path, "/")
	if u.Fragment != "" || strings.HasSuffix(f.URL, "#") {
		f.topic += "#" + u.Fragment // a filter's wildcard looks like a fragment
	}
	return nil
}

// secure reports whether the connection is encrypted.
func (f *serverFlags) secure() bool {
	return f.TLS || f.CAFile != "" || f.Cert != "" || f.Insecure || f.TLSVersion != "" || f.ServerName != ""
}

// host is the server's name or address, without the brackets of IPv6.
func (f *serverFlags) host() string { return cmp.Or(strings.Trim(f.Host, "[]"), "localhost") }

// target is where and how to connect.
func (f *serverFlags) target(v packet.Version) (client.Target, error) {
	t := client.Target{Transport: client.TCP, Path: f.WSPath, Subprotocol: "mqtt"}
	if v == packet.V31 {
		t.Subprotocol = "mqttv3.1"
	}
	if f.Unix != "" {
		if f.WS || f.secure() {
			return t, usageError("leave out --ws and the TLS flags", "--unix speaks plain MQTT only")
		}
		t.Transport, t.Address = client.Unix, f.Unix
		return t, nil
	}
	port := 1883
	switch {
	case f.WS && f.secure():
		t.Transport, port = client.WSS, 443
	case f.WS:
		t.Transport, port = client.WS, 80
	case f.secure():
		t.Transport, port = client.TLS, 8883
	}
	if f.Port < 0 || f.Port > 65535 {
		return t, usageError("", "--port %d is not between 1 and 65535", f.Port)
	}
	t.Address = net.JoinHostPort(f.host(), strconv.Itoa(cmp.Or(f.Port, port)))
	if !f.secure() {
		return t, nil
	}
	var err error
	t.TLS, err = f.tlsConfig()
	return t, err
}

func (f *serverFlags) tlsConfig() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: f.ServerName, InsecureSkipVerify: f.Insecure}
	switch f.TLSVersion {
	case "tlsv1.2":
		cfg.MaxVersion = tls.VersionTLS12
	case "tlsv1.3":
		cfg.MinVersion = tls.VersionTLS13
	}
	if f.CAFile != "" {
		pem, err := os.ReadFile(f.CAFile)
		if err != nil {
			return nil, &failure{what: "read --cafile", why: err}
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &failure{what: "read --cafile " + f.CAFile, why: errors.New("no certificate in it"), hint: "it must be PEM: -----BEGIN CERTIFICATE-----"}
		}
	}
	if (f.Cert == "") != (f.Key == "") {
		return nil, usageError("", "--cert and --key go together")
	}
	if f.Cert != "" {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, &failure{what: "load the client certificate", why: err}
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// protocol is the version of -V.
func (f *connectFlags) protocol() packet.Version {
	switch f.Version {
	case "":
		if f.Scram != "" {
			return packet.V5
		}
	case "mqttv31", "31":
		return packet.V31
	case "mqttv5", "5":
		return packet.V5
	}
	return packet.V311
}

// connect is the CONNECT packet of the flags.
func (f *connectFlags) connect(e *env, cleanStart bool) (packet.Connect, error) {
	v := f.protocol()
	c := packet.Connect{Version: v, CleanStart: cleanStart, KeepAlive: f.KeepAlive, ClientID: f.ID, Props: f.Props.connect}
	if f.Props.used && v != packet.V5 {
		return c, usageError("add -V mqttv5", "properties need MQTT 5")
	}
	if f.Expiry >= 0 {
		if v != packet.V5 {
			return c, usageError("add -V mqttv5", "--session-expiry-interval needs MQTT 5")
		}
		if f.Expiry > 0xffffffff {
			return c, usageError("", "--session-expiry-interval is at most 4294967295")
		}
		c.Props.SessionExpiry = uint32(f.Expiry)
		c.Props.Mark(packet.PropSessionExpiry)
	} else if v == packet.V5 && !cleanStart && !c.Props.Has(packet.PropSessionExpiry) {
		c.Props.SessionExpiry = 0xffffffff // what a kept session means before MQTT 5
		c.Props.Mark(packet.PropSessionExpiry)
	}
	if c.ClientID == "" {
		if !cleanStart {
			return c, usageError("", "a session that is kept needs an identifier: --id")
		}
		c.ClientID = randomID(f.IDPrefix)
	}
	if err := f.addWill(&c); err != nil {
		return c, err
	}
	var err error
	if f.auth, err = f.authentication(e, &c); err != nil || f.auth != nil {
		return c, err
	}
	return c, f.credentialFlags.apply(e, &c)
}

func (f *connectFlags) addWill(c *packet.Connect) error {
	if f.WillTopic == "" {
		if f.WillPayload != "" || f.WillQoS != 0 || f.WillRetain || f.Props.will.User != nil {
			return usageError("", "a will needs --will-topic")
		}
		return nil
	}
	c.Will = &packet.Will{QoS: f.WillQoS, Retain: f.WillRetain, Topic: f.WillTopic,
		Payload: []byte(f.WillPayload), Props: f.Props.will, ExpiryAt: -1}
	return nil
}

// limit bounds the command as --timeout says; the returned error is the cause
// that a context ended by it has.
func (f *connectFlags) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if f.Timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, time.Duration(f.Timeout)*time.Second, timeoutError(fmt.Sprintf("--timeout %d", f.Timeout)))
}

// hintFor is advice about a connection that failed.
func (f *serverFlags) hintFor(err error) string {
	if hint := scramHint(err); hint != "" {
		return hint
	}
	if re, ok := errors.AsType[*client.ReasonError](err); ok {
		switch {
		case re.Packet == packet.PUBACK, re.Packet == packet.PUBREC:
			if re.Code == packet.NotAuthorized {
				return "this user may not be allowed to publish there"
			}
		case re.Packet == packet.DISCONNECT:
			if re.Code == packet.NotAuthorized {
				return "this user may not be allowed to do that, or to be connected any more"
			}
		case re.Code == packet.BadUserNameOrPassword || re.Code == packet.NotAuthorized,
			re.Version != packet.V5 && (re.Code == packet.V3BadUserNameOrPassword || re.Code == packet.V3NotAuthorized):
			return "check user name and password: -u NAME --password-file FILE"
		}
		return ""
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "name the authority that signed the server's certificate: --cafile FILE"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "use the host name in the certificate, or name it with --server-name"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "this port does not speak TLS; leave out the TLS flags or choose another port"
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return "the server refused the TLS handshake; if it wants a client certificate: --cert FILE --key FILE"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		if op.Op == "read" && !f.secure() {
			return "the server may want TLS: --cafile FILE, or --tls"
		}
		return "is a server running there? check --host and --port"
	}
	return ""
}
