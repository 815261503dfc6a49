package main

import (
	"errors"
	"fmt"
	"io"
)

// The exit codes of every command. Scripts rely on them: a code is never
// given a second meaning. Documented for users in the help of the command
// itself (sallyport --help).
const (
	exitOK      = 0  // done
	exitFailure = 1  // it did not work, the checked file is invalid, or what was compared differs
	exitUsage   = 2  // the command line, or a file that policy test or diff was given, is wrong; nothing was done
	exitRefused = 3  // explain: the answer is no
	exitTimeout = 27 // --timeout passed first; the code mosquitto_sub -W uses
)

// failure is an error of a command, in the words a user needs: what was
// attempted, why it failed, and one hint about what to do.
type failure struct {
	what string // "connect to localhost:1883"
	why  error
	hint string // optional
	code int    // an exit code; 0 stands for exitFailure
}

func (f *failure) Error() string {
	if f.why == nil {
		return f.what
	}
	return fmt.Sprintf("%s: %v", f.what, f.why)
}

func (f *failure) Unwrap() error { return f.why }

// usageError is a failure of the command line itself.
func usageError(hint, format string, args ...any) error {
	return &failure{what: fmt.Sprintf(format, args...), hint: hint, code: exitUsage}
}

// timeoutError is the failure of a command that was given a time limit.
func timeoutError(what string) error {
	return &failure{what: what, why: errors.New("time is up"), code: exitTimeout}
}

// exitCode is the code that err ends the process with.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if f, ok := errors.AsType[*failure](err); ok && f.code != 0 {
		return f.code
	}
	return exitFailure
}

// report writes err as "sallyport: what failed: why" and one hint; nothing for a
// failure without words, which is only an exit code.
func report(w io.Writer, err error) {
	if f, ok := errors.AsType[*failure](err); ok && f.what == "" && f.why == nil {
		return // an answer that was printed
	}
	fmt.Fprintf(w, "sallyport: %s\n", sanitize(err.Error()))
	if f, ok := errors.AsType[*failure](err); ok && f.hint != "" {
		fmt.Fprintf(w, "hint: %s\n", f.hint)
	}
}
