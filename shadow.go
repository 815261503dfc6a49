package sallyport

import (
	"fmt"
	"log/slog"
	"strings"

	"sallyport/audit"
	"sallyport/config"
	"sallyport/security"
)

// tellShadow logs the first of each kind of request that the shadow policies
// would have answered otherwise. It is called while the request is judged.
func (s *Server) tellShadow(d security.Difference) {
	s.audit.Record(audit.ShadowDiffers,
		slog.String("client", d.ClientID), slog.String("user", d.User), slog.String("listener", d.Listener),
		slog.String("action", d.Action.String()), slog.String("topic", d.Topic), slog.Int("qos", int(d.QoS)),
		slog.String("live", effectOf(d, d.Live)), slog.String("live_rule", ruleOf(d.Live)),
		slog.String("shadow", effectOf(d, d.Shadow)), slog.String("shadow_rule", ruleOf(d.Shadow)))
}

// effectOf is allow or deny, and of a subscription that is granted at a lower QoS
// than was asked for, at which.
func effectOf(d security.Difference, v security.Verdict) string {
	if d.Action == security.Subscribe && v.Allowed() && v.QoS < d.QoS {
		return fmt.Sprintf("%s at QoS %d", v.Effect, v.QoS)
	}
	return v.Effect.String()
}

// ruleOf is policy:file:line: text of the rule that decided, as far as there is one.
func ruleOf(v security.Verdict) string {
	var parts []string
	if v.Policy != "" {
		parts = append(parts, v.Policy)
	}
	if v.File != "" {
		parts = append(parts, place(v.File, v.Line))
	}
	where := strings.Join(parts, ":")
	if where == "" || v.Rule == "" {
		return where + v.Rule
	}
	return where + ": " + v.Rule
}

// comparison identifies what the answers of shadow policies are compared with
// and of which content all of them are: while it is the same, differences add up.
func comparison(cfg *config.Config, content sums) string {
	var b strings.Builder
	policies := map[string]config.Policy{}
	for _, p := range cfg.Policies {
		policies[p.Name] = p
	}
	list := func(names []string) {
		for _, n := range names {
			p := policies[n]
			fmt.Fprintf(&b, "%+v %x\n", p, content[p.File])
		}
	}
	for _, l := range cfg.Listeners {
		if len(l.Shadow) == 0 {
			continue
		}
		fmt.Fprintf(&b, "listener %s, %s\n", l.Name, l.OnDeniedQoS)
		list(l.Policies)
		b.WriteString("shadow\n")
		list(l.Shadow)
	}
	return b.String()
}
