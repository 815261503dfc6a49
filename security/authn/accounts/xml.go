package accounts

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
)

// Bounds of an XML document beside its size.
const (
	maxDepth    = 16
	maxElements = 2_000_000
)

// element is one element of a document: with elements in it, or with text.
type element struct {
	name  string
	line  int
	attrs []xml.Attr
	in    []*element
	text  []byte
}

// parseXML reads a document without a document type, so without entities of its own.
// Errors quote nothing of it.
func parseXML(data []byte) (*element, error) {
	d := xml.NewDecoder(bytes.NewReader(data))
	var root *element
	var open []*element
	for elements := 0; ; {
		t, err := d.Token()
		line, _ := d.InputPos()
		if err == io.EOF && root != nil && len(open) == 0 {
			return root, nil
		}
		if err != nil {
			return nil, &DocumentError{line, xmlReason(err)}
		}
		switch t := t.(type) {
		case xml.StartElement:
			elements++
			switch {
			case len(open) == maxDepth:
				return nil, &DocumentError{line, "has elements too deep in each other"}
			case elements > maxElements:
				return nil, &DocumentError{line, "has too many elements"}
			case len(open) == 0 && root != nil:
				return nil, &DocumentError{line, "has more than one root"}
			}
			e := &element{name: t.Name.Local, line: line, attrs: t.Copy().Attr}
			if len(open) == 0 {
				root = e
			} else {
				parent := open[len(open)-1]
				parent.in = append(parent.in, e)
			}
			open = append(open, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				parent := open[len(open)-1]
				parent.text = append(parent.text, t...)
			} else if len(bytes.TrimSpace(t)) > 0 {
				return nil, &DocumentError{line, "has text outside of its root"}
			}
		case xml.Directive:
			return nil, &DocumentError{line, "has a document type, which is not read"}
		}
	}
}

func xmlReason(err error) string {
	if err == io.EOF {
		return "ends before it is complete"
	}
	if e, ok := errors.AsType[*xml.SyntaxError](err); ok && strings.Contains(e.Msg, "entity") {
		return "is not XML here: an entity is not known, or & stands alone"
	}
	return "is not XML here"
}

// value is the text of an element without elements.
func (e *element) value() string { return strings.TrimSpace(string(e.text)) }

// attribute is an attribute's value; empty without it.
func (e *element) attribute(name string) string {
	for _, a := range e.attrs {
		if a.Name.Local == name && a.Name.Space == "" {
			return a.Value
		}
	}
	return ""
}
