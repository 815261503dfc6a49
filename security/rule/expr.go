package rule

import (
	"errors"
	"fmt"
	"strings"

	"sallyport/internal/text"
	"sallyport/security"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
)

// The bounds of a condition. A unit of cost is one step of the evaluation or ten
// bytes of a string that are looked at: 10 to 200 ns.
const (
	exprBytes = 4096    // of text
	exprDepth = 64      // of parentheses, calls, macros
	exprNodes = 4096    // of the syntax tree, macros expanded
	exprNests = 2       // of macros that go through a list
	exprCost  = 100_000 // at most, when judged at loading and at each evaluation
	regexSize = 256     // instructions of a compiled regular expression
)

// Expr is a compiled condition in CEL, the Common Expression Language: immutable
// and safe for concurrent use.
//
// It speaks of the variables in expr_vars.go, with CEL's operators, macros (all,
// exists, exists_one, filter, map, has) and functions, and ip_in(address,
// "10.0.0.0/8"). Regular expressions and time zones are literals. What could cost
// too much at the largest values of the variables does not compile, and what
// costs too much nevertheless fails.
type Expr struct {
	text    string
	program cel.Program
	places  *places
}

// Language compiles conditions, which share what they have in common: most of
// what one takes by itself. The zero Language is ready for use, by one at a time;
// what it has compiled is safe for concurrent use.
type Language struct{ env *cel.Env }

// NewExpr is Compile by a Language of its own.
func NewExpr(source string, actions Actions) (*Expr, error) {
	var l Language
	return l.Compile(source, actions)
}

// Compile compiles an expression, whose cost is bounded. actions is what the rule
// that it stands in is about: payload and size can only be read where there is a
// message, so that they don't compile beside Connect or Subscribe. Errors begin
// with line and column within source.
func (l *Language) Compile(source string, actions Actions) (*Expr, error) {
	if len(source) > exprBytes {
		return nil, fmt.Errorf("condition has %d bytes: at most %d", len(source), exprBytes)
	}
	if strings.TrimSpace(source) == "" {
		return nil, errors.New("condition is empty")
	}
	line := oneLine.Replace(source)
	if !text.ValidUTF8(line) || !text.Clean(line) {
		return nil, errors.New("condition holds control characters")
	}
	if l.env == nil {
		env, err := newEnv()
		if err != nil {
			return nil, err
		}
		l.env = env
	}
	env := l.env
	ast, issues := env.Compile(source)
	if issues.Err() != nil {
		return nil, firstIssue(issues)
	}
	at := &places{info: ast.NativeRep().SourceInfo()}
	if kind := ast.OutputType(); kind != cel.BoolType {
		return nil, fmt.Errorf("condition is of type %s: it must be bool", cel.FormatCELType(kind))
	}
	if err := checkTree(ast.NativeRep(), at, actions); err != nil {
		return nil, err
	}
	prices := newPrices(ast.NativeRep())
	if err := prices.check(env, ast); err != nil {
		return nil, err
	}
	program, err := env.Program(ast,
		cel.EvalOptions(cel.OptOptimize),
		cel.CustomDecoratorV2(prepareCalls),
		cel.CostTracking(prices),
		cel.CostLimit(exprCost))
	if err != nil {
		return nil, fmt.Errorf("condition can't be prepared: %s", brief(err.Error()))
	}
	return &Expr{text: line, program: program, places: at}, nil
}

// oneLine is how a condition is shown.
var oneLine = strings.NewReplacer("\r\n", " ", "\n", " ", "\r", " ", "\t", " ")

// Text is the condition as it was written, on one line.
func (e *Expr) Text() string { return e.text }

// fits evaluates the condition. What it answers depends on nothing but the
// variables that it read, which is how Volatile and Topical are known. The zero Expr fails.
func (e *Expr) fits(q *security.Request) Fit {
	if e.program == nil {
		return Fit{Err: errors.New("it was not compiled")}
	}
	vars := variables{q: q}
	out, _, err := e.program.Eval(&vars)
	fit := Fit{Volatile: vars.volatile, Topical: vars.topical}
	if err != nil {
		fit.Err = e.places.failure(err)
		return fit
	}
	holds, isBool := out.(types.Bool)
	if !isBool {
		fit.Err = errors.New("it has no answer")
		return fit
	}
	fit.Holds = bool(holds)
	return fit
}
