package config

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

const referencePath = "../docs/configuration.md"

// section is one struct of the reference, with an example that the test decodes.
type section struct {
	title   string
	value   any // the struct with its defaults
	text    string
	example string
}

// TestReference holds docs/configuration.md to the structs, their comments
// and defaults. go test ./config -run Reference -update writes it.
func TestReference(t *testing.T) {
	for _, s := range sections() {
		if err := DecodeYAML([]byte(s.example), s.title, Defaults()); err != nil {
			t.Errorf("the example of %s is wrong: %v", s.title, err)
		}
	}
	want := reference(t)
	if *update {
		if err := os.WriteFile(referencePath, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(referencePath)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is stale; go test ./config -run Reference -update writes it anew", referencePath)
	}
}

func reference(t *testing.T) string {
	comments := fieldComments(t)
	var b strings.Builder
	b.WriteString(referenceIntro)
	for _, s := range sections() {
		v := reflect.ValueOf(s.value)
		fmt.Fprintf(&b, "\n## %s\n\n", s.title)
		if s.text != "" {
			b.WriteString(s.text + "\n\n")
		}
		b.WriteString("| Key | Value | Default | Meaning |\n|---|---|---|---|\n")
		rows(t, &b, v, comments)
		fmt.Fprintf(&b, "\n```yaml\n%s```\n", s.example)
	}
	b.WriteString(referenceRisks)
	return b.String()
}

// rows writes a line for each key of the struct v.
func rows(t *testing.T, b *strings.Builder, v reflect.Value, comments map[string]string) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key, option, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if option == "inline" {
			rows(t, b, v.Field(i), comments)
			continue
		}
		if key == "" || key == "-" {
			continue
		}
		comment := comments[v.Type().Name()+"."+f.Name]
		if comment == "" {
			t.Errorf("%s.%s has no comment", v.Type().Name(), f.Name)
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", key, valueKind(f.Type), defaultOf(v.Field(i)), strings.ReplaceAll(comment, "|", `\|`))
	}
}

// valueKind says in words what a key takes.
func valueKind(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[Size]():
		return "size"
	case reflect.TypeFor[fs.FileMode]():
		return "file mode"
	case reflect.TypeFor[netip.Prefix]():
		return "network"
	}
	if c, ok := reflect.Zero(t).Interface().(Chooser); ok && t.Kind() == reflect.String {
		return "`" + strings.Join(c.Choices(), "`, `") + "`"
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "`true`, `false`"
	case reflect.Slice:
		if e := t.Elem(); e.Kind() == reflect.Struct && e != reflect.TypeFor[netip.Prefix]() {
			return "list of [sections](#" + anchor(e.Name()) + ")"
		}
		return "list of " + valueKind(t.Elem())
	case reflect.Pointer:
		return valueKind(t.Elem())
	case reflect.Struct:
		return "[section](#" + anchor(t.Name()) + ")"
	case reflect.Map:
		if t.Elem().Kind() != reflect.Slice {
			return "names, each with " + valueKind(t.Elem())
		}
		return "names, each with one or several others"
	}
	return "number"
}

func anchor(structName string) string {
	for _, s := range sections() {
		if n := reflect.TypeOf(s.value).Name(); n == structName || n == "Limits" && structName == "LimitOverrides" {
			return strings.ToLower(strings.NewReplacer(" ", "-", "[", "", "]", "", ".", "").Replace(s.title))
		}
	}
	return ""
}

func defaultOf(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		return "`" + shortDuration(x) + "`"
	case Size:
		return "`" + x.String() + "`"
	case fs.FileMode:
		return fmt.Sprintf("`\"%04o\"`", x)
	}
	switch v.Kind() {
	case reflect.String:
		if v.String() != "" {
			return "`" + v.String() + "`"
		}
	case reflect.Bool, reflect.Int, reflect.Uint8, reflect.Uint16:
		return fmt.Sprintf("`%v`", v.Interface())
	}
	return ""
}

func shortDuration(d time.Duration) string {
	s := d.String()
	s = strings.Replace(s, "m0s", "m", 1)
	return strings.Replace(s, "h0m", "h", 1)
}

// fieldComments maps Struct.Field to its comment on one line.
func fieldComments(t *testing.T) map[string]string {
	comments := map[string]string{}
	for _, file := range []string{"config.go", "config_tls.go", "config_member.go", "config_accounts.go", "config_jwt.go", "config_scram.go", "limits.go", "secret.go", "acme.go"} {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			st, ok := spec.Type.(*ast.StructType)
			if !ok {
				return true
			}
			for _, f := range st.Fields.List {
				for _, name := range f.Names {
					comments[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
				}
			}
			return true
		})
	}
	return comments
}

func sections() []section {
	var l Listener
	l.SetDefaults()
	var t TLS
	t.SetDefaults()
	var acme ACME
	acme.SetDefaults()
	var stapling OCSPStapling
	stapling.SetDefaults()
	var proxy ProxyProtocol
	proxy.SetDefaults()
	var accounts Accounts
	accounts.SetDefaults()
	var tokens JWT
	tokens.SetDefaults()
	var tokenKey TokenKey
	tokenKey.SetDefaults()
	var member Authenticator
	member.SetDefaults()
	var require Requirement
	require.SetDefaults()
	var byCertificate CertificateAuthenticator
	byCertificate.SetDefaults()
	var scram SCRAM
	scram.SetDefaults()
	d := Defaults()
	return []section{
		{"The file", *d, "", "listeners:\n  - transport: tls\n    address: \":8883\"\n    tls: {certificate: server.crt, key: server.key}\n    authenticators: [passwords]\n    policies: [permissions]\nauthenticators:\n  - {name: passwords, type: password_file, file: passwd}\npolicies:\n  - {name: permissions, type: permissions, file: permissions.yaml}\nsys_interval: 30s\n"},
		{"listeners[]", l, "The same address and port can't stand twice; a wildcard address clashes with every address of its family.", "listeners:\n  - name: sensors\n    transport: tcp\n    address: 127.0.0.1:1883\n    authenticators: [passwords]\n    policies: [permissions]\n    allow: [10.0.0.0/8, \"2001:db8::/32\"]\n    client_id: starts_with_username\n    limits: {connections: 500, packet_size: 64KiB}\n"},
		{"listeners[].tls", t, "", "listeners:\n  - transport: tls\n    address: \":8883\"\n    identity: common_name\n    tls:\n      certificate: server.crt\n      key: server.key\n      client_auth: require\n      client_ca: devices-ca.crt\n      crl: devices-ca.crl\n      min_version: \"1.3\"\n"},
		{"listeners[].tls.acme", acme, "What the server is told, what it needs of your firewall, and how to try it out stands in [ACME](acme.md). A change needs a restart.", "listeners:\n  - transport: tls\n    address: \":443\"\n    tls:\n      acme:\n        domains: [mqtt.example.org]\n        email: ops@example.org\n        storage: acme\n        accept_terms: true\n"},
		{"listeners[].tls.acme.external_account", ExternalAccount{}, "", "listeners:\n  - transport: tls\n    address: \":443\"\n    tls:\n      acme:\n        directory: https://acme.example.net/v2/DV90\n        domains: [mqtt.example.org]\n        storage: acme\n        accept_terms: true\n        external_account:\n          key_id: kid-1\n          key: {file: eab.key}\n"},
		{"listeners[].tls.certificates", CertificateFolder{}, "It needs `default` or `strict_sni: true`. Files that are added, changed or removed are seen like changes of any other file.", "listeners:\n  - transport: tls\n    address: \":8883\"\n    tls:\n      certificates: {dir: certs, default: broker.crt}\n"},
		{"listeners[].tls.ocsp_stapling", stapling, "While requests fail they are repeated every 15 s; when they have failed for 30 minutes, the cached response is dropped.", "listeners:\n  - transport: tls\n    address: \":8883\"\n    tls:\n      certificate: server.crt\n      key: server.key\n      ocsp_stapling: {cache_interval: 30m}\n"},
		{"listeners[].proxy_protocol", proxy, "", "listeners:\n  - transport: tls\n    address: \":8883\"\n    tls: {certificate: server.crt, key: server.key}\n    proxy_protocol: {trusted: [10.0.0.5, 10.0.0.6], version: \"2\"}\n"},
		{"listeners[].forwarded_for", ForwardedFor{}, "", "listeners:\n  - transport: ws\n    address: \"127.0.0.1:8080\"\n    forwarded_for: {trusted: [127.0.0.1]}\n"},
		{"listeners[].websocket", l.WebSocket, "", "listeners:\n  - transport: wss\n    address: \":443\"\n    tls: {certificate: server.crt, key: server.key}\n    websocket: {path: /mqtt, origins: [\"https://app.example.org\"]}\n"},
		{"authenticators[]", member, "A setting that means nothing for a type is an error.", "authenticators:\n  - {name: passwords, type: password_file, file: passwd}\n  - {name: guests, type: anonymous}\n"},
		{"authenticators[].accounts", accounts, "The database is in the store, so that `storage` has to be of type `disk`. A short tour is in [accounts](accounts.md).", "authenticators:\n  - name: accounts\n    type: accounts\n    accounts: {hash: argon2id, scram: [SCRAM-SHA-256]}\nstorage:\n  type: disk\n  dir: store\n"},
		{"authenticators[].scram", scram, "What it protects and how clients use it stands in [SCRAM](scram.md).", "authenticators:\n  - name: scram\n    type: scram\n    file: verifiers\n    scram: {methods: [SCRAM-SHA-256-PLUS, SCRAM-SHA-512-PLUS]}\n"},
		{"authenticators[].prepare[]", Transformation{}, "At most 32 steps. A user name that they make is one that a CONNECT could have.", "authenticators:\n  - name: passwords\n    type: password_file\n    file: passwd\n    prepare:\n      - {set: username, from: \"${username}\", match: \"([^@]+)@example[.]org\"}\n      - {set: username, from: \"${username}\", lower: true}\n"},
		{"authenticators[].require", require, "", "authenticators:\n  - name: operators\n    type: password_file\n    file: operators\n    require: {addresses: [10.0.0.0/8], client_id: starts_with_username}\n"},
		{"authenticators[].certificate", byCertificate, "", "authenticators:\n  - {name: devices, type: certificate, certificate: {identity: \"${cert.san.dns}\"}}\n"},
		{"authenticators[].all_of", AllOf{}, "Groups, roles and attributes of all are joined, and the earliest expiry counts. A client whom none of them knows is left to the next authenticator; one whom some know and others don't is refused.", "authenticators:\n  - name: both\n    type: all_of\n    all_of: {members: [devices, passwords], source: devices}\n"},
		{"authenticators[].jwt", tokens, "What each means, and a whole configuration, stands in [tokens](tokens.md).", "authenticators:\n  - name: tokens\n    type: jwt\n    jwt:\n      issuers:\n        - issuer: https://id.example.org\n          audiences: mqtt\n          keys: [{file: id.jwks}]\n      groups: groups\n      permissions: acl\n"},
		{"authenticators[].jwt.issuers[]", TokenIssuer{}, "", "authenticators:\n  - name: tokens\n    type: jwt\n    jwt:\n      issuers:\n        - {issuer: https://id.example.org, audiences: [mqtt, broker-1], keys: [{file: id.jwks}]}\n        - {issuer: factory, no_audience: true, keys: [{file: factory.pem, algorithms: ES256}]}\n"},
		{"authenticators[].jwt.issuers[].keys[]", tokenKey, "", "authenticators:\n  - name: tokens\n    type: jwt\n    jwt:\n      issuers:\n        - issuer: backend\n          audiences: mqtt\n          keys: [{secret: {file: backend.secret}, encoding: base64, algorithms: HS256, id: \"2026\"}]\n"},
		{"policies[]", Policy{}, "", "policies:\n  - {name: permissions, type: permissions, file: permissions.yaml}\n  - {name: acl, type: mosquitto_acl, file: acl, strict: true}\n"},
		{"limits", d.Limits, "Where the meaning does not say otherwise, 0 is no limit beyond the protocol's own. The keys down to `session_expiry` may also stand under `limits` of a listener and then hold there instead; those after it are of the whole broker.", "limits:\n  packet_size: 256KiB\n  queue_messages: 5000\n  session_expiry: 7d\n  buffer_bytes: 4GiB\n"},
		{"mqtt", d.MQTT, "", "mqtt:\n  shared_redeliver: disconnect\n  deny_reason: id\n"},
		{"hashing", d.Hashing, "The most memory that checking passwords can take is `workers` times `memory`.", "hashing:\n  workers: 4\n  memory: 64MiB\n"},
		{"log", d.Log, "", "log:\n  level: warn\n  format: json\n  file: sallyport.log\n"},
		{"control", d.Control, "The socket admits the broker's own user and root.", "control:\n  socket: control.sock\n"},
		{"shutdown", d.Shutdown, "", "shutdown:\n  timeout: 5s\n  publish_wills: false\n"},
		{"storage", d.Storage, "What is kept, and what a loss of power can take, stands in [storage](storage.md).", "storage:\n  type: disk\n  dir: store\n"},
		{"storage.encryption", Encryption{}, "", "storage:\n  type: disk\n  dir: store\n  encryption: {key: {file: store.key}}\n"},
		{"storage.encryption.key", Secret{}, "Exactly one of the three, with at most 4 KiB.", "storage:\n  type: disk\n  dir: store\n  encryption:\n    key: {command: [/usr/local/bin/store-key, sallyport]}\n"},
	}
}

const referenceIntro = `# Configuration

<!-- Generated from the comments in config/: go test ./config -run Reference -update -->

` + "`sallyport serve -c FILE` and `sallyport check -c FILE`" + ` read one YAML file of at most 1 MiB. It is strict: an unknown or
repeated key, a key without a value, a wrong type, a missing file or a name that nothing defines is an error with file,
line, column and key, and all of them are reported at once. Mappings, lists and plain values are all of YAML that is
read; anchors, aliases, merge keys and tags are refused.

- A size is a number of bytes, or one with the unit KiB, MiB or GiB: ` + "`65536`, `64KiB`" + `.
- A duration has a unit, days included: ` + "`500ms`, `10s`, `1h30m`, `7d`" + `.
- A network is an address or CIDR: ` + "`192.0.2.1`, `10.0.0.0/8`, `2001:db8::/32`" + `. A list accepts several.
- A relative path is relative to the folder of the configuration file.
- Files with secrets (private keys, password files) that others can read are a warning, with ` + "`strict_files: true`" + ` an error.
- A name that no listener uses is an error, so that nothing in the file is without effect.

The same commands take a mosquitto.conf, which is recognised by its content. In it, as in Mosquitto, relative paths are
relative to the working folder.
`

const referenceRisks = `
## Risks

A listener that other machines can reach (any address but loopback and unix sockets) does not start with one of these,
until its ` + "`accept_risk`" + ` names it. An accepted risk is a warning at every start and in ` + "`sallyport check`" + `. With a
mosquitto.conf it is the warning without the refusal.

| Name | What is dangerous |
|---|---|
| ` + "`anonymous`" + ` | An authenticator of type ` + "`anonymous`" + ` lets other machines in without credentials. |
| ` + "`cleartext_passwords`" + ` | Passwords are taken without TLS; or the port is 8883 without TLS, where clients expect it. |
| ` + "`allow_all`" + ` | A policy of type ` + "`allow_all`" + ` allows every topic to everyone. |

` + "```yaml" + `
listeners:
  - address: 192.0.2.10:1883
    authenticators: [passwords]
    policies: [permissions]
    accept_risk: [cleartext_passwords]
` + "```" + `
`
