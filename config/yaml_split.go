package config

import (
	"errors"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The parser calls itself for each further key of a block mapping and copies what
// comes back, so that its work grows with the square of the keys. The mappings
// right below the keys of the document (of which a file may hold one with all its
// users) are therefore cut into pieces of some keys each, which are parsed one by
// one and put together again. All else is parsed as it stands.
const (
	pieceKeys = 64
	cutKeys   = 512 // mappings of no more keys are left whole
)

// largeMapping is a mapping that was cut.
type largeMapping struct {
	key    *token.Token // of the document, whose value it is
	pieces []token.Tokens
}

// cutSections takes the large mappings right below the document's keys out of
// tokens. rest has those keys without value. What does not look plain is left whole.
func cutSections(tokens token.Tokens, atLeast int) (rest token.Tokens, sections []largeMapping) {
	keys, plain := blockKeys(tokens)
	if !plain || len(keys) == 0 || keys[0] != firstOf(tokens) {
		return tokens, nil
	}
	column := tokens[keys[0]].Position.Column
	if !within(tokens, column) {
		return tokens, nil
	}
	copied := 0
	for n := 0; n < len(keys); {
		key := keys[n]
		end := n + 1
		for end < len(keys) && tokens[keys[end]].Position.Column > column {
			end++
		}
		upTo := len(tokens)
		if end < len(keys) {
			upTo = keys[end]
		}
		if pieces := cut(tokens, key, keys[n+1:end], upTo, atLeast); pieces != nil {
			sections = append(sections, largeMapping{tokens[key], pieces})
			rest = append(rest, tokens[copied:key+2]...)
			copied = upTo
		}
		n = end
	}
	return append(rest, tokens[copied:]...), sections
}

// blockKeys finds the keys of block mappings. plain is false for tokens whose
// structure is not told by them: several documents, keys that are collections.
func blockKeys(tokens token.Tokens) (keys []int, plain bool) {
	flow := 0
	for i, t := range tokens {
		switch t.Type {
		case token.DocumentHeaderType, token.DocumentEndType:
			return nil, false
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow--
		case token.MappingValueType:
			if flow > 0 {
				continue
			}
			if i == 0 || !isKey(tokens[i-1], t) || i > 1 && isBlock(tokens[i-2]) {
				return nil, false
			}
			keys = append(keys, i-1)
		}
	}
	return keys, flow == 0
}

// isKey reports whether the token before a colon is a plain key.
func isKey(t, colon *token.Token) bool {
	switch t.Type {
	case token.StringType, token.SingleQuoteType, token.DoubleQuoteType, token.IntegerType, token.FloatType, token.BoolType, token.NullType:
		return t.Position.Line == colon.Position.Line
	}
	return false
}

// isBlock reports whether the text after t is a literal or folded one.
func isBlock(t *token.Token) bool { return t.Type == token.LiteralType || t.Type == token.FoldedType }

// cut cuts the value of the key at index key, which ends before upTo and in which
// the keys at the given indices stand. It is nil for what is no block mapping or
// has fewer keys of its own than atLeast.
func cut(tokens token.Tokens, key int, keys []int, upTo, atLeast int) (pieces []token.Tokens) {
	first := key + 2 + firstOf(tokens[key+2:upTo])
	if len(keys) < atLeast || keys[0] != first || tokens[first].Position.Line <= tokens[key].Position.Line {
		return nil
	}
	column := tokens[first].Position.Column
	if !within(tokens[first:upTo], column) {
		return nil
	}
	begin, own := first, 0
	for _, k := range keys {
		if tokens[k].Position.Column != column {
			continue
		}
		if own > 0 && own%pieceKeys == 0 {
			pieces = append(pieces, tokens[begin:k])
			begin = k
		}
		own++
	}
	if own < atLeast {
		return nil
	}
	return append(pieces, tokens[begin:upTo])
}

// firstOf is the index of the first token that is no comment.
func firstOf(tokens token.Tokens) int {
	i := 0
	for i < len(tokens) && tokens[i].Type == token.CommentType {
		i++
	}
	return i
}

// within reports whether no block token stands to the left of column.
func within(tokens token.Tokens, column int) bool {
	flow := 0
	for _, t := range tokens {
		if flow == 0 && t.Type != token.CommentType && t.Position.Column < column {
			return false
		}
		switch t.Type {
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow--
		}
	}
	return true
}

// parseDocument parses the tokens of a file, whose sections were taken out.
func parseDocument(rest token.Tokens, sections []largeMapping) (*ast.File, error) {
	f, err := parser.Parse(rest, 0, parser.AllowDuplicateMapKey())
	if err != nil || len(sections) == 0 {
		return f, err
	}
	if len(f.Docs) != 1 {
		return nil, errPieces
	}
	values := map[*token.Token]*ast.MappingValueNode{}
	for _, v := range mappingValues(f.Docs[0].Body) {
		values[v.Key.GetToken()] = v
	}
	for _, s := range sections {
		whole := ast.Mapping(s.pieces[0][0], false)
		for _, tokens := range s.pieces {
			piece, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
			if err != nil {
				return nil, err
			}
			if len(piece.Docs) != 1 || mappingValues(piece.Docs[0].Body) == nil {
				return nil, errPieces
			}
			whole.Values = append(whole.Values, mappingValues(piece.Docs[0].Body)...)
		}
		v := values[s.key]
		if v == nil {
			return nil, errPieces
		}
		v.Value = whole
	}
	return f, nil
}

// errPieces says that the parser saw something else than the tokens told.
var errPieces = errors.New("a large mapping can't be read")

// mappingValues is the entries of a mapping, nil for anything else.
func mappingValues(n ast.Node) []*ast.MappingValueNode {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	}
	return nil
}
