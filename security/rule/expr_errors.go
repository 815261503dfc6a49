package rule

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"
)

// places knows where in a condition its parts stand.
type places struct{ info *celast.SourceInfo }

// at is line and column, from 1.
func at(l common.Location) string { return fmt.Sprintf("%d:%d", l.Line(), l.Column()+1) }

func (p *places) errorf(id int64, format string, args ...any) error {
	return fmt.Errorf("%s: %s", at(p.info.GetStartLocation(id)), fmt.Sprintf(format, args...))
}

// firstIssue is the first mistake that the compiler found. Those after it are
// often its consequences.
func firstIssue(issues *cel.Issues) error {
	all := issues.Errors()
	if len(all) == 0 {
		return fmt.Errorf("condition: %s", brief(issues.Err().Error()))
	}
	first := slices.MinFunc(all, func(a, b *cel.Error) int {
		if line := a.Location.Line() - b.Location.Line(); line != 0 {
			return line
		}
		return a.Location.Column() - b.Location.Column()
	})
	message := strings.TrimSuffix(first.Message, " (in container '')")
	message, _, _ = strings.Cut(message, " expecting {") // a list of all that could stand there
	if first.Location.Line() <= 0 {
		return fmt.Errorf("condition: %s", brief(message))
	}
	return fmt.Errorf("%s: %s", at(first.Location), brief(message))
}

// brief bounds what another's error says to one line.
func brief(s string) string {
	const most = 200
	s = oneLine.Replace(s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

// ours are the errors that are told as they are.
var ours = []error{errNoMessage, errString, errPayload, errLevels, errList, errClaims, errNetwork}

// harmless are the beginnings of the language's errors that hold nothing of what
// was read. What follows a colon may be a value, and is not told.
var harmless = []string{
	"no such key", "no such overload", "index out of bounds", "division by zero", "modulus by zero",
	"integer overflow", "unsigned integer overflow", "duration overflow", "timestamp overflow",
}

// failure is why an evaluation failed, without what it read: claims and payloads
// are no business of a log.
func (p *places) failure(err error) error {
	for _, known := range ours {
		if errors.Is(err, known) {
			return known
		}
	}
	var cancelled interpreter.EvalCancelledError
	if errors.As(err, &cancelled) {
		return fmt.Errorf("it costs more than %d", exprCost)
	}
	what := "a value is not what it is taken for"
	for _, h := range harmless {
		if strings.HasPrefix(err.Error(), h) {
			what = h
		}
	}
	var failed *types.Err
	if errors.As(err, &failed) {
		if l := p.info.GetStartLocation(failed.NodeID()); l.Line() > 0 {
			return fmt.Errorf("%s: %s", at(l), what)
		}
	}
	return errors.New(what)
}
