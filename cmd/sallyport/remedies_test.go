package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// labels are texts that name no command: what keys are derived with, and the version.
var labels = []string{"sallyport ticket secret id", "sallyport session ticket key 1", "sallyport %s (%s, %s)\n"}

// unknown is the first word of a command line, behind sallyport, that names no command;
// empty for none. Behind a command there may be anything.
func unknown(node *kong.Node, line string) string {
	words := strings.Fields(line)
	for i := 0; i < len(words) && len(node.Children) > 0; i++ {
		word := strings.TrimRight(words[i], "`\"',.:;)")
		if word == "-c" {
			i++
			continue
		}
		at := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == word })
		switch {
		case strings.HasPrefix(word, "-"):
			return ""
		case at < 0:
			return word
		case word != words[i]: // the sentence goes on without it
			return ""
		}
		node = node.Children[at]
	}
	return ""
}

// What an operator is told to run, wherever that is said, is there.
func TestCommandsThatTextsNameAreThere(t *testing.T) {
	k, err := newParser(newShell(t, "").env, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"ctl user passwd alice": "", "ctl -c sallyport.yaml user add": "", `ctl", which asks`: "", "ctl user": "", "passwd --scram": "",
		"ctl user password alice": "password", "ctl -c x usr add": "usr", "ask": "ask",
	} {
		if got := unknown(k.Model.Node, line); got != want {
			t.Errorf("%q: %q is not known, want %q", line, got, want)
		}
	}
	found := 0
	err = filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(lit.Value)
			if err != nil || slices.Contains(labels, text) {
				return true
			}
			for line := range strings.SplitSeq(text, "\n") {
				parts := strings.Split(line, "sallyport ")
				for i, behind := range parts[1:] {
					if strings.HasSuffix(parts[i], "/") { // a folder
						continue
					}
					found++
					if word := unknown(k.Model.Node, behind); word != "" {
						t.Errorf("%s: %q: there is no command %s", set.Position(lit.Pos()), line, word)
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil || found < 50 {
		t.Errorf("%d commands found, %v", found, err)
	}
}
