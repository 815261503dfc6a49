package accounts

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// documentVersion is that of our own document.
const documentVersion = 1

// exportPage is how many accounts are written at a time.
const exportPage = 1000

// ExportJSON writes everything as one document: also what a record doesn't have, so that
// an import takes away what it was given since. Without secrets it holds neither passwords
// nor verifiers; an import of it leaves those that are there.
func (db *Database) ExportJSON(w io.Writer, secrets bool) error {
	out := &jsonWriter{w: w}
	out.print(fmt.Sprintf("{\n\"version\": %d,\n\"roles\": [", documentVersion))
	for _, r := range db.Roles() {
		out.element(roleElement(r))
	}
	out.print("\n],\n\"groups\": [")
	out.first = false
	for _, g := range db.Groups() {
		out.element(groupElement(g))
	}
	out.print("\n],\n\"users\": [")
	out.first = false
	for after, more := "", true; more && out.err == nil; {
		var page []User
		page, more = db.Users(after, exportPage, nil)
		for _, u := range page {
			after = u.Name
			if secrets {
				out.element(secretElement{u.element(), u.Password, u.SCRAM})
			} else {
				out.element(u.element())
			}
		}
	}
	out.print("\n]\n}\n")
	return out.err
}

// jsonWriter writes an array with one element a line, until something fails.
type jsonWriter struct {
	w     io.Writer
	first bool // there was a first element
	err   error
}

func (j *jsonWriter) print(s string) {
	if j.err == nil {
		_, j.err = io.WriteString(j.w, s)
	}
}

func (j *jsonWriter) element(v any) {
	data, err := json.Marshal(v)
	if err != nil {
		j.err = errors.Join(j.err, err)
		return
	}
	if j.first {
		j.print(",")
	}
	j.first = true
	j.print("\n" + string(data))
}

// json reads what ExportJSON writes.
func (p *parsing) json(data []byte) {
	r := &jsonReader{parsing: p, data: data, d: json.NewDecoder(bytes.NewReader(data)), seen: map[string]bool{}}
	r.d.DisallowUnknownFields()
	if !r.delim('{') {
		return
	}
	for r.d.More() {
		t, err := r.d.Token()
		key, _ := t.(string)
		switch {
		case err != nil:
			r.broken()
			return
		case r.seen[key]:
			r.wrong(r.line(), "%.40q is there twice", key)
			return
		}
		r.seen[key] = true
		if !r.section(key) {
			return
		}
	}
	if !r.delim('}') {
		return
	}
	if _, err := r.d.Token(); err != io.EOF {
		p.wrong(r.line(), "holds more than one document")
	}
	if !r.seen["version"] {
		p.wrong(0, "names no version: this is not an export of accounts")
	}
}

type jsonReader struct {
	*parsing
	data []byte
	d    *json.Decoder
	seen map[string]bool
	at   int // the offset that lines counts to
	rows int // line ends before at
}

// line is where the reader is.
func (r *jsonReader) line() int {
	if end := min(int(r.d.InputOffset()), len(r.data)); end > r.at {
		r.rows += bytes.Count(r.data[r.at:end], []byte{'\n'})
		r.at = end
	}
	return r.rows + 1
}

// broken notes that the document is no JSON from here on. What the decoder says could
// quote a secret.
func (r *jsonReader) broken() { r.wrong(r.line(), "is not JSON from here on") }

func (r *jsonReader) delim(want json.Delim) bool {
	if t, err := r.d.Token(); err != nil || t != want {
		r.wrong(r.line(), "is not JSON, or %s is missing", want)
		return false
	}
	return true
}

// section reads one key of the document; false: there is no use in reading on.
func (r *jsonReader) section(key string) bool {
	switch key {
	case "version":
		var version int
		if err := r.d.Decode(&version); err != nil || version != documentVersion {
			r.wrong(r.line(), "version must be %d", documentVersion)
			return false
		}
		return true
	case "users":
		return elements(r, func(line int, u User, sets field) {
			var err error
			if u.Password != "" {
				if u.Password, err = encoded(u.Password); err != nil {
					r.wrong(line, "user %.80q: password: %v", u.Name, err)
					return
				}
			}
			u.Version = 0
			r.add(entry{user: u, sets: sets, line: line})
		})
	case "groups":
		return elements(r, func(line int, g Group, sets field) { r.addGroup(line, g, sets) })
	case "roles":
		return elements(r, func(line int, role Role, sets field) { r.addRole(line, role, sets) })
	}
	r.wrong(r.line(), "%.40q is no part of an export of accounts", key)
	return false
}

// elements reads an array, element by element.
func elements[T any](r *jsonReader, add func(line int, v T, sets field)) bool {
	if !r.delim('[') {
		return false
	}
	for r.d.More() {
		var v spoken[T]
		err := r.d.Decode(&v)
		line := r.line()
		if err != nil {
			r.wrong(line, "%s", whatIsWrong(err))
			if _, is := errors.AsType[*json.SyntaxError](err); is || errors.Is(err, io.ErrUnexpectedEOF) || r.lost() {
				return false // the decoder can't go on
			}
			continue
		}
		if add(line, v.is, v.sets); r.lost() {
			return false
		}
	}
	return r.delim(']')
}

// whatIsWrong says what the decoder found, without the values that it quotes.
func whatIsWrong(err error) string {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Sprintf("%s has a value of the wrong type", strings.TrimSpace("field "+e.Field))
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fmt.Sprintf("field %.60s is not known", name)
	}
	return "a value can't be read"
}
