package control

import (
	"net/http"
	"time"

	"sallyport/security"
)

// explain is POST /explain: the running gate's own answer, with the path to it.
func (s *Server) explain(c *call) (any, error) {
	ask, err := decodeExplain(c.body)
	if err != nil {
		return nil, err
	}
	var p *security.Principal
	var doc Client
	if ask.Who != nil {
		if p, err = ask.Who.principal(s.describe().Listeners); err == nil {
			doc = clientOf(p)
		}
	} else {
		p, doc, err = s.find(ask.ClientID)
	}
	if err != nil {
		return nil, err
	}
	q := ask.request(p)
	return ExplainResult{Client: doc, Request: requestOf(q), Decision: s.decide(q)}, nil
}

// decide asks the gate. The generation is read first: rules that are swapped
// meanwhile make the answer newer than it says, never older.
func (s *Server) decide(q *security.Request) Decision {
	generation := s.options.Gate.Generation()
	return Explained(s.options.Gate.Explain(q), generation)
}

// decision is GET /decisions/{id}.
func (s *Server) decision(c *call) (any, error) {
	var r security.Refusal
	known := false
	if s.options.Decisions != nil {
		r, known = s.options.Decisions.Find(c.http.PathValue("id"))
	}
	if !known {
		return nil, &Error{Status: http.StatusNotFound, Code: "no_decision", Message: "no refusal with this id is kept; the last few thousand are, while deny_reason is id"}
	}
	q := r.Request
	q.At = time.Now().UnixNano()
	now := s.decide(&q)
	return DecisionResult{
		ID: r.ID, At: r.At.UTC(), Client: clientOf(r.Request.Principal), Request: requestOf(&q),
		Then: verdictOf(r.Verdict), Now: now, Changed: now.Allowed != r.Verdict.Allowed(),
	}, nil
}
