package control

import (
	"net/http"
	"time"

	"sallyport/security"
	"sallyport/security/expect"
)

// explain is POST /explain: the running gate's own answer, with the path to it.
func (s *Server) explain(c *call) (any, error) {
	ask, q, err := decodeExplain(c.body)
	if err != nil {
		return nil, err
	}
	if ask.Who != nil {
		if q.Principal, err = ask.Who.principal(s.describe().Listeners); err != nil {
			return nil, err
		}
		return s.decide(q), nil
	}
	p, client, err := s.find(ask.ClientID)
	if err != nil {
		return nil, err
	}
	q.Principal = p
	out := s.decide(q)
	out.Online = &client.Online
	return out, nil
}

// decide asks the gate. The generation is read first: rules that are swapped
// meanwhile make the answer newer than it says, never older.
func (s *Server) decide(q *security.Request) ExplainResult {
	out := ExplainResult{PolicyGeneration: s.options.Gate.Generation()}
	d := s.options.Gate.Explain(q)
	out.Allowed, out.Request, out.Client = d.Verdict.Allowed(), expect.NewRequest(q), expect.NewClient(q.Principal)
	if q.Action == security.Connect {
		out.Connect = expect.NewDecision(q, d)
	} else {
		out.Decision = expect.NewDecision(q, d)
	}
	return out
}

// decision is GET /decisions/{id}.
func (s *Server) decision(c *call) (any, error) {
	var r security.Refusal
	known := false
	if s.options.Decisions != nil {
		r, known = s.options.Decisions.Find(c.http.PathValue("id"))
	}
	if !known || r.Request.Principal == nil {
		return nil, &Error{Status: http.StatusNotFound, Code: "no_decision", Message: "no refusal with this id is kept; the last few thousand are, while deny_reason is id"}
	}
	q := r.Request
	q.At = time.Now().UnixNano()
	now := s.decide(&q)
	return DecisionResult{
		ID: r.ID, At: r.At.UTC().Format(time.RFC3339Nano), Then: expect.NewVerdict(r.Verdict), Now: now, Changed: now.Allowed != r.Verdict.Allowed(),
	}, nil
}
