package control

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"sallyport/config"
)

// Error is an answer that is none, as JSON under "error". Code is for programs
// and does not change; Message is for people.
type Error struct {
	Status   int       `json:"-"` // of HTTP
	Code     string    `json:"code"`
	Message  string    `json:"message"`
	Problems []Problem `json:"problems,omitempty"` // of the files of a reload
}

func (e *Error) Error() string { return e.Message }

// Problem is one mistake in a file of the configuration.
type Problem struct {
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Key    string `json:"key,omitempty"`
	Text   string `json:"text"`
}

// String renders the problem as "sallyport check" does.
func (p Problem) String() string {
	return config.Problem{File: p.File, Line: p.Line, Column: p.Column, Key: p.Key, Text: p.Text}.Error()
}

type errorDocument struct {
	Error *Error `json:"error"`
}

func writeError(w http.ResponseWriter, err error) {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = &Error{Status: http.StatusInternalServerError, Code: "failed", Message: err.Error()}
	}
	writeJSON(w, e.Status, errorDocument{e})
}

// writeJSON writes an answer. What can't be encoded would be a mistake of ours,
// and a write that fails has nobody left to be told.
func writeJSON(w http.ResponseWriter, code int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v)
}

// problems takes an error of a reload apart, each mistake with its place.
func problems(err error) []Problem {
	switch e := err.(type) { // the tree is walked here: errors.As would find the first alone
	case nil:
		return nil
	case config.Problems:
		var out []Problem
		for _, p := range e {
			out = append(out, problems(p)...)
		}
		return out
	case config.Problem:
		return []Problem{{File: e.File, Line: e.Line, Column: e.Column, Key: e.Key, Text: e.Text}}
	case interface{ Unwrap() []error }:
		var out []Problem
		for _, x := range e.Unwrap() {
			out = append(out, problems(x)...)
		}
		return out
	case interface{ Unwrap() error }:
		// What was said around it counts only where there is no place inside.
		if inner := problems(e.Unwrap()); placed(inner) {
			return inner
		}
	}
	return []Problem{{Text: strings.TrimSpace(err.Error())}}
}

func placed(list []Problem) bool {
	for _, p := range list {
		if p.File != "" {
			return true
		}
	}
	return false
}
