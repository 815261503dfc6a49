package attack_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// hole is a row of docs/holes.md.
type hole struct {
	line                       string
	what, source, answer, test string
}

// holes reads the table of docs/holes.md.
func holes(t *testing.T) []hole {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "holes.md"))
	if err != nil {
		t.Fatal(err)
	}
	var found []hole
	inTable := false
	for line := range strings.Lines(string(data)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		switch {
		case strings.HasPrefix(line, "| Hole | Source | Sallyport | Test |"):
			inTable = true
		case !strings.HasPrefix(line, "|"):
			inTable = false
		case !inTable || strings.HasPrefix(line, "|---"):
		case len(cells) != 6:
			t.Errorf("a row of %d columns, want 4: %s", len(cells)-2, line)
		default:
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			found = append(found, hole{line, cells[1], cells[2], cells[3], cells[4]})
		}
	}
	return found
}

// testsOf is the names of the test functions of a folder.
func testsOf(t *testing.T, folder string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(folder), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && isTest(f) {
				names[f.Name.Name] = true
			}
		}
	}
	return names
}

// isTest reports whether go test runs f: TestX(t *testing.T), or a fuzz target's seeds.
func isTest(f *ast.FuncDecl) bool {
	takes := map[string]string{"Test": "T", "Fuzz": "F"}
	for prefix, param := range takes {
		if !strings.HasPrefix(f.Name.Name, prefix) || f.Type.Results != nil || f.Type.Params.NumFields() != 1 {
			continue
		}
		star, _ := f.Type.Params.List[0].Type.(*ast.StarExpr)
		if star == nil {
			continue
		}
		sel, _ := star.X.(*ast.SelectorExpr)
		if sel != nil && sel.Sel.Name == param {
			return true
		}
	}
	return false
}

var testName = regexp.MustCompile("^`([a-z][a-z0-9/]*)\\.((?:Test|Fuzz)[A-Za-z0-9_]+)`$")

func TestEveryKnownHoleHasATest(t *testing.T) {
	rows := holes(t)
	if len(rows) < 50 {
		t.Fatalf("docs/holes.md has %d rows: the table was not found, or lost some", len(rows))
	}
	tests, seen := map[string]map[string]bool{}, map[string]bool{}
	for _, h := range rows {
		if h.what == "" || h.source == "" || h.answer == "" || h.test == "" || seen[h.what] {
			t.Errorf("a row with an empty column, or one that is there twice: %s", h.line)
		}
		seen[h.what] = true
		for _, name := range strings.Split(h.test, ", ") {
			m := testName.FindStringSubmatch(name)
			if m == nil {
				t.Errorf("%s: %q is no `package.TestName`", h.what, name)
				continue
			}
			if tests[m[1]] == nil {
				tests[m[1]] = testsOf(t, m[1])
			}
			if !tests[m[1]][m[2]] {
				t.Errorf("%s: there is no test %s in %s", h.what, m[2], m[1])
			}
		}
	}
}
