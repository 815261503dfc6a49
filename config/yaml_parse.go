package config

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/scanner"
	"github.com/goccy/go-yaml/token"
)

// Bounds of one YAML file. The parser recurses and its work grows with the
// depth, so tokens are judged before it sees them.
const (
	maxFileBytes = 1 << 20
	maxDepth     = 24
	// The parser's work grows with the square of a mapping's keys, so it is the
	// sum of those squares that is bounded: 5,000 keys in one mapping (but for
	// those that are cut into pieces), or whatever the tokens can say in small ones.
	maxKeyWork = 25_000_000
)

// bounds is what differs between kinds of files. A token takes up to 250 bytes
// until the file is read.
type bounds struct{ bytes, tokens int }

var (
	ordinary = bounds{maxFileBytes, 200_000}
	large    = bounds{MaxLargeYAML, 2_000_000}
)

// parseYAML turns data into the one node of its document; nil for an empty
// one. It allows the part of YAML that a configuration needs: mappings,
// sequences and scalars. Anchors, aliases, merge keys, tags, directives and
// complex keys are refused, which leaves nothing that expands.
func parseYAML(data []byte, file string, b bounds) (node ast.Node, problems Problems) {
	fail := func(at Pos, format string, args ...any) (ast.Node, Problems) {
		return nil, Problems{{File: file, Line: at.Line, Column: at.Column, Text: fmt.Sprintf(format, args...)}}
	}
	if len(data) > b.bytes {
		return fail(Pos{}, "the file is larger than %d bytes", b.bytes)
	}
	if at, ok := textPos(data); !ok {
		return fail(at, "the file is not UTF-8 text")
	}
	if !fewParts(data, b.tokens) {
		return fail(Pos{}, "the file has too many parts")
	}
	// The parser is not ours: should it panic on some input, the file is
	// refused and the process lives.
	defer func() {
		if r := recover(); r != nil {
			node, problems = fail(Pos{}, "this is not YAML that can be read")
		}
	}()
	tokens, ok := tokenize(string(data))
	if !ok {
		return fail(Pos{}, "this is not YAML that can be read")
	}
	rest, sections := cutSections(tokens, cutKeys)
	if p := judge(tokens, rest, sections, b); p != nil {
		p.File = file
		return nil, Problems{*p}
	}
	f, err := parseDocument(rest, sections)
	if err != nil {
		var e yaml.Error
		if errors.As(err, &e) && e.GetToken() != nil {
			return fail(tokenPos(e.GetToken()), "%s", oneLine(e.GetMessage()))
		}
		return fail(Pos{}, "%s", oneLine(err.Error()))
	}
	var body ast.Node
	for _, d := range f.Docs {
		if d.Body == nil {
			continue
		}
		if body != nil {
			return fail(nodePos(d.Body), "a second document begins here; one file holds one document")
		}
		body = d.Body
	}
	return body, nil
}

// fewParts reports, before a token is made, that data has at most about twice
// that many: the scanner reads a file as a whole, and its tokens may take a few
// hundred times the room of the text. Between two characters that
// may begin or end a token there is at most one more.
func fewParts(data []byte, tokens int) bool {
	before := byte('\n')
	for _, c := range data {
		switch c {
		case '[', ']', '{', '}', ',', ':', '\'', '"':
			tokens--
		case '\n', '\r': // an empty line is nothing
			if before != '\n' && before != '\r' {
				tokens--
			}
		case '-', '?', '&', '*', '!', '|', '>', '<', '%', '#', '@', '`', '.':
			switch before {
			case ' ', '\t', '\n', '\r', '[', '{', ',', ':':
				tokens--
			}
		}
		if tokens < 0 {
			return false
		}
		before = c
	}
	return true
}

// tokenize is all tokens up to the first that is none. ok is false where the
// scanner fails otherwise.
func tokenize(text string) (tokens token.Tokens, ok bool) {
	var s scanner.Scanner
	s.Init(text)
	for {
		some, err := s.Scan()
		tokens.Add(some...)
		switch {
		case errors.Is(err, io.EOF):
			return tokens, true
		case err != nil:
			return tokens, len(tokens) > 0 && tokens[len(tokens)-1].Type == token.InvalidType
		}
	}
}

// judge refuses tokens that the parser had better not see.
func judge(all, rest token.Tokens, sections []largeMapping, b bounds) *Problem {
	if len(all) > b.tokens {
		return problemAt(all[b.tokens], "the file has too many parts")
	}
	work := 0
	if p := judgeTokens(rest, &work); p != nil {
		return p
	}
	for _, s := range sections {
		for _, piece := range s.pieces {
			if p := judgeTokens(piece, &work); p != nil {
				return p
			}
		}
	}
	return nil
}

func problemAt(t *token.Token, text string) *Problem {
	p := tokenPos(t)
	return &Problem{Line: p.Line, Column: p.Column, Text: text}
}

// judgeTokens refuses what is not used here and bounds the depth. Block depth
// is that of the open columns, flow depth that of the open brackets. It adds to
// work, which all that is parsed has in common.
func judgeTokens(tokens token.Tokens, work *int) *Problem {
	var (
		open    []block
		flow    = 0
		bracket *token.Token // the outermost one that is open
	)
	for i, t := range tokens {
		if text := unsupported(t); text != "" {
			return problemAt(t, text)
		}
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			if flow == 0 {
				bracket = t
			}
			flow++
		case token.MappingEndType, token.SequenceEndType:
			if flow--; flow < 0 {
				return problemAt(t, "this bracket was never opened")
			}
		case token.SequenceEntryType:
			open = openBlock(open, t.Position.Column)
		case token.MappingValueType:
			if i == 0 || flow > 0 {
				continue
			}
			open = openBlock(open, tokens[i-1].Position.Column)
			top := &open[len(open)-1]
			top.keys++
			if *work += 2*top.keys - 1; *work > maxKeyWork { // n squared is the sum of the first n odd numbers
				return problemAt(t, "too many keys in one mapping; a list has no such limit")
			}
		}
		if flow+len(open) > maxDepth {
			return problemAt(t, fmt.Sprintf("nested more than %d levels deep", maxDepth))
		}
	}
	if flow > 0 { // what follows was taken for flow, whose keys are not counted
		return problemAt(bracket, "this bracket is not closed")
	}
	return nil
}

// unsupported says why t has no place in a configuration, "" if it may stand.
func unsupported(t *token.Token) string {
	switch t.Type {
	case token.AnchorType, token.AliasType, token.MergeKeyType:
		return "anchors, aliases and merge keys are not supported; write the value out"
	case token.TagType:
		return "tags are not supported"
	case token.DirectiveType:
		return "directives are not supported"
	case token.MappingKeyType:
		return "a key must be plain text"
	case token.InvalidType:
		return oneLine(t.Error)
	}
	return ""
}

// block is an open block mapping or sequence.
type block struct{ column, keys int }

// openBlock closes the blocks to the right of column and has one open there.
func openBlock(open []block, column int) []block {
	for len(open) > 0 && open[len(open)-1].column > column {
		open = open[:len(open)-1]
	}
	if len(open) > 0 && open[len(open)-1].column == column {
		return open
	}
	return append(open, block{column: column})
}

// textPos reports whether data is UTF-8 without NUL, and where it is not.
func textPos(data []byte) (Pos, bool) {
	line, column := 1, 1
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == 0 || r == utf8.RuneError && n == 1 {
			return Pos{line, column}, false
		}
		if r == '\n' {
			line, column = line+1, 0
		}
		column++
		i += n
	}
	return Pos{}, true
}

func tokenPos(t *token.Token) Pos {
	if t == nil || t.Position == nil {
		return Pos{}
	}
	return Pos{Line: t.Position.Line, Column: t.Position.Column}
}

// nodePos is where the text of n begins: for a block mapping its first key.
func nodePos(n ast.Node) Pos {
	switch n := n.(type) {
	case nil:
		return Pos{}
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return nodePos(n.Values[0])
		}
	case *ast.MappingValueNode:
		return nodePos(n.Key)
	case *ast.DocumentNode:
		return nodePos(n.Body)
	}
	return tokenPos(n.GetToken())
}

func oneLine(s string) string {
	return strings.Join(strings.Fields(s), " ")
}
