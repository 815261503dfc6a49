package control

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"sallyport/security/authn/accounts"
)

// maxImport bounds the body of an import, in bytes.
const maxImport = 32 << 20

// The modes of an import: what becomes of what is there already.
const (
	ImportAdd     = "add"     // it stays as it is
	ImportReplace = "replace" // it becomes what the document says of it; what that doesn't speak of stays
)

// ImportResult is the answer of POST /accounts/import.
type ImportResult struct {
	DryRun   bool     `json:"dry_run,omitempty"` // nothing was changed
	Users    Imported `json:"users"`
	Groups   Imported `json:"groups"`
	Roles    Imported `json:"roles"`
	Warnings []string `json:"warnings,omitempty"`
}

// Imported is what an import did to records of a kind.
type Imported struct {
	Added   int `json:"added"`
	Changed int `json:"changed"`
	Same    int `json:"same"`    // they were so already
	Skipped int `json:"skipped"` // they are there, and nothing was to be replaced
}

// importQuery is what the query of an import says.
type importQuery struct {
	format accounts.Format
	mode   string
	how    accounts.ImportOptions
}

func readImport(u *url.URL) (q importQuery, err error) {
	v, err := query(u, "format", "mode", "dry_run", "allow_unknown")
	if err != nil {
		return q, err
	}
	q.format, q.mode = accounts.Format(v.Get("format")), cmp.Or(v.Get("mode"), ImportAdd)
	switch {
	case !slices.Contains(accounts.Formats(), q.format):
		return q, bad("format is one of %v", accounts.Formats())
	case q.mode != ImportAdd && q.mode != ImportReplace:
		return q, bad("mode is %s or %s", ImportAdd, ImportReplace)
	}
	q.how.Replace = q.mode == ImportReplace
	for key, to := range map[string]*bool{"dry_run": &q.how.DryRun, "allow_unknown": &q.how.AllowUnknown} {
		if !v.Has(key) {
			continue
		}
		if *to, err = strconv.ParseBool(v.Get(key)); err != nil {
			return q, bad("%s is true or false", key)
		}
	}
	return q, nil
}

// importAccounts is POST /accounts/import. Nothing is changed unless the whole document
// is right.
func (s *Server) importAccounts(c *call) (any, error) {
	c.unchanged = true // until it is known what it is about
	db, err := s.accounts()
	if err != nil {
		return nil, err
	}
	q, err := readImport(c.http.URL)
	if err != nil {
		return nil, err
	}
	if len(c.body) == 0 {
		return nil, bad("the body is empty")
	}
	if !s.importing.TryLock() {
		return nil, &Error{Status: http.StatusConflict, Code: "import_running", Message: "another import is under way"}
	}
	defer s.importing.Unlock()
	c.unchanged, c.target = q.how.DryRun, string(q.format)+", "+q.mode
	batch, warnings, err := accounts.Parse(q.format, c.body)
	clear(c.body) // it may hold passwords
	if err != nil {
		return nil, documentError(err)
	}
	defer batch.Wipe()
	report, err := db.Import(c.http.Context(), batch, q.how)
	if report != nil {
		c.result = fmt.Sprintf("%d added, %d changed", report.Count("added"), report.Count("changed"))
	}
	if err != nil {
		return nil, documentError(err)
	}
	return describeImport(report, warnings, q.how.DryRun), nil
}

func describeImport(report *accounts.Report, warnings []accounts.Warning, dry bool) ImportResult {
	out := ImportResult{DryRun: dry}
	for _, e := range report.Effects {
		n := &out.Users
		switch e.Table {
		case accounts.GroupsTable:
			n = &out.Groups
		case accounts.RolesTable:
			n = &out.Roles
		}
		switch e.What {
		case "added":
			n.Added++
		case "changed":
			n.Changed++
		case "same":
			n.Same++
		case "skipped":
			n.Skipped++
		}
	}
	out.Warnings = texts(warnings)
	return out
}

func texts(warnings []accounts.Warning) (out []string) {
	for _, w := range warnings {
		out = append(out, w.String())
	}
	return out
}

// documentError is the answer to a document with mistakes, each with its line.
func documentError(err error) error {
	list := mistakes(err)
	if len(list) == 0 {
		return accountError(err)
	}
	return &Error{Status: http.StatusUnprocessableEntity, Code: "invalid", Message: "the document has mistakes, and nothing was changed", Problems: list}
}

func mistakes(err error) (out []Problem) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			out = append(out, mistakes(e)...)
		}
		return out
	}
	if d, ok := errors.AsType[*accounts.DocumentError](err); ok {
		return []Problem{{Line: d.Line, Text: d.Text}}
	}
	return nil
}

// ExportResult is the answer of an export with dry_run: what the document could not say.
type ExportResult struct {
	Warnings []string `json:"warnings"`
}

// exported is an export on its way out.
type exported struct {
	db      *accounts.Database
	format  accounts.Format
	secrets bool
}

func (e exported) Send(w io.Writer) error {
	_, err := e.write(w)
	return err
}

func (e exported) write(w io.Writer) ([]accounts.Warning, error) {
	switch e.format {
	case accounts.JSON:
		return nil, e.db.ExportJSON(w, e.secrets)
	case accounts.CSV:
		return nil, e.db.ExportCSV(w, e.secrets)
	}
	return e.db.ExportMosquitto(w, e.format)
}

func (e exported) Close() error { return nil }

// kind is the media type of the document.
func (e exported) kind() string {
	switch e.format {
	case accounts.JSON:
		return "application/json"
	case accounts.CSV:
		return "text/csv; charset=utf-8"
	}
	return "text/plain; charset=utf-8"
}

// exportAccounts is GET /accounts/export: without anything that a password could be
// found by.
func (s *Server) exportAccounts(c *call) (any, error) {
	return s.export(c, false, accounts.JSON, accounts.CSV)
}

// exportSecrets is POST /accounts/export: with hashes and verifiers.
func (s *Server) exportSecrets(c *call) (any, error) {
	if err := nothing(c.body); err != nil {
		c.unchanged = true
		return nil, err
	}
	return s.export(c, true, accounts.JSON, accounts.CSV, accounts.Mosquitto, accounts.Mosq21)
}

func (s *Server) export(c *call, secrets bool, formats ...accounts.Format) (any, error) {
	c.unchanged = true
	db, err := s.accounts()
	if err != nil {
		return nil, err
	}
	v, err := query(c.http.URL, "format", "dry_run")
	if err != nil {
		return nil, err
	}
	e := exported{db, accounts.Format(v.Get("format")), secrets}
	if !slices.Contains(formats, e.format) {
		return nil, bad("format is one of %v", formats)
	}
	if v.Has("dry_run") {
		if dry, err := strconv.ParseBool(v.Get("dry_run")); err != nil || !dry {
			return nil, bad("dry_run is true, or is left out")
		}
		warnings, err := e.write(io.Discard)
		return ExportResult{Warnings: orEmpty(texts(warnings))}, err
	}
	c.unchanged, c.target = false, string(e.format)
	return streamed{e.kind(), e}, nil
}
