package roles

import (
	"fmt"
	"strings"

	"sallyport/security/rule"
)

// describe is a rule of the permission as verdicts show it.
func (d *draft) describe(r *rule.Rule) string {
	var b strings.Builder
	b.WriteString(r.Effect.String())
	if r.Actions == rule.Connect {
		b.WriteString(" connect")
	} else {
		sep := " "
		for _, w := range d.words {
			if w.Value.actions != rule.Connect {
				b.WriteString(sep + w.Value.word)
				sep = ","
			}
		}
		b.WriteString(" " + r.Topic.Text())
		describeMessage(&b, r)
	}
	d.describeConditions(&b, r.When)
	return b.String()
}

var tristates = [...]string{rule.Either: "", rule.Required: "required", rule.Forbidden: "forbidden"}

func describeMessage(b *strings.Builder, r *rule.Rule) {
	if r.QoS != 0 {
		b.WriteString(" qos")
		for q := range 3 {
			if r.QoS&(1<<q) != 0 {
				fmt.Fprintf(b, " %d", q)
			}
		}
	}
	if r.Retain != rule.Either {
		b.WriteString(" retain " + tristates[r.Retain])
	}
	if r.Shared != rule.Either {
		b.WriteString(" shared " + tristates[r.Shared])
	}
	if len(r.Groups) > 0 {
		b.WriteString(" group " + strings.Join(r.Groups, ","))
	}
}

// shownExpression bounds how much of an expression a text shows, in bytes.
const shownExpression = 120

func (d *draft) describeConditions(b *strings.Builder, w *rule.When) {
	if w == nil {
		return
	}
	for i, from := range w.From {
		b.WriteString([]string{" from ", ","}[min(i, 1)])
		if from.IsSingleIP() {
			b.WriteString(from.Addr().String())
		} else {
			b.WriteString(from.String())
		}
	}
	if len(w.Listeners) > 0 {
		b.WriteString(" listener " + strings.Join(w.Listeners, ","))
	}
	if w.TLS != rule.Either {
		b.WriteString(" tls " + tristates[w.TLS])
	}
	for i, span := range w.Windows {
		b.WriteString([]string{" time ", ", "}[min(i, 1)] + span.Text())
	}
	if d.When != nil {
		text := strings.Join(strings.Fields(d.When.Value), " ")
		if len(text) > shownExpression {
			text = strings.ToValidUTF8(text[:shownExpression], "") + "..."
		}
		b.WriteString(" when " + text)
	}
}
