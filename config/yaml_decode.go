package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// DecodeYAML reads one strict YAML document into the value that into points
// to, whose present contents are the defaults. file is only the name used in
// messages. All mistakes are reported at once: the error is a Problems.
//
// The destination is made of structs (a field is read when it has a `yaml`
// tag; `yaml:",inline"` reads an embedded struct's keys in place), pointers,
// slices, maps with string keys, strings, booleans, integers, time.Duration,
// netip.Prefix, fs.FileMode, encoding.TextUnmarshaler for scalars, and
// Located[T] and, in maps, Named[T]. A string type with a method Choices() []string accepts only
// those. A type with a method SetDefaults() gets it called on each new slice
// element or pointer before its keys are read. Many[T] is read from a list or
// from one T alone. Unknown and duplicate keys, wrong types, keys without a
// value, anchors, aliases, tags, nesting deeper than 24, block mappings of more
// than 5,000 keys (but right below a key of the document, where there may be any
// number) and files above 1 MiB are refused.
func DecodeYAML(data []byte, file string, into any) error {
	return decodeOnly(data, file, into, ordinary)
}

// MaxLargeYAML is the size in bytes up to which DecodeLargeYAML reads.
const MaxLargeYAML = 16 << 20

// DecodeLargeYAML is DecodeYAML for files of up to MaxLargeYAML bytes and two
// million parts (words and signs), for which it takes about half a gigabyte of
// memory while it reads.
func DecodeLargeYAML(data []byte, file string, into any) error {
	return decodeOnly(data, file, into, large)
}

func decodeOnly(data []byte, file string, into any, b bounds) error {
	node, problems := parseYAML(data, file, b)
	if problems != nil {
		return problems.Err()
	}
	if node == nil {
		return emptyDocument(file)
	}
	d := &decoder{file: file}
	d.value(node, reflect.ValueOf(into).Elem(), "")
	return d.problems.Sort().Err()
}

// Many is a list that may be written as one value alone.
type Many[T any] []T

func (Many[T]) aloneToo() {}

// Named is Located for the values of a map: its place is that of the key.
type Named[T any] struct{ Located[T] }

func (n *Named[T]) named(at Pos) { n.Pos = at }

// places maps the path of a key to where its value stands.
type places map[string]Pos

// find is the place of path, or of the nearest one above it that is known.
func (p places) find(path string) Pos {
	for {
		if at, ok := p[path]; ok || path == "" {
			return at
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			path = ""
			continue
		}
		path = path[:cut]
	}
}

// Chooser is a string type with a closed list of values.
type Chooser interface{ Choices() []string }

type defaulter interface{ SetDefaults() }

type decoder struct {
	file     string
	problems Problems
	places   places // nil: nobody asks
}

// decodeYAML is DecodeYAML with the places of all values; they are nil when
// there was no document to decode.
func decodeYAML(data []byte, file string, into any) (places, Problems) {
	node, problems := parseYAML(data, file, ordinary)
	if problems != nil {
		return nil, problems
	}
	if node == nil {
		return nil, emptyDocument(file)
	}
	d := &decoder{file: file, places: places{}}
	d.value(node, reflect.ValueOf(into).Elem(), "")
	return d.places, d.problems
}

func emptyDocument(file string) Problems {
	return Problems{{File: file, Line: 1, Column: 1, Text: "the file is empty"}}
}

func (d *decoder) complain(at Pos, path, format string, args ...any) {
	if d.problems.Full() {
		return
	}
	d.problems = append(d.problems, Problem{
		File: d.file, Line: at.Line, Column: at.Column, Key: path, Text: fmt.Sprintf(format, args...),
	})
}

// value decodes n into v and records where it stood.
func (d *decoder) value(n ast.Node, v reflect.Value, path string) {
	at := nodePos(n)
	if d.places != nil {
		d.places[path] = at
	}
	if _, null := n.(*ast.NullNode); null {
		d.complain(at, path, "has no value; give it one or remove the key")
		return
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(fresh(v.Type().Elem()).Addr())
		}
		v = v.Elem()
	}
	if l, ok := v.Addr().Interface().(locator); ok {
		v = reflect.ValueOf(l.locate(at)).Elem()
	}
	switch {
	case isScalar(v):
		d.scalar(n, v, path)
	case v.Kind() == reflect.Struct:
		d.structure(n, v, path)
	case v.Kind() == reflect.Slice:
		d.slice(n, v, path)
	case v.Kind() == reflect.Map:
		d.mapping(n, v, path)
	default:
		d.complain(at, path, "cannot be read into %s", v.Type())
	}
}

// fresh is an addressable zero value of t with its defaults set.
func fresh(t reflect.Type) reflect.Value {
	p := reflect.New(t)
	target := p.Interface()
	if l, ok := target.(locator); ok {
		target = l.locate(Pos{})
	}
	if s, ok := target.(defaulter); ok {
		s.SetDefaults()
	}
	return p.Elem()
}

// entries yields the key-value pairs of a mapping and complains about all else.
func (d *decoder) entries(n ast.Node, path string) []*ast.MappingValueNode {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	}
	d.complain(nodePos(n), path, "must be a mapping (key: value), not %s", kindOf(n))
	return nil
}

// eachKey calls do for every entry with its text, once per key.
func (d *decoder) eachKey(n ast.Node, path string, do func(key string, at Pos, value ast.Node)) {
	seen := map[string]Pos{}
	for _, e := range d.entries(n, path) {
		at := nodePos(e.Key)
		key, ok := scalarText(e.Key)
		if !ok {
			d.complain(at, path, "a key must be plain text")
			continue
		}
		if first, dup := seen[key]; dup {
			d.complain(at, join(path, key), "is already set on line %d", first.Line)
			continue
		}
		seen[key] = at
		do(key, at, e.Value)
	}
}

func (d *decoder) structure(n ast.Node, v reflect.Value, path string) {
	fields := structFields(v)
	d.eachKey(n, path, func(key string, at Pos, value ast.Node) {
		field, ok := fields[key]
		if !ok {
			d.complain(at, join(path, key), "%s", unknownKey(key, v, fields))
			return
		}
		d.value(value, field, join(path, key))
	})
}

func (d *decoder) mapping(n ast.Node, v reflect.Value, path string) {
	m := reflect.MakeMap(v.Type())
	d.eachKey(n, path, func(key string, at Pos, value ast.Node) {
		e := fresh(v.Type().Elem())
		d.value(value, e, join(path, key))
		if k, ok := e.Addr().Interface().(interface{ named(Pos) }); ok {
			k.named(at)
		}
		m.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), e)
	})
	v.Set(m)
}

func (d *decoder) slice(n ast.Node, v reflect.Value, path string) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		if _, alone := v.Interface().(interface{ aloneToo() }); alone {
			e := fresh(v.Type().Elem())
			d.value(n, e, path)
			v.Set(reflect.Append(reflect.MakeSlice(v.Type(), 0, 1), e))
			return
		}
		d.complain(nodePos(n), path, "must be a list, not %s", kindOf(n))
		return
	}
	out := reflect.MakeSlice(v.Type(), 0, len(seq.Values))
	for i, item := range seq.Values {
		e := fresh(v.Type().Elem())
		d.value(item, e, fmt.Sprintf("%s[%d]", path, i))
		out = reflect.Append(out, e)
	}
	v.Set(out)
}

// structFields maps the keys of a struct, inlined ones included, to its fields.
func structFields(v reflect.Value) map[string]reflect.Value {
	fields := map[string]reflect.Value{}
	for i := range v.NumField() {
		name, option, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		switch {
		case option == "inline":
			for k, f := range structFields(v.Field(i)) {
				fields[k] = f
			}
		case name != "" && name != "-":
			fields[name] = v.Field(i)
		}
	}
	return fields
}

// explainer is a struct that knows why some keys are not its own.
type explainer interface{ explainKey(key string) string }

// unknownKey is the message for key, with the known key that it resembles.
func unknownKey(key string, v reflect.Value, fields map[string]reflect.Value) string {
	if e, ok := v.Interface().(explainer); ok {
		if text := e.explainKey(key); text != "" {
			return text
		}
	}
	best, bestDistance := "", 3
	for k := range fields {
		if n := editDistance(key, k); n < bestDistance || n == bestDistance && k < best {
			best, bestDistance = k, n
		}
	}
	if best != "" {
		return "unknown key; did you mean " + best + "?"
	}
	return "unknown key"
}

// editDistance is Levenshtein's, for short words; long ones count as far.
func editDistance(a, b string) int {
	if len(a) > 40 || len(b) > 40 {
		return 40
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

func join(path, key string) string {
	if len(key) > 80 {
		key = key[:80]
	}
	key = printable(key)
	if path == "" {
		return key
	}
	return path + "." + key
}

func kindOf(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.BoolNode:
		return "true or false"
	case *ast.NullNode:
		return "nothing"
	}
	return "text"
}

// scalarText is the text of a scalar as it was written.
func scalarText(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode, *ast.NullNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// isScalar reports whether v is read from a scalar.
func isScalar(v reflect.Value) bool {
	switch v.Addr().Interface().(type) {
	case encoding.TextUnmarshaler:
		return true
	}
	switch v.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return true
	}
	return false
}

// integer reads a decimal number that fits v. A leading zero is refused: some
// readers of YAML take such a number for octal.
func integer(text string, v reflect.Value) error {
	if len(text) > 1 && text[0] == '0' {
		return fmt.Errorf("must be a decimal number without leading zeros, not %s", excerpt(text))
	}
	text = strings.ReplaceAll(text, "_", "")
	if v.CanUint() {
		n, err := strconv.ParseUint(text, 10, v.Type().Bits())
		if err != nil {
			return fmt.Errorf("must be a whole number from 0 to %d, not %s", ^uint64(0)>>(64-v.Type().Bits()), excerpt(text))
		}
		v.SetUint(n)
		return nil
	}
	n, err := strconv.ParseInt(text, 10, v.Type().Bits())
	if err != nil {
		return fmt.Errorf("must be a whole number, not %s", excerpt(text))
	}
	v.SetInt(n)
	return nil
}
