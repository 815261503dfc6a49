package rule

import "sallyport/security"

// Says is what the rule has to say about q, whatever other rules say.
func (r *Rule) Says(q *security.Request) security.Step { return security.Step{} }

func (r *Rule) values(p *security.Principal) []security.Value { return nil }
