package rule

import (
	"fmt"
	"net/netip"
	"time"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

const (
	ipIn    = "ip_in"
	matches = "matches"
)

// newEnv is the language of conditions.
func newEnv() (*cel.Env, error) {
	opts := []cel.EnvOption{
		cel.ParserExpressionSizeLimit(exprBytes),
		cel.ParserRecursionLimit(exprDepth),
		cel.ExpressionNodeLimit(exprNodes),
		cel.RegexProgramSizeLimit(regexSize),
		cel.ASTValidators(
			cel.ValidateRegexLiterals(),
			cel.ValidateRegexProgramSizeLimit(regexSize),
			cel.ValidateTimestampLiterals(),
			cel.ValidateDurationLiterals(),
			cel.ValidateComprehensionNestingLimit(exprNests),
		),
		cel.Function(ipIn, cel.Overload(ipIn+"_string_string",
			[]*cel.Type{cel.StringType, cel.StringType}, cel.BoolType, cel.BinaryBinding(inNetwork))),
	}
	for _, v := range exprVars {
		opts = append(opts, cel.Variable(v.name, v.kind))
	}
	env, err := cel.NewEnv(opts...)
	if err != nil {
		return nil, fmt.Errorf("language of conditions: %w", err)
	}
	return env, nil
}

// inNetwork is ip_in for a network that is known only now. A text that is no
// address is in no network; one that is no network is an error.
func inNetwork(address, network ref.Val) ref.Val {
	text, ok := network.(types.String)
	if !ok {
		return types.NoSuchOverloadErr()
	}
	prefix, err := Source(string(text))
	if err != nil {
		return types.WrapErr(errNetwork)
	}
	return contains(prefix, address)
}

func contains(prefix netip.Prefix, address ref.Val) ref.Val {
	text, ok := address.(types.String)
	if !ok {
		return types.NoSuchOverloadErr()
	}
	addr, err := netip.ParseAddr(string(text))
	return types.Bool(err == nil && prefix.Contains(addr.Unmap().WithZone("")))
}

// calendar is the functions of a timestamp that may be given a time zone, as the
// language defines them (CEL specification, "Timezones"): months and the days of
// weeks and years count from 0, and so do those of months but for getDate.
var calendar = map[string]func(time.Time) int{
	"getFullYear":     time.Time.Year,
	"getMonth":        func(t time.Time) int { return int(t.Month()) - 1 },
	"getDayOfYear":    func(t time.Time) int { return t.YearDay() - 1 },
	"getDayOfMonth":   func(t time.Time) int { return t.Day() - 1 },
	"getDate":         time.Time.Day,
	"getDayOfWeek":    func(t time.Time) int { return int(t.Weekday()) },
	"getHours":        time.Time.Hour,
	"getMinutes":      time.Time.Minute,
	"getSeconds":      time.Time.Second,
	"getMilliseconds": func(t time.Time) int { return t.Nanosecond() / 1e6 },
}

// parseExprZone reads a time zone of the language: a name, or an offset such as +01:00.
func parseExprZone(s string) (*time.Location, error) {
	if t, err := time.Parse("-07:00", s); err == nil {
		return t.Location(), nil
	}
	return parseZone(s)
}

// prepareCalls puts calls in place that did their work on literals already: the
// library would read the time zone database from disk at each evaluation.
func prepareCalls(node interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	call, ok := node.(interpreter.InterpretableCall)
	if !ok || len(call.Args()) != 2 {
		return node, nil
	}
	literal, ok := call.Args()[1].(interpreter.InterpretableConst)
	if !ok {
		return node, nil
	}
	value, ok := literal.Value().(types.String)
	if !ok {
		return node, nil
	}
	if call.Function() == ipIn {
		prefix, err := Source(string(value))
		if err != nil {
			return nil, err
		}
		return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), func(args ...ref.Val) ref.Val {
			return contains(prefix, args[0])
		}), nil
	}
	part, ok := calendar[call.Function()]
	if !ok {
		return node, nil
	}
	zone, err := parseExprZone(string(value))
	if err != nil {
		return nil, err
	}
	return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), func(args ...ref.Val) ref.Val {
		t, ok := args[0].(types.Timestamp)
		if !ok {
			return types.NoSuchOverloadErr()
		}
		return types.Int(part(t.In(zone)))
	}), nil
}

// messageActions are those whose requests carry a message.
const messageActions = Publish | Retain | Will | Receive

// checkTree refuses what compiles and yet can't be right.
func checkTree(tree *celast.AST, at *places, actions Actions) error {
	var first error
	refuse := func(e celast.Expr, format string, args ...any) {
		if first == nil {
			first = at.errorf(e.ID(), format, args...)
		}
	}
	celast.PostOrderVisit(tree.Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		switch e.Kind() {
		case celast.IdentKind:
			name := e.AsIdent()
			if (name == varPayload || name == varSize) && (actions == 0 || actions&^messageActions != 0) {
				refuse(e, "%s can't be read: a rule about connecting or subscribing has no message", name)
			}
		case celast.CallKind:
			checkCall(e, refuse)
		}
	}))
	return first
}

// checkCall judges the literals of a call. What has to be one is not looked for
// among the values of a peer.
func checkCall(e celast.Expr, refuse func(celast.Expr, string, ...any)) {
	call := e.AsCall()
	args := call.Args()
	if call.IsMemberFunction() {
		args = append([]celast.Expr{call.Target()}, args...)
	}
	if len(args) != 2 {
		return
	}
	text, isLiteral := literalString(args[1])
	_, isCalendar := calendar[call.FunctionName()]
	switch {
	case call.FunctionName() == matches && !isLiteral:
		refuse(args[1], "a regular expression must be a literal")
	case isCalendar && !isLiteral:
		refuse(args[1], "a time zone must be a literal")
	case isCalendar:
		if _, err := parseExprZone(text); err != nil {
			refuse(args[1], "%s", err)
		}
	case call.FunctionName() == ipIn && isLiteral:
		if _, err := Source(text); err != nil {
			refuse(args[1], "%s", err)
		}
	}
}

func literalString(e celast.Expr) (string, bool) {
	if e.Kind() != celast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}
