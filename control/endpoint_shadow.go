package control

import (
	"strconv"

	"sallyport/security"
	"sallyport/security/expect"
)

// ShadowResult is the answer of GET /shadow.
type ShadowResult struct {
	// Total counts the requests that the shadow policies would have answered
	// otherwise; those of more kinds than are told apart are among them.
	Total int64              `json:"total"`
	Kinds []ShadowDifference `json:"kinds"` // the most frequent first
}

// ShadowDifference is the requests with the same action, user and deciding rules.
type ShadowDifference struct {
	Action   string         `json:"action"`
	User     string         `json:"user"`
	Listener string         `json:"listener"`
	Live     expect.Verdict `json:"live"`
	Shadow   expect.Verdict `json:"shadow"`
	ClientID string         `json:"client_id"` // of the last such request, as topic and qos
	Topic    string         `json:"topic,omitempty"`
	QoS      byte           `json:"qos"`
	Judged   int64          `json:"judged"` // requests; those whose answer was remembered are in the total alone
}

// shadow is GET /shadow.
func (s *Server) shadow(*call) (any, error) {
	sh := s.options.Gate.Shadow()
	out := ShadowResult{Total: sh.Total(), Kinds: []ShadowDifference{}}
	for _, d := range sh.Differences() {
		out.Kinds = append(out.Kinds, differenceOf(d))
	}
	return out, nil
}

func differenceOf(d security.Difference) ShadowDifference {
	out := ShadowDifference{
		Action: d.Action.String(), User: d.User, Listener: d.Listener, Live: expect.NewVerdict(d.Live), Shadow: expect.NewVerdict(d.Shadow),
		ClientID: d.ClientID, Topic: d.Topic, QoS: d.QoS, Judged: d.Judged,
	}
	if d.Action == security.Subscribe {
		out.Live.Granted(d.Live)
		out.Shadow.Granted(d.Shadow)
	}
	return out
}

// ShadowResetResult is the answer of POST /shadow/reset.
type ShadowResetResult struct {
	Forgotten int64 `json:"forgotten"` // what the total was
}

// resetShadow is POST /shadow/reset.
func (s *Server) resetShadow(c *call) (any, error) {
	if err := nothing(c.body); err != nil {
		return nil, err
	}
	sh := s.options.Gate.Shadow()
	n := sh.Total()
	sh.Reset()
	c.result = "forgot " + strconv.FormatInt(n, 10)
	return ShadowResetResult{Forgotten: n}, nil
}
