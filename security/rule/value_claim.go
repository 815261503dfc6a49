package rule

import (
	"encoding/json"
	"strconv"
	"strings"
)

// Claim follows a path into claims. A key may hold dots itself: at each object
// the longest key that the path begins with is taken, and no other is tried, so
// that a path has one meaning.
func Claim(claims map[string]any, path string) (value any, ok bool) {
	for {
		value, rest, found := longestKey(claims, path)
		if !found {
			return nil, false
		}
		if rest == "" {
			return value, true
		}
		if claims, found = value.(map[string]any); !found {
			return nil, false
		}
		path = rest
	}
}

// claim is what the placeholder of a claim stands for.
func claim(claims map[string]any, path string) (one string, several []string, ok bool) {
	value, ok := Claim(claims, path)
	if !ok {
		return "", nil, false
	}
	return claimValue(value)
}

// longestKey cuts the longest key of object off the front of path.
func longestKey(object map[string]any, path string) (value any, rest string, found bool) {
	for end := len(path); end > 0; end = strings.LastIndexByte(path[:end], '.') {
		if value, found = object[path[:end]]; found {
			return value, strings.TrimPrefix(path[end:], "."), true
		}
	}
	return nil, "", false
}

func claimValue(v any) (one string, several []string, ok bool) {
	if array, isArray := v.([]any); isArray {
		if len(array) > listLimit {
			return "", nil, false
		}
		several = make([]string, len(array))
		for i, element := range array {
			// A list with anything but scalars is not there at all: to put in
			// only a part of it would let a deny rule pass.
			if several[i], ok = scalar(element); !ok {
				return "", nil, false
			}
		}
		return "", several, true
	}
	one, ok = scalar(v)
	return one, nil, ok
}

// exactFloat bounds the integers that a float64 tells apart.
const exactFloat = 1 << 53

// scalar is the text of a JSON string, number or boolean.
func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case float64:
		return number(v)
	case json.Number:
		if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			return strconv.FormatInt(n, 10), true
		}
		if f, err := v.Float64(); err == nil {
			return number(f)
		}
	}
	return "", false
}

// number is f without an exponent if it is an integer. Two tokens with different
// large integers may hold the same float64: such a number is not there.
func number(f float64) (string, bool) {
	if f <= -exactFloat || f >= exactFloat {
		return "", false
	}
	if f == 0 {
		return "0", true // not -0
	}
	if f == float64(int64(f)) {
		return strconv.FormatInt(int64(f), 10), true
	}
	return strconv.FormatFloat(f, 'g', -1, 64), true
}
