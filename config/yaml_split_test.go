package config

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
)

// tree is a node in words, with the places of its parts.
func tree(n ast.Node) string {
	switch n := n.(type) {
	case *ast.NullNode: // whose place, where nothing is written, is the parser's guess
		return "nothing"
	case *ast.MappingNode, *ast.MappingValueNode:
		var b strings.Builder
		for _, v := range mappingValues(n) {
			fmt.Fprintf(&b, "%s=%s,", tree(v.Key), tree(v.Value))
		}
		return "{" + b.String() + "}"
	case *ast.SequenceNode:
		var b strings.Builder
		for _, v := range n.Values {
			b.WriteString(tree(v) + ",")
		}
		return "[" + b.String() + "]"
	}
	text, _ := scalarText(n)
	return fmt.Sprintf("%v:%q", nodePos(n), text)
}

// compareCut parses text as a whole and cut, however small its mappings are, and
// reports whether something was cut.
func compareCut(t *testing.T, text string) bool {
	t.Helper()
	whole, wholeErr := parser.Parse(lexer.Tokenize(text), 0, parser.AllowDuplicateMapKey())
	rest, sections := cutSections(lexer.Tokenize(text), 1)
	pieces, err := parseDocument(rest, sections)
	if (err == nil) != (wholeErr == nil) {
		t.Fatalf("%q as a whole: %v, cut: %v", text, wholeErr, err)
	}
	if err != nil {
		return false
	}
	var want, got []string
	for _, d := range whole.Docs {
		want = append(want, tree(d.Body))
	}
	for _, d := range pieces.Docs {
		got = append(got, tree(d.Body))
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%q is cut into\n%s, want\n%s", text, got, want)
	}
	return len(sections) > 0
}

var cutTexts = map[string]bool{ // whether something is cut
	"a:\n  b: 1\n  c: 2\nd: 3\n":                           true,
	"a:\n  b:\n    c: 1\n  d: [x, {y: z}]\n":               true,
	"a:\n  b: 1\n\n# x\nd:\n  # y\n  e: 2 # z\n":           true,
	"a:\n  b:\n  - x\n  - y: 1\n    z: 2\n  c: 1\n":        true,
	"a:\n  b: |\n    text: x\n  c: >-\n    more\n  d: 1\n": true,
	"a:\n  \"b c\": 'x: y'\n  'd': \"z\"\n":                true,
	"a:\n  b: x\n   y\n  c: 1\n":                           true,
	"a:\n  b:\n  c:\nd:\n":                                 true,
	"a:\n  b: [1,\n2]\n  c: 1\n":                           true,
	"a:\n  b: 1\n  b: 2\n":                                 true,
	"a: {b: 1, c: 2}\n":                                    false,
	"a: 1\nb: 2\n":                                         false,
	"a:\n- b: 1\n- c: 2\n":                                 false,
	"x\na:\n  b: 1\n":                                      false,
	"- a:\n    b: 1\n":                                     false,
	"---\na:\n  b: 1\n":                                    false,
	"a:\n  b: 1\n---\nc:\n  d: 1\n":                        false,
	"a:\n  b: 1\n c: 2\n":                                  false,
	"a:\n    b: 1\n  c: 2\n":                               false,
	"a:\n  b: 1\n  c\n":                                    false,
	"a:\n  ? b\n  : 1\n":                                   false,
	"a:\n  [b]: 1\n":                                       false,
	"a:\n  b: 1\n  - c\n":                                  false,
	"":                                                     false,
	"a":                                                    false,
}

func TestWhatIsCutIsTheSame(t *testing.T) {
	for text, want := range cutTexts {
		if got := compareCut(t, text); got != want {
			t.Errorf("%q is cut: %t, want %t", text, got, want)
		}
	}
}

func TestAMappingBelowAKeyMayBeLarge(t *testing.T) {
	var b strings.Builder
	const n = 40_000
	b.WriteString("text: x\ngroups:\n")
	for i := range n {
		fmt.Fprintf(&b, "  group%d: %d\n", i, i)
	}
	b.WriteString("on: true\n")
	begin := time.Now()
	var v sample
	if err := DecodeLargeYAML([]byte(b.String()), "f", &v); err != nil || len(v.Groups) != n || v.Groups["group39999"] != n-1 || v.On == nil {
		t.Errorf("%d groups are read, %v", len(v.Groups), err)
	}
	if d := time.Since(begin); d > 10*time.Second {
		t.Errorf("took %s", d)
	}
	text := b.String() + "groups:\n  x: 1\n" + strings.Repeat("  y: 1\n", 600)
	err := DecodeLargeYAML([]byte(text), "f", &v)
	if err == nil || !strings.Contains(err.Error(), "f:40004:1: groups: is already set on line 2") {
		t.Errorf("a second large mapping of the same name: %v", err)
	}
	text = strings.Replace(b.String(), "  group700: 700\n", "  group700: 700\n  group700: [\n", 1)
	if err := DecodeLargeYAML([]byte(text), "f", &v); err == nil {
		t.Error("a mistake within a large mapping is not seen")
	}
}

func FuzzCut(f *testing.F) {
	for text := range cutTexts {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		defer func() {
			if r := recover(); r != nil && !strings.HasPrefix(fmt.Sprint(r), "runtime error") {
				panic(r) // the parser's own mistakes are not ours
			}
		}()
		if len(text) > 500 || judgeTokens(lexer.Tokenize(text), new(int)) != nil {
			return
		}
		compareCut(t, text)
	})
}
