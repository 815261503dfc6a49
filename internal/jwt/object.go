package jwt

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// object is a JSON object. Its values are string, [json.Number], bool, nil, []any
// and object; names are what they are, without regard to letters of another case.
type object = map[string]any

// decodeBase64 reads base64url as RFC 7515 2 wants it: no padding, no line end, and
// the bits that are left over in the last sign are zero, so that each value has one
// form only.
func decodeBase64(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") { // which the decoder skips
		return nil, refuse(Malformed, "not base64url")
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, refuse(Malformed, "not base64url") // without the error's position
	}
	return b, nil
}

// parseObject reads one JSON object of at most limit bytes, as strictly as
// [Verifier.Verify] says.
func parseObject(data []byte, limit int) (object, error) {
	switch {
	case len(data) > limit:
		return nil, refuse(Malformed, "longer than %d bytes", limit)
	case !utf8.Valid(data):
		return nil, refuse(Malformed, "not UTF-8")
	case !json.Valid(data): // also: one value, and nothing but white space around it
		return nil, refuse(Malformed, "not JSON")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := parseValue(d, 0)
	if err != nil {
		return nil, err
	}
	o, ok := v.(object)
	if !ok {
		return nil, refuse(Malformed, "not a JSON object")
	}
	return o, nil
}

// parseValue reads the next value, which lies in depth objects and arrays.
func parseValue(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, refuse(Malformed, "not JSON")
	}
	switch t := t.(type) {
	case json.Delim:
		if depth == maxDepth {
			return nil, refuse(Malformed, "more than %d objects and arrays in each other", maxDepth)
		}
		if t == '[' {
			return parseArray(d, depth+1)
		}
		return parseMembers(d, depth+1)
	case string:
		return t, checkText(t)
	default: // a number, a bool, nil
		return t, nil
	}
}

func parseArray(d *json.Decoder, depth int) (any, error) {
	all := []any{}
	for d.More() {
		v, err := parseValue(d, depth)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	_, err := d.Token()
	return all, wrapJSON(err)
}

func parseMembers(d *json.Decoder, depth int) (any, error) {
	o := object{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, wrapJSON(err)
		}
		name, ok := t.(string)
		if !ok {
			return nil, refuse(Malformed, "not JSON")
		}
		if err := checkText(name); err != nil {
			return nil, err
		}
		if _, twice := o[name]; twice { // RFC 7515 4, RFC 7519 4
			return nil, refuse(Duplicate, "a name stands twice in an object")
		}
		if o[name], err = parseValue(d, depth); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
	return o, wrapJSON(err)
}

// wrapJSON hides what an error of the decoder may quote.
func wrapJSON(err error) error {
	if err != nil {
		return refuse(Malformed, "not JSON")
	}
	return nil
}

// checkText refuses what the decoder has put in the place of half a surrogate pair:
// texts that differ would be the same.
func checkText(s string) error {
	if strings.ContainsRune(s, utf8.RuneError) {
		return refuse(Malformed, "a text with half a surrogate pair or U+FFFD")
	}
	return nil
}

// text returns the member as a text; ok is false if it is missing.
func text(o object, name string) (s string, ok bool, err error) {
	v, ok := o[name]
	if !ok {
		return "", false, nil
	}
	s, isText := v.(string)
	if !isText {
		return "", true, refuse(Malformed, "%s is no text", name)
	}
	return s, true, nil
}
