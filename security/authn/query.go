package authn

import (
	"net/url"
	"strings"
)

// queryValue is the value of a name in the query of an upgrade's URL; ok is false
// where it is missing, there twice, or not well formed.
func queryValue(query, name string) (v string, ok bool) {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		key, value, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(key); err != nil || plain != name {
			continue
		}
		if ok {
			return "", false
		}
		var err error
		if v, err = url.QueryUnescape(value); err != nil {
			return "", false
		}
		ok = true
	}
	return v, ok
}
