package rule

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"sallyport/internal/certfield"
	"sallyport/security"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// Why a variable can't be read.
var (
	errNoMessage = errors.New("there is no message")
	errString    = errors.New("a text is longer than 4096 bytes")
	errPayload   = errors.New("the payload is longer than 16384 bytes")
	errLevels    = errors.New("the topic has more than 256 levels")
	errList      = errors.New("a list or map has more than 1024 entries")
	errClaims    = errors.New("the claims have more than 8192 values, or lie more than 32 deep")
	errCert      = errors.New("a field of the certificate can't be told, or has several values")
	errNetwork   = errors.New("the second argument of ip_in is no network")
)

// The largest sizes. Beyond these a variable can't be read: what a peer sends
// does not make a condition slow.
const (
	stringSize  = 4096  // bytes of a topic, client identifier, user name or share name
	payloadSize = 16384 // bytes
	levelLimit  = 256   // levels of a topic
	claimValues = 8192  // of all claims, whatever they lie in
	claimDepth  = 32    // of what lies in a claim
)

// What is taken for the largest size when cost is judged at loading. What turns
// out larger is stopped by the limit at evaluation.
const (
	nameSize  = 256 // bytes of names that the operator's side gave
	claimSize = 256 // bytes or entries of a value within a token
)

const (
	varPayload = "payload"
	varSize    = "size"
)

// exprVar is a variable. size and itemSize are what its cost is judged by: bytes
// of a string, entries of a list or map; and those of what is in it.
type exprVar struct {
	name     string
	kind     *cel.Type
	size     uint64
	itemSize uint64
}

// exprVars are the variables of conditions. What a client does not have is empty.
// Those of a certificate are empty unless has_cert.
var exprVars = [...]exprVar{
	{"action", cel.StringType, nameSize, 0}, // connect, publish, subscribe, receive
	{"client_id", cel.StringType, stringSize, 0},
	{"username", cel.StringType, stringSize, 0},
	{"groups", cel.ListType(cel.StringType), listLimit, nameSize},
	{"roles", cel.ListType(cel.StringType), listLimit, nameSize},
	{"listener", cel.StringType, nameSize, 0},
	{"address", cel.StringType, nameSize, 0}, // without port
	{"tls", cel.BoolType, 1, 0},              // or a local transport
	{"method", cel.StringType, nameSize, 0},
	{"realm", cel.StringType, nameSize, 0},
	{"attr", cel.MapType(cel.StringType, cel.StringType), listLimit, claimSize},
	{"claim", cel.MapType(cel.StringType, cel.DynType), listLimit, claimSize},

	{"has_cert", cel.BoolType, 1, 0},
	{"cert.cn", cel.StringType, claimSize, 0},
	{"cert.o", cel.ListType(cel.StringType), listLimit, nameSize},
	{"cert.ou", cel.ListType(cel.StringType), listLimit, nameSize},
	{"cert.c", cel.ListType(cel.StringType), listLimit, nameSize},
	{"cert.l", cel.ListType(cel.StringType), listLimit, nameSize},
	{"cert.st", cel.ListType(cel.StringType), listLimit, nameSize},
	{"cert.uid", cel.StringType, claimSize, 0},
	{"cert.serial_number", cel.StringType, claimSize, 0},
	{"cert.subject", cel.StringType, claimSize, 0},
	{"cert.issuer", cel.StringType, claimSize, 0},
	{"cert.issuer_cn", cel.StringType, claimSize, 0},
	{"cert.serial", cel.StringType, nameSize, 0},
	{"cert.fingerprint", cel.StringType, nameSize, 0},
	{"cert.dns", cel.ListType(cel.StringType), listLimit, nameSize},
	{"cert.uri", cel.ListType(cel.StringType), listLimit, nameSize},
	{"cert.email", cel.ListType(cel.StringType), listLimit, nameSize},
	{"cert.ip", cel.ListType(cel.StringType), listLimit, nameSize},
	{"cert.upn", cel.ListType(cel.StringType), listLimit, nameSize},
	{"cert.hw_type", cel.StringType, nameSize, 0},
	{"cert.hw_serial", cel.StringType, nameSize, 0},
	{"cert.hw_serial_text", cel.StringType, nameSize, 0},
	{"cert.spiffe", cel.StringType, claimSize, 0},
	{"cert.spiffe_trust_domain", cel.StringType, nameSize, 0},
	{"cert.spiffe_path", cel.StringType, claimSize, 0},

	{"topic", cel.StringType, stringSize, 0}, // for subscribe a filter; empty for connect
	{"levels", cel.ListType(cel.StringType), levelLimit, nameSize},
	{"qos", cel.IntType, 1, 0},
	{"retain", cel.BoolType, 1, 0},
	{"will", cel.BoolType, 1, 0},
	{"shared", cel.BoolType, 1, 0},
	{"group", cel.StringType, stringSize, 0}, // the share name
	{varPayload, cel.BytesType, payloadSize, 0},
	{varSize, cel.IntType, 1, 0}, // of the payload, in bytes
	{"now", cel.TimestampType, 1, 0},
}

// variables resolves the names of one evaluation when they are asked for.
type variables struct {
	q        *security.Request
	volatile bool // something was read that may differ at the next request
	topical  bool // the topic was read
	now      time.Time
	levels   ref.Val
}

// Parent is none.
func (*variables) Parent() cel.Activation { return nil }

// ResolveName is the value of a variable.
func (v *variables) ResolveName(name string) (any, bool) {
	q, p := v.q, v.q.Principal
	switch name {
	case "client_id":
		return bounded(p.ClientID), true
	case "username":
		return bounded(p.Name), true
	case "groups":
		return stringList(p.Groups), true
	case "roles":
		return stringList(p.Roles), true
	case "topic":
		v.topical = true
		return bounded(q.Topic), true
	case "levels":
		v.topical = true
		return v.splitTopic(), true
	case "qos":
		return types.Int(q.QoS), true
	case "retain":
		return types.Bool(q.Retain), true
	case "will":
		return types.Bool(q.Will), true
	case "shared":
		return types.Bool(q.Shared), true
	case "group":
		return bounded(q.Group), true
	case "action":
		return types.String(q.Action.String()), true
	case "listener":
		return types.String(p.Listener), true
	case "method":
		return types.String(p.Method), true
	case "realm":
		return types.String(p.Realm), true
	case "tls":
		return types.Bool(p.Secure), true
	case "address":
		one, _, _ := Lookup(p, "address")
		return types.String(one), true
	case "attr":
		if len(p.Attrs) > listLimit {
			return types.WrapErr(errList), true
		}
		return types.NewStringStringMap(types.DefaultTypeAdapter, p.Attrs), true
	case "claim":
		return claims(p.Claims), true
	case "has_cert":
		return types.Bool(p.Cert != nil), true
	}
	return v.more(name)
}

// more is the variables that are seldom read, or change from message to message.
func (v *variables) more(name string) (any, bool) {
	switch name {
	case "now":
		v.volatile = true
		if v.now.IsZero() {
			v.now = v.q.Now()
		}
		return types.Timestamp{Time: v.now}, true
	case varSize, varPayload:
		v.volatile = true
		switch m := v.q.Message; {
		case m == nil:
			return types.WrapErr(errNoMessage), true
		case name == varSize:
			return types.Int(len(m.Payload)), true
		case len(m.Payload) > payloadSize:
			return types.WrapErr(errPayload), true
		default:
			return types.Bytes(m.Payload), true
		}
	}
	field, ok := strings.CutPrefix(name, certPrefix)
	if !ok {
		return nil, false
	}
	return certVariable(v.q.Principal, field)
}

// certVariable is a field of the certificate, empty where there is none. One that
// can't be told, and several values where one counts, fail the condition: a deny
// that asks for one of them holds then.
func certVariable(p *security.Principal, name string) (any, bool) {
	switch name {
	case "issuer_cn":
		name = "issuer.cn"
	case "spiffe_trust_domain":
		name = "spiffe.trust_domain"
	case "spiffe_path":
		name = "spiffe.path"
	case "upn":
		name = "san.upn"
	default:
		name = certName(name)
	}
	isList, err := certfield.Known(name)
	if err != nil {
		return nil, false
	}
	var values []string
	if p.Cert != nil {
		if values, err = certfield.Values(p.Cert, name); err != nil && !errors.Is(err, certfield.ErrNoSPIFFE) {
			return types.WrapErr(errCert), true
		}
	}
	switch {
	case isList:
		return stringList(values), true
	case len(values) > 1:
		return types.WrapErr(errCert), true
	case len(values) == 1:
		return types.String(values[0]), true
	}
	return types.String(""), true
}

// claims is a token's claims, or an error if they are out of bounds. The language
// counts one step where two lists or maps are compared, whatever lies in them.
func claims(of map[string]any) ref.Val {
	if left := claimValues; !fewValues(of, claimDepth, &left) {
		return types.WrapErr(errClaims)
	}
	return types.NewStringInterfaceMap(jsonAdapter{}, of)
}

// fewValues takes the values in v off left, and is false when there are more, or
// they lie too deep.
func fewValues(v any, depth int, left *int) bool {
	switch v := v.(type) {
	case map[string]any:
		if *left -= len(v); *left < 0 || depth == 0 {
			return false
		}
		for _, x := range v {
			if !fewValues(x, depth-1, left) {
				return false
			}
		}
	case []any:
		if *left -= len(v); *left < 0 || depth == 0 {
			return false
		}
		for _, x := range v {
			if !fewValues(x, depth-1, left) {
				return false
			}
		}
	}
	return true
}

// stringList is a list, or an error if it is out of bounds.
func stringList(list []string) ref.Val {
	if len(list) > listLimit {
		return types.WrapErr(errList)
	}
	return types.NewStringList(types.DefaultTypeAdapter, list)
}

// bounded is a text, or an error if it is out of bounds.
func bounded(s string) ref.Val {
	if len(s) > stringSize {
		return types.WrapErr(errString)
	}
	return types.String(s)
}

func (v *variables) splitTopic() ref.Val {
	if v.levels != nil {
		return v.levels
	}
	switch {
	case v.q.Topic == "":
		v.levels = stringList(nil)
	case strings.Count(v.q.Topic, "/") >= levelLimit:
		v.levels = types.WrapErr(errLevels)
	default:
		v.levels = stringList(strings.Split(v.q.Topic, "/"))
	}
	return v.levels
}

// jsonAdapter gives conditions the values of a token's claims, numbers as such
// however they were decoded.
type jsonAdapter struct{}

// NativeToValue is the value of a condition for what encoding/json made.
func (a jsonAdapter) NativeToValue(v any) ref.Val {
	switch v := v.(type) {
	case map[string]any:
		if len(v) > listLimit {
			return types.WrapErr(errList)
		}
		return types.NewStringInterfaceMap(a, v)
	case []any:
		if len(v) > listLimit {
			return types.WrapErr(errList)
		}
		return types.NewDynamicList(a, v)
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return types.Int(n)
		}
		if f, err := v.Float64(); err == nil {
			return types.Double(f)
		}
		return types.NewErr("no number")
	}
	return types.DefaultTypeAdapter.NativeToValue(v)
}
