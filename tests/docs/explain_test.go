package docs

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what the commands of docs/explain.md print into the page")

// TestExplainPageShowsWhatTheCommandsPrint runs each command of the page on the
// files of the page; what follows it in its block is what it prints.
func TestExplainPageShowsWhatTheCommandsPrint(t *testing.T) {
	const page = "docs/explain.md"
	text := read(t, page)
	sallyport := binary(t)
	dir := t.TempDir()
	run := func(args ...string) (output string, code int) {
		t.Helper()
		cmd := exec.Command(sallyport, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	names := []string{"sallyport.yaml", "permissions.yaml", "expectations.yaml", "new.yaml"}
	blocks, _ := split(page, text)
	for _, b := range blocks {
		if b.kind != "yaml" {
			continue
		}
		if len(names) == 0 {
			t.Fatalf("%s:%d: a file without a name", page, b.line)
		}
		if err := os.WriteFile(filepath.Join(dir, names[0]), []byte(b.text), 0o600); err != nil {
			t.Fatal(err)
		}
		names = names[1:]
	}
	for _, args := range [][]string{{"passwd", "--generate", "-c", "passwd", "alice"}, {"passwd", "--generate", "passwd", "meter-17"}} {
		if out, code := run(args...); code != 0 {
			t.Fatal(out)
		}
	}
	ran := 0
	for _, b := range blocks {
		command, printed, _ := strings.Cut(b.text, "\n")
		args, found := strings.CutPrefix(command, "$ sallyport ")
		if !found {
			continue
		}
		ran++
		out, code := run(strings.Fields(args)...)
		switch {
		case code != 1 && code != 3:
			t.Errorf("%s:%d: %s: exit code %d", page, b.line, command, code)
		case *update:
			text = strings.Replace(text, "```\n"+b.text+"```\n", "```\n"+command+"\n"+out+"```\n", 1)
		case out != printed:
			t.Errorf("%s:%d: %s prints\n%s\nand not, as the page says,\n%s", page, b.line, command, out, printed)
		}
	}
	if ran != 3 || len(names) != 0 {
		t.Errorf("%d commands run, files %v not found", ran, names)
	}
	if *update {
		if err := os.WriteFile(filepath.Join(root, page), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
