package rule

import (
	"fmt"
	"regexp/syntax"
	"slices"

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// prices is what judges the cost of one condition, before and during evaluation.
// It is immutable. The language has its own idea of cost, but for that of regular
// expressions: it goes by the length of a pattern, which says little.
type prices struct {
	instructions map[string]uint64 // of each pattern, compiled
}

// newPrices finds the patterns of a condition, which are literals.
func newPrices(tree *celast.AST) *prices {
	p := &prices{instructions: make(map[string]uint64)}
	celast.PostOrderVisit(tree.Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		if e.Kind() != celast.CallKind || e.AsCall().FunctionName() != matches {
			return
		}
		args := e.AsCall().Args()
		if pattern, ok := literalString(args[len(args)-1]); ok {
			p.instructions[pattern] = instructions(pattern)
		}
	}))
	return p
}

// instructions is how many a pattern has when it is compiled; at most
// regexSize for one that was accepted.
func instructions(pattern string) uint64 {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return regexSize
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return regexSize
	}
	return uint64(len(program.Inst))
}

// match is the cost of a regular expression, whose worst case is that each byte
// meets each instruction; sixteen of these take as long as other steps.
func (p *prices) match(pattern string, bytes uint64) uint64 {
	n, known := p.instructions[pattern]
	if !known {
		n = regexSize
	}
	return 1 + bytes*n/16
}

// EstimateCallCost is the cost of a call with the largest values; nil leaves it
// to the language.
func (p *prices) EstimateCallCost(function, _ string, target *cost.AstNode, args []cost.AstNode) *cost.CallEstimate {
	if target != nil {
		args = append([]cost.AstNode{*target}, args...)
	}
	if function != matches || len(args) != 2 {
		return nil
	}
	pattern, _ := literalString(args[1].Expr())
	most := cost.EstimateSize(p, args[0]).Max
	if most > maxShownCost {
		return cost.NewCallEstimate(cost.UnknownCostEstimate(), nil)
	}
	return cost.NewCallEstimate(cost.RangedCostEstimate(1, p.match(pattern, most)), nil)
}

// EstimateSize is the size of a variable, or of what is reached through it.
func (p *prices) EstimateSize(node cost.AstNode) *cost.SizeEstimate {
	path := node.Path()
	if len(path) == 0 {
		return nil
	}
	i := slices.IndexFunc(exprVars[:], func(v exprVar) bool { return v.name == path[0] })
	if i < 0 {
		return nil
	}
	most := exprVars[i].size
	if len(path) > 1 {
		most = exprVars[i].itemSize
	}
	estimate := cost.RangedSizeEstimate(0, most)
	return &estimate
}

// CallCost is the cost of a call that was made; nil leaves it to the language.
func (p *prices) CallCost(function, _ string, args []ref.Val, _ ref.Val) *uint64 {
	if function != matches || len(args) != 2 {
		return nil
	}
	text, _ := args[0].(types.String)
	pattern, _ := args[1].(types.String)
	price := p.match(string(pattern), uint64(len(text)))
	return &price
}

// maxShownCost is where figures stop to mean anything.
const maxShownCost = 1 << 40

// check refuses a condition that may cost too much.
func (p *prices) check(env *cel.Env, ast *cel.Ast) error {
	estimate, err := env.EstimateCost(ast, p)
	if err != nil {
		return fmt.Errorf("condition's cost can't be told: %s", brief(err.Error()))
	}
	switch {
	case estimate.Max > maxShownCost:
		return fmt.Errorf("condition may cost more than %d: at most %d", uint64(maxShownCost), exprCost)
	case estimate.Max > exprCost:
		return fmt.Errorf("condition may cost %d: at most %d", estimate.Max, exprCost)
	}
	return nil
}
