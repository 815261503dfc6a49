// Command testreport reads the output of go test -json, shows failures and the
// slowest tests, and ends with the tests' own result: 1 if a test failed, if a
// package did not build, if a test was skipped, or if nothing ran.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
	"strings"
)

// event is one line of go test -json.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64 // seconds
}

type result struct {
	name    string
	seconds float64
}

// maxLine bounds one line of input, in bytes.
const maxLine = 16 << 20

func main() {
	if !report(os.Stdin, os.Stdout) {
		os.Exit(1)
	}
}

func report(in io.Reader, out io.Writer) (ok bool) {
	passed, failed, skipped := 0, 0, 0
	var slow []result
	output := map[string][]string{}
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 1<<16), maxLine)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			// What is no event is the toolchain's own complaint.
			fmt.Fprintln(out, lines.Text())
			continue
		}
		key := e.Package + " " + e.Test
		switch e.Action {
		case "output", "build-output":
			if len(output[key]) < 2000 {
				output[key] = append(output[key], e.Output)
			}
		case "pass":
			// The stacks of a timeout stand in the test that ended last, be it well.
			if i := slices.IndexFunc(output[key], func(l string) bool { return strings.HasPrefix(l, "panic: ") }); i >= 0 {
				output[e.Package+" (all)"] = output[key][i:]
			}
			delete(output, key)
			if e.Test == "" {
				fmt.Fprintf(out, "ok   %-40s %7.1f s\n", e.Package, e.Elapsed)
			} else {
				passed++
				slow = append(slow, result{e.Package + "." + e.Test, e.Elapsed})
			}
		case "skip":
			if e.Test != "" {
				skipped++
				fmt.Fprintf(out, "SKIP %s.%s\n%s", e.Package, e.Test, strings.Join(output[key], ""))
				delete(output, key)
			}
		case "fail", "build-fail":
			failed++
			fmt.Fprintf(out, "FAIL %s.%s\n%s", e.Package, e.Test, strings.Join(output[key], ""))
			delete(output, key)
			if e.Test == "" {
				unended(out, output, e.Package)
			}
		}
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintln(out, "read:", err)
		failed++
	}
	sort.Slice(slow, func(i, j int) bool { return slow[i].seconds > slow[j].seconds })
	fmt.Fprintln(out, "slowest tests:")
	for _, s := range slow[:min(10, len(slow))] {
		fmt.Fprintf(out, "  %7.1f s  %s\n", s.seconds, s.name)
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	return failed == 0 && skipped == 0 && passed > 0
}

// unended shows what the tests of a package said that came to no end: one that
// hangs is told to nobody but by its own output.
func unended(out io.Writer, output map[string][]string, pkg string) {
	var keys []string
	for key := range output {
		if strings.HasPrefix(key, pkg+" ") {
			keys = append(keys, key)
		}
	}
	sort.Strings(keys)
	for _, key := range keys {
		name := strings.TrimPrefix(key, pkg+" ")
		fmt.Fprintf(out, "NO END %s.%s\n%s", pkg, name, strings.Join(output[key], ""))
		delete(output, key)
	}
}
