package conformance

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"sallyport/tests/script"
)

// scriptDir is where scripts live, relative to the module.
const scriptDir = "tests/script"

// Test is a test that shows statements: a function, or a case of a script.
type Test struct {
	File  string // relative to the module, with slashes
	Name  string
	Shows map[string][]string // by key of the standard
	Runs  bool                // false for a script that no test plays
}

// Find returns the annotated tests of the module in root, ordered by file. An
// annotation that belongs to no test is an error.
func Find(root string) ([]Test, error) {
	var tests []Test
	var played []string // the directories of "// Scripts:" lines
	var scripts []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		switch {
		case d.IsDir() && path != root && (strings.ContainsAny(d.Name()[:1], "._") || d.Name() == "testdata" || d.Name() == "node_modules"):
			return filepath.SkipDir
		case d.IsDir():
			return nil
		case strings.HasSuffix(rel, "_test.go"):
			found, dirs, err := findInGo(path, rel)
			tests, played = append(tests, found...), append(played, dirs...)
			return err
		case strings.HasPrefix(rel, scriptDir+"/") && strings.HasSuffix(rel, ".txt"):
			scripts = append(scripts, rel)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, rel := range scripts {
		found, err := findInScript(filepath.Join(root, filepath.FromSlash(rel)), rel, played)
		if err != nil {
			return nil, err
		}
		tests = append(tests, found...)
	}
	return tests, nil
}

func findInScript(path, rel string, played []string) ([]Test, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	cases, err := script.Parse(rel, string(text))
	if err != nil {
		return nil, err
	}
	runs := false
	for _, dir := range played {
		runs = runs || strings.HasPrefix(rel, dir+"/")
	}
	var tests []Test
	for _, c := range cases {
		tests = append(tests, Test{rel, c.Name, map[string][]string{"MQTT311": c.Shows.V311, "MQTT5": c.Shows.V5}, runs})
	}
	return tests, nil
}

// findInGo returns the annotated test functions of a file, and the script
// directories that its tests play.
func findInGo(path, rel string) (tests []Test, played []string, err error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, nil, err
	}
	byName := map[string]int{}
	for _, group := range file.Comments {
		for _, comment := range group.List {
			key, rest, ok := strings.Cut(strings.TrimSpace(strings.TrimPrefix(comment.Text, "//")), ":")
			if !ok || (key != "MQTT311" && key != "MQTT5" && key != "Scripts") {
				continue
			}
			name := testAround(file, comment.Pos())
			if name == "" {
				return nil, nil, fmt.Errorf("%s:%d: %s: belongs to no test", rel, set.Position(comment.Pos()).Line, key)
			}
			words := strings.Fields(rest)
			if len(words) == 0 {
				return nil, nil, fmt.Errorf("%s:%d: %s: names nothing", rel, set.Position(comment.Pos()).Line, key)
			}
			if key == "Scripts" {
				played = append(played, words...)
				continue
			}
			i, ok := byName[name]
			if !ok {
				i = len(tests)
				byName[name] = i
				tests = append(tests, Test{rel, name, map[string][]string{}, true})
			}
			tests[i].Shows[key] = append(tests[i].Shows[key], words...)
		}
	}
	return tests, played, nil
}

// testAround returns the test or fuzz function whose comment or body holds pos.
func testAround(file *ast.File, pos token.Pos) string {
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Recv != nil {
			continue
		}
		start := f.Pos()
		if f.Doc != nil {
			start = f.Doc.Pos()
		}
		isTest := strings.HasPrefix(f.Name.Name, "Test") || strings.HasPrefix(f.Name.Name, "Fuzz")
		if isTest && start <= pos && pos < f.End() {
			return f.Name.Name
		}
	}
	return ""
}
