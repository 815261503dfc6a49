// Package docs holds the documentation to what it describes: links, events,
// examples, options, flags and fuzz targets that are named exist, and those that
// exist are named.
package docs

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"sallyport/audit"
	"sallyport/config"
	"sallyport/security/expect"
	"sallyport/security/roles"
)

const root = "../.."

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// files lists the project's files with the suffix, relative to its root; none is a failure.
func files(t *testing.T, suffix string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".git")) {
			return fs.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(path, suffix) {
			rel, err := filepath.Rel(root, path)
			found = append(found, filepath.ToSlash(rel))
			return err
		}
		return nil
	})
	if err != nil || len(found) == 0 {
		t.Fatalf("files *%s: %d found, %v", suffix, len(found), err)
	}
	return found
}

// block is a fenced block of a page.
type block struct {
	page string
	line int // of its first line
	kind string
	text string
}

// split takes a page apart: fenced blocks, and what stands between them.
func split(page, text string) (blocks []block, prose []string) {
	var b *block
	for n, line := range strings.Split(text, "\n") {
		switch kind, fence := strings.CutPrefix(line, "```"); {
		case fence && b == nil:
			b = &block{page: page, line: n + 2, kind: kind}
		case fence:
			blocks = append(blocks, *b)
			b = nil
		case b != nil:
			b.text += line + "\n"
		default:
			prose = append(prose, line)
		}
	}
	return blocks, prose
}

// levels is what a handler is asked to write.
type levels struct {
	slog.Handler
	last slog.Level
}

func (l *levels) Enabled(context.Context, slog.Level) bool { return true }

func (l *levels) Handle(_ context.Context, r slog.Record) error {
	l.last = r.Level
	return nil
}

func TestEveryEventIsDocumented(t *testing.T) {
	rows := map[string]string{}
	for _, line := range strings.Split(read(t, "docs/operations.md"), "\n") {
		if m := regexp.MustCompile("^\\| `([a-z_]+)` \\| (debug|info|warn|error) \\|").FindStringSubmatch(line); m != nil {
			rows[m[1]] = line
		}
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "audit/event.go"), nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	handler := &levels{Handler: slog.DiscardHandler}
	events := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || spec.Comment == nil {
			return true
		}
		lit, ok := spec.Values[0].(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}
		events++
		name, err := strconv.Unquote(lit.Value)
		if err != nil {
			t.Fatal(err)
		}
		row, documented := rows[name]
		delete(rows, name)
		if !documented {
			t.Errorf("docs/operations.md has no row for the event %s", name)
			return true
		}
		audit.New(slog.New(handler)).Record(audit.Event(name))
		if level := strings.ToLower(handler.last.String()); !strings.Contains(row, "| "+level+" |") {
			t.Errorf("event %s has level %s: %s", name, level, row)
		}
		fields, _, _ := strings.Cut(spec.Comment.Text(), ":")
		for _, field := range strings.Split(fields, ",") {
			if field = strings.TrimSpace(field); !strings.Contains(row, " "+field+",") && !strings.Contains(row, " "+field+" |") {
				t.Errorf("event %s has the field %q: %s", name, field, row)
			}
		}
		return true
	})
	if events == 0 {
		t.Error("no event found in audit/event.go")
	}
	for name := range rows {
		t.Errorf("docs/operations.md documents the event %s, which does not exist", name)
	}
}

var (
	inline  = regexp.MustCompile("`[^`]*`")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`^#+ (.*)$`)
)

// anchors are the names under which a page's headings are linked to.
func anchors(text string) map[string]bool {
	_, prose := split("", text)
	names := map[string]bool{}
	for _, line := range prose {
		m := heading.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		var b strings.Builder
		for _, r := range strings.ToLower(m[1]) {
			switch {
			case r == ' ':
				b.WriteByte('-')
			case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '_':
				b.WriteRune(r)
			}
		}
		names[b.String()] = true
	}
	return names
}

func TestEveryLinkResolves(t *testing.T) {
	for _, page := range files(t, ".md") {
		_, prose := split(page, read(t, page))
		for _, line := range prose {
			for _, m := range link.FindAllStringSubmatch(inline.ReplaceAllString(line, "code"), -1) {
				if strings.Contains(m[1], "://") {
					continue
				}
				path, anchor, _ := strings.Cut(m[1], "#")
				target := page
				if path != "" {
					target = filepath.Join(filepath.Dir(page), path)
				}
				if _, err := os.Stat(filepath.Join(root, target)); err != nil {
					t.Errorf("%s: the link %s leads nowhere", page, m[1])
				} else if anchor != "" && !anchors(read(t, target))[anchor] {
					t.Errorf("%s: %s has no heading for the link %s", page, target, m[1])
				}
			}
		}
	}
}

func TestEveryConfigurationDecodes(t *testing.T) {
	configurations, permissions := 0, 0
	for _, page := range files(t, ".md") {
		blocks, _ := split(page, read(t, page))
		for _, b := range blocks {
			if b.kind != "yaml" {
				continue
			}
			first, _, _ := strings.Cut(b.text, ":")
			switch first {
			case "config", "identities":
				if _, err := expect.ParseTable([]byte(b.text), page); err != nil {
					t.Errorf("expectations at %s:%d: %v", page, b.line, err)
				}
			case "users", "roles", "everyone":
				permissions++
				if _, err := roles.Parse(roles.Options{Path: page}, []byte(b.text)); err != nil {
					t.Errorf("permissions at %s:%d: %v", page, b.line, err)
				}
			default:
				configurations++
				if err := config.DecodeYAML([]byte(b.text), page, config.Defaults()); err != nil {
					t.Errorf("configuration at %s:%d: %v", page, b.line, err)
				}
			}
		}
	}
	if configurations == 0 || permissions == 0 {
		t.Errorf("%d configurations and %d permission files found", configurations, permissions)
	}
}

// binary builds the command.
func binary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sallyport")
	build := exec.Command("go", "build", "-o", path, "./cmd/sallyport")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// help returns the flags that a command's --help lists, as -x and --name.
func help(t *testing.T, binary, verb string) map[string]bool {
	t.Helper()
	out, err := exec.Command(binary, append(strings.Fields(verb), "--help")...).CombinedOutput()
	if err != nil {
		t.Fatalf("sallyport %s --help: %v\n%s", verb, err, out)
	}
	flags := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^ +(?:(-\w), )?(--[a-z0-9-]+)`).FindAllStringSubmatch(string(out), -1) {
		flags[m[1]], flags[m[2]] = true, true
	}
	delete(flags, "")
	return flags
}

// commandLine finds "sallyport VERB ARGUMENTS" in code.
var commandLine = regexp.MustCompile(`(?:^|[ /])sallyport ([a-z]+)([^\n]*)`)

func TestEveryCommandLineIsUnderstood(t *testing.T) {
	sallyport := binary(t)
	known := map[string]map[string]bool{}
	for _, verb := range []string{"quickstart", "serve", "check", "explain", "policy", "ctl", "passwd", "pub", "sub", "store", "backup", "restore", "bench", "tls", "version"} {
		known[verb] = help(t, sallyport, verb)
	}
	for _, sub := range []string{
		"explain", "retained purge", "session end", "store rotate-key", "user add", "user import", "user export", "user list", "user lock", "user set",
		"role allow", "role deny", "role delete", "group add", "group set", "group delete",
	} {
		maps.Copy(known["ctl"], help(t, sallyport, "ctl "+sub))
	}
	for _, sub := range []string{"test", "diff"} {
		maps.Copy(known["policy"], help(t, sallyport, "policy "+sub))
	}
	for _, sub := range []string{"check", "stats", "dump", "rotate-key"} {
		maps.Copy(known["store"], help(t, sallyport, "store "+sub))
	}
	for _, sub := range []string{"suites", "ticket-key"} {
		maps.Copy(known["tls"], help(t, sallyport, "tls "+sub))
	}
	found := 0
	for _, page := range files(t, ".md") {
		text := read(t, page)
		blocks, prose := split(page, text)
		var code []string
		for _, b := range blocks {
			if b.kind == "" {
				code = append(code, strings.Split(strings.ReplaceAll(b.text, "\\\n", " "), "\n")...)
			}
		}
		code = append(code, inline.FindAllString(strings.Join(prose, "\n"), -1)...)
		for _, line := range prose {
			if strings.HasPrefix(line, "    ") {
				code = append(code, line)
			}
		}
		for _, line := range code {
			line, _, _ = strings.Cut(strings.Trim(line, "`"), " #")
			m := commandLine.FindStringSubmatch(line)
			if m == nil || strings.HasPrefix(line, "time=") {
				continue
			}
			found++
			if known[m[1]] == nil {
				t.Errorf("%s: %q: sallyport has no command %s", page, line, m[1])
				continue
			}
			for _, word := range strings.Fields(m[2]) {
				flag, _, _ := strings.Cut(word, "=")
				if strings.HasPrefix(flag, "-") && flag != "-" && !known[m[1]][flag] {
					t.Errorf("%s: %q: %s has no flag %s", page, line, m[1], flag)
				}
			}
		}
	}
	if found == 0 {
		t.Error("no command line found")
	}
	passwords := read(t, "docs/passwords.md")
	for flag := range known["passwd"] {
		if flag != "--help" && flag != "--version" && !strings.Contains(passwords, "`"+flag+"`") {
			t.Errorf("docs/passwords.md says nothing about %s of sallyport passwd", flag)
		}
	}
}

func TestEveryOptionOfMosquittoIsDocumented(t *testing.T) {
	page := read(t, "docs/mosquitto.md")
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "config/mosquitto/options.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	options := []string{"include_dir"}
	ast.Inspect(file, func(n ast.Node) bool {
		if pair, ok := n.(*ast.KeyValueExpr); ok {
			if lit, ok := pair.Key.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				options = append(options, strings.Trim(lit.Value, `"`))
			}
		}
		return true
	})
	if len(options) < 2 {
		t.Fatal("no option found in config/mosquitto/options.go")
	}
	for _, name := range options {
		if !regexp.MustCompile("(?m)^\\|[^|]*`" + name + "[ `]").MatchString(page) {
			t.Errorf("docs/mosquitto.md has no row for the option %s", name)
		}
	}
}

func TestEveryFuzzTargetIsListed(t *testing.T) {
	page := read(t, "CONTRIBUTING.md")
	listed := map[string]bool{} // "./folder FuzzName"
	row := regexp.MustCompile("(?m)^\\| `(\\./[^`]*)` \\| (.*) \\|$")
	for _, m := range row.FindAllStringSubmatch(page, -1) {
		for _, name := range regexp.MustCompile("`(Fuzz[^`]*)`").FindAllStringSubmatch(m[2], -1) {
			listed[m[1]+" "+name[1]] = true
		}
	}
	target := regexp.MustCompile(`(?m)^func (Fuzz\w+)\(\w+ \*testing\.F\)`)
	for _, path := range files(t, "_test.go") {
		for _, m := range target.FindAllStringSubmatch(read(t, path), -1) {
			key := "./" + filepath.ToSlash(filepath.Dir(path)) + " " + m[1]
			if !listed[key] {
				t.Errorf("CONTRIBUTING.md does not list %s", key)
			}
			delete(listed, key)
		}
	}
	for key := range listed {
		t.Errorf("CONTRIBUTING.md lists %s, which does not exist", key)
	}
}
