package control

import (
	"net/http"
	"strconv"

	"sallyport/session"
)

func (s *Server) describe() Status {
	st := Status{}
	if s.options.Status != nil {
		st = s.options.Status()
	}
	if st.Listeners == nil {
		st.Listeners = []ListenerStatus{}
	}
	return st
}

// status is GET /status.
func (s *Server) status(*call) (any, error) {
	st := s.describe()
	st.PolicyGeneration = s.options.Gate.Generation()
	st.ShadowDifferences = s.options.Gate.Shadow().Total()
	return st, nil
}

// reload is POST /reload: it answers when the new rules are in force, or with
// everything that is wrong with the files.
func (s *Server) reload(c *call) (any, error) {
	if err := nothing(c.body); err != nil {
		return nil, err
	}
	if s.options.Reload == nil {
		return nil, &Error{Status: http.StatusConflict, Code: "no_reload", Message: "the program that runs the broker gave it no way to read its configuration again"}
	}
	if err := s.options.Reload(); err != nil {
		return nil, &Error{
			Status: http.StatusUnprocessableEntity, Code: "reload_refused",
			Message: "the reload was refused and changed nothing", Problems: problems(err),
		}
	}
	c.result = "done"
	return ReloadResult{PolicyGeneration: s.options.Gate.Generation()}, nil
}

// PurgeRequest is the body of POST /retained/purge. What is left out matches
// every publisher; at least one of published_by and client_id is needed.
type PurgeRequest struct {
	PublishedBy *string `json:"published_by,omitempty"` // a user name; empty is anonymous
	Realm       *string `json:"realm,omitempty"`
	ClientID    *string `json:"client_id,omitempty"`
	DryRun      bool    `json:"dry_run,omitempty"` // count, remove nothing
}

// PurgeResult is the answer of POST /retained/purge.
type PurgeResult struct {
	Messages int  `json:"messages"` // removed, or with dry_run what would be
	DryRun   bool `json:"dry_run,omitempty"`
}

// purge is POST /retained/purge.
func (s *Server) purge(c *call) (any, error) {
	var q PurgeRequest
	if err := decode(c.body, &q); err != nil {
		c.unchanged = true
		return nil, err
	}
	if q.PublishedBy == nil && q.ClientID == nil {
		c.unchanged = true
		return nil, bad("published_by or client_id says whose messages")
	}
	c.unchanged, c.target = q.DryRun, q.String()
	matched := 0
	n, err := s.options.Engine.PurgeRetained(func(o session.Origin) bool {
		if !q.matches(o) {
			return false
		}
		matched++
		return !q.DryRun
	})
	if err != nil {
		return nil, &Error{Status: http.StatusInternalServerError, Code: "failed", Message: "removed " + strconv.Itoa(n) + " messages, then: " + err.Error()}
	}
	if q.DryRun {
		n = matched
	}
	c.result = "removed " + strconv.Itoa(n)
	return PurgeResult{Messages: n, DryRun: q.DryRun}, nil
}

// matches leaves the broker's own messages alone, whatever it is called.
func (q *PurgeRequest) matches(o session.Origin) bool {
	is := func(want *string, got string) bool { return want == nil || *want == got }
	return !o.Internal && is(q.PublishedBy, o.Name) && is(q.Realm, o.Realm) && is(q.ClientID, o.ClientID)
}

// String is the request for the log.
func (q *PurgeRequest) String() string {
	text := ""
	for _, f := range []struct {
		name  string
		value *string
	}{{"published_by", q.PublishedBy}, {"realm", q.Realm}, {"client_id", q.ClientID}} {
		if f.value != nil {
			text += " " + f.name + "=" + strconv.Quote(*f.value)
		}
	}
	return text[min(1, len(text)):]
}
