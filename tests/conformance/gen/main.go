// Command gen writes docs/conformance.md from the annotations of the module's
// tests: go run ./tests/conformance/gen, in the module's folder.
package main

import (
	"fmt"
	"os"

	"sallyport/tests/conformance"
)

func main() {
	if err := write(); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func write() error {
	if _, err := os.Stat("go.mod"); err != nil {
		return fmt.Errorf("run this in the folder of go.mod: %w", err)
	}
	report, err := conformance.Report(".")
	if err != nil {
		return err
	}
	return os.WriteFile(conformance.ReportFile, report, 0o644)
}
